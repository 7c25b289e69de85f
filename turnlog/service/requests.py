"""What requests say: a struct for each body, unknown members refused, and the parameters they share."""

from __future__ import annotations

from typing import Annotated, Final, Literal, TypeAlias, cast
from uuid import UUID

import msgspec
from litestar.params import QueryParameter
from msgspec import UNSET, UnsetType

from eventstore.content import Json, Name, Role, TextPart
from eventstore.errors import Refused
from eventstore.events import NUMBER_MAX, Number, Outcome
from projections.timetravel import NOW, Moment
from turnlog.moments import named_moment
from turnlog.service.strict import EventIn, PartIn, Time

ID: Final = "[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}"
"""What an id looks like."""

AtVersionQuery: TypeAlias = Annotated[
    int | None, QueryParameter(ge=0, description="As of right after the context's event of this version.")
]
AtPositionQuery: TypeAlias = Annotated[
    int | None, QueryParameter(ge=0, description="As of the moment when the log had this position.")
]
AtTimeQuery: TypeAlias = Annotated[
    str | None,
    QueryParameter(
        description="As of this time: RFC 3339 with an offset.", schema_extra={"format": "date-time"}
    ),
]
AtMessageQuery: TypeAlias = Annotated[
    UUID | None, QueryParameter(description="As of right after this message of the context was added.")
]
BranchQuery: TypeAlias = Annotated[
    str | None, QueryParameter(max_length=100, description="A branch; the active one unless given.")
]
ITEMS_MAX: Final = 500
"""Of a page: to answer with more would hold up everybody else for longer than ten milliseconds."""

LimitQuery: TypeAlias = Annotated[
    int, QueryParameter(ge=1, le=ITEMS_MAX, description="Items of the page at most.")
]
CursorQuery: TypeAlias = Annotated[
    str | None, QueryParameter(max_length=1_000, description="`next_cursor` of the page before.")
]


def moment(
    version: int | None, position: int | None, time: str | None, message: UUID | None = None
) -> Moment:
    """The one moment that the query names; now when it names none."""
    return named_moment(version, position, time, message) or NOW


def place(text: str) -> int | str:
    """A version of a context, or a cursor."""
    return int(text) if text.isascii() and text.isdigit() else text


class _Body(
    msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True, kw_only=True, gc=False
):
    """What all bodies have in common."""


class CreateContext(_Body, frozen=True, kw_only=True):
    """A new context. ``context_id``: of the client's own making, or one is made."""

    context_id: UUID | None = None
    workspace: Name | None = None
    title: str | None = None
    config: dict[str, Json] = {}
    attributes: dict[str, Json] = {}


class PatchContext(_Body, frozen=True, kw_only=True):
    """An RFC 7396 merge patch: objects merge, null removes, what is left out stays."""

    title: str | UnsetType | None = UNSET
    config: dict[str, Json] | UnsetType | None = UNSET
    attributes: dict[str, Json] | UnsetType | None = UNSET
    tags: list[str] | UnsetType | None = UNSET

    def changes(self) -> dict[str, Json]:
        """What is given."""
        return {name: value for name, value in msgspec.structs.asdict(self).items() if value is not UNSET}


class PutState(_Body, frozen=True, kw_only=True):
    """The application's own state."""

    state: Name
    detail: Json = None


class AppendMessage(_Body, frozen=True, kw_only=True):
    """A whole message: ``text``, or ``parts`` where there is more than text.

    Without ``branch`` it goes to the active one, without ``parent_id`` after that branch's head; null is a
    message without a parent.
    """

    role: Role
    text: str | None = None
    parts: list[PartIn] | None = None
    branch: Name | None = None
    parent_id: UUID | UnsetType | None = UNSET
    message_id: UUID | None = None
    message_type: Name = "message"
    metadata: dict[str, Json] | None = None
    occurred_at: Time | None = None

    def content(self) -> tuple[PartIn, ...]:
        """The parts. Raises ``Refused`` (``invalid_argument``) unless text or parts are given."""
        if (self.text is None) == (self.parts is None):
            raise Refused("invalid_argument", "give text or parts, not both", argument="text")
        return (TextPart(cast("str", self.text)),) if self.parts is None else tuple(self.parts)


class _At(_Body, frozen=True, kw_only=True):
    """A moment in a body: one of these, or none for now."""

    at_version: Annotated[int, msgspec.Meta(ge=0)] | None = None
    at_position: Annotated[int, msgspec.Meta(ge=0)] | None = None
    at_time: Annotated[str, msgspec.Meta(extra_json_schema={"format": "date-time"})] | None = None
    at_message: UUID | None = None

    def moment(self) -> Moment:
        """Which."""
        return moment(self.at_version, self.at_position, self.at_time, self.at_message)


class PutBranch(_At, frozen=True, kw_only=True):
    """Where a branch should point: at ``head``, or where ``of`` (the active branch) stood at a moment.

    ``previous`` makes it conditional: the head that the branch has now. With ``active`` it becomes the active
    branch; with nothing else, a branch that exists only does that.
    """

    head: UUID | UnsetType | None = UNSET
    of: Name | None = None
    previous: UUID | UnsetType | None = UNSET
    active: Literal[True] | None = None

    @property
    def moves(self) -> bool:
        """Whether it names a place to point at."""
        moments = (self.at_version, self.at_position, self.at_time, self.at_message)
        return self.head is not UNSET or self.of is not None or any(given is not None for given in moments)


class Fork(_At, frozen=True, kw_only=True):
    """A new context that shares the history up to a moment."""

    title: str | None = None


class StartStream(_Body, frozen=True, kw_only=True):
    """An answer that will arrive in chunks. ``branch`` and ``parent_id`` as in a message."""

    message_id: UUID | None = None
    role: Role = "assistant"
    model: str | None = None
    branch: Name | None = None
    parent_id: UUID | UnsetType | None = UNSET
    metadata: dict[str, Json] | None = None
    occurred_at: Time | None = None


class ResumeStream(_Body, frozen=True, kw_only=True):
    """Take over a stream whose producer died. Without ``epoch``: one more than the stream's."""

    epoch: Number | None = None


class Finalize(_Body, frozen=True, kw_only=True):
    """The end of a stream. ``parts`` only where its chunks do not add up to the final content."""

    outcome: Outcome = "completed"
    finish_reason: str | None = None
    usage: dict[str, Json] | None = None
    error: dict[str, Json] | None = None
    parts: list[PartIn] | None = None
    occurred_at: Time | None = None


class Redact(_Body, frozen=True, kw_only=True):
    """Withdraw a message's text."""

    reason: str | None = None


class AppendCommit(_Body, frozen=True, kw_only=True):
    """The events of one commit: all of them become visible, or none.

    ``expected_version``: the version that the context has, 0 when it should not exist, ``"any"`` or
    ``"exists"``. ``epoch``: the producer's, for the events of streams.
    """

    context_id: UUID
    events: Annotated[list[EventIn], msgspec.Meta(extra_json_schema={"minItems": 1})]
    expected_version: Annotated[int, msgspec.Meta(ge=0, le=NUMBER_MAX)] | Literal["any", "exists"] = "any"
    commit_id: UUID | None = None
    metadata: dict[str, Json] | None = None
    epoch: Number = 1
