"""The writing side of the views: rows and the checkpoint up to which they are folded, in one transaction.

For one thread of the process that writes the log.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from itertools import islice
from typing import Any, Final, TypeAlias, cast

import lmdb
from msgspec.structs import replace

from eventstore import keys
from eventstore.log import Log
from eventstore.resident import Mapped
from eventstore.stored import stored_commit
from projections.generations import ABOUT, PROJECTIONS, Entry, Generation, encode_about, encode_entry, settle
from projections.rows import BufferedRows
from projections.views import Views

Get: TypeAlias = Callable[[str, bytes], bytes | None]
"""Reads a stored row: (table, key) -> value."""


ROWS_AT_ONCE: Final = 200
"""Rows that are written between two looks at what is mapped."""


class Change:
    """One write transaction: rows go through ``txn``, entries through ``save``."""

    def __init__(self, txn: lmdb.Transaction, env: lmdb.Environment, registry: Any, mapped: Mapped) -> None:
        self.txn: lmdb.Transaction = txn
        self._mapped = mapped
        self.entries: dict[str, Entry] = {}
        self.databases: dict[bytes, Any] = {}
        self._env = env
        self._registry = registry

    def save(self, name: str, entry: Entry) -> None:
        """Replace a projection's entry."""
        self.txn.put(name.encode(), encode_entry(entry), db=self._registry)
        self.entries[name] = entry

    def write(self, rows: BufferedRows, databases: Mapping[str, Any]) -> None:
        """Write a fold's changed rows to the databases of its tables."""
        for table, puts, deletes in rows.changes():
            for key in deletes:
                self.txn.delete(key, db=databases[table])
            left = iter(puts)
            with self.txn.cursor(databases[table]) as cursor:
                while some := list(islice(left, ROWS_AT_ONCE)):
                    cursor.putmulti(some)
                    self._mapped.look()  # the page of a row is read first, whatever the row takes

    def open(self, name: str, generation: Generation, *, create: bool) -> dict[str, Any]:
        """The databases of a generation by table."""
        opened: dict[str, Any] = {}
        for table, database in generation.databases(name).items():
            opened[table] = self._env.open_db(database, txn=self.txn, create=create)
            self.databases[database] = opened[table]
        return opened


