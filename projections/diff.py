"""What differs between two moments of a context, in either order; it costs as much as it has to say."""

from __future__ import annotations

from uuid import UUID

from eventstore.events import Outcome
from eventstore.metadata import Metadata
from projections.answers import BranchMove, ContextState, Diff, MessageEntry, StateChange, StreamChange
from projections.entries import Seen, entry_of
from projections.layout import BY_VERSION, REDACTIONS, versioned
from projections.metadata import changes_between
from projections.pages import checked_limit
from projections.snapshot import Snapshot
from projections.timetravel import Resolved, state_at


def diff(snapshot: Snapshot, context_id: UUID, a: Resolved, b: Resolved, limit: int) -> Diff:
    """What ``b`` has that ``a`` has not, and the reverse; at most ``limit`` messages and redactions."""
    checked_limit(limit)
    before, after = state_at(snapshot, context_id, a), state_at(snapshot, context_id, b)
    low, high = min(a, b).version, max(a, b).version
    ids = _between(snapshot, BY_VERSION, context_id, low, high, limit)
    between = [_seen(snapshot, message_id, b.version if a <= b else a.version) for message_id in ids[:limit]]
    entries = [entry_of(snapshot, message) for message in between]
    redacted = _between(snapshot, REDACTIONS, context_id, low, high, limit)
    states = StateChange(before.state, after.state, before.state_detail, after.state_detail)
    active = before.active_branch, after.active_branch
    return Diff(
        context_id,
        a.version,
        b.version,
        a.position,
        b.position,
        changes_between(_metadata(before), _metadata(after)),
        states if states.differs else None,
        None if before.deleted == after.deleted else after.deleted,
        None if active[0] == active[1] else active,
        {name: head for name, head in after.branches.items() if name not in before.branches},
        {name: head for name, head in before.branches.items() if name not in after.branches},
        {
            name: BranchMove(head, after.branches[name])
            for name, head in before.branches.items()
            if name in after.branches and after.branches[name] != head
        },
        after.message_count - before.message_count,
        entries if a <= b else [],
        [] if a <= b else entries,
        redacted[:limit],
        _streams(snapshot, before, after, entries),
        len(ids) > limit or len(redacted) > limit,
    )


def _metadata(state: ContextState) -> Metadata:
    return Metadata(state.title, state.config, state.attributes, state.tags)


def _between(
    snapshot: Snapshot, table: str, context_id: UUID, above: int, up_to: int, limit: int
) -> list[UUID]:
    """The messages of a table's rows in a range of versions; one more than ``limit`` if there are."""
    prefix = context_id.bytes
    rows = snapshot.view.scan("messages", table, versioned(prefix, above + 1), versioned(prefix, up_to + 1))
    return [UUID(bytes=value) for _, (_, value) in zip(range(limit + 1), rows, strict=False)]


def _seen(snapshot: Snapshot, message_id: UUID, version: int) -> Seen:
    return Seen(message_id, snapshot.message(message_id), version)


def _streams(
    snapshot: Snapshot, before: ContextState, after: ContextState, between: list[MessageEntry]
) -> list[StreamChange]:
    """The streams that were open at one of the moments, or started in between."""
    ids = dict.fromkeys([*before.open_streams, *after.open_streams])
    ids.update(dict.fromkeys(entry.id for entry in between if entry.streamed))
    changes: list[StreamChange] = []
    for message_id in ids:
        sides = [_progress(snapshot, message_id, state) for state in (before, after)]
        if sides[0] != sides[1]:
            (chunks_before, outcome_before), (chunks_after, outcome_after) = sides
            changes.append(
                StreamChange(message_id, chunks_before, chunks_after, outcome_before, outcome_after)
            )
    return changes


def _progress(snapshot: Snapshot, message_id: UUID, state: ContextState) -> tuple[int, Outcome | None]:
    """How many chunks a stream had at a moment, and how it had ended, if it had."""
    if message_id in state.open_streams:
        return state.open_streams[message_id], None
    row = snapshot.message(message_id)
    if row.version > state.version:
        return 0, None
    return snapshot.timeline(message_id).sealed, row.outcome
