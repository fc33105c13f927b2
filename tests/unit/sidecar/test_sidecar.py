from __future__ import annotations

import json
import os
import shutil
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from herdbook.core.values import ReplicaState
from herdbook.errors import FieldInvalid
from herdbook.live import FirstLoadFailed, LiveState
from herdbook.sidecar import (
    Command,
    HealthServer,
    HookFailed,
    Hooks,
    Layout,
    News,
    NotTakenUp,
    Sidecar,
)
from tests.support.waiting import wait_until
from tests.unit.live.registries import REFERENCE, MemoryRegistry, last_state


@dataclass
class Server:
    """A hook that looks into the directory as a model server would."""

    refuses: set[int] = field(default_factory=set)
    seen: list[tuple[int, str]] = field(default_factory=list)
    meanwhile: Callable[[], object] = lambda: None
    broken: set[int] = field(default_factory=set)

    def run(self, news: News, *, timeout_seconds: float, ended: threading.Event) -> None:
        self.seen.append((news.version, text_in(Path(news.directory))))
        self.meanwhile()
        if news.version in self.broken:
            raise RuntimeError("nobody foresaw this")
        if news.version in self.refuses:
            raise HookFailed(f"version {news.version} is no good")

    @property
    def hooks(self) -> Hooks:
        return Hooks((self,), attempts=1)


HANGS_FOR_2 = "import os, time; time.sleep(600 if os.environ['HERDBOOK_VERSION'] == '2' else 0)"


def text_in(root: Path) -> str:
    return (root / "current" / "model.txt").read_text()


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "models"


def test_the_directory_follows_the_reference(registry: MemoryRegistry, root: Path) -> None:
    registry.add("two")
    server = Server()
    with Sidecar(REFERENCE, root, hooks=server.hooks) as sidecar:
        assert text_in(root) == "one"
        assert sidecar.is_ready()
        registry.move(2)
        wait_until(lambda: sidecar.status().swap_count == 2, "version 2 is taken up")
        assert text_in(root) == "two"
        wait_until(lambda: last_state(registry) is ReplicaState.SERVING, "it is reported")
    assert server.seen == [(1, "one"), (2, "two")]
    assert text_in(root) == "two"


def test_a_version_that_the_server_refuses_makes_way_for_the_one_before(
    registry: MemoryRegistry, root: Path
) -> None:
    registry.add("two")
    server = Server(refuses={2})
    with Sidecar(REFERENCE, root, hooks=server.hooks) as sidecar:
        registry.move(2)
        wait_until(lambda: last_state(registry) is ReplicaState.FAILED, "the failure is reported")
        failure = sidecar.status().failure
        assert failure is not None
        assert isinstance(failure.error, NotTakenUp)
        assert failure.reason == "validation failed: NotTakenUp: version 2 is no good."
        assert text_in(root) == "one"
        assert server.seen == [(1, "one"), (2, "two"), (1, "one")]
        assert registry.reports[-1].serving_version == 1


def test_the_links_go_back_whatever_a_hook_raises(registry: MemoryRegistry, root: Path) -> None:
    registry.add("two")
    server = Server(broken={2})
    with Sidecar(REFERENCE, root, hooks=server.hooks):
        registry.move(2)
        wait_until(lambda: last_state(registry) is ReplicaState.FAILED, "the failure is reported")
        assert "nobody foresaw this" in registry.reports[-1].failure
        assert text_in(root) == "one"


def test_a_refusal_is_reported_where_the_directory_was_removed_meanwhile(
    registry: MemoryRegistry, root: Path
) -> None:
    registry.add("two")
    server = Server(refuses={2})
    with Sidecar(REFERENCE, root, hooks=server.hooks):
        shutil.rmtree(root)
        registry.move(2)
        wait_until(lambda: last_state(registry) is ReplicaState.FAILED, "the failure is reported")
        assert registry.reports[-1].failure.endswith("version 2 is no good")


def test_that_the_server_could_not_be_told_of_going_back_is_reported(
    registry: MemoryRegistry, root: Path
) -> None:
    registry.add("two")
    server = Server(refuses={2})
    with Sidecar(REFERENCE, root, hooks=server.hooks):
        server.refuses.add(1)
        registry.move(2)
        wait_until(lambda: last_state(registry) is ReplicaState.FAILED, "the failure is reported")
        assert registry.reports[-1].failure.endswith(
            "2 is no good; nor could the server be told of going back: version 1 is no good."
        )
        assert text_in(root) == "one"


def test_an_end_in_the_middle_of_a_hook_leaves_what_was_accepted(
    registry: MemoryRegistry, root: Path
) -> None:
    registry.add("two")
    hooks = Hooks((Command((sys.executable, "-c", HANGS_FOR_2)),))
    with Sidecar(REFERENCE, root, hooks=hooks):
        registry.move(2)
        wait_until(lambda: text_in(root) == "two", "version 2 is shown")
    assert text_in(root) == "one"


