"""A data directory: make it, recognise it, refuse what is not ours; hand out its log and the right to write.

DIR/            0700
  writer.lock   held by the one process that writes
  keys.json     who may use it over HTTP; keys.made says that it was there, keys.lock is held to change it
  log/          the log's LMDB environment
  views/        the projections' LMDB environment; may be deleted at any time
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import lmdb
import msgspec
from uuid_utils.compat import uuid7

from eventstore import frame, keys
from eventstore.environment import (
    WriterLock,
    check_file_system,
    create_environment,
    make_private,
    remove_unfinished,
    require_directory,
    translated,
)
from eventstore.errors import NotFound, Unavailable
from eventstore.log import Log, StoreFacts
from eventstore.units import Clock


class Opened(NamedTuple):
    """The log of a directory; ``lock`` when it was opened for writing."""

    path: Path
    log: Log
    lock: WriterLock | None

    def close(self) -> None:
        """Close the log, then let another process write."""
        self.log.close()
        if self.lock is not None:
            self.lock.release()


def open_directory(
    path: str | Path,
    *,
    read_only: bool,
    create: bool,
    allow_unsafe_file_system: bool,
    clock: Clock,
    map_bytes: int,
    facts: StoreFacts | None = None,
) -> Opened:
    """See ``EventStore.open``. ``facts``: of the store that one is made again of, if it is made."""
    path = Path(path).absolute()
    with translated(path):
        return _open(path, read_only, create, allow_unsafe_file_system, clock, map_bytes, facts)


def make_directory(path: Path, *, allow_unsafe_file_system: bool) -> None:
    """Make a data directory, which has no log yet, or recognise one. Raises as ``EventStore.open``."""
    with translated(path):
        if not allow_unsafe_file_system:
            check_file_system(path)
        _refuse_foreign(path)
        make_private(path)


def _open(
    path: Path,
    read_only: bool,
    create: bool,
    allow_unsafe_file_system: bool,
    clock: Clock,
    map_bytes: int,
    facts: StoreFacts | None,
) -> Opened:
    if read_only:
        if not allow_unsafe_file_system:
            check_file_system(path)
        require_directory(path)
        return Opened(path, _open_log(path, map_bytes, read_only=True), None)
    if not create:
        require_directory(path)
    make_directory(path, allow_unsafe_file_system=allow_unsafe_file_system)
    lock = WriterLock(path)
    try:
        remove_unfinished(path / "log")
        if not (path / "log").exists():
            facts = facts or StoreFacts(frame.FORMAT, uuid7(), clock())
            create_environment(path / "log", lambda environment: _fill(environment, facts))
        log = _open_log(path, map_bytes, read_only=False)
    except BaseException:
        lock.release()
        raise
    log.env.reader_check()
    return Opened(path, log, lock)


def _refuse_foreign(path: Path) -> None:
    """Never make a log among files that somebody else put there."""
    if (path / "log").exists() or not path.is_dir():
        return
    ours = ("writer.lock", "keys.json", "keys.made", "keys.lock", "lost+found")
    for entry in sorted(path.iterdir()):
        if not entry.name.startswith(".") and entry.name not in ours:
            raise Unavailable("directory_foreign", f"{path} holds {entry.name} but no log", path=str(path))


def _open_log(path: Path, map_bytes: int, *, read_only: bool) -> Log:
    data_file = path / "log" / "data.mdb"
    if not data_file.is_file():
        raise NotFound("directory_not_found", f"{path} holds no log", path=str(path))
    return Log(path / "log", read_only=read_only, map_bytes=map_bytes)


def _fill(environment: lmdb.Environment, facts: StoreFacts) -> None:
    for name in keys.DATABASES:
        environment.open_db(name)
    with environment.begin(write=True) as txn:
        txn.put(keys.STORE, msgspec.msgpack.Encoder(uuid_format="bytes").encode(facts))
