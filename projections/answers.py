"""What queries answer: plain values, ready for JSON. Times (``*_at``) are microseconds since the epoch."""

from __future__ import annotations

from typing import Generic, TypeVar
from uuid import UUID

import msgspec

from eventstore.content import Json, Kind, Part, Role
from eventstore.events import ChunkReceived, ForkedFrom, Outcome
from eventstore.units import At
from projections.metadata import FieldChange, same_json

T = TypeVar("T")


class Page(msgspec.Struct, Generic[T], frozen=True):
    """Some of a long answer. ``next_cursor`` leads to the following ones; None: there are no more."""

    items: list[T]
    next_cursor: str | None = None


class ContextSummary(msgspec.Struct, frozen=True):
    """A context in a list. ``updated_at``: its last event other than a chunk.

    ``message_count`` counts its own messages, of all branches, not those that a fork shares.
    """

    id: UUID
    workspace: str
    title: str | None
    tags: list[str]
    state: str | None
    deleted: bool
    active_branch: str
    message_count: int
    open_streams: int
    created_at: At
    updated_at: At
    forked_from: ForkedFrom | None = None


class ContextState(msgspec.Struct, frozen=True):
    """A context at a moment: right after its event ``version``, which the commit ``position`` holds.

    ``open_streams``: how many chunks each stream had that was open. ``message_count`` counts the context's
    own messages, not those that a fork shares. ``updated_at`` is of the last event other than a chunk.
    """

    id: UUID
    version: int
    position: int
    workspace: str
    title: str | None
    config: dict[str, Json]
    attributes: dict[str, Json]
    tags: list[str]
    state: str | None
    state_detail: Json
    deleted: bool
    created_at: At
    updated_at: At
    forked_from: ForkedFrom | None
    active_branch: str
    branches: dict[str, UUID | None]
    message_count: int
    open_streams: dict[UUID, int]


class MessageEntry(msgspec.Struct, frozen=True):
    """A message without its body, as of a moment.

    ``outcome`` is None for a message that is not streamed, or whose stream was still open; then
    ``size_bytes`` is None too. ``redacted`` says whether it is now: that has no past.
    """

    id: UUID
    context_id: UUID
    version: int
    position: int
    parent_id: UUID | None
    branch: str
    role: Role
    message_type: str
    recorded_at: At
    occurred_at: At | None
    size_bytes: int | None
    has_tool_calls: bool
    has_tool_result: bool
    streamed: bool
    outcome: Outcome | None
    redacted: bool


class MessageBody(msgspec.Struct, frozen=True):
    """A message with its content. ``text`` joins its text parts; ``complete``: nothing is to come.

    The content of a redacted message is empty.
    """

    entry: MessageEntry
    parts: tuple[Part, ...]
    text: str
    complete: bool

    @property
    def outcome(self) -> Outcome | None:
        """How its stream ended."""
        return self.entry.outcome

    @property
    def redacted(self) -> bool:
        """Whether the content was withdrawn."""
        return self.entry.redacted


class Timeline(msgspec.Struct, frozen=True):
    """A stream in numbers. ``first_chunk_us``: from the start to the first chunk.

    ``duration_us`` is from the first chunk to the last; ``chunks_per_second`` follows from it. Characters
    and bytes (UTF-8) are those of what was said and thought, without notes (chunks of kind ``other``). All of
    an open stream count what has arrived. Of a redacted one there is no ``error``: it may quote the text.
    """

    message_id: UUID
    context_id: UUID
    role: Role
    model: str | None
    started_version: int
    started_position: int
    started_at: At
    occurred_at: At | None
    chunks: int
    characters: int
    text_bytes: int
    first_chunk_us: int | None
    duration_us: int
    chunks_per_second: float | None
    has_raw: bool
    has_tool_calls: bool
    redacted: bool
    outcome: Outcome | None
    finish_reason: str | None
    usage: dict[str, Json] | None
    error: dict[str, Json] | None
    finalized_version: int | None
    finalized_position: int | None
    finalized_at: At | None


