"""The story, act by act; every figure in it is measured while it is told."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from herdbook.cli.aliases import HISTORY_COLUMNS, history_row
from herdbook.cli.convergence import convergence_text
from herdbook.cli.demo.narration import Narrator
from herdbook.cli.demo.processes import (
    Counts,
    DemoBroken,
    Server,
    Serving,
    await_that,
    running_server,
    running_serving,
)
from herdbook.cli.demo.training import Data, Trained, load_data, spoil, train_both
from herdbook.cli.texts import size_text, transfer_text
from herdbook.client import Client
from herdbook.core.values import Convergence, Dataset, Lineage, Signature, TensorSpec, Version

__all__ = ["DemoBroken", "tell"]

MODEL = "diabetes/progression"
CHAMPION = f"{MODEL}@champion"
_ANSWERS_AN_ACT = 1_000
_STRETCHES = 3


@dataclass(frozen=True, slots=True)
class Pushed:
    """A trained model and the version that it became."""

    trained: Trained
    version: Version

    @property
    def number(self) -> int:
        """The version's number."""
        return self.version.number


def tell(narrator: Narrator, folder: Path, *, threads: int) -> None:
    """Tells the whole story.

    Raises:
        DemoBroken: Something that the rest needs did not happen.
    """
    narrator.act("A server on its embedded default: SQLite and a chunk directory")
    started = time.monotonic()
    with running_server(folder) as server, _client_of(server) as client:
        _Story(narrator, client, server, folder=folder, server_started_at=started).tell(threads)


def _client_of(server: Server) -> Client:
    """Connects to the demo's own server, whatever the environment says of another."""
    return Client(server.address, tls=False, cache=False)