class Bookkeeping:
    """Which generations there are, and how they change.

    Making it settles the views for this log and this code (``generations.settle``): afterwards every
    configured projection has a live generation of the code's version, or one being built.
    """

    def __init__(self, views: Views, log: Log) -> None:
        self.views: Views = views
        self._log = log
        self._entries: dict[str, Entry] = {}
        self._settle()

    def reopen(self) -> None:
        """Start again from what is durable, whatever a failed commit left: LMDB may not go on after one."""
        with self.views.reopened():
            self._settle()

    @property
    def entries(self) -> Mapping[str, Entry]:
        """Of every projection with rows here, configured or not: what is durable."""
        return self._entries

    def entry(self, name: str) -> Entry:
        """The generations of a projection."""
        return self._entries.get(name, Entry())

    def digest_at(self, position: int) -> bytes:
        """The digest of the log's commit at ``position``; empty when there is none."""
        with self._log.reading() as txn:
            return digest_at(self._log, txn, position)

    def databases(self, name: str, generation: Generation) -> dict[str, Any]:
        """The databases of a live or building generation by table."""
        return {table: self.views.databases[db] for table, db in generation.databases(name).items()}

    @contextmanager
    def stored(self) -> Generator[Callable[[str, Generation], Get]]:
        """One snapshot for folds: gives the function that reads a generation's rows."""
        try:
            with self.views.env.begin() as txn:

                def rows_of(name: str, generation: Generation) -> Get:
                    databases, get = self.databases(name, generation), cast("Any", txn.get)
                    touched = self.views.mapped.touched

                    def stored(table: str, key: bytes) -> bytes | None:
                        touched(0)
                        return get(key, db=databases[table])

                    return stored

                yield rows_of
        except lmdb.Error as error:
            raise self.views.translated(error) from error

    @contextmanager
    def writing(self) -> Generator[Change]:
        """One write transaction, durable on leaving; nothing of it remains when the block raises."""
        env = self.views.env
        try:
            with env.begin(write=True) as txn:
                change = Change(txn, env, self.views.registry, self.views.mapped)
                yield change
        except lmdb.Error as error:
            raise self.views.translated(error) from error
        self._entries = {**self._entries, **change.entries}
        self.views.databases.update(change.databases)
        self._publish()

    def build(self, name: str) -> Generation:
        """Begin a new generation of a projection beside its live one, instead of any other build."""
        entry = self.entry(name).with_build(self.views.projections[name])
        with self.writing() as change:
            generation = entry.building
            assert generation is not None
            change.open(name, generation, create=True)
            change.save(name, entry)
        return generation

    def drop_retired(self) -> None:
        """Drop the databases of one retired generation, unless a reader may still be inside it.

        Handles are closed with their databases, so no transaction that began before may use them.
        """
        for name, entry in self._entries.items():
            if not entry.retired:
                continue
            if self.views.old_readers():
                return
            retired, *others = entry.retired
            with self.writing() as change:
                for database in change.open(name, retired, create=False).values():
                    change.txn.drop(database)
                change.databases.clear()
                for database in retired.databases(name).values():
                    self.views.databases.pop(database, None)
                change.save(name, replace(entry, retired=tuple(others)))
            return

    def check_readers(self) -> None:
        """Free the slots of readers whose process died: they keep pages from being reused."""
        try:
            self.views.env.reader_check()
        except lmdb.Error as error:
            raise self.views.translated(error) from error

    def _settle(self) -> None:
        env = self.views.env
        try:
            with env.begin() as txn:
                self._entries = self.views.entries(txn)
                ours = txn.get(ABOUT) == encode_about(self.views.about)
        except lmdb.Error as error:
            raise self.views.translated(error) from error
        if not ours:
            self._discard_all()
        settled = self._settled()
        with self.writing() as change:
            for name, entry in settled.items():
                known = {generation.number for generation in self.entry(name).generations()}
                for generation in entry.generations():
                    if generation not in entry.retired:
                        change.open(name, generation, create=generation.number not in known)
                if entry != self.entry(name):
                    change.save(name, entry)

    def _settled(self) -> dict[str, Entry]:
        with self._log.reading() as txn:

            def is_ours(generation: Generation) -> bool:
                return digest_at(self._log, txn, generation.checkpoint) == generation.digest

            return {
                name: settle(self.entry(name), projection, is_ours)
                for name, projection in self.views.projections.items()
            }

    def _discard_all(self) -> None:
        """Drop every database: these views belong to another log, or to another format."""
        env = self.views.env
        with self.writing() as change:
            keys_stored = [bytes(key) for key in change.txn.cursor().iternext(values=False)]
            for name in keys_stored:
                if name not in (ABOUT, PROJECTIONS):
                    change.txn.drop(env.open_db(name, txn=change.txn, create=False))
            change.txn.drop(self.views.registry, delete=False)
            change.txn.put(ABOUT, encode_about(self.views.about))

    def _publish(self) -> None:
        tables: dict[tuple[str, str], Any] = {}
        for name, projection in self.views.projections.items():
            live = self.entry(name).readable(projection)
            if live is not None:
                for table, database in self.databases(name, live).items():
                    tables[name, table] = database
        self.views.publish(tables)


def digest_at(log: Log, txn: lmdb.Transaction, position: int) -> bytes:
    """The stored digest of the commit at ``position``, unchecked; empty when there is none."""
    stored = stored_commit(txn, log.databases[keys.COMMITS], keys.pack_u64(position))
    return stored[: keys.DIGEST_BYTES] if stored is not None else b""
