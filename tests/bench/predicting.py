"""Predictions while the model is swapped again and again, against the same without swaps."""

from __future__ import annotations

import time
import timeit
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import onnx
from onnx import TensorProto, helper
from sklearn.ensemble import RandomForestRegressor

from herdbook import Client, LiveModel, loaders
from tests.bench.measuring import Fact, Row, Turns, percentile
from tests.bench.options import Options
from tests.bench.servers import full_server, new_directory
from tests.support.repeating import again_and_again
from tests.support.waiting import wait_until

TITLE = "4 threads predict while an alias moves, against the same without moves"
THREADS = 4
ROUNDS = 5
WIDTH = 256
ROW = np.linspace(0, 1, WIDTH, dtype=np.float32)[np.newaxis]
READS = 1_000_000
UNUSED_SECONDS = 1.0
"""How long a model is warmed up in the first phase, which is not counted."""


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of model: how a version is written, loaded and asked."""

    name: str
    write: Callable[[Path, int], object]
    loader: Callable[[Path], Any]
    predict: Callable[[Any], object]


@dataclass(slots=True)
class Phase:
    """What happened for a while."""

    seconds: list[float] = field(default_factory=list)
    """How long each prediction took."""
    failures: list[BaseException] = field(default_factory=list)
    swaps: int = 0


async def run(options: Options) -> list[Row]:
    """Measure both kinds of models, and a read of `current` against one of any attribute."""
    rows: list[Row] = []
    with full_server(new_directory(options.home, "predicting")) as server:
        for kind in kinds():
            model = f"predict/{kind.name}"
            with Client(server.address, cache=False) as client:
                push_two(client, model, kind, new_directory(options.home, kind.name))
                with LiveModel(
                    f"{model}@champion",
                    loader=kind.loader,
                    warmup=kind.predict,
                    server=server.address,
                    cache_dir=options.home / "cache",
                ) as live:
                    rows += figures(kind, client, live, options.moves)
                    rows += reads(kind, live)
    return rows


def figures(kind: Kind, client: Client, live: LiveModel[Any], moves: int) -> Iterator[Row]:
    """Take turns: for a while without moves, then with them."""
    quiet: list[Phase] = []
    swapping: list[Phase] = []
    measure(kind, live, lambda: time.sleep(UNUSED_SECONDS))
    for _ in range(ROUNDS):
        began = time.monotonic()
        swapping.append(measure(kind, live, lambda: swap(client, live, max(1, moves // ROUNDS))))
        lasted = time.monotonic() - began
        quiet.append(measure(kind, live, lambda seconds=lasted: time.sleep(seconds)))
    for percent in (50, 99):
        yield Turns(
            tuple(1000 * percentile(phase.seconds, percent) for phase in swapping),
            tuple(1000 * percentile(phase.seconds, percent) for phase in quiet),
        ).compare(f"{kind.name}: p{percent}", baseline="without swaps", unit="ms", better="lower")
    yield Fact(f"{kind.name}: swaps", sum(phase.swaps for phase in swapping), "")
    yield Fact(f"{kind.name}: predictions", sum(len(p.seconds) for p in swapping), "")
    failures = [failure for phase in (*swapping, *quiet) for failure in phase.failures]
    yield Fact(f"{kind.name}: predictions that failed", len(failures), "")


def measure(kind: Kind, live: LiveModel[Any], meanwhile: Callable[[], int | None]) -> Phase:
    """Predict with several threads for as long as `meanwhile` takes."""
    phase = Phase()

    def predict() -> None:
        began = time.perf_counter()
        try:
            kind.predict(live.current)
        except Exception as failure:  # noqa: BLE001 - each counts
            phase.failures.append(failure)
        phase.seconds.append(time.perf_counter() - began)

    with again_and_again(predict, threads=THREADS):
        phase.swaps = meanwhile() or 0
    return phase


def swap(client: Client, live: LiveModel[Any], count: int) -> int:
    """Move the alias to and fro, each time until the other version serves."""
    for _ in range(count):
        version = 3 - (live.version or 1)
        client.set_alias(live.reference.partition("@")[0], "champion", version)
        wait_until(lambda wanted=version: live.version == wanted, f"{version} serves")  # type: ignore[misc]
    return count


def reads(kind: Kind, live: LiveModel[Any]) -> Iterator[Row]:
    """Compare a read of `current` with one of an attribute of some object."""

    class Holder:
        __slots__ = ("current",)

    holder = Holder()
    holder.current = live.current
    subject, baseline = [
        tuple(
            1e9
            * min(timeit.repeat("x.current", globals={"x": each}, number=READS, repeat=3))
            / READS
            for _ in range(ROUNDS)
        )
        for each in (live, holder)
    ]
    yield Turns(subject, baseline).compare(
        f"{kind.name}: live.current", baseline="any attribute", unit="ns", better="lower"
    )


def push_two(client: Client, model: str, kind: Kind, home: Path) -> None:
    """Push two versions; the first is the champion."""
    for version in (1, 2):
        directory = home / str(version)
        directory.mkdir()
        kind.write(directory, version)
        client.push(model, directory, capture=False)
    client.set_alias(model, "champion", 1)


def kinds() -> list[Kind]:
    """Return the kinds of models that are measured."""
    return [
        Kind(
            "onnx",
            write_onnx,
            loaders.onnx_session(),
            lambda session: session.run(None, {"x": ROW}),
        ),
        Kind(
            "scikit-learn",
            write_forest,
            loaders.unpickled_joblib(),
            lambda forest: forest.predict(ROW),
        ),
    ]


def write_onnx(directory: Path, version: int) -> None:
    """Write a network of four layers."""
    random = np.random.default_rng(version)
    weights = [random.normal(size=(WIDTH, WIDTH)).astype(np.float32) for _ in range(4)]
    names = ["x", *(f"h{n}" for n in range(3)), "y"]
    graph = helper.make_graph(
        [helper.make_node("MatMul", [names[n], f"w{n}"], [names[n + 1]]) for n in range(4)],
        "network",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [None, WIDTH])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [None, WIDTH])],
        [onnx.numpy_helper.from_array(each, f"w{n}") for n, each in enumerate(weights)],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, directory / "model.onnx")


def write_forest(directory: Path, version: int) -> None:
    """Write a small random forest."""
    random = np.random.default_rng(version)
    rows, answers = random.normal(size=(500, WIDTH)), random.normal(size=500)
    forest = RandomForestRegressor(20, max_depth=6, random_state=version).fit(rows, answers)
    joblib.dump(forest, directory / "model.joblib")