class _Story:
    """What the acts share."""

    def __init__(
        self,
        narrator: Narrator,
        client: Client,
        server: Server,
        *,
        folder: Path,
        server_started_at: float,
    ) -> None:
        self._narrator = narrator
        self._client = client
        self._server = server
        self._folder = folder
        self._server_started_at = server_started_at

    def tell(self, threads: int) -> None:
        self._meet_the_server()
        data = load_data()
        pushed = [self._push(trained, data) for trained in self._train(data)]
        best, other = self._find_the_best(pushed)
        self._crown(best)
        answers = self._write_down_answers(pushed, data)
        with running_serving(
            CHAMPION,
            server=self._client.server,
            folder=self._folder,
            answers=answers,
            threads=threads,
        ) as serving:
            self._serve(serving, best, threads)
            self._swap(serving, best, other)
            spoilt = max(pushed, key=lambda one: one.trained.size_bytes)
            broken = self._try_a_broken_one(serving, spoilt, other)
            self._roll_back(serving, broken, other)
            self._roll_back(serving, other.number, best)
            self._show_history()
            self._conclude(serving.end(), pushed, broken)

    def _meet_the_server(self) -> None:
        info = self._client.get_server_info()
        seconds = time.monotonic() - self._server_started_at
        self._narrator.say(f"{self._client.server} answers after {seconds:.1f} s.")
        self._narrator.promise(
            f"it runs on {info.database} and {info.chunk_store} chunks",
            kept=(info.database, info.chunk_store) == ("sqlite", "local"),
        )

    def _train(self, data: Data) -> list[Trained]:
        patients = len(data.train_rows) + len(data.test_rows)
        self._narrator.act(f"Two regressors, trained on {patients} real patients")
        trained = list(train_both(data, self._folder / "trained"))
        rows = [
            (
                one.name,
                f"{one.training_seconds * 1000:.1f} ms",
                f"{one.rmse:.2f}",
                size_text(one.size_bytes),
            )
            for one in trained
        ]
        self._narrator.table(("MODEL", "TRAINED IN", "RMSE", "SIZE"), rows)
        self._narrator.act("Both become versions, with what was measured and where they came from")
        return trained

    def _push(self, trained: Trained, data: Data) -> Pushed:
        version = self._client.push(
            MODEL,
            trained.directory,
            metrics={"rmse": trained.rmse, "size_bytes": trained.size_bytes},
            params=trained.params,
            tags={"kind": trained.name},
            description=f"Progression of diabetes in a year, by {trained.name}.",
            framework="scikit-learn",
            format="joblib",
            signature=_signature(data),
            lineage=_lineage(trained, data),
            reason="trained by the demo",
        )
        if version.transfer is None:
            raise DemoBroken("the push did not tell what it cost")
        cost = transfer_text(version.transfer)
        self._narrator.promise(
            f"{version.reference} is {trained.name}: {cost}",
            kept=version.size_bytes == trained.size_bytes,
        )
        return Pushed(trained, version)

    def _find_the_best(self, pushed: Sequence[Pushed]) -> tuple[Pushed, Pushed]:
        self._narrator.act("The best is found by search")
        self._narrator.command(f"herdbook versions {MODEL} --order-by 'metrics.rmse asc'")
        found = list(self._client.list_versions(MODEL, order_by="metrics.rmse asc"))
        self._narrator.table(
            ("VERSION", "KIND", "RMSE"),
            [(v.reference, v.tags["kind"], f"{v.metrics['rmse']:.2f}") for v in found],
        )
        ranking = sorted(pushed, key=lambda one: one.trained.rmse)
        self._narrator.promise(
            "the search's order is that of the measured errors",
            kept=[v.number for v in found] == [one.number for one in ranking],
        )
        return ranking[0], ranking[1]

    def _crown(self, best: Pushed) -> None:
        self._narrator.command(f"herdbook alias set {CHAMPION} {best.number} --expect 0")
        alias = self._client.set_alias(
            MODEL, "champion", best.number, expect=0, reason="lowest rmse of the two"
        )
        self._narrator.promise(
            f"champion points at version {best.number}", kept=alias.version == best.number
        )

    def _write_down_answers(self, pushed: Sequence[Pushed], data: Data) -> Path:
        """Saves what each version answers for each patient, by which answers are told apart."""
        answers = {
            str(one.number): one.trained.estimator.predict(data.test_rows).tolist()
            for one in pushed
        }
        file = self._folder / "answers.json"
        file.write_text(json.dumps(answers))
        return file

    def _serve(self, serving: Serving, best: Pushed, threads: int) -> None:
        self._narrator.act(f"Another process serves {CHAMPION}, asked by {threads} threads")
        counts = self._await_answers(serving, best.number, at_least=1)
        started = time.monotonic()
        counts = self._await_answers(serving, best.number, at_least=_ANSWERS_AN_ACT)
        rate = counts.total / (time.monotonic() - started)
        self._narrator.say(f"About {rate:,.0f} predictions a second.")
        self._show(counts)
        self._narrator.promise("no prediction failed", kept=counts.flawless)

    def _swap(self, serving: Serving, before: Pushed, after: Pushed) -> None:
        self._narrator.act(f"champion moves to {after.trained.name} while predictions go on")
        self._narrator.command(f"herdbook alias set {CHAMPION} {after.number}")
        moved_at = time.monotonic()
        self._client.set_alias(
            MODEL, "champion", after.number, expect=before.number, reason="its turn to be tried"
        )
        counts = self._await_answers(serving, after.number, at_least=_ANSWERS_AN_ACT)
        milliseconds = (counts.first_answer_at[after.number] - moved_at) * 1000
        self._narrator.say(
            f"First answer of version {after.number}: {milliseconds:.0f} ms after the move."
        )
        self._narrator.say(convergence_text(self._await_converged()))
        settled = self._settles_on(serving, after.number)
        counts = serving.counts()
        self._show(counts)
        self._narrator.promise("no prediction failed during the swap", kept=counts.flawless)
        self._narrator.promise(
            f"version {after.number} answers, version {before.number} no longer does", kept=settled
        )

    def _try_a_broken_one(self, serving: Serving, spoilt: Pushed, serves: Pushed) -> int:
        self._narrator.act("A candidate that cannot be loaded: a file cut in half")
        directory = self._folder / "trained" / "spoilt"
        spoil(spoilt.trained.directory, directory)
        broken = self._client.push(
            MODEL, directory, tags={"kind": "spoilt"}, reason="a job that died while it saved"
        )
        self._narrator.command(f"herdbook alias set {CHAMPION} {broken.number}")
        self._client.set_alias(MODEL, "champion", broken.number, reason="nobody looked closely")
        self._await(
            lambda: self._client.get_convergence(CHAMPION).failed_count == 1,
            f"the serving process reports that version {broken.number} failed",
        )
        self._narrator.command(f"herdbook convergence {CHAMPION}")
        self._tell_failure(broken.number, serves.number)
        at_least = serving.counts().of(serves.number) + _ANSWERS_AN_ACT
        counts = self._await_answers(serving, serves.number, at_least=at_least)
        self._show(counts)
        self._narrator.promise("no prediction failed meanwhile", kept=counts.flawless)
        return broken.number

    def _tell_failure(self, broken: int, serves: int) -> None:
        convergence = self._client.get_convergence(CHAMPION)
        self._narrator.say(convergence_text(convergence))
        for report in convergence.failures:
            self._narrator.say(f"{report.replica.host}: {report.failure}")
        self._narrator.promise(
            f"version {broken} was refused, and the registry knows why",
            kept=[bool(report.failure) for report in convergence.failures] == [True],
        )
        self._narrator.promise(
            f"version {serves} serves on", kept=dict(convergence.serving_counts) == {serves: 1}
        )

    def _roll_back(self, serving: Serving, before: int, after: Pushed) -> None:
        self._narrator.act(f"Roll back, from version {before} to version {after.number}")
        self._narrator.command(f"herdbook alias rollback {CHAMPION}")
        alias = self._client.rollback_alias(
            MODEL, "champion", expect=before, reason=f"version {before} did not prove itself"
        )
        self._narrator.promise(
            f"champion points at version {after.number} again", kept=alias.version == after.number
        )
        self._narrator.say(convergence_text(self._await_converged()))
        self._narrator.promise(
            f"version {after.number} answers, and no other",
            kept=self._settles_on(serving, after.number),
        )

    def _show_history(self) -> None:
        self._narrator.act("Who moved champion when, and why")
        self._narrator.command(f"herdbook alias history {CHAMPION}")
        moves = list(self._client.alias_history(MODEL, "champion"))
        self._narrator.table(HISTORY_COLUMNS, map(history_row, moves))
        self._narrator.promise(
            "every move is there, each with its reason",
            kept=len(moves) == 5 and all(move.reason for move in moves),  # noqa: PLR2004 - as told
        )

    def _conclude(self, counts: Counts, pushed: Sequence[Pushed], broken: int) -> None:
        self._narrator.act("Summary")
        self._show(counts)
        self._narrator.say(f"The slowest prediction took {counts.slowest_seconds * 1000:.0f} ms.")
        if counts.failure:
            self._narrator.say(f"The first failure: {counts.failure}")
        self._narrator.promise(
            f"{counts.total:,} predictions, none failed, each by one version", kept=counts.flawless
        )
        self._narrator.promise(
            f"version {broken} never answered",
            kept=set(counts.answers) == {one.number for one in pushed},
        )

    def _show(self, counts: Counts) -> None:
        rows = [(f"version {version}", f"{n:,}") for version, n in sorted(counts.answers.items())]
        rows += [("failed", f"{counts.failed:,}"), ("wrong", f"{counts.unknown:,}")]
        self._narrator.table(("PREDICTIONS", ""), rows)

    def _await(self, condition: Callable[[], object], what: str) -> None:
        def so() -> object:
            self._server.check()
            return condition()

        await_that(so, what, seconds=60)

    def _await_answers(self, serving: Serving, version: int, *, at_least: int) -> Counts:
        counts = serving.counts()

        def enough() -> bool:
            nonlocal counts
            counts = serving.counts()
            return counts.of(version) >= at_least

        self._await(enough, f"version {version} gives {at_least} answers")
        return counts

    def _await_converged(self) -> Convergence:
        def converged() -> bool:
            convergence = self._client.get_convergence(CHAMPION)
            return convergence.converged and convergence.replica_count == 1

        self._await(converged, f"the registry hears that all serve {CHAMPION}")
        return self._client.get_convergence(CHAMPION)

    def _settles_on(self, serving: Serving, version: int) -> bool:
        """Whether soon only one version answers, when those under way at the swap have ended."""
        return any(self._only_answers(serving, version) for _ in range(_STRETCHES))

    def _only_answers(self, serving: Serving, version: int) -> bool:
        """Looks at the next answers, and whether all are of this version."""
        before = serving.counts()
        at_least = before.of(version) + _ANSWERS_AN_ACT
        counts = self._await_answers(serving, version, at_least=at_least)
        return counts.total - before.total == counts.of(version) - before.of(version)


def _signature(data: Data) -> Signature:
    inputs = tuple(TensorSpec(name, "float64", (-1,)) for name in data.features)
    return Signature(inputs=inputs, outputs=(TensorSpec("progression", "float64", (-1,)),))


def _lineage(trained: Trained, data: Data) -> Lineage:
    dataset = Dataset("diabetes", uri="sklearn.datasets.load_diabetes", digest=data.digest)
    return Lineage(datasets=(dataset,), training_seconds=trained.training_seconds)
