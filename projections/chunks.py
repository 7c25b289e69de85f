"""Reading a stream's chunks forward: from sealed segments, and beyond them from the log.

A reader is only a place in the stream. Each of its steps is bounded and runs on a snapshot of its own, so
that long streams are read without long transactions, also while they grow, are sealed or are finalized.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import AsyncGenerator, Callable
from typing import Any, Final
from uuid import UUID

import anyio.lowlevel
import msgspec

from eventstore.commits import Commit
from eventstore.errors import NotFound, Refused
from eventstore.events import (
    BITS,
    ChunkRun,
    ContextDeleted,
    MessageRedacted,
    StreamFinalized,
)
from eventstore.limits import PAGE_BYTES, PAGE_COMMITS
from eventstore.store import EventStore
from projections.layout import SEGMENTS, U64_MAX, TimelineRow, versioned
from projections.segments import decode
from projections.snapshot import Snapshot

READ_CHUNKS: Final = 4_096
"""Chunks read from the log in one step, about 4 ms."""

FOLLOWED_KINDS: Final = BITS[ChunkRun] | BITS[StreamFinalized] | BITS[MessageRedacted] | BITS[ContextDeleted]
"""What a reader of a stream must hear of."""


class ChunkReader:
    """A place in a stream. ``sequence`` is the last chunk that was read.

    After a step that reached the stream's end ``end`` is set; after one that reached the log's, ``drained``;
    ``abandoned`` says that its context was deleted before, so that there will never be an end.
    ``raw`` reads the log alone and keeps the provider's own bytes, which segments leave out.
    Raises ``Refused`` (``invalid_argument``) for a place before the first chunk.
    """

    def __init__(self, message_id: UUID, after: int = 0, *, raw: bool = False) -> None:
        if after < 0:
            raise Refused("invalid_argument", "after is a sequence, 0 or more", argument="after")
        self.message_id = message_id
        self.sequence = after
        self.raw = raw
        self.end: StreamFinalized | None = None
        self.abandoned = False
        self.drained = False
        self.position = 0
        self._version = 0

    def read(self, snapshot: Snapshot, chunks: int = READ_CHUNKS) -> list[ChunkRun]:
        """The next runs: a segment, or about as many chunks as asked for from the log.

        Raises ``NotFound``: ``message_not_found``, ``stream_not_open`` when it is no stream,
        or ``message_redacted``.
        """
        row = snapshot.timeline(self.message_id)
        if row.redacted:
            raise redacted(self.message_id)
        self.position = snapshot.log.head(snapshot.txn).position
        if not self.raw and self.sequence < row.sealed:
            return self._read_segment(snapshot, row)
        if not self.raw and row.finalized_version is not None:
            self.end = final_event(snapshot, row.context_id, row.finalized_version, self.message_id)
            return []
        return self._read_log(snapshot, row, chunks)

    def _read_segment(self, snapshot: Snapshot, row: TimelineRow) -> list[ChunkRun]:
        firsts = [mark.first_sequence for mark in row.marks]
        first = firsts[bisect_right(firsts, self.sequence + 1) - 1]
        stored = snapshot.view.get("timelines", SEGMENTS, versioned(self.message_id.bytes, first))
        runs = [
            following(run, self.sequence)
            for run in decode(stored or b"").runs(self.message_id, first)
            if run.last_sequence > self.sequence
        ]
        self.sequence = runs[-1].last_sequence
        return runs

    def _read_log(self, snapshot: Snapshot, row: TimelineRow, chunks: int) -> list[ChunkRun]:
        # Each chunk takes a version, so chunk n stands at the version of the start plus n, or later.
        start = max(self._version, row.started_version + self.sequence + 1)
        if row.finalized_version is not None:
            start = min(start, row.finalized_version)
        if not self.raw and row.outcome is None:
            start = max(start, snapshot.sealed_version(row.context_id) + 1)
        found: list[ChunkRun] = []
        room = PAGE_BYTES
        commits = snapshot.log.context_commits(snapshot.txn, row.context_id, start)
        for number, commit in enumerate(commits):
            if number == PAGE_COMMITS or chunks <= 0 or room <= 0:
                return found
            runs = self.take(commit)
            chunks -= sum(len(run.deltas) for run in runs)
            room -= sum(len(text or "") for run in runs for text in (*run.deltas, *(run.raws or ())))
            found.extend(runs)
            self._version = commit.last_version + 1
            if self.end is not None:
                return found
        self.drained = True
        self.abandoned = self.abandoned or snapshot.context(row.context_id).last.deleted
        return found

    def take(self, commit: Commit) -> list[ChunkRun]:
        """The stream's next chunks in a commit, and its end. Raises ``NotFound`` (``message_redacted``)."""
        found: list[ChunkRun] = []
        for record in commit.records:
            match record:
                case ChunkRun() if record.message_id == self.message_id:
                    if record.last_sequence > self.sequence:
                        found.append(self._stripped(following(record, self.sequence)))
                        self.sequence = record.last_sequence
                case StreamFinalized() if record.message_id == self.message_id:
                    self.end = record
                case MessageRedacted() if record.message_id == self.message_id:
                    raise redacted(self.message_id)
                case ContextDeleted():
                    self.abandoned = self.end is None
                case _:
                    pass
        return found

    def _stripped(self, run: ChunkRun) -> ChunkRun:
        return run if self.raw or run.raws is None else msgspec.structs.replace(run, raws=None)


