"""Open, lock and close LMDB environments; the one border where lmdb's errors become ours."""

from __future__ import annotations

import errno
import fcntl
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

import lmdb

from eventstore.errors import Damaged, NotFound, TurnlogError, Unavailable, reason_of
from eventstore.limits import MAP_BYTES

READERS_MAX: Final = 512
"""Read transactions open at once, over all processes."""

LOCK_FILE_BYTES: Final = 64 * 1024
"""The reader table: 64 bytes a reader and a header, rounded up."""

NO_ROOM_BYTES: Final = 1024 * 1024
"""Free bytes below which a failed write is the full disk's doing: a transaction writes more at once."""

UNSAFE_FILE_SYSTEMS: Final = frozenset(
    (
        *("nfs", "nfs4", "cifs", "smb3", "smbfs", "9p", "ceph", "glusterfs", "lustre", "afs", "ncpfs"),
        *("overlay", "aufs", "fuse.sshfs", "fuse.glusterfs"),
    )
)
"""Their locks or their shared memory do not do what LMDB needs: network, and overlays, where a file that
is open for reading keeps showing its old content after the first write."""


def open_environment(
    path: Path, *, databases_max: int, read_only: bool = False, map_bytes: int = MAP_BYTES
) -> lmdb.Environment:
    """An environment with LMDB's safe defaults: every commit synced, its meta page included.

    Raises ``Unavailable`` or ``Damaged``. Where the address space is too small, the map is halved until it
    fits.
    """
    if not read_only:
        _reserve_lock_file(path)
    while True:
        try:
            return lmdb.open(
                str(path),
                map_size=map_bytes,
                readonly=read_only,
                create=not read_only,
                mode=0o600,
                max_readers=READERS_MAX,
                max_dbs=databases_max,
                sync=True,
                metasync=True,
                writemap=False,
                lock=True,
                lib_version=0,
            )
        except (lmdb.MemoryError, MemoryError) as error:
            if map_bytes <= 1 << 30:
                raise Unavailable("storage_failed", f"no address space for {path}", path=str(path)) from error
            map_bytes //= 2
        except lmdb.Error as error:
            raise translate(error, path) from error


