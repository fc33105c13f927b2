"""Live models against a real server: pushes, moves, failures, the fleet's view."""

from __future__ import annotations

import itertools
import threading
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from herdbook.client import Client
from herdbook.core.values import EventKind, ReplicaState
from herdbook.errors import VersionInUse
from herdbook.live import AsyncLiveModel, FirstLoadFailed, LiveModel, LiveState
from tests.support.server import ServerProcess
from tests.support.waiting import eventually, wait_until

MOVES = 100


class TextModel:
    """Answers with its version's text, as long as it is not closed."""

    def __init__(self, path: Path) -> None:
        self.text = (path / "weights" / "text").read_text()
        if self.text == "broken":
            raise ValueError("weights do not fit")
        self.parts = [self.text, self.text]
        self.close_count = 0

    def predict(self) -> str:
        first, second = self.parts
        assert first == second
        return first

    def close(self) -> None:
        self.close_count += 1
        self.parts = []


class Barn:
    """A model of the test's own on a server, and a cache of the test's own."""

    def __init__(self, server: ServerProcess, client: Client, home: Path) -> None:
        self.server = server
        self.client = client
        self.home = home
        self.model = f"live/{uuid.uuid4().hex}"
        self.reference = f"{self.model}@champion"
        self.made: list[TextModel] = []

    def push(self, text: str, *, champion: bool = False) -> int:
        directory = self.home / uuid.uuid4().hex
        (directory / "weights").mkdir(parents=True)
        (directory / "weights" / "text").write_text(text)
        (directory / "shared.bin").write_bytes(b"shared" * 100_000)
        version = self.client.push(self.model, directory, capture=False)
        if champion:
            self.move(version.number)
        return version.number

    def move(self, version: int) -> None:
        self.client.set_alias(self.model, "champion", version)

    def load(self, path: Path) -> TextModel:
        model = TextModel(path)
        self.made.append(model)
        return model

    def live(self, *, drain_timeout_seconds: float = 30.0) -> LiveModel[TextModel]:
        return LiveModel(
            self.reference,
            loader=self.load,
            server=self.server.address,
            cache_dir=self.home / "cache",
            timeout_seconds=60,
            drain_timeout_seconds=drain_timeout_seconds,
            replica_name="stall-7",
        )


@pytest.fixture
def barn(server: ServerProcess, tmp_path: Path) -> Iterator[Barn]:
    with Client(server.address, cache=False) as client:
        yield Barn(server, client, tmp_path)


def test_a_moved_alias_reaches_the_serving_process(barn: Barn) -> None:
    barn.push("one", champion=True)
    with barn.live() as live:
        assert live.current.predict() == "one"
        barn.push("two", champion=True)
        wait_until(lambda: live.current.predict() == "two", "version 2 serves")
        barn.client.rollback_alias(barn.model, "champion")
        wait_until(lambda: live.current.predict() == "one", "version 1 serves again")
        assert live.status().connected
    assert [model.close_count for model in barn.made] == [1, 1, 1]


def test_the_fleet_sees_what_a_live_model_serves_and_why_a_candidate_failed(barn: Barn) -> None:
    barn.push("one", champion=True)
    with barn.live() as live:
        wait_until(
            lambda: barn.client.get_convergence(barn.reference).converged_count == 1, "it serves"
        )
        barn.push("broken", champion=True)
        wait_until(
            lambda: barn.client.get_convergence(barn.reference).failed_count == 1, "it failed"
        )
        (report,) = barn.client.get_convergence(barn.reference).failures
        assert report.state is ReplicaState.FAILED
        assert (report.version, report.serving_version) == (2, 1)
        assert "weights do not fit" in report.failure
        assert report.replica.name == "stall-7"
        assert live.current.predict() == "one"
        assert live.status().state is LiveState.FAILED
        wait_until(
            lambda: (
                EventKind.LOAD_FAILED
                in {event.kind for event in barn.client.list_events(barn.model)}
            ),
            "it is among the events",
        )


