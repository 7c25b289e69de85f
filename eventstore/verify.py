"""Walk the whole log and yield findings: what is stored, held against what must follow from it.

Unlike every other reader it goes on after damage. The log is walked in pages, each in a short read
transaction, so a writer may go on writing: what is checked ends at the head as it was at the start.

Each commit is checked by itself and against its neighbours and index entries. With ``after=0`` three
things follow that need the whole log: the chain equals the head's, no index entry stands for nothing, and
every snapshot equals the fold of its context. Memory is bounded by one page.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from hashlib import sha256
from typing import TypeAlias, cast

import lmdb
import zstandard

from eventstore import frame, keys
from eventstore.commits import Commit
from eventstore.derived import Entries, check_entries, check_snapshots, surplus_entries
from eventstore.errors import Damaged
from eventstore.events import ChunkRun, kinds_of
from eventstore.findings import Finding
from eventstore.limits import PAGE_BYTES, PAGE_COMMITS
from eventstore.log import Log
from eventstore.stored import GENESIS, Head, beside_head, stored_commit, stored_commits

Progress: TypeAlias = Callable[[int], None]
"""Called after each page with the position up to which commits are checked."""


def verify(log: Log, after: int = 0, *, progress: Progress | None = None) -> Iterator[Finding]:
    """Check every commit after a position; a sound log yields nothing.

    With ``after`` given, the chain, surplus index entries and snapshots are left out. Raises ``Unavailable``
    when the log cannot be read at all.
    """
    try:
        with log.reading() as txn:
            head, last, entries = log.head(txn), _last_position(log, txn), Entries(log, txn)
    except Damaged as error:
        yield Finding("head_unreadable", None, error.message, error.fields)
        return
    if last > head.position:
        yield Finding(
            "commit_beyond_head",
            last,
            f"there are commits up to {last}, but the head is {head.position}",
            {"head": head.position},
        )
    walk = _Walk(log, after, head, entries)
    while not walk.ended:
        yield from walk.page()
        if progress is not None:
            progress(walk.position)
    if after == 0:
        yield from walk.at_the_end()
        yield from surplus_entries(log, entries)
        yield from check_snapshots(log)


def _last_position(log: Log, txn: lmdb.Transaction) -> int:
    beside = [keys.unpack_u64(key) for key, _ in beside_head(txn)]
    with txn.cursor(log.databases[keys.COMMITS]) as cursor:
        there = cursor.last()
        while there and len(cursor.key()) != keys.U64_BYTES:
            there = cursor.prev()
        return max([*beside, keys.unpack_u64(cast("bytes", cursor.key()))] if there else beside, default=0)


class _Walk:
    """The commits in order. ``position``: up to where they are checked; ``ended``: that is the head."""

    def __init__(self, log: Log, after: int, head: Head, entries: Entries) -> None:
        self.position = min(after, head.position)
        self.ended = False
        self._next_key = keys.pack_u64(self.position + 1) if self.position else b""
        self._log = log
        self._head = head
        self._entries = entries
        self._chain = GENESIS
        self._decompressor = zstandard.ZstdDecompressor()
        with log.reading() as txn:
            self._before = _header_at(log, txn, self.position)

    def page(self) -> list[Finding]:
        """Check the next commits, in a transaction of their own."""
        found: list[Finding] = []
        commits_left, bytes_left = PAGE_COMMITS, PAGE_BYTES
        with self._log.reading() as txn:
            commits = self._log.databases[keys.COMMITS]
            for key, stored in stored_commits(txn, commits, self._next_key):
                if commits_left == 0 or bytes_left <= 0:
                    return found
                position = keys.unpack_u64(key) if len(key) == keys.U64_BYTES else 0
                if position > self._head.position:
                    break  # written since, or found already
                if position == 0:
                    found.append(Finding("commit_key_malformed", None, f"a commit has the key {key.hex()}"))
                else:
                    found += self._missing(position - 1)
                    self.position = position
                    found += self._check(txn, stored)
                self._log.mapped.touched(len(stored))
                commits_left, bytes_left = commits_left - 1, bytes_left - len(stored)
                self._next_key = key + b"\0"
        found += self._missing(self._head.position)
        self.ended = True
        return found

    def _missing(self, last: int) -> Iterator[Finding]:
        first = self.position + 1
        if first <= last:
            self.position, self._before = last, None
            what = f"the commit at position {first} is" if first == last else f"commits {first} to {last} are"
            yield Finding("commit_missing", first, f"{what} missing", {"last": last})

    def _check(self, txn: lmdb.Transaction, stored: bytes) -> Iterator[Finding]:
        position = self.position
        self._chain = sha256(self._chain + stored[: keys.DIGEST_BYTES]).digest()
        before, self._before = self._before, None
        try:
            frame.check(position, stored)
        except Damaged as error:
            yield Finding("digest_differs", position, error.message)
            return
        try:
            commit = frame.decode_checked(position, stored, self._decompressor)
            yield from _check_header(commit)
        except (Damaged, ValueError) as error:
            yield Finding("commit_unreadable", position, str(error))
            return
        self._before = frame.header(position, stored)
        if before is not None and commit.recorded_at < before.recorded_at:
            yield Finding(
                "time_backwards",
                position,
                "it was recorded before the commit ahead of it",
                {"recorded_at": commit.recorded_at, "before": before.recorded_at},
            )
        yield from _check_group(commit, before)
        yield from _check_predecessor(self._log, txn, commit)
        yield from check_entries(self._log, txn, commit, self._entries)

    def at_the_end(self) -> Iterator[Finding]:
        """Hold the head against the commits that were read."""
        head = self._head
        if self._before is not None and self._before.recorded_at != head.recorded_at:
            yield Finding(
                "head_differs",
                head.position,
                "the head's time is not that of the last commit",
                {"recorded_at": head.recorded_at, "actual": self._before.recorded_at},
            )
        if self._chain != head.chain:
            yield Finding(
                "chain_differs",
                head.position,
                "the chain over all commits is not the head's: a commit was changed, lost or added",
                {"chain": head.chain.hex(), "actual": self._chain.hex()},
            )


def _check_header(commit: Commit) -> Iterator[Finding]:
    """The header against the records. Raises ``ValueError`` for a run whose columns differ in length."""
    events = 0
    for record in commit.records:
        if type(record) is ChunkRun:
            columns = {len(record.deltas), len(record.gaps), len(record.raws or record.deltas)}
            if len(columns) > 1 or not record.deltas:
                raise ValueError("a run of chunks has columns of different lengths")
            events += len(record.deltas)
        else:
            events += 1
    for field, stored, actual in (
        ("event_count", commit.event_count, events),
        ("kinds", commit.kinds, kinds_of(commit.records)),
    ):
        if stored != actual:
            yield Finding(
                "header_differs",
                commit.position,
                f"its header says {field} {stored}, its records {actual}",
                {"field": field, "stored": stored, "actual": actual},
            )


def _check_group(commit: Commit, before: Commit | None) -> Iterator[Finding]:
    """What became visible together with the commit at the position before is of its context and time."""
    if not commit.together or (before is None and commit.position > 1):
        return  # where there is none to hold it against, that is found on its own
    if before is None or before.context_id != commit.context_id:
        what = "the log begins with it" if before is None else "that is of another context"
        fields: dict[str, object] = {} if before is None else {"other": before.context_id}
    elif before.recorded_at != commit.recorded_at:
        what = "that was recorded at another time"
        fields = {"recorded_at": commit.recorded_at, "before": before.recorded_at}
    else:
        return
    yield Finding(
        "group_broken",
        commit.position,
        f"it says that it stands together with the commit before it, but {what}",
        {"context_id": commit.context_id, **fields},
    )


def _check_predecessor(log: Log, txn: lmdb.Transaction, commit: Commit) -> Iterator[Finding]:
    """Its versions follow on those of the commit before it in its context."""
    expected, context_key = 1, commit.context_id.bytes
    try:
        before = log.index.floor(txn, log.head(txn), context_key, commit.first_version - 1)
    except Damaged:
        return  # one of the newest commits is: found on its own
    if before is not None:
        key, value = before
        there = stored_commit(txn, log.databases[keys.COMMITS], value or b"\0") or b""
        log.mapped.touched(len(there))
        if len(there) < frame.STORED_BYTES_MIN or there[frame.CONTEXT_VERSION] != key:
            return  # that entry is surplus, or leads astray: found on its own
        position = keys.unpack_u64(value)
        expected = frame.versions(there)[1] + 1
        if expected != commit.first_version and not _is_sound(position, there):
            return  # found on its own, and its count means nothing
        if position >= commit.position:
            yield Finding(
                "order_differs",
                commit.position,
                f"an earlier version of its context is at the later position {position}",
                {"context_id": commit.context_id, "other": position},
            )
    if commit.first_version != expected:
        yield Finding(
            "version_gap",
            commit.position,
            f"its context goes on with version {commit.first_version}, not {expected}",
            {"context_id": commit.context_id, "expected": expected, "actual": commit.first_version},
        )


def _header_at(log: Log, txn: lmdb.Transaction, position: int) -> Commit | None:
    """The header of the commit there, if there is one and it is sound."""
    stored = stored_commit(txn, log.databases[keys.COMMITS], keys.pack_u64(position))
    return frame.header(position, stored) if stored is not None and _is_sound(position, stored) else None


def _is_sound(position: int, stored: bytes) -> bool:
    try:
        frame.check(position, stored)
    except Damaged:
        return False
    return True
