"""Contexts: metadata, branches, state and open streams, now and as of any version.

A row of history is written for every event but a chunk, so that the state as of a version is the last row at
or below it. What is large and changes seldom (metadata, a state's detail) has rows of its own.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import assert_never
from uuid import UUID

from eventstore.commits import Commit
from eventstore.context import MAIN
from eventstore.events import (
    ALL_BITS,
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
    Record,
    StateChanged,
    StreamFinalized,
    StreamResumed,
    StreamStarted,
)
from eventstore.metadata import Metadata, updated
from projections.cuts import progress_at
from projections.layout import (
    BY_UPDATED,
    CONTEXTS,
    DETAILS,
    HISTORY,
    METADATA,
    ContextRow,
    HistoryRow,
    OpenStream,
    by_updated,
    context_rows,
    encode_detail,
    history_rows,
    metadata_rows,
    scope_of,
    versioned,
)
from projections.projection import Past, Rows


class Contexts:
    """The projection ``contexts``."""

    name: str = "contexts"
    version: int = 1
    tables: tuple[str, ...] = (CONTEXTS, HISTORY, METADATA, DETAILS, BY_UPDATED)
    kinds: int = ALL_BITS & ~CHUNK_BIT

    def apply(self, commit: Commit, rows: Rows, past: Past) -> None:
        """Fold one commit: a row of history for each event in it, and the context as it is after it."""
        key = commit.context_id.bytes
        stored = rows.get(CONTEXTS, key)
        if stored is None:
            row, listed = _unborn(commit), ()
        else:
            row = context_rows.decode(stored)
            _catch_up(row, commit, past)
            listed = _listed(row, key)
        arrived: dict[UUID, int] = {}
        for version, record in commit.versioned():
            if type(record) is ChunkRun:
                arrived[record.message_id] = record.last_sequence
                continue
            # Chunks after the commit's last event are counted from its row on, as in commits of chunks alone.
            _progress(row.last, arrived)
            arrived.clear()
            _evolve(row, record, version, rows, key)
            row.last_version = version
            row.last.position, row.last.recorded_at = commit.position, commit.recorded_at
            rows.put(HISTORY, versioned(key, version), history_rows.encode(row.last))
        row.updated_at = commit.recorded_at
        rows.put(CONTEXTS, key, context_rows.encode(row))
        for entry in listed:
            rows.delete(BY_UPDATED, entry)
        for entry in _listed(row, key):
            rows.put(BY_UPDATED, entry, b"")


def _unborn(commit: Commit) -> ContextRow:
    return ContextRow("", None, [], commit.recorded_at, commit.recorded_at, None, 0, HistoryRow())


def _listed(row: ContextRow, key: bytes) -> tuple[bytes, ...]:
    deleted = row.last.deleted
    return tuple(by_updated(scope_of(w), deleted, row.updated_at, key) for w in (None, row.workspace))


def _catch_up(row: ContextRow, commit: Commit, past: Past) -> None:
    """Bring the streams' progress to just before the commit, over the commits of chunks that were skipped."""
    streams, before = row.last.streams, commit.first_version - 1
    if not streams or before == row.last_version:
        return

    def commit_of(version: int) -> Commit:
        return next(past.context(commit.context_id, version, version))

    _progress(row.last, progress_at(streams, row.last_version, before, commit_of))


def _progress(last: HistoryRow, sequences: Mapping[UUID, int]) -> None:
    for message_id, sequence in sequences.items():
        last.streams[message_id].progress = sequence


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
