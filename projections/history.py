"""A context's history as pages of entries: one for each event, one for each run of a stream's chunks.

Events other than chunks have rows of their own, so a run between two of them is known without counting it,
however long it is. Only where several streams are open at once is the log read, to the end of the last run
that the page shows: that costs what the page has in versions, not in entries.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, cast
from uuid import UUID

from eventstore.events import BIT_OF_TAG, CHUNK_BIT, ChunkRun, Outcome
from projections.answers import HistoryEntry, Page
from projections.layout import HISTORY, HistoryRow, history_rows, pack_version, version_in, versioned
from projections.pages import checked_limit, encode_cursor
from projections.snapshot import Snapshot

TAGS: Final = {bit.bit_length() - 1: tag for tag, bit in BIT_OF_TAG.items()}
"""The dotted name of an event by the number of its bit."""

CHUNK_TAG: Final = TAGS[CHUNK_BIT.bit_length() - 1]


def history(snapshot: Snapshot, context_id: UUID, after: int, up_to: int, limit: int) -> Page[HistoryEntry]:
    """The entries after a version, which is excluded, up to another, which is included."""
    checked_limit(limit)
    found: list[HistoryEntry] = []
    for entry in _entries(snapshot, context_id, after, up_to):
        if len(found) == limit:
            return Page(found, encode_cursor(pack_version(found[-1].last_version)))
        found.append(entry)
    return Page(found)


def _entries(snapshot: Snapshot, context_id: UUID, after: int, up_to: int) -> Iterator[HistoryEntry]:
    if after >= up_to:
        return
    prefix = context_id.bytes
    before_version, before = snapshot.history(context_id, after) if after else (0, HistoryRow())
    start, stop = versioned(prefix, after + 1), versioned(prefix, up_to + 1)
    for key, value in snapshot.view.scan("contexts", HISTORY, start, stop):
        version, row = version_in(key), history_rows.decode(value)
        yield from _chunks(snapshot, context_id, before_version, before, after, version - 1)
        yield _entry(version, row)
        before_version, before, after = version, row, version
    yield from _chunks(snapshot, context_id, before_version, before, after, up_to)


def _entry(version: int, row: HistoryRow) -> HistoryEntry:
    tag = TAGS[row.event]
    branch = name = outcome = None
    match tag:
        case "message.appended" | "stream.started" | "branch.moved" | "branch.switched" | "branch.deleted":
            branch = row.name
        case "stream.finalized":
            outcome = row.name
        case _:
            name = row.name
    return HistoryEntry(
        tag,
        version,
        version,
        row.position,
        row.recorded_at,
        message_id=row.message_id,
        branch=branch,
        name=name,
        outcome=cast("Outcome | None", outcome),
    )


def _chunks(
    snapshot: Snapshot, context_id: UUID, row_version: int, row: HistoryRow, after: int, up_to: int
) -> Iterator[HistoryEntry]:
    """The runs of chunks between two rows; ``after`` may be inside, where an earlier page ended."""
    if after >= up_to:
        return
    if len(row.streams) > 1:
        yield from _mixed_chunks(snapshot, context_id, after, up_to)
        return
    ((message_id, stream),) = row.streams.items()
    commit = snapshot.commit_of(context_id, after + 1)
    first = stream.progress + after + 1 - row_version
    last = stream.progress + up_to - row_version
    yield _run_entry(message_id, after + 1, first, last, commit.position, commit.recorded_at)


def _mixed_chunks(snapshot: Snapshot, context_id: UUID, after: int, up_to: int) -> Iterator[HistoryEntry]:
    """As ``_chunks``, from the log: the streams take turns."""
    entry: HistoryEntry | None = None
    for commit in snapshot.log.context_commits(snapshot.txn, context_id, after + 1, up_to):
        for version, record in commit.versioned():
            if type(record) is not ChunkRun or version > up_to or version + len(record.deltas) - 1 <= after:
                continue
            left_out = max(0, after + 1 - version)
            first, last = record.first_sequence + left_out, record.last_sequence
            if entry is not None and entry.message_id == record.message_id:
                entry = _run_entry(
                    record.message_id,
                    entry.version,
                    entry.first_sequence or 0,
                    last,
                    entry.position,
                    entry.recorded_at,
                )
                continue
            if entry is not None:
                yield entry
            at = version + left_out
            entry = _run_entry(record.message_id, at, first, last, commit.position, commit.recorded_at)
    if entry is not None:
        yield entry


def _run_entry(
    message_id: UUID, version: int, first: int, last: int, position: int, recorded_at: int
) -> HistoryEntry:
    count = last - first + 1
    return HistoryEntry(
        CHUNK_TAG,
        version,
        version + count - 1,
        position,
        recorded_at,
        count,
        message_id,
        first_sequence=first,
        last_sequence=last,
    )
