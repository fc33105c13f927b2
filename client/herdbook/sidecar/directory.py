"""The directory that a model server reads: whole versions in it, and links that name them.

    models/                      what `current` looks like
      current -> .herdbook/versions/7-9f86d0…
      .herdbook/
        accepted -> versions/7-9f86d0…
        versions/7-9f86d0…/model.onnx …
        lock

Triton takes every directory of a repository for a model, so that is one of its own:

    models/
      repository/tc -> ../.herdbook/tc/versions/7-9f86d0…
      .herdbook/tc/ …

A version is built aside, made durable and given its name when it is whole; links change by being
renamed. So whatever is killed whenever: each link leads to a whole version.
"""

from __future__ import annotations

import filecmp
import os
import re
import secrets
import shutil
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Final

from herdbook.core.layouts import Layout
from herdbook.core.values import Resolution
from herdbook.errors import DestinationExists, FailedPrecondition
from herdbook.files import sync, sync_all
from herdbook.locks import FileLock, try_lock
from herdbook.transfer.destinations import making

_PRIVATE: Final = ".herdbook"
_TRITON_CONFIG: Final = PurePosixPath("config.pbtxt")
_VERSION: Final = re.compile(r"([1-9][0-9]*)-([0-9a-f]{64})(-[0-9a-f]{8})?")


class DirectoryInUse(FailedPrecondition):
    """Another sidecar keeps this directory."""


@dataclass(frozen=True, slots=True)
class PlacedVersion:
    """A whole version in the directory."""

    resolution: Resolution
    path: Path
    """Where it lies; below that, its files as the layout has them."""


class ServedDirectory:
    """Keeps versions and links; one process at a time, one thread at a time."""

    def __init__(self, root: Path, layout: Layout, *, model: str, name: str, keep: int) -> None:
        """Describes a directory; `open` makes it.

        Args:
            root: The directory. What else is in there is left alone.
            layout: How the server finds the version.
            model: The model whose versions it holds.
            name: What the Triton repository calls that.
            keep: How many versions stay besides the accepted one.
        """
        self.root = root
        self._model = model
        self._layout = layout
        self._name = name
        self._keep = keep
        self._private = root / _PRIVATE
        self._shown = root
        if layout is Layout.TRITON:
            self._private /= name
            self._shown /= "repository"
        self._versions = self._private / "versions"
        self._accepted = self._private / "accepted"
        self._lock_file = self._private / "lock"
        self._lock: FileLock | None = None

    def open(self) -> None:
        """Makes the directory, and removes what a killed process left half built.

        Raises:
            DirectoryInUse: Another process keeps it.
            DestinationUnusable: It cannot be made.
        """
        with making(self.root):
            self._versions.mkdir(parents=True, exist_ok=True)
            self._shown.mkdir(exist_ok=True)
            lock = try_lock(self._lock_file, exclusive=True)
            if lock is None:
                raise DirectoryInUse(f"Another sidecar keeps {self.root}.")
            self._lock = lock
            try:
                self._tidy()
            except BaseException:
                self.close()
                raise

    def close(self) -> None:
        """Lets another process keep it; links and versions stay."""
        lock, self._lock = self._lock, None
        if lock is not None:
            lock.release()

    @property
    def shown(self) -> PlacedVersion | None:
        """The version that the server finds; None if none."""
        return next((self._placed(path) for _, path in self._links()), None)

    @property
    def accepted(self) -> PlacedVersion | None:
        """The version that was accepted last; None if none was, or if it is gone."""
        return self._placed(self._target(self._accepted))

    def place(self, resolution: Resolution, files: Path) -> PlacedVersion:
        """Makes sure that the directory holds a whole version; nothing leads to it yet.

        The directory is made anew if somebody has removed it.

        Args:
            resolution: Which one.
            files: Its verified files.

        Raises:
            LocalDiskFull: There is no space left.
            DestinationUnusable: It cannot be written.
            DirectoryInUse: Another process keeps it, now that it was removed.
        """
        wanted = _arrange(files, self._layout, resolution.version)
        with making(self.root):
            if self._lock is None or not self._lock.is_at(self._lock_file):
                self.close()
                self.open()
            for path in self._places(resolution):
                if _holds(path, wanted):
                    return PlacedVersion(resolution, path)
            path = self._free_place(resolution)
            self._build(path, wanted)
        return PlacedVersion(resolution, path)

    def show(self, placed: PlacedVersion) -> None:
        """Has the server find a version, and no other; it finds one at every moment.

        Raises:
            DestinationExists: Something that is not the sidecar's is in the place of a link.
        """
        with making(self.root):
            link = self._link_to(placed)
            if os.path.lexists(link) and self._target(link) is None:
                raise DestinationExists(f"{link} is in the way, and no link of the sidecar's.")
            # Triton looks at times, and this may be an older version.
            os.utime(placed.path)
            self._link(link, placed.path)
            for other, path in self._links():
                if path != placed.path:
                    other.unlink()
            sync(self._shown)

    def accept(self, placed: PlacedVersion) -> None:
        """Notes that the server has taken a version up: what to go back to.

        Raises:
            LocalDiskFull: There is no space left.
            DestinationUnusable: It cannot be noted.
        """
        with making(self.root):
            self._link(self._accepted, placed.path)

    def prune(self) -> None:
        """Deletes versions that nothing leads to, but for those that were shown last."""
        accepted = self.accepted
        kept = {path.name for _, path in self._links()}
        if accepted is not None:
            kept.add(accepted.path.name)
        rest = [path for path in self._versions.iterdir() if path.name not in kept]
        rest.sort(key=lambda path: path.lstat().st_mtime_ns, reverse=True)
        for path in rest[self._keep :]:
            # Under another name first, so that what is left of it is not taken for whole.
            with self._temporary() as doomed:
                path.rename(doomed)

    def _tidy(self) -> None:
        for path in self._private.iterdir():
            if path.name.startswith("tmp-"):
                _remove(path)
        self.prune()

    def _build(self, path: Path, wanted: Mapping[PurePosixPath, Path]) -> None:
        with self._temporary() as building:
            for name, source in wanted.items():
                _copy(source, building / name)
            sync_all(_directories(building))
            building.rename(path)
            sync(self._versions)

    @contextmanager
    def _temporary(self) -> Iterator[Path]:
        path = self._private / f"tmp-{secrets.token_hex(8)}"
        try:
            yield path
        finally:
            _remove(path)

    def _link_to(self, placed: PlacedVersion) -> Path:
        match self._layout:
            case Layout.CURRENT:
                return self._shown / "current"
            case Layout.TF_SERVING:
                return self._shown / str(placed.resolution.version)
            case Layout.TRITON:
                return self._shown / self._name

    def _places(self, resolution: Resolution) -> list[Path]:
        """Returns where a version lies; at several places if it was found damaged."""
        name = _name_of(resolution)
        return [path for path in self._versions.iterdir() if path.name.startswith(name)]

    def _free_place(self, resolution: Resolution) -> Path:
        """Returns where a version may be placed; one that is damaged may be being read."""
        path = self._versions / _name_of(resolution)
        while path.exists():
            path = path.with_name(f"{_name_of(resolution)}-{secrets.token_hex(4)}")
        return path

    def _placed(self, path: Path | None) -> PlacedVersion | None:
        named = None if path is None else _VERSION.fullmatch(path.name)
        if path is None or named is None or not path.is_dir():
            return None
        return PlacedVersion(Resolution(self._model, int(named[1]), f"sha256:{named[2]}"), path)

    def _link(self, link: Path, path: Path) -> None:
        with self._temporary() as new:
            new.symlink_to(os.path.relpath(path, link.parent))
            new.replace(link)
            sync(link.parent)

    def _links(self) -> list[tuple[Path, Path]]:
        """Returns the links to versions, each with where it leads."""
        targets = ((link, self._target(link)) for link in self._shown.iterdir())
        return [(link, target) for link, target in targets if target is not None]

    def _target(self, link: Path) -> Path | None:
        """Returns the version that a link of the sidecar's leads to; None if it is none."""
        if not link.is_symlink():
            return None
        target = link.readlink()
        ours = target.parent == Path(os.path.relpath(self._versions, link.parent))
        return self._versions / target.name if ours and _VERSION.fullmatch(target.name) else None


