"""Timelines: each stream's header, and its chunks in sealed segments once it is finalized.

Commits of chunks alone are skipped, so following live streams writes nothing. When a stream is finalized,
the chunks of all open streams of its context are sealed, from where the last sealing ended: each chunk is
read from the log once, however many streams overlap.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, assert_never
from uuid import UUID

from eventstore.commits import Commit
from eventstore.events import (
    BITS,
    CHUNK_BIT,
    BranchDeleted,
    BranchMoved,
    BranchSwitched,
    ChunkReceived,
    ChunkRun,
    ContextCreated,
    ContextDeleted,
    ContextUpdated,
    CustomRecorded,
    MessageAppended,
    MessageRedacted,
    StateChanged,
    StreamFinalized,
    StreamResumed,
    StreamStarted,
)
from projections.layout import (
    OPEN_STREAMS,
    SEALING,
    SEGMENTS,
    TIMELINES,
    OpenStreamRow,
    SealingRow,
    TimelineRow,
    open_stream_rows,
    sealing_rows,
    timeline_rows,
    versioned,
)
from projections.projection import Past, Rows
from projections.segments import Sealer

GATHERED_CHARACTERS_MAX: Final = 8 * 1024 * 1024
"""Characters that a sealing holds in memory, over all streams of a context."""

CHUNK_CHARACTERS: Final = 100
"""What a chunk costs in memory beside its text."""


class Timelines:
    """The projection ``timelines``."""

    name: str = "timelines"
    version: int = 1
    tables: tuple[str, ...] = (TIMELINES, SEGMENTS, OPEN_STREAMS, SEALING)
    kinds: int = (
        BITS[StreamStarted]
        | BITS[StreamResumed]
        | BITS[StreamFinalized]
        | BITS[MessageRedacted]
        | BITS[ContextDeleted]
    )

    def apply(self, commit: Commit, rows: Rows, past: Past) -> None:
        """Fold one commit."""
        for version, event in commit.versioned():
            match event:
                case StreamStarted():
                    _start(event, version, commit, rows)
                case StreamResumed():
                    key = event.message_id.bytes
                    row = open_stream_rows.decode(rows.get(OPEN_STREAMS, key) or b"")
                    row.epoch = event.epoch
                    rows.put(OPEN_STREAMS, key, open_stream_rows.encode(row))
                case StreamFinalized():
                    _finalize(event, version, commit, rows, past)
                case MessageRedacted():
                    _redact(event.message_id, rows)
                case ContextDeleted():
                    _abandon(version, commit.context_id, rows, past)
                case (
                    ContextCreated()
                    | ContextUpdated()
                    | StateChanged()
                    | MessageAppended()
                    | ChunkReceived()
                    | ChunkRun()
                    | BranchMoved()
                    | BranchSwitched()
                    | BranchDeleted()
                    | CustomRecorded()
                ):
                    pass
                case _:
                    assert_never(event)


def _timeline(message_id: UUID, rows: Rows) -> TimelineRow:
    return timeline_rows.decode(rows.get(TIMELINES, message_id.bytes) or b"")


def _sealing(context_id: UUID, rows: Rows) -> SealingRow:
    stored = rows.get(SEALING, context_id.bytes)
    return SealingRow(0) if stored is None else sealing_rows.decode(stored)


def _start(event: StreamStarted, version: int, commit: Commit, rows: Rows) -> None:
    key, context_id, at = event.message_id.bytes, commit.context_id, commit.recorded_at
    row = TimelineRow(context_id, event.role, event.model, version, commit.position, at, event.occurred_at)
    rows.put(TIMELINES, key, timeline_rows.encode(row))
    rows.put(OPEN_STREAMS, key, open_stream_rows.encode(OpenStreamRow(context_id, version, at)))
    sealing = _sealing(context_id, rows)
    if not sealing.message_ids:
        sealing.version = version
    sealing.message_ids.append(event.message_id)
    rows.put(SEALING, context_id.bytes, sealing_rows.encode(sealing))


def _finalize(event: StreamFinalized, version: int, commit: Commit, rows: Rows, past: Past) -> None:
    key, context_id = event.message_id.bytes, commit.context_id
    sealing = _sealing(context_id, rows)
    _seal(context_id, sealing.version + 1, version - 1, sealing.message_ids, rows, past)
    sealing.version = version
    sealing.message_ids.remove(event.message_id)
    _put_sealing(context_id, sealing, rows)
    rows.delete(OPEN_STREAMS, key)
    row = _timeline(event.message_id, rows)
    row.outcome, row.finish_reason = event.outcome, event.finish_reason
    row.usage, row.error = event.usage, None if row.redacted else event.error
    row.has_final_parts = event.parts is not None
    row.finalized_version, row.finalized_position = version, commit.position
    row.finalized_at = commit.recorded_at
    rows.put(TIMELINES, key, timeline_rows.encode(row))


def _redact(message_id: UUID, rows: Rows) -> None:
    """Drop the text of a stream, also the error, which may quote it; what counts it stays."""
    key = message_id.bytes
    if rows.get(TIMELINES, key) is None:
        return
    row = _timeline(message_id, rows)
    for mark in row.marks:
        rows.delete(SEGMENTS, versioned(key, mark.first_sequence))
    row.redacted, row.error = True, None
    rows.put(TIMELINES, key, timeline_rows.encode(row))


def _abandon(version: int, context_id: UUID, rows: Rows, past: Past) -> None:
    """A deleted context takes no more events: its open streams stay as they are, for ever."""
    sealing = _sealing(context_id, rows)
    if sealing.message_ids:
        _seal(context_id, sealing.version + 1, version - 1, sealing.message_ids, rows, past)
        for message_id in sealing.message_ids:
            rows.delete(OPEN_STREAMS, message_id.bytes)
        rows.delete(SEALING, context_id.bytes)


def _put_sealing(context_id: UUID, sealing: SealingRow, rows: Rows) -> None:
    if sealing.message_ids:
        rows.put(SEALING, context_id.bytes, sealing_rows.encode(sealing))
    else:
        rows.delete(SEALING, context_id.bytes)


def _seal(
    context_id: UUID,
    first_version: int,
    last_version: int,
    message_ids: list[UUID],
    rows: Rows,
    past: Past,
) -> None:
    """Move the chunks of these streams, in a range of versions, into segments.

    The range begins after one event that is no chunk and ends before another, so no run crosses its ends.
    """
    if first_version > last_version:
        return
    sealers: dict[UUID, Sealer] = {}

    def sealer_of(message_id: UUID) -> Sealer:
        sealer = sealers.get(message_id)
        if sealer is None:
            sealer = sealers[message_id] = Sealer(message_id, _timeline(message_id, rows), rows)
        return sealer

    only = sealer_of(message_ids[0]) if len(message_ids) == 1 else None
    gathered = 0
    for commit in past.context(context_id, first_version, last_version):
        if only is not None and commit.kinds == CHUNK_BIT:
            for record in commit.records:
                only.add(record)  # pyright: ignore[reportArgumentType] -- the kinds say so
            continue
        for version, record in commit.versioned():
            if type(record) is ChunkRun and first_version <= version <= last_version:
                sealer_of(record.message_id).add(record)
                gathered += sum(map(len, record.deltas)) + CHUNK_CHARACTERS * len(record.deltas)
        if gathered > GATHERED_CHARACTERS_MAX:
            _flush(sealers.values())
            gathered = 0
    _flush(sealers.values())


def _flush(sealers: Iterable[Sealer]) -> None:
    for sealer in sealers:
        sealer.flush()