class Withdrawal:
    """Looks whether a message was redacted after ``position``, while its text is being delivered.

    It reads the log, not the views, so it waits for nobody; each commit's header once.
    """

    def __init__(self, store: EventStore, position: int, message_id: UUID) -> None:
        self._store = store
        self._position = position
        self._message_id = message_id

    async def check(self) -> None:
        """Costs next to nothing while the log is as it was. Raises ``NotFound`` (``message_redacted``)."""
        head = self.head()
        while self._position < head:
            log = self._store.log
            with log.reading() as txn:
                found, reached = log.commits(
                    txn,
                    self._position,
                    count_max=PAGE_COMMITS,
                    bytes_max=PAGE_BYTES,
                    kinds=BITS[MessageRedacted],
                    to=head,
                )
            for commit in found:
                for record in commit.records:
                    if type(record) is MessageRedacted and record.message_id == self._message_id:
                        raise redacted(self._message_id)
            self._position = reached
            if reached < head:
                await anyio.lowlevel.checkpoint()

    def head(self) -> int:
        """What was committed; in the writer's process known without a look."""
        return self._store.head().position if self._store.log.read_only else self._store.acknowledged


async def stored_runs(
    snapshot: Callable[[], Snapshot], reader: ChunkReader, last: int = U64_MAX
) -> AsyncGenerator[ChunkRun]:
    """What is stored of a stream, from the reader's place up to a sequence. Raises as its ``read``."""
    while reader.sequence < last and reader.end is None and not reader.drained:
        with snapshot() as view:
            runs = reader.read(view, min(READ_CHUNKS, last - reader.sequence))
        for run in runs:
            if run.first_sequence <= last:
                yield upto(run, last)
        await anyio.lowlevel.checkpoint()


def following(run: ChunkRun, after: int) -> ChunkRun:
    """The chunks of a run whose sequence is above ``after``; there is one at least."""
    left_out = after + 1 - run.first_sequence
    if left_out <= 0:
        return run
    columns: dict[str, Any] = {
        "first_sequence": after + 1,
        "first_at": run.first_at + sum(run.gaps[: left_out + 1]),
        "deltas": run.deltas[left_out:],
        "gaps": (0, *run.gaps[left_out + 1 :]),
        "raws": None if run.raws is None else run.raws[left_out:],
    }
    return msgspec.structs.replace(run, **columns)


def upto(run: ChunkRun, last: int) -> ChunkRun:
    """The chunks of a run whose sequence is at most ``last``; there is one at least."""
    kept = last + 1 - run.first_sequence
    if kept >= len(run.deltas):
        return run
    raws = None if run.raws is None else run.raws[:kept]
    columns: dict[str, Any] = {"deltas": run.deltas[:kept], "gaps": run.gaps[:kept], "raws": raws}
    return msgspec.structs.replace(run, **columns)


def final_event(snapshot: Snapshot, context_id: UUID, version: int, message_id: UUID) -> StreamFinalized:
    """The end of a stream, which the context's event ``version`` is."""
    for record in snapshot.commit_of(context_id, version).records:
        if isinstance(record, StreamFinalized) and record.message_id == message_id:
            return record
    raise AssertionError("a stream's end is where its row says")


def redacted(message_id: UUID) -> NotFound:
    """The error for chunks that were withdrawn."""
    return NotFound("message_redacted", "the message was redacted", message_id=message_id)
