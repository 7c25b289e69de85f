"""Writing into one directory and nowhere else: whole files or none, and over nothing unless forced."""

from __future__ import annotations

import errno
import os
from collections.abc import Generator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import IO, Final

from eventstore.environment import sync_directory, translated
from eventstore.errors import Refused

_UNFINISHED: Final = ".unfinished"
"""What the name of a file ends with until it is whole."""

_OURS: Final = ".json"
"""What the names of the files in a folder of messages end with."""

UNSYNCED_MAX: Final = 256
"""Files that are held open to be made durable together: each waiting for the disk by itself takes longer."""

_DIRECTORY: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_NEW_FILE: Final = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC


class Folder:
    """A directory to export into, made if need be. Names are relative, with ``/``.

    Everything is opened from the directory's own descriptor and no symbolic link is followed, so nothing
    lands outside it, whatever is in it. When its ``with`` block has ended well, all of it is durable. Raises
    ``Refused`` (``output_exists``, ``output_unsafe``) and ``Unavailable``.
    """

    def __init__(self, path: Path, *, force: bool) -> None:
        self.path: Path = path
        self._force = force
        with translated(path):
            if not path.is_dir():
                path.mkdir(mode=0o700, parents=True, exist_ok=True)
                sync_directory(path.parent)
            self._root = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        self._written: list[IO[bytes]] = []
        self._changed: set[str] = set()

    @contextmanager
    def file(self, name: str) -> Generator[IO[bytes]]:
        """A file that appears under its name once the block has ended well; durable once all are."""
        folder, _, last = name.rpartition("/")
        with translated(self.path), self._opened(folder) as directory:
            if not self._force and _exists(last, directory):
                raise self._there(name)
            unfinished = f".{last}{_UNFINISHED}"
            file = os.fdopen(self._open(unfinished, _NEW_FILE, directory, name), "wb")
            try:
                yield file
                file.flush()
                self._publish(unfinished, last, directory, name)
            except BaseException:
                with suppress(OSError):
                    file.close()
                with suppress(OSError):
                    os.unlink(unfinished, dir_fd=directory)
                raise
        self._written.append(file)
        self._changed.add(folder)
        if len(self._written) >= UNSYNCED_MAX:
            self._sync()

    def write(self, name: str, content: bytes) -> None:
        """A whole file."""
        with self.file(name) as file:
            file.write(content)

    def remove_others(self, folder: str, kept: set[str]) -> None:
        """Remove the files of a folder that an earlier export left there, which takes force."""
        if not self._force:
            return
        with translated(self.path), self._opened(folder) as directory:
            for name in os.listdir(directory):
                if name.endswith(_OURS) and name not in kept:
                    os.unlink(name, dir_fd=directory)

    def check_empty(self, folder: str) -> None:
        """Raise ``Refused`` (``output_exists``) if a folder holds files that may not be removed."""
        with (
            translated(self.path),
            suppress(FileNotFoundError),
            self._opened(folder, make=False) as at,
        ):
            for name in () if self._force else os.listdir(at):
                if name.endswith(_OURS):
                    raise self._there(f"{folder}/{name}")

    def check_free(self, name: str) -> None:
        """Raise ``Refused`` (``output_exists``) if a file is there that may not be replaced."""
        folder, _, last = name.rpartition("/")
        with (
            translated(self.path),
            suppress(FileNotFoundError),
            self._opened(folder, make=False) as at,
        ):
            if not self._force and _exists(last, at):
                raise self._there(name)

    def _publish(self, unfinished: str, last: str, directory: int, name: str) -> None:
        if self._force:
            os.rename(unfinished, last, src_dir_fd=directory, dst_dir_fd=directory)
        else:
            try:  # a link, unlike a renaming, never replaces what came there meanwhile
                os.link(unfinished, last, src_dir_fd=directory, dst_dir_fd=directory)
            except FileExistsError:
                raise self._there(name) from None
            os.unlink(unfinished, dir_fd=directory)

    def _sync(self) -> None:
        """Make what was written durable, many files at once: the disk takes them together."""
        written, self._written, changed, self._changed = self._written, [], self._changed, set()
        with translated(self.path), ExitStack() as closing:
            for file in written:
                closing.callback(file.close)
            if hasattr(os, "posix_fadvise"):
                for file in written:  # begins to write it, and waits for nothing
                    os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
            for file in written:
                os.fsync(file.fileno())
            for folder in {parent for each in changed for parent in _up(each)}:
                with self._opened(folder, make=False) as directory:
                    os.fsync(directory)

    @contextmanager
    def _opened(self, folder: str, *, make: bool = True) -> Generator[int]:
        """A folder inside, each on the way made and opened without following a link."""
        at = os.dup(self._root)
        try:
            for part in filter(None, folder.split("/")):
                if make:
                    with suppress(FileExistsError):
                        os.mkdir(part, 0o700, dir_fd=at)
                inner = self._open(part, _DIRECTORY, at, folder)
                os.close(at)
                at = inner
            yield at
        finally:
            os.close(at)

    def _open(self, part: str, flags: int, directory: int, name: str) -> int:
        try:
            return os.open(part, flags, 0o600, dir_fd=directory)
        except OSError as error:
            if error.errno not in (errno.ELOOP, errno.ENOTDIR):
                raise
        raise Refused("output_unsafe", f"{self.path / name} leads through a link or a file", path=name)

    def _there(self, name: str) -> Refused:
        return Refused("output_exists", f"{self.path / name} is there already", path=str(self.path / name))

    def __enter__(self) -> Folder:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if error is None:
                self._sync()
        finally:
            for file in self._written:
                file.close()
            os.close(self._root)


def _up(folder: str) -> Generator[str]:
    """A folder, those that it is in, and the root."""
    while folder:
        yield folder
        folder = folder.rpartition("/")[0]
    yield folder


def _exists(name: str, directory: int) -> bool:
    try:
        os.stat(name, dir_fd=directory, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return True
