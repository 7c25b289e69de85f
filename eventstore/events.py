"""The event vocabulary: one tagged union.

The evolution law. An event, once released, is for ever:

1. Only add fields, at the end and with a default; never rename, retype or reuse one.
2. A new meaning is a new tag, with a new bit below; tags and bits are never reused.
3. An old shape is read through an upcaster (``upcasters.py``), never by code elsewhere.

``tests/golden`` holds encoded events of every release; they must decode for ever.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import accumulate
from typing import Annotated, Any, Final, Literal, TypeAlias
from uuid import UUID

import msgspec
from msgspec import UNSET, Meta, UnsetType

from eventstore.content import Json, Kind, Name, Part, Role, Shape

Outcome: TypeAlias = Literal["completed", "aborted", "failed", "interrupted"]
"""How a stream ended: by itself, stopped on purpose, by an error, or because its producer vanished."""


NUMBER_MAX: Final = 1 << 53
"""What every JSON reader holds exactly."""

Number: TypeAlias = Annotated[int, Meta(ge=1, le=NUMBER_MAX)]
"""A version, sequence or epoch."""

Moment: TypeAlias = Annotated[int, Meta(ge=-NUMBER_MAX, le=NUMBER_MAX)]
"""Microseconds since the epoch (years 1684 to 2255), or between two chunks."""


class ForkedFrom(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """The context and version whose history a new context shares."""

    context_id: UUID
    version: Number


class ContextCreated(Shape, frozen=True, tag="context.created"):
    """The first event of every context. ``config``: model, mode, system prompt, parameters ..."""

    title: str | None = None
    workspace: Name = "default"
    config: dict[str, Json] = {}
    attributes: dict[str, Json] = {}
    forked_from: ForkedFrom | None = None


class ContextUpdated(Shape, frozen=True, tag="context.updated"):
    """``changes`` is an RFC 7396 merge patch over title, config, attributes and tags."""

    changes: dict[str, Json]


class StateChanged(Shape, frozen=True, tag="context.state_changed"):
    """The application's own state machine: recorded, not enforced."""

    state: Name
    detail: Json = None


class ContextDeleted(Shape, frozen=True, tag="context.deleted"):
    """A tombstone: later appends are refused."""

    reason: str | None = None


class MessageAppended(Shape, frozen=True, tag="message.appended"):
    """A whole message; moves ``branch`` to it.

    An append may leave ``parent_id`` out: the log then records the branch's head there, so that a stored
    event always says its parent; None is a message without one. An edit or a regeneration is a sibling
    and a moved branch, never an overwrite. ``occurred_at`` is in microseconds since the epoch.
    """

    message_id: UUID
    role: Role
    parts: tuple[Part, ...] = ()
    branch: Name = "main"
    parent_id: UUID | UnsetType | None = UNSET
    message_type: Name = "message"
    metadata: dict[str, Json] | None = None
    occurred_at: Moment | None = None


class MessageRedacted(Shape, frozen=True, tag="message.redacted"):
    """From here on readers of any moment see a redacted body."""

    message_id: UUID
    reason: str | None = None


class StreamStarted(Shape, frozen=True, tag="stream.started"):
    """Adds a message whose content will arrive in chunks; moves ``branch`` to it.

    ``parent_id`` as in ``MessageAppended``.
    """

    message_id: UUID
    role: Role = "assistant"
    branch: Name = "main"
    parent_id: UUID | UnsetType | None = UNSET
    model: str | None = None
    metadata: dict[str, Json] | None = None
    occurred_at: Moment | None = None


class StreamResumed(Shape, frozen=True, tag="stream.resumed"):
    """Another producer continues the stream; producers of a lower epoch are fenced off."""

    message_id: UUID
    epoch: Number


class ChunkReceived(Shape, frozen=True, tag="stream.chunk_received", gc=False):
    """One piece of a stream. ``at``: when it arrived, in microseconds since the epoch.

    ``part`` tells parallel parts apart; ``raw`` is the provider's own event, when the recorder keeps it.
    """

    message_id: UUID
    sequence: Number
    delta: str
    kind: Kind = "text"
    at: Moment = 0
    part: Name | None = None
    raw: bytes | None = None


class StreamFinalized(Shape, frozen=True, tag="stream.finalized"):
    """The stream's end. ``parts`` only where folding the chunks does not give the final content."""

    message_id: UUID
    outcome: Outcome
    finish_reason: str | None = None
    usage: dict[str, Json] | None = None
    error: dict[str, Json] | None = None
    parts: tuple[Part, ...] | None = None
    occurred_at: Moment | None = None


class BranchMoved(Shape, frozen=True, tag="branch.moved"):
    """Creates the branch if new. Without ``head`` the branch is empty.

    An append that gives ``previous`` is refused unless that is the branch's head now; the log records the
    head that it was.
    """

    branch: Name
    head: UUID | None = None
    previous: UUID | UnsetType | None = UNSET


