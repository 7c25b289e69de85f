"""The event vocabulary as requests may say it: unknown members are refused, times may be RFC 3339.

Inside, an event with a member that we do not know is read all the same: a later release may have added it. At
the edge the same member is a mistake of the client's, and would be lost in silence.
"""

from __future__ import annotations

import typing
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated, Any, Final, TypeAlias, Union
from uuid import UUID

import msgspec

from eventstore import content, events
from eventstore.content import Part
from eventstore.events import NUMBER_MAX, ChunkReceived, Event, ForkedFrom, Moment, Number

Time: TypeAlias = Annotated[
    Annotated[int, msgspec.Meta(ge=-NUMBER_MAX, le=NUMBER_MAX)] | Annotated[datetime, msgspec.Meta(tz=True)],
    msgspec.Meta(description="RFC 3339 with an offset, or microseconds since the epoch."),
]

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)


def micros(time: int | datetime) -> int:
    """A time in microseconds since the epoch."""
    return time if isinstance(time, int) else (time - _EPOCH) // _MICROSECOND


def _strict(shape: Any, nested: dict[Any, Any]) -> Any:
    """A subclass that refuses unknown members; ``nested``: which types stand for which inside."""
    hints = typing.get_type_hints(shape, include_extras=True)
    fields: list[Any] = []
    for field in msgspec.structs.fields(shape):
        kind = nested.get(hints[field.name], hints[field.name])
        if field.required:
            fields.append((field.name, kind))
        elif field.default is not msgspec.NODEFAULT:
            fields.append((field.name, kind, msgspec.field(default=field.default)))
        else:
            fields.append((field.name, kind, msgspec.field(default_factory=field.default_factory)))
    config = shape.__struct_config__
    return msgspec.defstruct(
        f"{shape.__name__}In",  # both kinds are described in one document
        fields,
        bases=(shape,),
        module=__name__,
        frozen=True,
        forbid_unknown_fields=True,
        tag=config.tag,
        tag_field=config.tag_field,
        gc=config.gc,
    )


if TYPE_CHECKING:
    PartIn: TypeAlias = Part
    EventIn: TypeAlias = Event
    ForkIn: TypeAlias = ForkedFrom
else:
    PartIn = Union[tuple(_strict(part, {}) for part in typing.get_args(content.Part))]  # noqa: UP007 -- made of a list
    ForkIn = _strict(ForkedFrom, {})
    _NESTED = {
        tuple[Part, ...]: tuple[PartIn, ...],
        tuple[Part, ...] | None: tuple[PartIn, ...] | None,
        ForkedFrom | None: ForkIn | None,
        Moment: Time,
        Moment | None: Time | None,
    }
    EventIn = Union[tuple(_strict(event, _NESTED) for event in typing.get_args(events.Event))]  # noqa: UP007 -- made of a list


def event(given: Event) -> Event:
    """What was given, as the log knows it."""
    shape: Any = type(given).__base__
    values = msgspec.structs.astuple(given)
    if datetime in map(type, values):
        values = [micros(value) if isinstance(value, datetime) else value for value in values]
    return shape(*values)


class ChunkIn(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True, gc=False):
    """One chunk of a stream: the next sequence, or one that was sent before."""

    sequence: Number
    delta: str
    kind: content.Kind = "text"
    part: content.Name | None = None
    at: Time | None = None
    """When it arrived at the producer; when it arrives here unless given."""

    def chunk(self, message_id: UUID, now: int) -> ChunkReceived:
        """The event that it becomes."""
        at = now if self.at is None else micros(self.at)
        return ChunkReceived(message_id, self.sequence, self.delta, self.kind, at, self.part)
