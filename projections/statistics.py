"""A stream in numbers, from its header and the chunks that are not in it yet."""

from __future__ import annotations

from uuid import UUID

from eventstore.content import ToolCallPart, fold
from eventstore.events import ChunkRun
from projections.answers import Timeline
from projections.layout import TimelineRow


class Tally:
    """Counts on from a stream's header: ``add`` the runs after the sealed ones, in order."""

    def __init__(self, message_id: UUID, row: TimelineRow) -> None:
        self._message_id = message_id
        self._row = row
        self._chunks = row.sealed
        self._characters = sum(mark.characters for mark in row.marks)
        self._text_bytes = sum(mark.text_bytes for mark in row.marks)
        self._first_at, self._last_at = row.first_at, row.last_at
        self._elapsed_us = row.elapsed_us
        self._has_tool_calls = row.has_tool_calls
        self._has_raw = row.has_raw

    def add(self, run: ChunkRun) -> None:
        """The next chunks."""
        if self._chunks == 0:
            self._first_at = self._last_at = run.first_at
        for at in run.times():
            self._elapsed_us += max(0, at - self._last_at)
            self._last_at = at
        self._chunks += len(run.deltas)
        self._has_raw = self._has_raw or run.raws is not None
        if run.kind == "other":
            notes = fold((run.kind, run.part, delta) for delta in run.deltas)
            self._has_tool_calls = self._has_tool_calls or any(type(p) is ToolCallPart for p in notes)
            return
        self._has_tool_calls = self._has_tool_calls or run.kind == "tool_call"
        text = "".join(run.deltas)
        self._characters += len(text)
        self._text_bytes += len(text.encode())

    def timeline(self) -> Timeline:
        """The numbers so far."""
        row, chunks, elapsed_us = self._row, self._chunks, self._elapsed_us
        started_at = row.started_at if row.occurred_at is None else row.occurred_at
        return Timeline(
            self._message_id,
            row.context_id,
            row.role,
            row.model,
            row.started_version,
            row.started_position,
            row.started_at,
            row.occurred_at,
            chunks,
            self._characters,
            self._text_bytes,
            max(0, self._first_at - started_at) if chunks else None,
            elapsed_us,
            (chunks - 1) * 1_000_000 / elapsed_us if chunks > 1 and elapsed_us else None,
            self._has_raw,
            self._has_tool_calls,
            row.redacted,
            row.outcome,
            row.finish_reason,
            row.usage,
            row.error,
            row.finalized_version,
            row.finalized_position,
            row.finalized_at,
        )