def _reserve_lock_file(path: Path) -> None:
    """Give the reader table its disk blocks: LMDB maps the file, and a page without one is a SIGBUS.

    Only where they are missing: closing the file drops this process's POSIX locks on it, and a reader of the
    same log may have it open here.
    """
    if not hasattr(os, "posix_fallocate"):
        return
    with suppress(OSError):
        if os.stat(path / "lock.mdb").st_blocks * 512 >= LOCK_FILE_BYTES:
            return
    with translated(path):
        descriptor = os.open(path / "lock.mdb", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            os.posix_fallocate(descriptor, 0, LOCK_FILE_BYTES)
        finally:
            os.close(descriptor)


def translate(error: lmdb.Error, path: Path) -> TurnlogError:
    """Our error for lmdb's; whatever it was, the transaction it came from is aborted."""
    where = str(path)
    if isinstance(error, lmdb.MapFullError):
        return Unavailable("log_full", "the map of the log is full", path=where)
    short_write = os.strerror(errno.EIO) in str(error) and _no_room(path)  # LMDB calls it an I/O error
    if isinstance(error, lmdb.DiskError) or short_write:
        return Unavailable("disk_full", "the disk is full", path=where)
    if isinstance(error, (lmdb.InvalidError, lmdb.CorruptedError, lmdb.PageNotFoundError)):
        return Damaged("directory_damaged", f"{where} is not a sound LMDB environment", path=where)
    if isinstance(error, lmdb.VersionMismatchError):
        return Unavailable("directory_newer", f"{where} has another LMDB format", path=where)
    if "already open" in str(error):
        return Unavailable("already_open", f"{where} is open in this process already", path=where)
    return Unavailable("storage_failed", f"the storage of {where} failed: {error}", path=where)


def _no_room(path: Path) -> bool:
    try:
        disk = os.statvfs(path)
    except OSError:
        return False
    return disk.f_bavail * disk.f_frsize < NO_ROOM_BYTES


@contextmanager
def translated(path: Path) -> Generator[None]:
    """Our error for the system's, whatever the block does with ``path``. Raises ``Unavailable``."""
    try:
        yield
    except OSError as error:
        if error.errno == errno.ENOSPC:
            raise Unavailable("disk_full", f"the disk of {path} is full", path=str(path)) from error
        inside = "" if error.filename in (None, path, str(path)) else f" ({error.filename})"
        what = f"{path} cannot be used: {reason_of(error)}{inside}"
        raise Unavailable("storage_failed", what, path=str(path)) from error


def create_environment(path: Path, fill: Callable[[lmdb.Environment], None]) -> None:
    """Make a new environment appear whole or not at all, and durably.

    ``fill`` writes its first content. LMDB never syncs directories, so it is made aside, synced, renamed.
    """
    aside = Path(tempfile.mkdtemp(prefix=f".{path.name}-", dir=path.parent))
    try:
        environment = open_environment(aside, databases_max=64)
        try:
            fill(environment)
            environment.sync(True)
        except lmdb.Error as error:
            raise translate(error, path) from error
        finally:
            environment.close()
        sync_directory(aside)
        aside.rename(path)
        sync_directory(path.parent)
    except BaseException:
        shutil.rmtree(aside, ignore_errors=True)
        raise


def sync_directory(path: Path) -> None:
    """Make the names in a directory durable."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def make_private(path: Path) -> None:
    """Create a directory that only its owner may enter, if it is not there, durably."""
    if not path.is_dir():
        path.mkdir(mode=0o700, parents=True)
        sync_directory(path.parent)
    path.chmod(0o700)


def remove_unfinished(path: Path) -> None:
    """Remove what a creation of ``path`` left behind when its process died."""
    for aside in path.parent.glob(f".{path.name}-*"):
        shutil.rmtree(aside, ignore_errors=True)


_ESCAPED: Final = re.compile(r"\\([0-7]{3})")
"""How the kernel writes a space, a tab, a line end or a backslash in a mount point."""


class WriterLock:
    """The right to write: an advisory lock on ``writer.lock``, which the kernel drops with the process."""

    def __init__(self, directory: Path) -> None:
        self._pid = os.getpid()
        path = directory / "writer.lock"
        self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.pread(self._descriptor, 32, 0).decode("ascii", "replace").strip()
            os.close(self._descriptor)
            raise Unavailable(
                "writer_locked",
                f"{directory} is being written by process {holder or 'unknown'}",
                path=str(directory),
                pid=int(holder) if holder.isdigit() else None,
            ) from None
        os.ftruncate(self._descriptor, 0)
        os.pwrite(self._descriptor, f"{os.getpid()}\n".encode(), 0)

    def release(self) -> None:
        """Let another process write. A forked child must not: it would take the lock from its parent."""
        if os.getpid() == self._pid:
            fcntl.flock(self._descriptor, fcntl.LOCK_UN)  # closing is not enough while a child lives
        os.close(self._descriptor)


def check_file_system(path: Path, mounts: str | None = None) -> None:
    """Refuse a directory on a file system that cannot carry LMDB safely.

    ``mounts`` is the text of ``/proc/self/mounts``; without such a file nothing is known or refused.
    Raises ``Unavailable`` with code ``file_system_unsafe``.
    """
    if mounts is None:
        source = Path("/proc/self/mounts")
        if not source.exists():
            return
        mounts = source.read_text()
    kind = file_system_of(path.resolve(), mounts)
    if kind in UNSAFE_FILE_SYSTEMS:
        raise Unavailable(
            "file_system_unsafe", f"{path} is on a file system of kind {kind}", path=str(path), kind=kind
        )


def file_system_of(path: Path, mounts: str) -> str | None:
    """The kind of the innermost mount that holds ``path``."""
    best, kind = -1, None
    for line in mounts.splitlines():
        fields = line.split(" ")
        if len(fields) < 3:
            continue
        point = Path(_ESCAPED.sub(lambda octal: chr(int(octal[1], 8)), fields[1]))
        if (point == path or point in path.parents) and len(point.parts) >= best:
            best, kind = len(point.parts), fields[2]
    return kind


def require_directory(path: Path) -> None:
    """Raise ``NotFound`` with code ``directory_not_found`` when there is no such directory."""
    if not path.is_dir():
        raise NotFound("directory_not_found", f"there is no directory {path}", path=str(path))