def _name_of(resolution: Resolution) -> str:
    digest = (resolution.digest or "").removeprefix("sha256:")
    return f"{resolution.version}-{digest}"


def _arrange(files: Path, layout: Layout, version: int) -> dict[PurePosixPath, Path]:
    """Returns where each file of a version goes.

    A version that has directories named by numbers is a Triton model already.
    """
    found = {PurePosixPath(p.relative_to(files).as_posix()): p for p in _files(files)}
    arranged = any(len(path.parts) > 1 and path.parts[0].isdecimal() for path in found)
    if layout is not Layout.TRITON or arranged:
        return found
    return {
        path if path == _TRITON_CONFIG else PurePosixPath(str(version), path): file
        for path, file in found.items()
    }


def _holds(directory: Path, wanted: Mapping[PurePosixPath, Path]) -> bool:
    """Whether a directory has these very files, byte for byte, and no others."""
    there = {PurePosixPath(p.relative_to(directory).as_posix()): p for p in _files(directory)}
    try:
        return there.keys() == wanted.keys() and all(
            there[name].samefile(source) or _same_bytes(there[name], source)
            for name, source in wanted.items()
        )
    except OSError:
        return False


def _same_bytes(path: Path, other: Path) -> bool:
    # It would believe what it found before of files of that size and time.
    filecmp.clear_cache()
    return filecmp.cmp(path, other, shallow=False)


def _files(directory: Path) -> Iterable[Path]:
    return (path for path in directory.rglob("*") if not path.is_dir() or path.is_symlink())


def _directories(root: Path) -> list[Path]:
    return [root, *(path for path in root.rglob("*") if path.is_dir())]


def _copy(source: Path, to: Path) -> None:
    """Gives a file a second name; copies it where that cannot be done."""
    to.parent.mkdir(parents=True, exist_ok=True)
    try:
        to.hardlink_to(source)
    except OSError:
        shutil.copyfile(source, to)
        to.chmod(0o444)
        sync(to)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with suppress(FileNotFoundError):
            path.unlink()