class Opening(msgspec.Struct, frozen=True):
    """How a stream began, and its outcome; None while it is open. No chunk need be looked at for it."""

    message_id: UUID
    context_id: UUID
    role: Role
    model: str | None
    started_at: At
    outcome: Outcome | None


class ChunkPage(msgspec.Struct, frozen=True):
    """Chunks in order. ``has_more``: further ones are stored already.

    ``outcome`` is given with the last chunks of a finalized stream: then nothing will ever follow.
    """

    chunks: list[ChunkReceived]
    has_more: bool
    outcome: Outcome | None = None


class ReplayChunk(msgspec.Struct, frozen=True, gc=False):
    """A chunk, delivered when it is due. ``offset_us`` is its time after the stream's first chunk."""

    sequence: int
    delta: str
    kind: Kind
    part: str | None
    at: At
    offset_us: int


class ReplayDone(msgspec.Struct, frozen=True):
    """The end of a replay: totals of what it delivered. ``recorded_us`` is the time between first and last.

    ``outcome`` is the stream's; None while it is open.
    """

    chunks: int
    characters: int
    text_bytes: int
    recorded_us: int
    outcome: Outcome | None


class StreamStretch(msgspec.Struct, frozen=True):
    """The chunks of one stream in a stretch of history: those of these sequences, both inclusive."""

    message_id: UUID
    first_sequence: int
    last_sequence: int

    @property
    def count(self) -> int:
        """How many they are."""
        return self.last_sequence - self.first_sequence + 1


class HistoryEntry(msgspec.Struct, frozen=True, omit_defaults=True):
    """One event, or all chunks between two: then ``version`` to ``last_version`` are ``count`` chunks.

    ``streams`` says whose chunks they are, in the order in which the streams started; ``message_id`` is given
    when they are of one. ``name``: the branch, state, or custom name that it is about, or what an update
    changed. ``position`` and ``recorded_at`` are of the first.
    """

    type: str
    version: int
    last_version: int
    position: int
    recorded_at: At
    count: int = 1
    message_id: UUID | None = None
    branch: str | None = None
    name: str | None = None
    outcome: Outcome | None = None
    streams: list[StreamStretch] = []


class StateChange(msgspec.Struct, frozen=True):
    """The state and its detail before and after."""

    before: str | None
    after: str | None
    detail_before: Json = None
    detail_after: Json = None

    @property
    def differs(self) -> bool:
        """Whether there is a difference at all."""
        return self.before != self.after or not same_json(self.detail_before, self.detail_after)


class BranchMove(msgspec.Struct, frozen=True):
    """A branch's head before and after."""

    before: UUID | None
    after: UUID | None


class StreamChange(msgspec.Struct, frozen=True):
    """How far a stream got: chunks before and after, and its outcome then and now; None while open."""

    message_id: UUID
    chunks_before: int
    chunks_after: int
    outcome_before: Outcome | None
    outcome_after: Outcome | None


class Diff(msgspec.Struct, frozen=True):
    """What differs between two moments of a context, from the one to the other, in either order.

    ``messages_added`` and ``messages_gone`` are the context's own, in order of version; one of them is
    always empty. When there are more than asked for, ``truncated`` says so; ``message_count_change`` counts
    all. ``redacted`` lists the messages that were redacted in between.
    """

    context_id: UUID
    from_version: int
    to_version: int
    from_position: int
    to_position: int
    metadata: list[FieldChange]
    state: StateChange | None
    deleted: bool | None
    active_branch: tuple[str, str] | None
    branches_added: dict[str, UUID | None]
    branches_removed: dict[str, UUID | None]
    branches_moved: dict[str, BranchMove]
    message_count_change: int
    messages_added: list[MessageEntry]
    messages_gone: list[MessageEntry]
    redacted: list[UUID]
    streams: list[StreamChange]
    truncated: bool
