"""What is measured, and the arithmetic on it."""

from __future__ import annotations

import math
import statistics
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Generic, Literal, TypeVar

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Spread:
    """Figures of one thing: the middle, and how far they lie from it."""

    median: float
    deviation: float
    """Median absolute deviation."""
    count: int

    @classmethod
    def of(cls, samples: Sequence[float]) -> Spread:
        """Summarise samples.

        Raises:
            statistics.StatisticsError: there are none.
        """
        median = statistics.median(samples)
        deviation = statistics.median(abs(sample - median) for sample in samples)
        return cls(median, deviation, len(samples))


@dataclass(frozen=True, slots=True)
class Comparison:
    """A subject and its baseline, measured in turns: the samples of one index are neighbours."""

    name: str
    unit: str
    subject: tuple[float, ...]
    baseline: tuple[float, ...]
    baseline_name: str
    better: Literal["higher", "lower"]
    aim: float | None = None
    """The ratio to reach."""

    @property
    def ratio(self) -> Spread:
        """Subject over baseline, neighbour by neighbour: what slows both down cancels out."""
        pairs = zip(self.subject, self.baseline, strict=True)
        return Spread.of([subject / baseline for subject, baseline in pairs])


@dataclass(frozen=True, slots=True)
class Fact:
    """A figure that no baseline belongs to."""

    name: str
    value: float
    unit: str


@dataclass(frozen=True, slots=True)
class Note:
    """A sentence to read the figures by."""

    text: str


Row = Comparison | Fact | Note


def percentile(samples: Sequence[float], percent: float) -> float:
    """Return the smallest sample that at least `percent` per cent of all samples do not exceed."""
    if not samples:
        raise ValueError("no samples")
    rank = math.ceil(percent / 100 * len(samples))
    return sorted(samples)[max(rank, 1) - 1]


@dataclass(frozen=True, slots=True)
class Turns(Generic[T]):
    """Samples of a subject and of a baseline that were taken in turns."""

    subject: tuple[T, ...]
    baseline: tuple[T, ...]

    def compare(
        self,
        name: str,
        *,
        baseline: str,
        unit: str,
        better: Literal["higher", "lower"],
        figure: Callable[[T], float] = float,
        aim: float | None = None,
    ) -> Comparison:
        """Name one figure of what was measured."""
        return Comparison(
            name,
            unit,
            subject=tuple(map(figure, self.subject)),
            baseline=tuple(map(figure, self.baseline)),
            baseline_name=baseline,
            better=better,
            aim=aim,
        )


def take_turns(
    *, baseline: Callable[[], T], subject: Callable[[], T], rounds: int, warm_up: bool = True
) -> Turns[T]:
    """Measure baseline, subject, baseline, subject …; to warm up, one unrecorded turn of each."""
    if warm_up:
        baseline()
        subject()
    baselines, subjects = go_round([baseline, subject], rounds=rounds)
    return Turns(subjects, baselines)


def go_round(measures: Sequence[Callable[[], T]], *, rounds: int) -> list[tuple[T, ...]]:
    """Measure several things, one after the other, round after round; return what each gave."""
    samples = [[measure() for measure in measures] for _ in range(rounds)]
    return list(zip(*samples, strict=True))


async def take_async_turns(
    *, baseline: Callable[[], Awaitable[T]], subject: Callable[[], Awaitable[T]], rounds: int
) -> Turns[T]:
    """Do as `take_turns`, with coroutines."""
    await baseline()
    await subject()
    pairs = [(await baseline(), await subject()) for _ in range(rounds)]
    return Turns(tuple(pair[1] for pair in pairs), tuple(pair[0] for pair in pairs))