def test_a_start_that_is_given_up_ends_its_hook(registry: MemoryRegistry, root: Path) -> None:
    started = root.parent / "started"
    code = f"import os, time; open({str(started)!r}, 'w').write(str(os.getpid())); time.sleep(600)"
    hooks = Hooks((Command((sys.executable, "-c", code)),))
    with pytest.raises(FirstLoadFailed):
        Sidecar(REFERENCE, root, hooks=hooks, timeout_seconds=2).start()
    with pytest.raises(ProcessLookupError):
        os.kill(int(started.read_text()), 0)


def test_a_second_start_only_waits(registry: MemoryRegistry, root: Path) -> None:
    with Sidecar(REFERENCE, root) as sidecar:
        assert sidecar.start() is sidecar
        assert text_in(root) == "one"
    with Sidecar(REFERENCE, root):
        assert text_in(root) == "one"


def test_a_restart_whose_version_is_refused_goes_back_to_what_was_accepted(
    registry: MemoryRegistry, root: Path
) -> None:
    registry.add("two")
    with Sidecar(REFERENCE, root):
        pass
    registry.move(2)
    server = Server(refuses={2})
    with Sidecar(REFERENCE, root, hooks=server.hooks, timeout_seconds=30) as sidecar:
        status = sidecar.status()
        assert status.serving is not None
        assert status.serving.version == 1
    assert text_in(root) == "one"


def test_a_restart_is_patient_with_a_server_that_is_yet_to_come_up(
    registry: MemoryRegistry, root: Path
) -> None:
    registry.add("two")
    with Sidecar(REFERENCE, root):
        pass
    registry.move(2)
    server = Server(refuses={1, 2})

    def come_up() -> None:
        if len(server.seen) > 3:
            server.refuses.clear()

    server.meanwhile = come_up
    with Sidecar(REFERENCE, root, hooks=server.hooks, timeout_seconds=30) as sidecar:
        wait_until(lambda: text_in(root) == "two", "version 2 is taken up")
        wait_until(lambda: sidecar.status().state is LiveState.SERVING, "it serves")


def test_the_first_version_stays_while_its_hooks_fail(registry: MemoryRegistry, root: Path) -> None:
    server = Server(refuses={1})
    with pytest.raises(FirstLoadFailed, match="version 1 is no good"):
        Sidecar(REFERENCE, root, hooks=server.hooks, timeout_seconds=0.5).start()
    assert text_in(root) == "one"
    with Sidecar(REFERENCE, root):
        assert text_in(root) == "one"


def test_a_version_that_comes_too_late_is_taken_back(registry: MemoryRegistry, root: Path) -> None:
    registry.add("two")
    server = Server()
    with Sidecar(REFERENCE, root, hooks=server.hooks) as sidecar:

        def move_back() -> None:
            server.meanwhile = lambda: None
            registry.move(1)
            wait_until(
                lambda: sidecar.status().target == registry.resolution(1), "the move is heard"
            )

        server.meanwhile = move_back
        registry.move(2)
        wait_until(lambda: server.seen[-1] == (1, "one") and len(server.seen) > 1, "it goes back")
        wait_until(lambda: sidecar.status().state is LiveState.SERVING, "all is done")
        assert text_in(root) == "one"
        assert [version for version, _ in server.seen] == [1, 2, 1]


def test_what_is_in_the_way_of_a_link_is_told(registry: MemoryRegistry, root: Path) -> None:
    (root / "current").mkdir(parents=True)
    with pytest.raises(FirstLoadFailed, match="current is in the way"):
        Sidecar(REFERENCE, root).start()
    assert (root / "current").is_dir()
    (root / "current").rmdir()
    with Sidecar(REFERENCE, root):
        assert text_in(root) == "one"


def test_old_versions_are_pruned(registry: MemoryRegistry, root: Path) -> None:
    for text in ("two", "three"):
        registry.add(text)
    with Sidecar(REFERENCE, root, layout=Layout.TF_SERVING, keep=0) as sidecar:
        for version in (2, 3):
            registry.move(version)
            wait_until(lambda v=version: sidecar.status().swap_count == v, f"{version} serves")  # type: ignore[misc]
        versions = root / ".herdbook/versions"
        wait_until(lambda: len(list(versions.iterdir())) == 1, "old versions are gone")
        assert (root / "3" / "model.txt").read_text() == "three"


@pytest.mark.parametrize("name", ["a/b", ".hidden"])
def test_names_that_are_no_directory_are_refused(name: str) -> None:
    with pytest.raises(FieldInvalid, match="no name of a directory"):
        Sidecar(REFERENCE, "/models", name=name)


def ask(port: int, path: str) -> tuple[int, dict[str, object]]:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=20) as answer:
            return answer.status, json.loads(answer.read())
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.loads(error.read())


def test_probes_are_answered(registry: MemoryRegistry, root: Path) -> None:
    sidecar = Sidecar(REFERENCE, root)
    with HealthServer("127.0.0.1", 0, ready=sidecar.is_ready, status=sidecar.status) as health:
        assert ask(health.port, "/livez") == (200, {"live": True})
        assert ask(health.port, "/readyz") == (503, {"ready": False})
        with sidecar:
            code, document = ask(health.port, "/readyz?verbose")
            assert (code, document["ready"], document["version"]) == (200, True, 1)
        assert ask(health.port, "/readyz")[0] == 503
        assert ask(health.port, "/elsewhere")[0] == 404
