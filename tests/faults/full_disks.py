"""Full disks, read-only caches and damaged chunks, in a mount namespace of its own.

`python -m tests.faults.full_disks` says, for each, what the user is told and what works afterwards.
Every line is checked; the process ends with an error at the first that is not as it should be.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from herdbook import Cache, ChunkLost, Client, HerdbookError, LocalDiskFull, StoreFull
from tests.faults.killed_push import MIB, MODEL, write_random
from tests.support.server import Engines, ServerProcess

NAMESPACE = ("unshare", "--user", "--map-root-user", "--mount")
INSIDE = "HERDBOOK_TEST_INSIDE_NAMESPACE"
SMALL_MIB, LARGE_MIB = 48, 256
SIZE_BYTES = 96 * MIB


@dataclass(frozen=True, slots=True)
class Stage:
    """A server, what is pushed to it, and a disk that can be made small."""

    home: Path
    server: ServerProcess
    disk: Path
    """A file system in memory."""

    @property
    def files(self) -> Path:
        """A directory of random bytes."""
        return self.home / "files"

    @property
    def pulled(self) -> Path:
        """Where pulls go that have room."""
        return self.home / "pulled"

    def resize(self, mib: int) -> None:
        """Give the disk another size."""
        mount("-o", f"remount,size={mib}m", str(self.disk))

    def check_whole(self, directory: Path) -> None:
        """Compare a pulled directory with the version."""
        with Client(self.server.address, cache=False) as client:
            assert client.verify_copy(f"{MODEL}:1", directory).whole


def mount(*arguments: str) -> None:
    """Call mount, or fail."""
    subprocess.run(["mount", *arguments], check=True)


@contextlib.contextmanager
def stage(*, disk: str) -> Iterator[Stage]:
    """Run a server; what `disk` names below the stage's home lies on a small disk."""
    with contextlib.ExitStack() as stack:
        home = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        small = home / disk
        small.mkdir()
        mount("-t", "tmpfs", "-o", f"size={LARGE_MIB}m", "none", str(small))
        stack.callback(subprocess.run, ["umount", "--lazy", small], check=True)
        (home / "files").mkdir()
        write_random(home / "files" / "weights", SIZE_BYTES)
        engines = Engines("sqlite+local", {"data": str(home / "data")}, {})
        server = stack.enter_context(ServerProcess(engines, home))
        yield Stage(home, server, small)


def say(line: str) -> None:
    """Print a line at once."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def refused(kind: type[HerdbookError], work: Callable[[], object]) -> str:
    """Return what an error says, which must come, and be of that kind."""
    try:
        work()
    except kind as error:
        return f"{error.reason}: {error}"
    raise AssertionError(f"no {kind.__name__} came")


def servers_disk() -> None:
    """The server's disk fills up in the middle of a push."""
    with stage(disk="data") as on, Client(on.server.address, cache=False) as client:
        on.resize(SMALL_MIB)
        told = refused(StoreFull, lambda: client.push(MODEL, on.files, capture=False))
        say(f"server's disk full, push: {told}")
        assert list(client.list_models()) == []
        on.resize(LARGE_MIB)
        transfer = client.push(MODEL, on.files, capture=False).transfer
        assert transfer is not None
        assert transfer.saved_bytes
        client.pull(MODEL, on.pulled)
        on.check_whole(on.pulled)
        say(f"  with room again: pushed, {transfer.saved_bytes // MIB} MiB were there already")


def clients_disk() -> None:
    """The client's disk is too small, and then fills up in the middle of a pull."""
    with stage(disk="small") as on, Client(on.server.address, cache=False) as client:
        client.push(MODEL, on.files, capture=False)
        on.resize(SMALL_MIB)
        target = on.disk / "model"
        say(
            f"client's disk too small: {refused(LocalDiskFull, lambda: client.pull(MODEL, target))}"
        )
        on.resize(LARGE_MIB)
        # Others take the room once the pull has begun.
        took = False

        def take(_: object) -> None:
            nonlocal took
            if not took:
                took = True
                on.resize(SMALL_MIB)

        told = refused(LocalDiskFull, lambda: client.pull(MODEL, target, progress=take))
        say(f"client's disk full in the middle: {told}")
        assert list(on.disk.iterdir()) == []
        on.resize(LARGE_MIB)
        client.pull(MODEL, target)
        on.check_whole(target)
        say("  with room again: pulled, whole; nothing was left of the attempts")


def caches_disk() -> None:
    """The cache's disk is full, then read-only."""
    with stage(disk="cache") as on:
        cache = Cache(on.disk)
        with Client(on.server.address, cache=False) as client:
            client.push(MODEL, on.files, capture=False)
        for what, options in (
            ("full", f"remount,size={SMALL_MIB}m"),
            ("read-only", "remount,ro"),
        ):
            mount("-o", options, str(on.disk))
            target = on.home / what
            with Client(on.server.address, cache=cache) as client:
                client.pull(MODEL, target)
            on.check_whole(target)
            say(f"cache {what}: pulled, whole")


def damaged_cache() -> None:
    """Bytes of a cached chunk change."""
    with stage(disk="cache") as on:
        cache = Cache(on.disk)
        with Client(on.server.address, cache=cache) as client:
            client.push(MODEL, on.files, capture=False)
            client.pull(MODEL, on.pulled)
            flip(min((on.disk / "chunks").glob("*/*")))
            second = on.home / "second"
            moved_bytes = client.pull(MODEL, second).transfer.moved_bytes
            on.check_whole(second)
            assert 0 < moved_bytes <= 2 * MIB
            say(f"cached chunk damaged: pulled, whole; {moved_bytes} bytes were fetched again")
            assert client.pull(MODEL, on.home / "third").transfer.moved_bytes == 0


def damaged_store() -> None:
    """Bytes of a stored chunk change."""
    with stage(disk="data") as on, Client(on.server.address, cache=False) as client:
        client.push(MODEL, on.files, capture=False)
        flip(min((on.disk / "artifacts" / "chunks").glob("*/*")))
        say(f"stored chunk damaged: {refused(ChunkLost, lambda: client.pull(MODEL, on.pulled))}")
        assert not on.pulled.exists()
        assert len(client.verify(f"{MODEL}:1").lost) == 1
        client.push(MODEL, on.files, capture=False)
        client.pull(f"{MODEL}:1", on.pulled)
        on.check_whole(on.pulled)
        say("  pushed again: healed, pulled, whole")


def flip(path: Path) -> None:
    """Change a bit of a file, and not its size."""
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def main() -> None:
    """Do all of it, in a namespace where disks may be mounted."""
    if INSIDE not in os.environ:
        command = [*NAMESPACE, sys.executable, "-m", "tests.faults.full_disks"]
        sys.exit(subprocess.run(command, env={**os.environ, INSIDE: "1"}, check=False).returncode)
    for scene in (servers_disk, clients_disk, caches_disk, damaged_cache, damaged_store):
        scene()


if __name__ == "__main__":
    main()
