"""Contexts: metadata, branches, state and open streams, now and as of any version.

A row of history is written for every event but a chunk, so that the state as of a version is the last row at
or below it. What is large and changes seldom (metadata, a state's detail) has rows of its own. While three or
more streams are open, a cut is written at every milestone: how far each of them is.
"""

from __future__ import annotations

from functools import partial
from typing import Final, assert_never
from uuid import UUID

from eventstore.commits import Commit
from eventstore.context import MAIN
from eventstore.events import (
    ALL_BITS,
    BITS,
    CHUNK_BIT,
    MILESTONE_STREAMS_MIN,
    MILESTONES,
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
    Record,
    StateChanged,
    StreamFinalized,
    StreamResumed,
    StreamStarted,
)
from eventstore.metadata import Metadata, updated
from projections.cuts import cut_of_row, progress_at, stored_cut
from projections.layout import (
    BY_UPDATED,
    CONTEXTS,
    CUTS,
    DETAILS,
    HISTORY,
    METADATA,
    ContextRow,
    CutRow,
    HistoryRow,
    OpenStream,
    by_updated,
    context_rows,
    cut_rows,
    encode_detail,
    history_rows,
    metadata_rows,
    scope_of,
    versioned,
)
from projections.projection import Past, Rows, milestone_before, milestones, with_records

_ALL: Final = scope_of(None)


class Contexts:
    """The projection ``contexts``."""

    name: str = "contexts"
    version: int = 2
    tables: tuple[str, ...] = (CONTEXTS, HISTORY, METADATA, DETAILS, CUTS, BY_UPDATED)
    kinds: int = ALL_BITS & ~CHUNK_BIT | MILESTONES

    def apply(self, commit: Commit, rows: Rows, past: Past) -> None:
        """Fold one commit: a row of history for each event in it, and the context as it is after it."""
        key = commit.context_id.bytes
        stored = rows.get(CONTEXTS, key)
        row = _unborn(commit) if stored is None else context_rows.decode(stored)
        only_chunks = commit.kinds == CHUNK_BIT
        if only_chunks:
            if len(row.last.streams) < MILESTONE_STREAMS_MIN:
                return
            commit = with_records(commit, past)
        listed = () if stored is None else _listed(row, key)
        progress = _progress_before(row, commit, rows, past)
        for version, record in commit.versioned():
            if type(record) is ChunkRun:
                _put_cuts(progress, record, version, rows, key)
                progress[record.message_id] = record.last_sequence
                continue
            # Chunks after the commit's last event are counted from its row on, as in commits of chunks alone.
            for message_id, stream in row.last.streams.items():
                stream.progress = progress[message_id]
            _evolve(row, record, version, rows, key)
            progress = cut_of_row(version, row.last).progress
            row.last_version = version
            row.last.position, row.last.recorded_at = commit.position, commit.recorded_at
            rows.put(HISTORY, versioned(key, version), history_rows.encode(row.last))
        if only_chunks:
            return
        row.updated_at = commit.recorded_at
        rows.put(CONTEXTS, key, context_rows.encode(row))
        for entry in listed:
            rows.delete(BY_UPDATED, entry)
        for entry in _listed(row, key):
            rows.put(BY_UPDATED, entry, b"")


def _unborn(commit: Commit) -> ContextRow:
    return ContextRow("", None, [], commit.recorded_at, commit.recorded_at, None, 0, HistoryRow())


def _listed(row: ContextRow, key: bytes) -> tuple[bytes, ...]:
    deleted, at = row.last.deleted, row.updated_at
    return by_updated(_ALL, deleted, at, key), by_updated(scope_of(row.workspace), deleted, at, key)


def _progress_before(row: ContextRow, commit: Commit, rows: Rows, past: Past) -> dict[UUID, int]:
    """How far the open streams were just before a commit, over commits of chunks that were skipped."""
    if not row.last.streams:
        return {}
    before = commit.first_version - 1
    cut = cut_of_row(row.last_version, row.last)
    if before == row.last_version:
        return cut.progress
    milestone = milestone_before(before)
    if len(row.last.streams) >= MILESTONE_STREAMS_MIN and milestone > row.last_version:
        stored = rows.get(CUTS, versioned(commit.context_id.bytes, milestone))
        cut = cut if stored is None else stored_cut(milestone, row.last, stored)
    return progress_at(cut, before, partial(past.context, commit.context_id))


def _put_cuts(progress: dict[UUID, int], run: ChunkRun, version: int, rows: Rows, key: bytes) -> None:
    """A row for each milestone in a run that begins at ``version``; ``progress`` is that before it."""
    if len(progress) < MILESTONE_STREAMS_MIN:
        return
    for milestone in milestones(version, version + len(run.deltas) - 1):
        cut = progress | {run.message_id: run.first_sequence + milestone - version}
        rows.put(CUTS, versioned(key, milestone), cut_rows.encode(CutRow(list(cut.values()))))


def _evolve(row: ContextRow, event: Record, version: int, rows: Rows, key: bytes) -> None:
    """Change the row as the event says, and write the rows of what is large."""
    last = row.last
    last.event = BITS[type(event)].bit_length() - 1
    last.message_id = last.name = None
    match event:
        case ContextCreated():
            _create(row, event)
            _put_metadata(row, Metadata(event.title, event.config, event.attributes), version, rows, key)
        case ContextUpdated():
            before = metadata_rows.decode(rows.get(METADATA, versioned(key, last.metadata_version)) or b"")
            last.name = ", ".join(sorted(event.changes))
            _put_metadata(row, updated(before, event.changes), version, rows, key)
        case StateChanged():
            last.name = last.state = event.state
            last.detail_version = 0
            if event.detail is not None:
                last.detail_version = version
                rows.put(DETAILS, versioned(key, version), encode_detail(event.detail))
        case ContextDeleted():
            last.deleted = True
        case MessageAppended() | StreamStarted():
            last.message_id, last.name = event.message_id, event.branch
            last.branches[event.branch] = event.message_id
            last.message_count += 1
            if type(event) is StreamStarted:
                last.streams[event.message_id] = OpenStream(version)
        case MessageRedacted():
            last.message_id = event.message_id
        case StreamResumed():
            last.message_id = event.message_id
            last.streams[event.message_id].epoch = event.epoch
        case StreamFinalized():
            last.message_id, last.name = event.message_id, event.outcome
            del last.streams[event.message_id]
        case BranchMoved():
            last.name, last.message_id = event.branch, event.head
            last.branches[event.branch] = event.head
        case BranchSwitched():
            last.name = last.active_branch = event.branch
        case BranchDeleted():
            last.name = event.branch
            del last.branches[event.branch]
        case CustomRecorded():
            last.name = event.name
        case ChunkRun() | ChunkReceived():
            raise TypeError("chunks have no row")
        case _:
            assert_never(event)


def _create(row: ContextRow, event: ContextCreated) -> None:
    row.workspace = event.workspace
    row.forked_from = event.forked_from
    row.last.branches[MAIN] = None
    row.last.active_branch = MAIN


def _put_metadata(row: ContextRow, metadata: Metadata, version: int, rows: Rows, key: bytes) -> None:
    row.title, row.tags = metadata.title, metadata.tags
    row.last.metadata_version = version
    rows.put(METADATA, versioned(key, version), metadata_rows.encode(metadata))