class BranchSwitched(Shape, frozen=True, tag="branch.switched"):
    """Makes ``branch`` the active one."""

    branch: Name


class BranchDeleted(Shape, frozen=True, tag="branch.deleted"):
    """Forgets the name; the messages stay."""

    branch: Name


class CustomRecorded(Shape, frozen=True, tag="custom.recorded"):
    """Whatever the application wants in the same order."""

    name: Name
    data: Json = None


Event: TypeAlias = (
    ContextCreated
    | ContextUpdated
    | StateChanged
    | ContextDeleted
    | MessageAppended
    | MessageRedacted
    | StreamStarted
    | StreamResumed
    | ChunkReceived
    | StreamFinalized
    | BranchMoved
    | BranchSwitched
    | BranchDeleted
    | CustomRecorded
)


class ChunkRun(Shape, frozen=True, tag="stream.chunks", gc=False):
    """Consecutive chunks of one stream, part and kind, in columns: how chunks are stored.

    A run of n stands for n ``ChunkReceived`` with sequences ``first_sequence`` onward; chunk i arrived at
    ``first_at`` plus the first i + 1 of ``gaps`` (microseconds, the first is 0, any may be negative). The
    one-letter names are what is written: a run of one chunk should cost little more than its text.
    """

    message_id: UUID = msgspec.field(name="m")
    first_sequence: Number = msgspec.field(name="s")
    first_at: Moment = msgspec.field(name="a")
    deltas: tuple[str, ...] = msgspec.field(name="d")
    gaps: tuple[Moment, ...] = msgspec.field(name="g")
    kind: Kind = msgspec.field(name="k", default="text")
    part: Name | None = msgspec.field(name="p", default=None)
    raws: tuple[bytes | None, ...] | None = msgspec.field(name="r", default=None)

    @property
    def last_sequence(self) -> int:
        """The sequence of the last chunk in the run."""
        return self.first_sequence + len(self.deltas) - 1

    def times(self) -> list[int]:
        """When each chunk arrived, in microseconds since the epoch."""
        return list(accumulate(self.gaps, initial=self.first_at))[1:]

    def chunks(self) -> Iterator[ChunkReceived]:
        """The same chunks as rows."""
        message_id, kind, part = self.message_id, self.kind, self.part
        sequence = self.first_sequence
        if len(self.deltas) == 1:  # one chunk a commit is what a slow model gives
            raw = None if self.raws is None else self.raws[0]
            yield ChunkReceived(message_id, sequence, self.deltas[0], kind, self.first_at, part, raw)
            return
        raws = self.raws or (None,) * len(self.deltas)
        for delta, at, raw in zip(self.deltas, self.times(), raws, strict=True):
            yield ChunkReceived(message_id, sequence, delta, kind, at, part, raw)
            sequence += 1


Record: TypeAlias = Event | ChunkRun
"""What a frame holds and a fold takes: events, with chunks packed into runs."""

BITS: Final[dict[type[Any], int]] = {
    ContextCreated: 1 << 0,
    ContextUpdated: 1 << 1,
    StateChanged: 1 << 2,
    ContextDeleted: 1 << 3,
    MessageAppended: 1 << 4,
    MessageRedacted: 1 << 5,
    StreamStarted: 1 << 6,
    StreamResumed: 1 << 7,
    ChunkReceived: 1 << 8,
    ChunkRun: 1 << 8,
    StreamFinalized: 1 << 9,
    BranchMoved: 1 << 10,
    BranchSwitched: 1 << 11,
    BranchDeleted: 1 << 12,
    CustomRecorded: 1 << 13,
}
"""The bit of each event in a frame's ``kinds``, for ever."""

CHUNK_BIT: Final = BITS[ChunkRun]
ALL_BITS: Final = (1 << 14) - 1

MILESTONE_VERSIONS: Final = 128
"""Each version of a context that this divides is a milestone. The commits between two, at most as many, are
read in half a millisecond; closer milestones would be more work for a fold that asks for them."""

MILESTONES: Final = 1 << 32
"""Where kinds are asked for, beside the bits of events: commits that hold a milestone, whatever is in them.
Those that hold none of the events come without records, so that looking at them costs next to nothing."""

MILESTONE_STREAMS_MIN: Final = 3
"""Streams that are open at once in a context before its milestones are of use; with fewer none are told."""


def tag_of(event: Record) -> str:
    """The dotted name that outlives the class's."""
    return str(type(event).__struct_config__.tag)


BIT_OF_TAG: Final[dict[str, int]] = {
    str(kind.__struct_config__.tag): bit for kind, bit in BITS.items() if kind is not ChunkRun
}


def kinds_of(records: tuple[Record, ...]) -> int:
    """The bit mask of all that is inside."""
    kinds = 0
    for record in records:
        kinds |= BITS[type(record)]
    return kinds
