"""Where the commits of each context are: in ``by_context``, and in memory for those that it lacks yet.

Contexts that take turns share no page of ``by_context``: an entry with each commit would write 4 KiB for
every append. So the newest entries gather in memory, and are stored together, in the order of their keys,
once there are ``UNINDEXED_COMMITS_MAX``. The head says how far the stored ones reach. The others follow from
the commits themselves, which is how another process, and the next writer, gets them.
"""

from __future__ import annotations

import threading
from bisect import bisect_right
from collections.abc import Iterator
from typing import Final, TypeAlias, cast

import lmdb

from eventstore import frame, keys
from eventstore.errors import Damaged
from eventstore.shared import SharedEnvironment
from eventstore.stored import Head, Item, stored_commit

_AFTER_VERSIONS: Final = b"\xff" * 9
"""Behind every version of a context."""


Columns: TypeAlias = tuple[list[bytes], list[bytes]]
"""The keys and the values of one context's entries, both ascending. A tuple for each entry would keep the
garbage collector busy. A value is appended last: another thread that counts by values finds every key."""

_NONE: Final[Columns] = ([], [])


class Recent:
    """The entries of the commits after ``after``, up to ``through``, by context key; only ever appended to.

    A reader takes of it what its own head covers, so it may be ahead of the reader, even of what is durable.
    """

    __slots__ = ("after", "entries", "through")

    def __init__(self, after: int) -> None:
        self.after = after
        self.through = after
        self.entries: dict[bytes, Columns] = {}

    def add(self, context_key: bytes, key: bytes, value: bytes) -> None:
        """The entry of the next commit."""
        there = self.entries.get(context_key)
        if there is None:
            self.entries[context_key] = [key], [value]
        else:
            there[0].append(key)
            there[1].append(value)
        self.through += 1

    def of(self, context_key: bytes) -> Columns:
        """A context's entries."""
        return self.entries.get(context_key, _NONE)

    def covers(self, head: Head) -> bool:
        """Whether it holds every entry that ``by_context`` lacks as of ``head``."""
        return self.after <= head.indexed and self.through >= head.position

    def rows(self) -> list[Item]:
        """The rows of ``by_context`` for all of it, in the order of their keys."""
        entries = self.entries
        return [item for context_key in sorted(entries) for item in zip(*entries[context_key], strict=True)]


