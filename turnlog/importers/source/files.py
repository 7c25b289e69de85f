"""Reading a source safely: regular files inside it, bounded, strict; nothing else is opened."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from heapq import merge
from pathlib import Path
from typing import Any, BinaryIO, Final
from uuid import UUID, uuid5

from eventstore.errors import reason_of
from turnlog.importers.source.json_text import JSON_BYTES_MAX, Unreadable
from turnlog.importers.source.pieces import decode
from turnlog.importers.source.rows import Place, Rowed

__all__ = ["FILE_BYTES_MAX", "Source", "Unreadable", "own_id", "stable_id", "uuid_of"]

FILE_BYTES_MAX: Final = JSON_BYTES_MAX
"""A file that is read whole."""

SQLITE_ENDS: Final = ("-wal", "-shm", "-journal")
"""Of the names of files that SQLite puts beside a database."""

_NAMESPACE: Final = UUID("6f1c6d0e-6f0a-5a3e-9d55-0b8f6a1f7c11")
"""Of the ids that we make for what has none."""

_PIECE_BYTES: Final = 1 << 20
"""What one read asks for: its buffer is as large, however small the file."""

_RUN_NAMES: Final = 5_000
"""Names that are sorted at once."""

_FOLDER: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_FILE: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
"""Not blocking: a FIFO that nobody writes to would hold the open for ever."""


class Source:
    """A directory or a file that is imported. Paths are relative to it, with ``/``.

    The root itself may be a link, because a user named it; nothing inside it is followed. What lies beside
    a linked file lies beside the file itself.
    """

    def __init__(self, root: Path) -> None:
        self.root: Path = root
        self.is_file: bool = root.is_file()

    def files(self) -> Iterator[str]:
        """Every regular file, the files of a folder by name and then its folders; ``left_out`` has the rest.

        One folder's names are held at a time, and those of the folders above it that are still to come.
        """
        return (name for name, refused in self._entries() if refused is None)

    def all_files(self) -> Iterator[str]:
        """``files``, and of a source that is one file what SQLite put beside it, which is read with it."""
        yield from self.files()
        if self.is_file:
            yield from filter(self.has, [f"{self.root.name}{end}" for end in SQLITE_ENDS])

    def left_out(self) -> Iterator[Unreadable]:
        """What ``files`` leaves out: links, devices, pipes, folders that cannot be listed."""
        return (refused for _, refused in self._entries() if refused is not None)

    def path(self, name: str) -> Path:
        """Where a file is. Raises ``Unreadable`` for a name that leaves the source."""
        self._steps(name)
        if not self.is_file:
            return self.root / name
        file = self.root.resolve()
        return file.with_name(file.name + name.removeprefix(self.root.name))

    def bytes(self, name: str) -> bytes:
        """A file, whole. Raises ``Unreadable``."""
        content = self.head(name, FILE_BYTES_MAX + 1)
        if len(content) > FILE_BYTES_MAX:
            raise Unreadable(name, "file_too_large", f"it has more than {FILE_BYTES_MAX:,} bytes")
        return content

    def head(self, name: str, length: int) -> bytes:
        """The first bytes of a file: to see what it is before it is read. Raises ``Unreadable``."""
        pieces: list[bytes] = []
        with self.open(name) as file:
            while length and (piece := file.read(min(length, _PIECE_BYTES))):
                pieces.append(piece)
                length -= len(piece)
        return b"".join(pieces)

    @contextmanager
    def open(self, name: str) -> Generator[BinaryIO]:
        """A file, to be read piece by piece. Raises ``Unreadable``, also for what reading it raises."""

        def opener(*_: object) -> int:
            return self._open(name)

        try:
            with open(self.root, "rb", buffering=0, opener=opener) as file:
                if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                    raise Unreadable(name, *_KINDS["other"])
                yield file
        except OSError as error:
            raise _refused(name, error) from error

    def json(self, name: str, left: Place = (), rowed: Rowed | None = None) -> Any:
        """A file as JSON; in a large one the values at ``left`` are ``Left``, in another there are ``Rows``
        where it is ``rowed``. Raises ``Unreadable``.
        """
        return decode(name, self.bytes(name), left, rowed)

    def modified_us(self, name: str) -> int:
        """When a file was last written, in microseconds since the epoch. Raises ``Unreadable``."""
        try:
            return self._facts(name).st_mtime_ns // 1_000
        except OSError as error:
            raise _refused(name, error) from error

    def size(self, name: str) -> int:
        """The bytes of a file; 0 of one that cannot be looked at."""
        try:
            return self._facts(name).st_size
        except (OSError, Unreadable):
            return 0

    def has(self, name: str) -> bool:
        """Whether a regular file of that name is there."""
        try:
            return stat.S_ISREG(self._facts(name).st_mode)
        except (OSError, Unreadable):
            return False

    def names(self, folder: str, kind: str = "file") -> list[str]:
        """What one folder holds, sorted, as paths from the root; nothing if there is no such folder.

        ``kind``: ``file`` for the regular files, ``folder`` for the folders.
        """
        try:
            path = self._at(folder) if folder else str(self.root)
            names, kinds = _listed(path) if not os.path.islink(path) or not folder else (iter(()), {})
        except (OSError, Unreadable):
            return []
        return [f"{folder}/{name}" if folder else name for name in names if kinds.get(name, "file") == kind]

    def _entries(self) -> Iterator[tuple[str, Unreadable | None]]:
        if self.is_file:
            yield self.root.name, None
            return
        folders = [""]
        while folders:
            folder = folders.pop()
            inner: list[str] = []
            try:
                names, kinds = _listed(f"{self.root}/{folder}")
            except OSError as error:
                yield folder, _refused(folder, error)
                continue
            for name in names:
                path, kind = f"{folder}/{name}" if folder else name, kinds.get(name, "file")
                if kind == "folder":
                    inner.append(path)
                elif _written(path) != path:
                    reason = "its name is not UTF-8"
                    yield path, Unreadable(_written(path), "name_not_utf8", reason)
                elif kind == "file":
                    yield path, None
                else:
                    yield path, Unreadable(path, *_KINDS[kind])
            folders += reversed(inner)

    def _steps(self, name: str) -> list[str]:
        """The names of folders on the way to a file, and its own."""
        if self.is_file and name not in [f"{self.root.name}{end}" for end in ("", *SQLITE_ENDS)]:
            raise Unreadable(name, "outside_source", "the source is one file, of another name")
        steps = name.split("/")
        if any(step in ("", ".", "..") or "\0" in step for step in steps):
            raise Unreadable(name, "outside_source", "the name leads out of the source")
        return steps

    def _at(self, name: str) -> str:
        """``path`` as text, which is found for many files in the time that a ``Path`` takes for one."""
        self._steps(name)
        return str(self.path(name)) if self.is_file else f"{self.root}/{name}"

    def _facts(self, name: str) -> os.stat_result:
        return os.stat(self._at(name), follow_symlinks=False)

    def _open(self, name: str) -> int:
        """Step by step, so that no link is followed on the way even if one appears meanwhile."""
        *folders, last = self._steps(name)
        if self.is_file:
            return os.open(self.path(name), _FILE)
        at = os.open(self.root, _FOLDER)
        try:
            for folder in folders:
                inner = os.open(folder, _FOLDER | os.O_NOFOLLOW, dir_fd=at)
                os.close(at)
                at = inner
            return os.open(last, _FILE, dir_fd=at)
        finally:
            os.close(at)


_KINDS: Final = {
    "link": ("symbolic_link", "it is a symbolic link, and none is followed"),
    "other": ("not_a_file", "it is no regular file"),
}


def _listed(folder: str) -> tuple[Iterator[str], dict[str, str]]:
    """The names in a folder, in order, and what those are that are no files.

    Of many names each few thousand are one text: apart they take three times as much.
    """
    runs: list[str] = []
    some: list[str] = []
    kinds: dict[str, str] = {}
    with os.scandir(folder) as entries:
        for entry in entries:
            some.append(entry.name)
            if entry.is_dir(follow_symlinks=False):
                kinds[entry.name] = "folder"
            elif not entry.is_file(follow_symlinks=False):
                kinds[entry.name] = "link" if entry.is_symlink() else "other"
            if len(some) == _RUN_NAMES:
                runs.append("\0".join(sorted(some)))
                some.clear()
    some.sort()
    return merge(some, *map(_one_by_one, runs)), kinds


def _one_by_one(run: str) -> Iterator[str]:
    at = 0
    while at < len(run):
        end = run.find("\0", at)
        end = len(run) if end < 0 else end
        yield run[at:end]
        at = end + 1


def _written(name: str) -> str:
    """A name as text that can be reported: bytes that are no UTF-8 are escaped."""
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def _refused(name: str, error: OSError) -> Unreadable:
    reason = reason_of(error)
    if error.errno == errno.ELOOP:
        return Unreadable(name, *_KINDS["link"])
    of_root = error.errno == errno.ENOTDIR and "/" not in name
    if of_root or error.errno in (errno.ENXIO, errno.ENODEV, errno.EISDIR):
        return Unreadable(name, *_KINDS["other"])
    return Unreadable(name, "unreadable", reason)


def uuid_of(text: str) -> UUID | None:
    """The UUID that a text is in its usual form; other spellings of it are other texts."""
    try:
        found = UUID(text)
    except ValueError:
        return None
    return found if str(found) == text.lower() else None


def own_id(format_: str, text: str) -> UUID:
    """The id of what a source of that format calls so: its own, if it is a UUID."""
    return uuid_of(text) or stable_id(format_, text)


def stable_id(*facts: str) -> UUID:
    """The id of what has none in its source: the same facts give the same one, for ever."""
    return uuid5(_NAMESPACE, "\0".join(facts))
