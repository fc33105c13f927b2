"""Directories that appear whole or not at all."""

from __future__ import annotations

import errno
import os
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from herdbook.core.planning import Place
from herdbook.core.values import Manifest
from herdbook.errors import DestinationExists, DestinationUnusable, LocalDiskFull
from herdbook.files import sync, sync_all, write_at
from herdbook.transfer.exchanging import UNSUPPORTED, exchange
from herdbook.transfer.leftovers import Claim
from herdbook.transfer.mounts import check_mounts

_FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_OCCUPIED: Final = frozenset({errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR})


@contextmanager
def making(destination: Path) -> Iterator[None]:
    """Turns what the operating system refuses into an error of the tree.

    Raises:
        LocalDiskFull: There is no space left.
        DestinationUnusable: It refused something else, or the path is none.
    """
    try:
        with disk_failures(destination):
            yield
    except OSError as error:
        raise DestinationUnusable(f"{destination} cannot be made: {error.strerror}.") from error
    except ValueError as error:
        raise DestinationUnusable(f"{str(destination)!r} cannot be made: {error}.") from error


@contextmanager
def disk_failures(path: Path) -> Iterator[None]:
    """Turns a full disk into an error of the tree.

    Raises:
        LocalDiskFull: There is no space left.
    """
    try:
        yield
    except OSError as error:
        if error.errno not in _FULL:
            raise
        raise LocalDiskFull(f"There is no space left for {path}.") from error


class StagedDirectory:
    """A directory beside its destination, which takes the destination's place when complete."""

    def __init__(self, destination: Path, manifest: Manifest) -> None:
        """Makes the directory with all files, at their full size and without contents.

        Raises:
            LocalDiskFull: There is too little space for the files.
            DestinationUnusable: Nothing can be made there.
        """
        self._destination = destination
        self._manifest = manifest
        with making(destination):
            destination.parent.mkdir(parents=True, exist_ok=True)
            _check_space(destination.parent, manifest.size_bytes)
            self._claim = Claim(destination)
        self._directory = self._claim.directory
        self._paths = [self._directory.joinpath(*f.path.split("/")) for f in manifest.files]
        try:
            with making(destination):
                self._create_files()
        except BaseException:
            self.discard()
            raise

    def _create_files(self) -> None:
        for path, file in zip(self._paths, self._manifest.files, strict=True):
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("xb") as created:
                created.truncate(file.size_bytes)

    def write(self, places: list[tuple[Place, bytes | memoryview]]) -> None:
        """Writes chunks to their places; may be called by several threads."""
        for place, data in places:
            with making(self._destination):
                _write(self._paths[place.file], data, place.offset)

    def publish(self, *, overwrite: bool) -> None:
        """Makes everything durable, then puts the directory in its place, atomically.

        Raises:
            DestinationExists: Something has come there meanwhile.
            DestinationUnusable: It cannot take the place.
        """
        with making(self._destination):
            sync_all(self._paths)
            sync_all({self._directory, *_directories(self._paths, self._directory)})
            while not self._move():
                if not overwrite:
                    raise DestinationExists(f"{self._destination} holds something else.")
                if self._replace():
                    break
            # A directory may be writable and not readable: then it cannot be synced.
            with suppress(PermissionError):
                sync(self._destination.parent)

    def _move(self) -> bool:
        """Puts the directory in its place, if that is free."""
        try:
            self._directory.rename(self._destination)
        except OSError as error:
            if error.errno not in _OCCUPIED:
                raise
            return False
        return True

    def _replace(self) -> bool:
        """Has the directory change places with what is to go; returns False if that has changed."""
        self._check_directory(self._destination)
        check_mounts(self._destination)
        try:
            exchange(self._directory, self._destination)
        except FileNotFoundError:
            return False
        except OSError as error:
            if error.errno not in UNSUPPORTED:
                raise
            return self._replace_in_steps()
        try:
            self._check_directory(self._directory)
        except DestinationUnusable:
            # It came at the last moment.
            self._undo_exchange()
            raise
        return True

    def _undo_exchange(self) -> None:
        try:
            exchange(self._directory, self._destination)
        except FileNotFoundError:
            self._directory.rename(self._destination)

    def _replace_in_steps(self) -> bool:
        """Does the same where the file system cannot: for an instant, nothing is there."""
        aside = self._claim.new_aside()
        try:
            self._move_aside(aside)
            self._check_directory(aside)
            taken = not self._move()
        except BaseException as failure:
            self._put_back(aside)
            if isinstance(failure, FileNotFoundError):
                return False
            raise
        if not taken:
            with suppress(OSError):
                aside.rename(self._directory)
            return True
        if _is_something_else(self._destination):
            self._put_back(aside)
        # Another pull has replaced it.
        self._remove_superseded(aside)
        return False

    def _remove_superseded(self, aside: Path) -> None:
        """Removes what was moved aside, so that a kill leaves nothing torn under that name."""
        with suppress(OSError):
            claim = Claim(self._destination)
            try:
                aside.rename(claim.directory)
            finally:
                claim.release()

    def _move_aside(self, aside: Path) -> None:
        try:
            self._destination.rename(aside)
        except OSError as error:
            if error.errno != errno.EXDEV:
                raise
            # https://docs.kernel.org/filesystems/overlayfs.html: a directory of a lower layer
            # cannot be renamed.
            raise DestinationUnusable(
                f"{self._destination} belongs to a lower layer of an overlay file system, such as "
                "a container's image, from where nothing can be moved: remove it first, or name "
                "another directory."
            ) from error

    def _put_back(self, aside: Path) -> None:
        try:
            aside.rename(self._destination)
        except FileNotFoundError:
            return
        except OSError as error:
            raise DestinationUnusable(
                f"{self._destination} was taken meanwhile; what was there is {aside} now."
            ) from error

    def _check_directory(self, path: Path) -> None:
        if _is_something_else(path):
            raise DestinationUnusable(f"{self._destination} has become something else meanwhile.")

    def discard(self) -> None:
        """Removes what was written, if it has not been published, or what it has replaced.

        What cannot be removed now is left to the next pull.
        """
        self._claim.release()


def _is_something_else(path: Path) -> bool:
    """Whether there is anything that is no directory."""
    try:
        return not stat.S_ISDIR(path.lstat().st_mode)
    except FileNotFoundError:
        return False


def _directories(paths: list[Path], root: Path) -> Iterator[Path]:
    for path in paths:
        for parent in path.parents:
            if parent == root:
                break
            yield parent


def _write(path: Path, data: bytes | memoryview, offset: int) -> None:
    descriptor = os.open(path, os.O_WRONLY)
    try:
        write_at(descriptor, data, offset)
    finally:
        os.close(descriptor)


def _check_space(directory: Path, size_bytes: int) -> None:
    usage = shutil.disk_usage(directory)
    # /proc and its like tell of no space at all.
    if usage.total and size_bytes > usage.free:
        raise LocalDiskFull(
            f"{directory} has {usage.free:,} bytes left, and {size_bytes:,} are to be written."
        )
