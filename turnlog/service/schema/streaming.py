"""What server-sent events and lines of JSON say: a struct for each, as they are described and checked.

They are written where they arise, faster than a struct would be; that both agree is tested with real ones.
"""

from __future__ import annotations

from typing import Literal
from uuid import UUID

import msgspec

from eventstore.content import Json, Kind, Part, Role
from eventstore.events import Outcome
from turnlog.service.connections import Ending
from turnlog.service.problems import Problem


class Opened(msgspec.Struct, frozen=True):
    """The first of signals: they begin after this position."""

    position: int


class Signal(msgspec.Struct, frozen=True):
    """What happened, in which context, and the context's version after it."""

    context_id: UUID
    version: int


class CreatedSignal(Signal, frozen=True):
    """A context was created."""

    workspace: str


class MessageSignal(Signal, frozen=True):
    """A message or a stream was added. `parent_id` is null for a message without one."""

    message_id: UUID
    parent_id: UUID | None
    role: Role
    branch: str
    streamed: bool


class DeltaSignal(Signal, frozen=True):
    """A stream has chunks up to a sequence: read them from `/api/messages/{message_id}/chunks`."""

    message_id: UUID
    sequence: int


class CompletedSignal(Signal, frozen=True):
    """A stream ended."""

    message_id: UUID
    outcome: Outcome


class StateSignal(Signal, frozen=True):
    """The application's state changed."""

    state: str


class BranchSignal(Signal, frozen=True):
    """A branch was moved (then `head` is given), switched to, or deleted."""

    branch: str
    change: Literal["moved", "switched", "deleted"]


class UpdatedSignal(Signal, frozen=True):
    """Some of title, config, attributes and tags changed."""

    fields: list[str]


class RedactedSignal(Signal, frozen=True):
    """A message's text was withdrawn."""

    message_id: UUID


class CustomSignal(Signal, frozen=True):
    """Something of the application's own was recorded."""

    name: str


class StreamStartedEvent(msgspec.Struct, frozen=True, tag_field="type", tag="stream.started"):
    """The stream's facts, first."""

    message_id: UUID
    context_id: UUID
    role: Role
    model: str | None
    provider_id: str | None
    created_at: int


class StreamChunkEvent(msgspec.Struct, frozen=True, tag_field="type", tag="stream.chunk_received"):
    """A chunk."""

    message_id: UUID
    sequence: int
    kind: Kind
    part: str | None
    at: int
    delta: str


class Piece(msgspec.Struct, frozen=True):
    """Consecutive chunks of a kind and part, joined."""

    kind: Kind
    part: str | None
    delta: str


class StreamSnapshotEvent(msgspec.Struct, frozen=True, tag_field="type", tag="stream.snapshot"):
    """All that was there, with `mode=snapshot`; `sequence` is that of the last chunk in it."""

    message_id: UUID
    sequence: int
    replay: Literal[True]
    pieces: list[Piece]


class Totals(msgspec.Struct, frozen=True):
    """What a replay delivered; `recorded_us` is the time between its first chunk and its last."""

    chunks: int
    characters: int
    text_bytes: int
    recorded_us: int


class StreamFinalizedEvent(msgspec.Struct, frozen=True, tag_field="type", tag="stream.finalized"):
    """The end. `totals` are a replay's."""

    message_id: UUID
    outcome: Outcome
    finish_reason: str | None
    usage: dict[str, Json] | None
    error: dict[str, Json] | None
    parts: list[Part] | None
    occurred_at: int | None
    totals: Totals | None


class StreamCaughtUpEvent(msgspec.Struct, frozen=True, tag_field="type", tag="stream.caught_up"):
    """The end of a replay whose stream is still open."""

    message_id: UUID
    totals: Totals | None


class Reached(msgspec.Struct, frozen=True):
    """A filter left out all that is between the last event and this position."""

    position: int


class ProducedLine(msgspec.Struct, frozen=True, tag_field="type", tag="durable"):
    """Chunks up to this sequence are in the log for sure."""

    sequence: int


class EndedLine(msgspec.Struct, frozen=True, tag_field="type", tag="done"):
    """The last line: the request is over. `outcome` is null when the stream is still open."""

    sequence: int
    outcome: Outcome | None


class IngestStartedLine(msgspec.Struct, frozen=True, tag_field="type", tag="started"):
    """The stream's message, first."""

    message_id: UUID


class IngestEndedLine(msgspec.Struct, frozen=True, tag_field="type", tag="done"):
    """The last line: how the provider's stream ended."""

    message_id: UUID
    sequence: int
    outcome: Outcome | None
    finish_reason: str | None


class Closing(msgspec.Struct, frozen=True, tag_field="type", tag="closing"):
    """The service ends the response: connect again and go on after this id."""

    reason: Ending
    after: int


class ErrorName(msgspec.Struct, frozen=True):
    """The problem's code and detail, where the clients of providers look for them."""

    type: str
    message: str


class Failed(msgspec.Struct, frozen=True, tag_field="type", tag="error"):
    """The response fails after it has begun; nothing follows."""

    error: ErrorName
    problem: Problem