def test_a_version_that_a_live_model_serves_is_not_deleted_without_force(barn: Barn) -> None:
    number = barn.push("one", champion=True)
    with barn.live():
        wait_until(
            lambda: barn.client.get_convergence(barn.reference).converged_count == 1, "it serves"
        )
        barn.client.delete_alias(barn.model, "champion")
        with pytest.raises(VersionInUse):
            barn.client.delete_version(f"{barn.model}:{number}")


def test_a_deleted_alias_leaves_the_model_serving(barn: Barn) -> None:
    barn.push("one", champion=True)
    with barn.live() as live:
        barn.client.delete_alias(barn.model, "champion")
        wait_until(lambda: live.status().state is LiveState.MISSING, "the alias is gone")
        assert live.status().missing_reason == "ALIAS_NOT_FOUND"
        assert live.current.predict() == "one"


def test_a_model_that_does_not_exist_is_an_error_that_says_so(barn: Barn) -> None:
    with pytest.raises(FirstLoadFailed, match="MODEL_NOT_FOUND"):
        barn.live().start()


@pytest.mark.parametrize("pace", ["each move served", "moves overtaken"])
def test_no_prediction_fails_while_the_alias_moves_a_hundred_times(barn: Barn, pace: str) -> None:
    versions = {barn.push(f"text {number}"): f"text {number}" for number in range(5)}
    # The last move is to a version that no other names: when that serves, nothing is to come.
    *numbers, last = versions
    barn.move(numbers[0])
    done = threading.Event()
    failures: list[BaseException] = []
    counts = [0] * 4

    def predict(thread: int) -> None:
        try:
            while not done.wait(0.0005):
                if thread % 2:
                    assert live.current.predict() in versions.values()
                else:
                    lease = live.lease()
                    with lease as model:
                        assert model.predict() == versions[lease.version]
                    del model
                counts[thread] += 1
        except BaseException as error:
            failures.append(error)
            raise

    with barn.live() as live:
        threads = [threading.Thread(target=predict, args=(each,)) for each in range(4)]
        for thread in threads:
            thread.start()
        for target in [*itertools.islice(itertools.cycle(numbers), 1, MOVES), last]:
            barn.move(target)
            if pace == "each move served":
                wait_until(lambda: live.version == target, f"version {target} serves")  # noqa: B023
        wait_until(lambda: live.version == last, "the last version serves")
        before = list(counts)
        wait_until(lambda: all(c > b for c, b in zip(counts, before, strict=True)), "all predict")
        done.set()
        for thread in threads:
            thread.join(30)
        assert not failures
        assert barn.made[-1] is live.current
        wait_until(
            lambda: [m.close_count for m in barn.made] == [1] * (len(barn.made) - 1) + [0],
            "the replaced models are closed",
        )
        assert live.current.predict() == versions[last]
        if pace == "each move served":
            assert live.status().swap_count == MOVES + 1
    assert all(model.close_count == 1 for model in barn.made)


def test_live_models_of_a_host_share_one_download(
    barn: Barn, monkeypatch: pytest.MonkeyPatch
) -> None:
    from herdbook.live.registry import RemoteVersion

    barn.push("one", champion=True)
    downloads: list[int] = []
    genuine = RemoteVersion.download

    def counted(self: RemoteVersion, chunks: object, take: object) -> None:
        downloads.append(1)
        genuine(self, chunks, take)  # type: ignore[arg-type]

    monkeypatch.setattr(RemoteVersion, "download", counted)
    started = [barn.live() for _ in range(4)]
    threads = [threading.Thread(target=live.start) for live in started]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert [live.current.predict() for live in started] == ["one"] * 4
    for live in started:
        live.close()
    assert len(downloads) == 1


async def test_an_async_live_model_follows_a_moved_alias(barn: Barn) -> None:
    barn.push("one", champion=True)

    async def load(path: Path) -> TextModel:
        return barn.load(path)

    async with AsyncLiveModel(
        barn.reference, loader=load, server=barn.server.address, cache_dir=barn.home / "cache"
    ) as live:
        assert live.current.predict() == "one"
        barn.push("two", champion=True)
        await eventually(lambda: live.current.predict() == "two", "version 2 serves")
        async with live.lease() as model:
            assert model.predict() == "two"
        del model
