"""The writing side of the views: rows and the checkpoint up to which they are folded, in one transaction.

For one thread of the process that writes the log.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Mapping
from contextlib import contextmanager, suppress
from itertools import islice
from typing import Any, Final, TypeAlias, cast

import lmdb
from msgspec.structs import replace

from eventstore import keys
from eventstore.log import Log
from eventstore.stored import stored_commit
from projections.generations import (
    ABOUT,
    PROJECTIONS,
    Entry,
    Generation,
    encode_about,
    encode_entry,
    settle,
    tables_of,
)
from projections.rows import BufferedRows
from projections.staging import as_staged, get, move
from projections.views import Views

Get: TypeAlias = Callable[[str, bytes], bytes | None]
"""Reads a stored row: (table, key) -> value."""


ROWS_AT_ONCE: Final = 200
"""Rows that are written between two looks at what is mapped."""

ROWS_MOVED: Final = 5_000
"""Staged rows that are moved at once: some 10 ms, and a sync."""


class Change:
    """One write transaction: rows go through ``write``, entries through ``save``."""

    def __init__(self, txn: lmdb.Transaction, views: Views) -> None:
        self.txn: lmdb.Transaction = txn
        self.entries: dict[str, Entry] = {}
        self.databases: dict[bytes, Any] = {}
        self._views = views

    def save(self, name: str, entry: Entry) -> None:
        """Replace a projection's entry."""
        self.txn.put(name.encode(), encode_entry(entry), db=self._views.registry)
        self.entries[name] = entry

    def write(self, name: str, generation: Generation, rows: BufferedRows) -> None:
        """Write a fold's changed rows to the tables of a generation, or over them if any are staged."""
        tables = tables_of(name, generation, self.open)
        for table, puts, deletes in rows.changes():
            database, staged = tables[table]
            if staged is None:
                for key in deletes:
                    self.txn.delete(key, db=database)
            else:
                puts, deletes = as_staged(puts, deletes), []
            left = iter(puts)
            with self.txn.cursor(database if staged is None else staged) as cursor:
                while some := list(islice(left, ROWS_AT_ONCE)):
                    cursor.putmulti(some)
                    self._views.mapped.look()  # the page of a row is read first, whatever the row takes

    def stage(self, name: str, entry: Entry, number: int, rows: BufferedRows) -> None:
        """Write a fold's changed rows where nobody looks, over the tables of a generation."""
        generation = replace(entry.generation(number), staged="hidden")
        if generation != entry.generation(number):
            self.make(generation.staging(name).values())
            self.save(name, entry.with_generation(generation))
        self.write(name, generation, rows)

    def move(self, name: str, generation: Generation) -> bool:
        """Move some of a generation's staged rows; whether there may be more."""
        left = ROWS_MOVED
        for table in tables_of(name, generation, self.open).values():
            while moved := move(self.txn, table, min(left, ROWS_AT_ONCE)):
                self._views.mapped.look()
                left -= moved
                if not left:
                    return True
        return False

    def make(self, databases: Iterable[bytes], *, create: bool = True) -> None:
        """Open databases, and make those that are not there."""
        for database in databases:
            self.open(database, create=create)

    def forget_staged(self, name: str, generation: Generation) -> None:
        """Take away what is staged."""
        for database in generation.staging(name).values():
            self.txn.drop(self.open(database), delete=False)

    def drop(self, name: str, generation: Generation) -> None:
        """Drop the databases of a generation: nobody may be inside them."""
        for database in generation.databases(name).values():
            self.txn.drop(self.open(database))
        for database in generation.staging(name).values():
            with suppress(lmdb.NotFoundError):  # none was needed
                self.txn.drop(self.open(database))
        for database in (*generation.databases(name).values(), *generation.staging(name).values()):
            self._views.databases.pop(database, None)
            self.databases.pop(database, None)

    def open(self, database: bytes, *, create: bool = False) -> Any:
        """A database by name."""
        opened = self._views.databases.get(database, self.databases.get(database))
        if opened is None:
            opened = self._views.env.open_db(database, txn=self.txn, create=create)
            self.databases[database] = opened
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

    @contextmanager
    def stored(self) -> Generator[Callable[[str, Generation], Get]]:
        """One snapshot for folds: gives the function that reads a generation's rows."""
        try:
            with self.views.env.begin() as txn:

                def rows_of(name: str, generation: Generation) -> Get:
                    tables = tables_of(name, generation, self.views.databases.__getitem__)
                    databases = {table: opened.rows for table, opened in tables.items()}
                    touched, get_row = self.views.mapped.touched, cast("Any", txn.get)

                    def stored(table: str, key: bytes) -> bytes | None:
                        touched(0)
                        return get_row(key, db=databases[table])

                    def staged_or_stored(table: str, key: bytes) -> bytes | None:
                        touched(0)
                        return get(txn, tables[table], key)

                    return stored if generation.staged == "none" else staged_or_stored

                yield rows_of
        except lmdb.Error as error:
            raise self.views.translated(error) from error

    @contextmanager
    def writing(self) -> Generator[Change]:
        """One write transaction, durable on leaving; nothing of it remains when the block raises."""
        env = self.views.env
        try:
            with env.begin(write=True) as txn:
                change = Change(txn, self.views)
                yield change
        except lmdb.Error as error:
            raise self.views.translated(error) from error
        self._entries = {**self._entries, **change.entries}
        self.views.databases.update(change.databases)
        self.views.publish_live(self._entries, self.views.databases.__getitem__)

    def build(self, name: str) -> Generation:
        """Begin a new generation of a projection beside its live one, instead of any other build."""
        entry = self.entry(name).with_build(self.views.projections[name])
        with self.writing() as change:
            generation = entry.building
            assert generation is not None
            change.make(generation.databases(name).values())
            change.save(name, entry)
        return generation

    def move_staged(self) -> bool:
        """Move some rows that are staged and shown to their place; whether there may be more."""
        for name, entry in self._entries.items():
            for generation in (entry.live, entry.building):
                if generation is not None and generation.staged == "shown":
                    with self.writing() as change:
                        if not change.move(name, generation):
                            change.save(name, entry.with_generation(replace(generation, staged="none")))
                    return True
        return False

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
                change.drop(name, retired)
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
                    if generation in entry.retired:
                        continue
                    change.make(generation.databases(name).values(), create=generation.number not in known)
                    if generation.staged == "hidden":  # what it was to become part of is folded again
                        change.forget_staged(name, generation)
                        entry = entry.with_generation(replace(generation, staged="none"))
                    elif generation.staged == "shown":
                        change.make(generation.staging(name).values(), create=False)
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


def digest_at(log: Log, txn: lmdb.Transaction, position: int) -> bytes:
    """The stored digest of the commit at ``position``, unchecked; empty when there is none."""
    stored = stored_commit(txn, log.databases[keys.COMMITS], keys.pack_u64(position))
    return stored[: keys.DIGEST_BYTES] if stored is not None else b""
