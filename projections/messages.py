"""The message index: what each message is, who its ancestors are, and how to find it in its context.

Besides its parent a row names one ancestor further up (a skew-binary jump), so that any ancestor is found in
O(log depth) steps and a page of a long path costs no more than a page.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import assert_never
from uuid import UUID

import msgspec

from eventstore.commits import Commit
from eventstore.content import (
    AudioPart,
    DataPart,
    FilePart,
    ImagePart,
    Json,
    Part,
    ReasoningPart,
    RefusalPart,
    TextPart,
    ToolCallPart,
    ToolResultPart,
)
from eventstore.events import (
    BITS,
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
    BY_ROLE,
    BY_TYPE,
    BY_VERSION,
    MESSAGES,
    REDACTIONS,
    MessageRow,
    by_role,
    by_type,
    message_rows,
    versioned,
)
from projections.projection import Past, Rows


class Messages:
    """The projection ``messages``."""

    name: str = "messages"
    version: int = 1
    tables: tuple[str, ...] = (MESSAGES, BY_VERSION, BY_ROLE, BY_TYPE, REDACTIONS)
    kinds: int = BITS[MessageAppended] | BITS[StreamStarted] | BITS[StreamFinalized] | BITS[MessageRedacted]

    def apply(self, commit: Commit, rows: Rows, past: Past) -> None:
        """Fold one commit."""
        del past
        for version, event in commit.versioned():
            match event:
                case MessageAppended() | StreamStarted():
                    _add(event, version, commit, rows)
                case StreamFinalized():
                    _finalize(event, version, rows)
                case MessageRedacted():
                    _redact(event.message_id, version, commit.context_id, rows)
                case (
                    ContextCreated()
                    | ContextUpdated()
                    | StateChanged()
                    | ContextDeleted()
                    | StreamResumed()
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


def _row(message_id: UUID, rows: Rows) -> MessageRow:
    return message_rows.decode(rows.get(MESSAGES, message_id.bytes) or b"")


def _add(event: MessageAppended | StreamStarted, version: int, commit: Commit, rows: Rows) -> None:
    parent_id = event.parent_id if isinstance(event.parent_id, UUID) else None
    depth, jump_id, jump_depth = _ancestry(event.message_id, parent_id, rows)
    row = MessageRow(
        commit.context_id,
        version,
        commit.position,
        commit.recorded_at,
        parent_id,
        depth,
        jump_id,
        jump_depth,
        event.branch,
        event.role,
        "message",
        event.occurred_at,
        streamed=True,
    )
    if isinstance(event, MessageAppended):
        row.streamed = False
        row.message_type = event.message_type
        _describe(row, event.parts)
    message, context = event.message_id.bytes, commit.context_id.bytes
    rows.put(MESSAGES, message, message_rows.encode(row))
    rows.put(BY_VERSION, versioned(context, version), message)
    rows.put(BY_ROLE, by_role(context, row.role, version), message)
    rows.put(BY_TYPE, by_type(context, row.message_type, version), message)


def _ancestry(message_id: UUID, parent_id: UUID | None, rows: Rows) -> tuple[int, UUID, int]:
    """A new message's depth, jump and the jump's depth.

    Two jumps of one length after another become one jump over both: the lengths are skew-binary numbers.
    A root jumps to itself.
    """
    if parent_id is None:
        return 0, message_id, 0
    parent = _row(parent_id, rows)
    jump = _row(parent.jump_id, rows)
    if parent.depth - parent.jump_depth == parent.jump_depth - jump.jump_depth:
        return parent.depth + 1, jump.jump_id, jump.jump_depth
    return parent.depth + 1, parent_id, parent.depth


def _finalize(event: StreamFinalized, version: int, rows: Rows) -> None:
    row = _row(event.message_id, rows)
    row.outcome, row.finalized_version = event.outcome, version
    if event.parts is not None:
        row.has_final_parts = True
        _describe(row, event.parts)
    rows.put(MESSAGES, event.message_id.bytes, message_rows.encode(row))


def _redact(message_id: UUID, version: int, context_id: UUID, rows: Rows) -> None:
    row = _row(message_id, rows)
    if row.redacted_version is None:
        row.redacted_version = version
        rows.put(MESSAGES, message_id.bytes, message_rows.encode(row))
        rows.put(REDACTIONS, versioned(context_id.bytes, version), message_id.bytes)


def _describe(row: MessageRow, parts: tuple[Part, ...]) -> None:
    row.size_bytes = content_bytes(parts)
    row.has_tool_calls = any(type(part) is ToolCallPart for part in parts)
    row.has_tool_result = any(type(part) is ToolResultPart for part in parts)


def content_bytes(parts: Iterable[Part]) -> int:
    """UTF-8 bytes of what parts say: their texts and arguments; results and data as JSON. Media count 0."""
    return sum(map(_part_bytes, parts))


def _part_bytes(part: Part) -> int:
    match part:
        case TextPart() | ReasoningPart() | RefusalPart():
            return len(part.text.encode())
        case ToolCallPart():
            return len(part.arguments.encode())
        case ToolResultPart():
            return _json_bytes(part.content)
        case DataPart():
            return _json_bytes(part.data)
        case ImagePart() | AudioPart() | FilePart():
            return 0
        case _:
            assert_never(part)


def _json_bytes(value: Json) -> int:
    return len(value.encode()) if isinstance(value, str) else len(msgspec.json.encode(value))
