"""Backups: a source's files copied with their digests, verified, and put back."""

from __future__ import annotations

import fcntl
import os
import shutil
import stat
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from hashlib import sha256
from itertools import islice
from pathlib import Path, PurePosixPath
from typing import Final, Protocol, TypeVar

import msgspec

from eventstore.environment import sync_directory
from eventstore.errors import Refused, Unavailable, reason_of
from turnlog.importers.source.files import Source

MANIFEST: Final = "manifest.ndjson"
FILES: Final = "files"
PARTIAL: Final = ".partial"
"""What is not whole yet: in the directory of backups the copy being made; the end of a file's name."""

BLOCK_BYTES: Final = 1024 * 1024

THREADS: Final = 4
"""Files that are read or copied at once: a sync of one waits for the disk meanwhile."""

AT_ONCE: Final = 64
"""Files that are handed to them at once."""

_Given = TypeVar("_Given")
_Made = TypeVar("_Made")


class Backup(msgspec.Struct, frozen=True):
    """A copy of a source: ``path`` holds a manifest, and the files below ``files``.

    ``digest`` is that of the manifest: the same source has one backup, however often it is made.
    """

    path: Path
    digest: str
    files: int
    bytes: int


class Entry(msgspec.Struct, frozen=True):
    """A line of the manifest."""

    path: str
    bytes: int
    sha256: str


class _Sink(Protocol):
    def write(self, data: bytes, /) -> object: ...


def back_up(source: Source, directory: Path) -> Backup:
    """Copy all files of a source to a directory of their own below ``directory``, and verify the copy.

    The copy appears whole or not at all, and is on the disk when this returns; one that is there already is
    verified and used. Raises ``Unavailable`` with code ``backup_failed``.
    """
    try:
        _make(directory)
        with _alone_in(directory):
            partial = directory / PARTIAL
            shutil.rmtree(partial, ignore_errors=True)  # of one that was killed
            try:
                backup = _copied(source, partial, directory)
            finally:
                shutil.rmtree(partial, ignore_errors=True)
    except OSError as error:
        raise _failed(f"{reason_of(error)}: {error.filename}") from error
    return backup


def _make(directory: Path) -> None:
    """Make a directory, durably, with those above it that are not there."""
    if not directory.is_dir():
        _make(directory.parent)
        directory.mkdir(exist_ok=True)
        sync_directory(directory.parent)


@contextmanager
def _alone_in(directory: Path) -> Generator[None, None, None]:
    """Hold a lock that ends with the process: two backups at once would write over each other."""
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    except BlockingIOError:
        raise _failed(f"another import makes a backup in {directory}") from None
    finally:
        os.close(descriptor)


PUT_BACK: Final = ("restored", "there")
"""What ``restore`` says of a file that is where it was."""


def restore(backup: Path, source: Path, names: Iterator[str], *, is_file: bool) -> Iterator[tuple[str, str]]:
    """Put files back where they were, each verified; nothing is overwritten.

    Yields each name with "restored", "there" when the same is there already, or what is wrong.
    """
    wanted = dict.fromkeys(names)
    main = next((entry.path for entry in _entries(backup / MANIFEST)), "")
    for entry in _entries(backup / MANIFEST):
        if entry.path not in wanted:
            continue
        del wanted[entry.path]
        target = source / inside(entry.path)
        if is_file:  # what lies beside it is called as it is, and longer
            target = source.with_name(source.name + entry.path.removeprefix(main))
        yield entry.path, _restore_file(backup / FILES / inside(entry.path), target, entry)
    for name in wanted:
        yield name, "the backup does not hold it"


def same_file(backup: Path, name: str, path: Path) -> bool:
    """Whether a source's file is still what was backed up."""
    copied = backup / FILES / inside(name)
    return path.stat().st_size == copied.stat().st_size and _digest(path) == _digest(copied)


def inside(name: str) -> PurePosixPath:
    """A name below a directory. Raises ``Refused`` for one that leads out of it."""
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or not path.parts:
        raise Refused("invalid_argument", f"{name!r} leads out of the backup", argument="path")
    return path


