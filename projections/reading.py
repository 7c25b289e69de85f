"""Reads of the views: one short read transaction over the live generation of every projection."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from types import TracebackType
from typing import Any, Protocol, TypeAlias, cast

import lmdb

from eventstore.errors import TurnlogError
from projections.generations import Entry
from projections.staging import Item, Table, get, merged

Tables: TypeAlias = Mapping[tuple[str, str], Table]
"""Each (projection, table) that can be read."""


class Readable(Protocol):
    """What a reader needs of the views."""

    def enter(self, reader: ViewReader) -> tuple[lmdb.Transaction, Tables]:
        """Begin a reader's transaction."""
        ...

    def leave(self, reader: ViewReader) -> None:
        """Its transaction is over."""
        ...

    def entries(self, txn: lmdb.Transaction) -> dict[str, Entry]:
        """What is stored of every projection."""
        ...

    def translated(self, error: lmdb.Error) -> TurnlogError:
        """Our error for lmdb's."""
        ...

    def why_unreadable(self, projection: str, table: str) -> TurnlogError:
        """The error for a table that is not among the readable ones."""
        ...


class ViewReader:
    """Rows as one moment left them, in key order. A context manager: ``with views.reading() as reader``.

    Leave it before anything is awaited: a reader that stays keeps LMDB from reusing pages. Every read
    raises ``NotFound`` for an unknown projection, ``Unavailable`` with code ``views_behind`` for one whose
    first generation is still being built, and ``Damaged`` with code ``view_damaged``.
    """

    __slots__ = ("_tables", "_txn", "_views", "gets")

    def __init__(self, views: Readable) -> None:
        self.gets: int = 0
        self._views = views

    def __enter__(self) -> ViewReader:
        self._txn, self._tables = self._views.enter(self)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.abort()
        if isinstance(error, lmdb.Error):
            raise self._views.translated(error) from error

    def abort(self) -> None:
        """End the transaction. Idempotent."""
        self._txn.abort()
        self._views.leave(self)

    def get(self, projection: str, table: str, key: bytes) -> bytes | None:
        """The value at ``key``."""
        self.gets += 1
        return get(self._txn, self._table(projection, table), key)

    def floor(self, projection: str, table: str, prefix: bytes, key: bytes) -> tuple[bytes, bytes] | None:
        """The last row at or below ``key``, if its key starts with ``prefix``."""
        if self._table(projection, table).staged is not None:
            found = next(self.scan(projection, table, prefix, key + b"\x00", reverse=True), None)
            return found if found is not None and found[0].startswith(prefix) else None
        with self._txn.cursor(self._table(projection, table).rows) as cursor:
            if not (cursor.set_range(key) and cursor.key() == key) and not _step_back(cursor):
                return None
            found = cast(Item, cursor.item())
        return found if found[0].startswith(prefix) else None

    def scan(
        self, projection: str, table: str, start: bytes, stop: bytes, reverse: bool = False
    ) -> Iterator[tuple[bytes, bytes]]:
        """The rows from ``start`` up to, but without, ``stop``; ``reverse`` runs from stop down to start.

        Lazily: valid until the reader is left.
        """
        rows, staged = self._table(projection, table)
        scan = self._backward if reverse else self._forward
        if staged is None:
            return scan(rows, start, stop)
        return merged(scan(rows, start, stop), scan(staged, start, stop), reverse=reverse)

    def entries(self) -> dict[str, Entry]:
        """The generations of every projection, as they are stored."""
        return self._views.entries(self._txn)

    def _forward(self, database: Any, start: bytes, stop: bytes) -> Iterator[tuple[bytes, bytes]]:
        with self._txn.cursor(database) as cursor:
            if not cursor.set_range(start):
                return
            for item in cast("Iterator[Item]", cursor.iternext()):
                if item[0] >= stop:
                    return
                yield item

    def _backward(self, database: Any, start: bytes, stop: bytes) -> Iterator[tuple[bytes, bytes]]:
        with self._txn.cursor(database) as cursor:
            cursor.set_range(stop)
            if not _step_back(cursor):
                return
            for item in cast("Iterator[Item]", cursor.iterprev()):
                if item[0] < start:
                    return
                yield item

    def _table(self, projection: str, table: str) -> Table:
        try:
            return self._tables[projection, table]
        except KeyError:
            raise self._views.why_unreadable(projection, table) from None


def _step_back(cursor: lmdb.Cursor) -> bool:
    """From a sought key to the one before it; from past the end to the last one."""
    return cursor.prev() if cursor.key() else cursor.last()
