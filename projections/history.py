"""A context's history as pages of entries: one for each event, one for each stretch of chunks between two.

Events other than chunks have rows of their own, which say how far each stream was: so a stretch is known
without counting it, however long it is and however many streams take turns in it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, TypeAlias, cast
from uuid import UUID

from eventstore.events import BIT_OF_TAG, CHUNK_BIT, Outcome
from projections.answers import HistoryEntry, Page, StreamStretch
from projections.cuts import cut_of_row
from projections.layout import HISTORY, HistoryRow, history_rows, pack_version, version_in, versioned
from projections.pages import checked_limit, encode_cursor
from projections.snapshot import Snapshot
from projections.timetravel import streams_at

TAGS: Final = {bit.bit_length() - 1: tag for tag, bit in BIT_OF_TAG.items()}
"""The dotted name of an event by the number of its bit."""

CHUNK_TAG: Final = TAGS[CHUNK_BIT.bit_length() - 1]

Progress: TypeAlias = dict[UUID, int]
"""How many chunks each open stream has."""


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
    row_version, row = snapshot.history(context_id, after) if after else (0, HistoryRow())
    progress = streams_at(snapshot, context_id, row_version, row, after)
    start, stop = (versioned(context_id.bytes, version + 1) for version in (after, up_to))
    for key, value in snapshot.view.scan("contexts", HISTORY, start, stop):
        row_version, row = version_in(key), history_rows.decode(value)
        then = cut_of_row(row_version, row).progress
        if after < row_version - 1:
            yield _stretch(snapshot, context_id, after, row_version - 1, progress, then)
        yield _entry(row_version, row)
        progress, after = then, row_version
    if after < up_to:
        then = streams_at(snapshot, context_id, row_version, row, up_to)
        yield _stretch(snapshot, context_id, after, up_to, progress, then)


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


def _stretch(
    snapshot: Snapshot, context_id: UUID, after: int, up_to: int, before: Progress, then: Progress
) -> HistoryEntry:
    """The chunks of a range of versions that holds nothing else, given how far the streams were around it.

    The row at its end may lack one stream, the one that it finalizes: what the others leave is that one's.
    """
    known = sum(then[message_id] - progress for message_id, progress in before.items() if message_id in then)
    rest = up_to - after - known
    streams = [
        StreamStretch(message_id, progress + 1, last)
        for message_id, progress in before.items()
        if (last := then.get(message_id, progress + rest)) > progress
    ]
    commit = snapshot.commit_of(context_id, after + 1)
    return HistoryEntry(
        CHUNK_TAG,
        after + 1,
        up_to,
        commit.position,
        commit.recorded_at,
        up_to - after,
        message_id=streams[0].message_id if len(streams) == 1 else None,
        streams=streams,
    )
