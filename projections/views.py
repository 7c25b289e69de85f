"""The views environment as its readers see it.

    (unnamed)                    "about"  -> msgpack: format, store id of the log
    projections                  name     -> msgpack: live, building, retired generations
    {name}.{generation}.{table}  key      -> value, as the projection's fold wrote them
    ....{table}.staged           key      -> a row that is staged, see ``staging.py``

Only the process that writes the log writes here, on one thread (``bookkeeping.py``): its lock on the log
covers both environments.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator, Iterable, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, cast

import lmdb
from msgspec.structs import replace

from eventstore import process
from eventstore.environment import create_environment, open_environment, remove_unfinished, translate
from eventstore.errors import Damaged, NotFound, Refused, TurnlogError, Unavailable
from eventstore.limits import MAP_BYTES
from eventstore.log import Log
from eventstore.resident import Mapped
from projections.generations import (
    ABOUT,
    FORMAT,
    PROJECTIONS,
    About,
    Entry,
    decode_about,
    decode_entry,
    encode_about,
    tables_of,
)
from projections.loading import check
from projections.projection import Projection
from projections.reading import Tables, ViewReader
from projections.staging import Table

__all__ = ["ViewReader", "Views"]

DATABASES_MAX: Final = 256
"""Open databases: a projection has a few tables, twice while a generation is built beside another, and as
many again where rows are staged."""

READERS_LEAVE_SECONDS: Final = 5.0
"""How long a reopening waits for readers, which stay for milliseconds."""


class Views:
    """The views of one log: ``with views.reading() as reader``.

    Queries see a projection's rows only in a generation that the code's own version made: rows of another
    version cannot be understood. After a version change they wait, while the old generation stays as it
    was, still readable to processes that run the old code.
    """

    def __init__(
        self,
        path: Path,
        projections: Iterable[Projection],
        log: Log,
        *,
        read_only: bool = False,
        map_bytes: int = MAP_BYTES,
    ) -> None:
        self.path: Path = path
        self.mapped: Mapped = Mapped(path)
        self.projections: dict[str, Projection] = {p.name: p for p in check(projections)}
        self.read_only: bool = read_only
        self.about: About = About(FORMAT, log.store_id.bytes)
        self._map_bytes = map_bytes
        self._forks = process.forks
        self._env: lmdb.Environment | None = None
        self._left_open: lmdb.Environment | None = None
        self.databases: dict[bytes, Any] = {}
        self._registry: Any = None
        self._tables: Tables = {}
        self._epoch = 0
        self._gate = threading.Condition()
        self._readers: dict[ViewReader, int] = {}
        self._closed = False
        self._seen_txn_id = -1
        if not read_only:
            remove_unfinished(path)
            if not path.exists():
                create_environment(path, self._fill)
            self._attach()

    @property
    def env(self) -> lmdb.Environment:
        """The open environment. Raises ``Unavailable`` when it is closed, or not there."""
        if self._env is not None:
            return self._env
        if self._closed:
            raise Unavailable("log_closed", "the views are closed", path=str(self.path))
        if not self.read_only:
            raise Unavailable("storage_failed", "the views could not be reopened", path=str(self.path))
        raise Unavailable("views_behind", f"there are no views in {self.path} yet", path=str(self.path))

    @property
    def registry(self) -> Any:
        """The database ``projections``."""
        return self._registry

    def reading(self) -> ViewReader:
        """A short read transaction as a context manager, on any thread.

        Entering it raises ``Unavailable``: ``log_closed``, ``forked_process``, ``storage_failed``, or
        ``views_behind`` when a read-only process finds no views at all.
        """
        return ViewReader(self)

    def enter(self, reader: ViewReader) -> tuple[lmdb.Transaction, Tables]:
        """For ``ViewReader``: begin."""
        self.check_process()
        try:
            return self._begin(reader)
        except BaseException as error:
            self.leave(reader)
            if isinstance(error, lmdb.Error):
                raise self.translated(error) from error
            raise

    def _begin(self, reader: ViewReader) -> tuple[lmdb.Transaction, Tables]:
        while True:
            with self._gate:
                # Registered before the tables are looked up: who drops databases must see whoever may use
                # them.
                self._readers[reader] = self._epoch
                tables = self._tables
            if self.read_only:
                return self._begin_beside_writer(), self._tables
            txn = self.env.begin()
            if tables is self._tables:  # at most one transaction came between, the one they are of
                return txn, tables
            txn.abort()

    def leave(self, reader: ViewReader) -> None:
        """For ``ViewReader``: the end."""
        with self._gate:
            if reader in self._readers:  # so nobody closes meanwhile
                self.mapped.rows_touched(reader.gets)
                del self._readers[reader]
            if not self._readers:
                self._gate.notify_all()

    @contextmanager
    def reopened(self) -> Generator[None]:
        """Close the environment once no reader is inside, and open it again: after a failed commit.

        In the block nobody can read: it publishes the tables. Raises ``Unavailable`` or ``Damaged``.
        """
        with self._gate:
            if not self._gate.wait_for(lambda: not self._readers, READERS_LEAVE_SECONDS):
                raise Unavailable("storage_failed", "a reader does not leave", path=str(self.path))
            if self._env is not None:
                self._env.close()
            self._env, self._tables = None, {}
            self.databases.clear()
            if not self._closed:
                self._attach()
            yield

    def publish_live(self, entries: Mapping[str, Entry], opened: Callable[[bytes], Any]) -> None:
        """From now on new readers use the tables of these live generations, and what is staged and shown."""
        tables: dict[tuple[str, str], Table] = {}
        for name, projection in self.projections.items():
            live = entries.get(name, Entry()).readable(projection)
            if live is None:
                continue
            shown = replace(live, staged="none") if live.staged == "hidden" else live
            for table, opened_table in tables_of(name, shown, opened).items():
                tables[name, table] = opened_table
        self._publish(tables)

    def _publish(self, tables: Tables) -> None:
        # The epoch last: a reader that has the new epoch has the new tables for certain.
        if tables != self._tables:
            self._tables = tables
            self._epoch += 1

    def old_readers(self) -> bool:
        """Whether a reader is inside that may use tables from before the last ``publish``."""
        return any(epoch != self._epoch for epoch in tuple(self._readers.values()))

    def entries(self, txn: lmdb.Transaction) -> dict[str, Entry]:
        """What is stored of every projection, configured or not; nothing if it is of another log."""
        stored = cast("bytes | None", txn.get(ABOUT))
        if stored is None or decode_about(stored) != self.about:
            return {}
        items = cast("Iterable[tuple[bytes, bytes]]", txn.cursor(self._registry))
        return {name.decode(): decode_entry(name, stored) for name, stored in items}

    def why_unreadable(self, projection: str, table: str) -> TurnlogError:
        """For ``ViewReader``: the error for a table that it does not have."""
        configured = self.projections.get(projection)
        if configured is None:
            return unknown_projection(projection)
        if table not in configured.tables:
            return Refused("invalid_argument", f"projection {projection!r} has no table {table!r}")
        return Unavailable(
            "views_behind",
            f"version {configured.version} of the view {projection!r} is still being built",
            projection=projection,
        )

    def translated(self, error: lmdb.Error) -> TurnlogError:
        """Our error for lmdb's. Damaged views lose nothing: they are folded again from the log."""
        ours = translate(error, self.path)
        if ours.code == "log_full":
            return Unavailable("log_full", f"the map of {self.path} is full", path=str(self.path))
        if isinstance(ours, Damaged):
            return Damaged("view_damaged", f"the views in {self.path} are damaged", path=str(self.path))
        return ours

    def check_process(self) -> None:
        """Refuse to touch an environment inherited over a fork."""
        if process.forks != self._forks:
            raise Unavailable("forked_process", "the views were opened before this process was forked")

    def close(self) -> None:
        """End what still reads, and close. Idempotent; the runner is closed before."""
        self._closed = True
        for reader in tuple(self._readers):
            reader.abort()
        if self._env is not None:
            self._env.close()
            self._env = None

    def leave_open(self) -> None:
        """For a thread that does not leave: the environment stays open until the process ends."""
        self._closed, self._left_open, self._env = True, self._env, None

    def _fill(self, env: lmdb.Environment) -> None:
        env.open_db(PROJECTIONS)
        with env.begin(write=True) as txn:
            txn.put(ABOUT, encode_about(self.about))

    def _attach(self) -> None:
        try:
            env = open_environment(
                self.path, databases_max=DATABASES_MAX, read_only=self.read_only, map_bytes=self._map_bytes
            )
            try:
                if not self.read_only:
                    # What a crash left in the page cache must be on disk before pages are written over it.
                    env.sync(True)
                    env.reader_check()
                self._registry = env.open_db(PROJECTIONS, create=False)
            except BaseException:
                env.close()
                raise
        except lmdb.NotFoundError as error:
            raise Unavailable(
                "directory_foreign", f"{self.path} holds no views of Turnlog", path=str(self.path)
            ) from error
        except lmdb.Error as error:
            raise self.translated(error) from error
        except Damaged as error:
            raise Damaged("view_damaged", error.message, **error.fields) from error
        self._env = env

    # A read-only process is told of nothing: it looks whenever the writer has committed since.

    def _begin_beside_writer(self) -> lmdb.Transaction:
        if self._env is None and not self._closed and self.path.exists():
            self._attach()
        while True:
            txn = self.env.begin()
            if txn.id() == self._seen_txn_id:
                return txn
            entries, seen = self.entries(txn), txn.id()
            txn.abort()
            try:
                self._open_tables(entries)
                self._seen_txn_id = seen
            except lmdb.NotFoundError:
                continue  # Dropped since it was looked up: look again.
            except lmdb.DbsFullError:
                if len(self._readers) > 1:
                    raise
                # Handles of generations long dropped fill the table; LMDB frees them only by closing.
                self.env.close()
                self.databases.clear()
                self._attach()

    def _open_tables(self, entries: dict[str, Entry]) -> None:
        self.publish_live(entries, self._open)

    def _open(self, database: bytes) -> Any:
        if database not in self.databases:
            self.databases[database] = self.env.open_db(database, create=False)
        return self.databases[database]


def unknown_projection(name: str) -> NotFound:
    """The error for a projection that is not configured."""
    return NotFound("unknown_projection", f"no projection is named {name!r}", projection=name)
