"""A message's entry, as of a moment of the context that looks at it."""

from __future__ import annotations

from typing import NamedTuple
from uuid import UUID

from projections.answers import MessageEntry
from projections.layout import MessageRow
from projections.snapshot import Snapshot, message_not_found
from projections.timetravel import Lineage


class Seen(NamedTuple):
    """A message, and the version of its own context up to which it is seen."""

    id: UUID
    row: MessageRow
    version: int


def seen(snapshot: Snapshot, lineage: Lineage, message_id: UUID) -> Seen:
    """A message as a context sees it. Raises ``NotFound`` (``message_not_found``) when it does not (yet)."""
    row = snapshot.message(message_id)
    version = lineage.version_of(row.context_id)
    if row.version > version:
        raise message_not_found(message_id, context_id=lineage.context_id)
    return Seen(message_id, row, version)


def entry_of(snapshot: Snapshot, message: Seen) -> MessageEntry:
    """The entry. What is not yet so at the version that is seen is left out, but for a redaction."""
    row = message.row
    size_bytes, has_tool_calls, has_tool_result = row.size_bytes, row.has_tool_calls, row.has_tool_result
    is_open = row.streamed and not is_finalized(message)
    if is_open:
        size_bytes, has_tool_calls, has_tool_result = None, False, False
    elif size_bytes is None:
        timeline = snapshot.find_timeline(message.id)
        if timeline is not None:
            size_bytes = sum(mark.text_bytes for mark in timeline.marks)
            has_tool_calls = timeline.has_tool_calls
    return MessageEntry(
        message.id,
        row.context_id,
        row.version,
        row.position,
        row.parent_id,
        row.branch,
        row.role,
        row.message_type,
        row.recorded_at,
        row.occurred_at,
        size_bytes,
        bool(has_tool_calls),
        has_tool_result,
        row.streamed,
        None if is_open else row.outcome,
        row.redacted_version is not None,
    )


def is_finalized(message: Seen) -> bool:
    """Whether a stream had ended at the version that is seen."""
    finalized = message.row.finalized_version
    return finalized is not None and finalized <= message.version