def _copied(source: Source, partial: Path, directory: Path) -> Backup:
    (partial / FILES).mkdir(parents=True)
    backup = _manifest_of(source, partial / MANIFEST, directory)
    if not backup.path.exists():
        _copy_files(source, partial)
        for folder, _, _ in os.walk(partial):
            sync_directory(Path(folder))
        partial.rename(backup.path)
    sync_directory(directory)
    _verify(backup)
    return backup


def _manifest_of(source: Source, manifest: Path, directory: Path) -> Backup:
    whole = sha256()
    files = size = 0
    with manifest.open("wb") as lines:
        for entry in _side_by_side(lambda name: _entry(source, name), source.all_files()):
            line = msgspec.json.encode(entry) + b"\n"
            lines.write(line)
            whole.update(line)
            files += 1
            size += entry.bytes
        lines.flush()
        os.fsync(lines.fileno())
    digest = whole.hexdigest()
    return Backup(directory / f"{source.root.resolve().name}-{digest[:12]}", digest, files, size)


def _entry(source: Source, name: str) -> Entry:
    path = source.path(name)
    return Entry(name, path.stat().st_size, _digest(path))


def _copy_files(source: Source, partial: Path) -> None:
    def copy(entry: Entry) -> None:
        origin, target = source.path(entry.path), partial / FILES / inside(entry.path)
        target.parent.mkdir(parents=True, exist_ok=True)
        with target.open("xb") as copied:
            digest = _digest(origin, copied)
            copied.flush()
            os.fsync(copied.fileno())
        if digest != entry.sha256:
            raise _failed(f"{entry.path} changed while it was copied")
        shutil.copystat(origin, target)

    for _ in _side_by_side(copy, _entries(partial / MANIFEST)):
        pass


def _verify(backup: Backup) -> None:
    """Read the copy back: every file, against the manifest that the source gave."""
    if _digest(backup.path / MANIFEST) != backup.digest:
        raise _failed(f"the manifest in {backup.path} is not the source's")

    def compare(entry: Entry) -> None:
        if _digest(backup.path / FILES / inside(entry.path)) != entry.sha256:
            raise _failed(f"the copy of {entry.path} in {backup.path} is not the same")

    for _ in _side_by_side(compare, _entries(backup.path / MANIFEST)):
        pass


def _side_by_side(work: Callable[[_Given], _Made], items: Iterable[_Given]) -> Iterator[_Made]:
    """What the work makes of each, in their order; digests and syncs let other threads run."""
    left = iter(items)
    with ThreadPoolExecutor(THREADS) as threads:
        while some := list(islice(left, AT_ONCE)):
            yield from threads.map(work, some)


def _restore_file(copied: Path, target: Path, entry: Entry) -> str:
    try:
        if target.exists():
            return "there" if _digest(target) == entry.sha256 else "another file is there"
        target.parent.mkdir(parents=True, exist_ok=True)
        partial = target.with_name(f"{target.name}{PARTIAL}")
        with partial.open("wb") as restored:
            digest = _digest(copied, restored)
            restored.flush()
            os.fsync(restored.fileno())
        if digest != entry.sha256:
            partial.unlink()
            return "its copy is damaged"
        shutil.copystat(copied, partial)
        partial.rename(target)
    except OSError as error:
        return reason_of(error)
    return "restored"


def _entries(manifest: Path) -> Iterator[Entry]:
    with manifest.open("rb") as lines:
        for line in lines:
            yield msgspec.json.decode(line, type=Entry)


def _digest(path: Path, sink: _Sink | None = None) -> str:
    """The SHA-256 of a regular file, which is copied to ``sink`` on the way. Links are not followed."""
    whole = sha256()
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    with open(descriptor, "rb") as file:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise _failed(f"{path} is no regular file")
        while block := file.read(BLOCK_BYTES):
            whole.update(block)
            if sink is not None:
                sink.write(block)
    return whole.hexdigest()


def _failed(why: str) -> Unavailable:
    return Unavailable("backup_failed", f"the source could not be backed up: {why}")
