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
from typing import Final, NamedTuple, cast

import lmdb

from eventstore import frame, keys
from eventstore.errors import Damaged
from eventstore.shared import SharedEnvironment
from eventstore.stored import Head, Item, stored_commit

_AFTER_VERSIONS: Final = b"\xff" * 9
"""Behind every version of a context."""


class Entries(NamedTuple):
    """The first versions and the positions of one context's commits; both ascend.

    Columns, because a tuple for each would keep the garbage collector busy. ``positions`` is appended to
    last, so another thread that counts by it finds every version.
    """

    versions: list[int]
    positions: list[int]


_NONE: Final = Entries([], [])


class Recent:
    """The entries of the commits after ``after``, up to ``through``, by context key; only ever appended to.

    A reader takes of it what its own head covers, so it may be ahead of the reader, even of what is durable.
    """

    __slots__ = ("after", "entries", "through")

    def __init__(self, after: int) -> None:
        self.after = after
        self.through = after
        self.entries: dict[bytes, Entries] = {}

    def add(self, context_key: bytes, version: int, position: int) -> None:
        """The entry of the next commit."""
        there = self.entries.get(context_key)
        if there is None:
            self.entries[context_key] = Entries([version], [position])
        else:
            there.versions.append(version)
            there.positions.append(position)
        self.through = position

    def of(self, context_key: bytes) -> Entries:
        """A context's entries."""
        return self.entries.get(context_key, _NONE)

    def covers(self, head: Head) -> bool:
        """Whether it holds every entry that ``by_context`` lacks as of ``head``."""
        return self.after <= head.indexed and self.through >= head.position

    def rows(self) -> list[Item]:
        """The rows of ``by_context`` for all of it, in the order of their keys."""
        return [
            _item(context_key, version, position)
            for context_key in sorted(self.entries)
            for version, position in zip(*self.entries[context_key], strict=True)
        ]


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
            stored = stored_commit(txn, commits, keys.pack_u64(position))
            if stored is None or len(stored) < frame.STORED_BYTES_MIN:
                raise frame.damaged(position, "it is missing" if stored is None else "it is too short")
            context_key, version = keys.split_context_version(stored[frame.CONTEXT_VERSION])
            try:
                frame.check(position, stored)
            except Damaged:
                if not self._goes_on(txn, recent, context_key, version):
                    raise  # whose commit it is cannot be told, so no context is known to be whole
            recent.add(context_key, version, position)
        return recent

    def _goes_on(self, txn: lmdb.Transaction, recent: Recent, context_key: bytes, version: int) -> bool:
        """Whether a version is the one after a context's last: then a damaged commit is that context's."""
        there = recent.of(context_key)
        if there.positions:
            value = keys.pack_u64(there.positions[-1])
        else:
            last = self._stored_floor(txn, context_key, keys.U64_MAX)
            if last is None:
                return version == 1
            value = last[1]
        stored = stored_commit(txn, self._environment.databases[keys.COMMITS], value)
        return stored is not None and frame.last_version(stored) + 1 == version

    def entries(
        self, txn: lmdb.Transaction, head: Head, context_key: bytes, from_version: int, to_version: int
    ) -> Iterator[Item]:
        """The entries of the commits that hold these versions, both inclusive, in order.

        The first may be of a commit that ends before ``from_version``.
        """
        versions, positions = self.recent(txn, head).of(context_key)
        first_recent = versions[0] if versions else keys.U64_MAX
        if from_version < first_recent:
            last = keys.context_version(context_key, min(to_version, first_recent - 1))
            with txn.cursor(self._environment.databases[keys.BY_CONTEXT]) as cursor:
                there = _seek_floor(cursor, context_key, from_version)
                if not there:  # that one is missing: what follows shows the gap
                    there = cursor.set_range(keys.context_version(context_key, from_version))
                for item in cast("Iterator[Item]", cursor.iternext()) if there else ():
                    if item[0] > last:
                        break
                    yield item
        seen = bisect_right(positions, head.position)
        start = max(0, bisect_right(versions, from_version, hi=seen) - 1)
        for number in range(start, bisect_right(versions, to_version, hi=seen)):
            yield _item(context_key, versions[number], positions[number])

    def floor(self, txn: lmdb.Transaction, head: Head, context_key: bytes, version: int) -> Item | None:
        """The entry with the greatest first version at or below ``version``."""
        versions, positions = self.recent(txn, head).of(context_key)
        at = bisect_right(versions, version, hi=bisect_right(positions, head.position))
        if at:
            return _item(context_key, versions[at - 1], positions[at - 1])
        return self._stored_floor(txn, context_key, version)

    def as_of(self, txn: lmdb.Transaction, head: Head, context_key: bytes, position: int) -> Item | None:
        """The last entry at or below a position."""
        versions, positions = self.recent(txn, head).of(context_key)
        at = bisect_right(positions, min(position, head.position))
        if at:
            return _item(context_key, versions[at - 1], positions[at - 1])
        wanted = keys.pack_u64(max(0, position))
        last = self._stored_floor(txn, context_key, keys.U64_MAX)
        if last is None or last[1] <= wanted:
            return last
        found, low, high = None, 1, _version(last) - 1
        while low <= high:
            item = self._stored_floor(txn, context_key, (low + high) // 2)
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
        for context_key, entries in list(recent.entries.items()):
            if entries.versions[0] == 1 and entries.positions[0] <= head.position:
                yield context_key

    def _stored_floor(self, txn: lmdb.Transaction, context_key: bytes, version: int) -> Item | None:
        with txn.cursor(self._environment.databases[keys.BY_CONTEXT]) as cursor:
            if _seek_floor(cursor, context_key, version):
                return cast("Item", cursor.item())
        return None


def _item(context_key: bytes, version: int, position: int) -> Item:
    return keys.context_version(context_key, version), keys.pack_u64(position)


def _version(item: Item) -> int:
    """A key of another length is damage, of a version that cannot be."""
    key = item[0]
    return keys.split_context_version(key)[1] if len(key) == keys.CONTEXT_VERSION_BYTES else 0


def _seek_floor(cursor: lmdb.Cursor, context_key: bytes, version: int) -> bool:
    """Move to the entry of a context whose first version is the greatest at or below ``version``."""
    wanted = keys.context_version(context_key, version)
    if cursor.set_range(wanted):
        if cursor.key() == wanted:
            return True
        moved = cursor.prev()
    else:
        moved = cursor.last()
    return moved and cursor.key()[:16] == context_key
