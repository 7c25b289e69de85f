"""Rows in memory: what the views environment does, in dictionaries, for tests, oracles and examples."""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Generator, Iterable, Iterator, Mapping
from contextlib import contextmanager
from uuid import UUID

from msgspec.structs import replace

from eventstore.commits import Commit
from eventstore.errors import NotFound
from projections.projection import Projection, folds
from projections.rows import check_row


class _Table:
    """Values by key, and the keys in order."""

    def __init__(self) -> None:
        self.values: dict[bytes, bytes] = {}
        self.keys: list[bytes] = []

    def put(self, key: bytes, value: bytes) -> None:
        if key not in self.values:
            insort(self.keys, key)
        self.values[key] = value

    def delete(self, key: bytes) -> None:
        if self.values.pop(key, None) is not None:
            del self.keys[bisect_left(self.keys, key)]


class MemoryRows:
    """The rows of one projection: a ``Rows`` for its fold, and reads over its tables.

    ``tables`` are the projection's; any other name raises ``KeyError``, as it does in a real fold.
    """

    def __init__(self, tables: Iterable[str]) -> None:
        self._tables: dict[str, _Table] = {table: _Table() for table in tables}

    def get(self, table: str, key: bytes) -> bytes | None:
        """The value at ``key``."""
        return self._tables[table].values.get(key)

    def put(self, table: str, key: bytes, value: bytes) -> None:
        """Set the value at ``key``."""
        check_row(key, value)
        self._tables[table].put(key, value)

    def delete(self, table: str, key: bytes) -> None:
        """Remove ``key`` if it is there."""
        check_row(key)
        self._tables[table].delete(key)

    def floor(self, table: str, prefix: bytes, key: bytes) -> tuple[bytes, bytes] | None:
        """The last row at or below ``key`` whose key starts with ``prefix``."""
        rows = self._tables[table]
        at = bisect_left(rows.keys, key)
        if at == len(rows.keys) or rows.keys[at] != key:
            at -= 1
        if at < 0 or not rows.keys[at].startswith(prefix):
            return None
        return rows.keys[at], rows.values[rows.keys[at]]

    def scan(
        self, table: str, start: bytes, stop: bytes, reverse: bool = False
    ) -> Iterator[tuple[bytes, bytes]]:
        """The rows from ``start`` up to, but without, ``stop``; ``reverse`` runs from stop down to start."""
        rows = self._tables[table]
        keys = rows.keys[bisect_left(rows.keys, start) : bisect_left(rows.keys, stop)]
        return ((key, rows.values[key]) for key in (reversed(keys) if reverse else keys))

    def dump(self) -> Mapping[str, list[tuple[bytes, bytes]]]:
        """Every row of every table in key order: two folds agree when their dumps are equal."""
        return {name: [(key, rows.values[key]) for key in rows.keys] for name, rows in self._tables.items()}


class MemoryPast:
    """A log in memory: the commits so far, as a fold may look back at them."""

    def __init__(self, commits: Iterable[Commit] = ()) -> None:
        self._commits: dict[UUID, list[Commit]] = {}
        for commit in commits:
            self.add(commit)

    def add(self, commit: Commit) -> None:
        """The next commit of the log."""
        self._commits.setdefault(commit.context_id, []).append(commit)

    def context(self, context_id: UUID, from_version: int, to_version: int) -> Iterator[Commit]:
        """The commits of a context that hold these versions, in order."""
        for commit in self._commits.get(context_id, ()):
            if commit.last_version >= from_version and commit.first_version <= to_version:
                yield commit


class MemoryViews:
    """Projections folded in memory; reads like a ``ViewReader``.

    ``apply`` takes the commits of a log in order and folds each into every projection that asks for its
    kinds. A fold that raises is left as it is: this is for tests.
    """

    def __init__(self, projections: Iterable[Projection], commits: Iterable[Commit] = ()) -> None:
        self.projections: tuple[Projection, ...] = tuple(projections)
        self.rows: dict[str, MemoryRows] = {p.name: MemoryRows(p.tables) for p in self.projections}
        self.past: MemoryPast = MemoryPast()
        for commit in commits:
            self.apply(commit)

    def apply(self, commit: Commit) -> None:
        """Fold the next commit."""
        self.past.add(commit)
        for projection in self.projections:
            if folds(projection.kinds, commit):
                given = commit if commit.kinds & projection.kinds else replace(commit, records=())
                projection.apply(given, self.rows[projection.name], self.past)

    @contextmanager
    def reading(self) -> Generator[MemoryViews]:
        """As ``Views.reading``: itself, since nothing changes underneath."""
        yield self

    def get(self, projection: str, table: str, key: bytes) -> bytes | None:
        """The value at ``key``."""
        return self._of(projection).get(table, key)

    def floor(self, projection: str, table: str, prefix: bytes, key: bytes) -> tuple[bytes, bytes] | None:
        """The last row at or below ``key`` whose key starts with ``prefix``."""
        return self._of(projection).floor(table, prefix, key)

    def scan(
        self, projection: str, table: str, start: bytes, stop: bytes, reverse: bool = False
    ) -> Iterator[tuple[bytes, bytes]]:
        """The rows from ``start`` up to, but without, ``stop``; ``reverse`` runs the other way."""
        return self._of(projection).scan(table, start, stop, reverse)

    def dump(self) -> Mapping[str, Mapping[str, list[tuple[bytes, bytes]]]]:
        """Every row of every projection."""
        return {name: rows.dump() for name, rows in self.rows.items()}

    def _of(self, projection: str) -> MemoryRows:
        try:
            return self.rows[projection]
        except KeyError:
            raise NotFound(
                "unknown_projection", f"no projection is named {projection!r}", projection=projection
            ) from None