class ContextIndex:
    """The index of one log. ``head`` is always the head as ``txn`` sees it.

    An entry is an item of ``by_context``: (context key and first version, position), packed.
    """

    def __init__(self, environment: SharedEnvironment) -> None:
        self._environment = environment
        self._lock = threading.Lock()
        self._recent: Recent | None = None

    def forget(self) -> None:
        """Drop what memory holds: it may be of commits that did not happen."""
        self._recent = None

    def caught_up(self, head: Head) -> None:
        """Go on with nothing in memory, now that the entries up to ``head`` are durable."""
        self._recent = Recent(head.position)

    def recent(self, txn: lmdb.Transaction, head: Head) -> Recent:
        """What ``by_context`` lacks for ``head``. Raises ``Damaged`` where a commit cannot be placed."""
        recent = self._recent
        if recent is not None and recent.covers(head):
            return recent
        with self._lock:
            recent = self._recent
            if recent is not None and recent.covers(head):
                return recent
            if recent is not None and recent.after == head.indexed:
                return self._read(txn, recent, head)
            fresh = self._read(txn, Recent(head.indexed), head)
            if recent is None or recent.after < fresh.after:  # else this reader began before the last storing
                self._recent = fresh
            return fresh

    def _read(self, txn: lmdb.Transaction, recent: Recent, head: Head) -> Recent:
        """Add the entries up to ``head`` from the commits."""
        commits = self._environment.databases[keys.COMMITS]
        for position in range(recent.through + 1, head.position + 1):
            value = keys.pack_u64(position)
            stored = stored_commit(txn, commits, value)
            if stored is None or len(stored) < frame.STORED_BYTES_MIN:
                raise frame.damaged(position, "it is missing" if stored is None else "it is too short")
            key = stored[frame.CONTEXT_VERSION]
            try:
                frame.check(position, stored)
            except Damaged:
                if not self._goes_on(txn, recent, key):
                    raise  # whose commit it is cannot be told, so no context is known to be whole
            recent.add(key[:16], key, value)
        return recent

    def _goes_on(self, txn: lmdb.Transaction, recent: Recent, key: bytes) -> bool:
        """Whether a key is the next of its context: then the damaged commit that has it is that context's."""
        context_key, version = keys.split_context_version(key)
        _, values = recent.of(context_key)
        if values:
            value = values[-1]
        else:
            last = self._stored_floor(txn, keys.context_version(context_key, keys.U64_MAX))
            if last is None:
                return version == 1
            value = last[1]
        stored = stored_commit(txn, self._environment.databases[keys.COMMITS], value)
        return stored is not None and frame.versions(stored)[1] + 1 == version

    def entries(
        self, txn: lmdb.Transaction, head: Head, context_key: bytes, from_version: int, to_version: int
    ) -> Iterator[Item]:
        """The entries of the commits that hold these versions, both inclusive, in order.

        The first may be of a commit that ends before ``from_version``.
        """
        there, values = self.recent(txn, head).of(context_key)
        first = keys.context_version(context_key, from_version)
        last = keys.context_version(context_key, to_version)
        if not there or first < there[0]:
            with txn.cursor(self._environment.databases[keys.BY_CONTEXT]) as cursor:
                # Without a floor that entry is missing: what follows shows the gap.
                found = _seek_floor(cursor, first) or cursor.set_range(first)
                for item in cast("Iterator[Item]", cursor.iternext()) if found else ():
                    if item[0] > last or (there and item[0] >= there[0]):
                        break
                    yield item
        seen = bisect_right(values, keys.pack_u64(head.position))
        start = max(0, bisect_right(there, first, hi=seen) - 1)
        for number in range(start, bisect_right(there, last, hi=seen)):
            yield there[number], values[number]

    def floor(self, txn: lmdb.Transaction, head: Head, context_key: bytes, version: int) -> Item | None:
        """The entry with the greatest first version at or below ``version``."""
        there, values = self.recent(txn, head).of(context_key)
        key = keys.context_version(context_key, version)
        at = bisect_right(there, key, hi=bisect_right(values, keys.pack_u64(head.position)))
        return (there[at - 1], values[at - 1]) if at else self._stored_floor(txn, key)

    def as_of(self, txn: lmdb.Transaction, head: Head, context_key: bytes, position: int) -> Item | None:
        """The last entry at or below a position."""
        there, values = self.recent(txn, head).of(context_key)
        wanted = keys.pack_u64(max(0, min(position, head.position)))
        at = bisect_right(values, wanted)
        if at:
            return there[at - 1], values[at - 1]
        last = self._stored_floor(txn, keys.context_version(context_key, keys.U64_MAX))
        if last is None or last[1] <= wanted:
            return last
        found, low, high = None, 1, _version(last) - 1
        while low <= high:
            item = self._stored_floor(txn, keys.context_version(context_key, (low + high) // 2))
            if item is None:
                raise Damaged("commit_damaged", "the index of a context has a hole", key=context_key.hex())
            if item[1] > wanted:
                high = _version(item) - 1
            else:
                found, low = item, (low + high) // 2 + 1
        return found

    def context_keys(self, txn: lmdb.Transaction, head: Head) -> Iterator[bytes]:
        """The key of every context, in no particular order."""
        recent = self.recent(txn, head)
        with txn.cursor(self._environment.databases[keys.BY_CONTEXT]) as cursor:
            there = cursor.first()
            while there:
                context_key = cast("bytes", cursor.key())[:16]
                yield context_key
                there = cursor.set_range(context_key + _AFTER_VERSIONS)
        position = keys.pack_u64(head.position)
        for context_key, (there, values) in list(recent.entries.items()):
            if there[0] == keys.context_version(context_key, 1) and values[0] <= position:
                yield context_key

    def _stored_floor(self, txn: lmdb.Transaction, key: bytes) -> Item | None:
        with txn.cursor(self._environment.databases[keys.BY_CONTEXT]) as cursor:
            if _seek_floor(cursor, key):
                return cast("Item", cursor.item())
        return None


def _version(item: Item) -> int:
    """A key of another length is damage, of a version that cannot be."""
    key = item[0]
    return keys.split_context_version(key)[1] if len(key) == keys.CONTEXT_VERSION_BYTES else 0


def _seek_floor(cursor: lmdb.Cursor, key: bytes) -> bool:
    """Move to the greatest entry of its context at or below a key."""
    if cursor.set_range(key):
        if cursor.key() == key:
            return True
        moved = cursor.prev()
    else:
        moved = cursor.last()
    return moved and cursor.key()[:16] == key[:16]
