"""Answers as JSON objects: what ``--json`` prints and what the service sends.

One rule makes them all: an object has the answer's own fields, always all of them, in snake_case. Ids are
canonical text, times (``*_at`` and ``at``) RFC 3339 in UTC with ``Z``, spans (``*_us``) microseconds, a
chunk's ``raw`` bytes base64. What an application stored as JSON comes back as it is.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, cast
from uuid import UUID

import msgspec

from eventstore.commits import Commit
from eventstore.events import Event
from eventstore.units import format_time
from projections.answers import MessageBody


def plain(answer: msgspec.Struct, **more: object) -> dict[str, object]:
    """The answer as a JSON object, with further members at its end."""
    shape: dict[str, object] = {}
    config = type(answer).__struct_config__
    if config.tag is not None:
        shape[str(config.tag_field)] = config.tag
    for name in type(answer).__struct_fields__:
        shape[name] = _member(name, getattr(answer, name))
    return shape | {name: _member(name, value) for name, value in more.items()}


def event_line(commit: Commit, version: int, event: Event) -> dict[str, object]:
    """An event with its place in the log: a line of ``turnlog events``."""
    return {
        "position": commit.position,
        "context_id": commit.context_id,
        "version": version,
        "recorded_at": format_time(commit.recorded_at),
        "commit_id": commit.commit_id,
        "metadata": commit.metadata,
        "event": plain(event),
    }


_AS_THEY_ARE: Final = frozenset({str, bool, float, UUID, type(None)})
"""What most members are; to ask for each of the shapes below takes longer than all the rest of an answer."""


def _member(name: str, value: Any) -> object:
    if type(value) in _AS_THEY_ARE:
        return value
    match value:
        case int() if name == "at" or name.endswith("_at"):
            return format_time(value)
        case msgspec.Struct():
            return plain(value)
        case list() | tuple():
            items = cast("list[Any]", value)
            return [plain(item) if isinstance(item, msgspec.Struct) else item for item in items]
        case Mapping():
            items = cast("Mapping[Any, Any]", value).items()
            return {
                str(key) if isinstance(key, UUID) else key: plain(item)
                if isinstance(item, msgspec.Struct)
                else item
                for key, item in items
            }
        case msgspec.UnsetType():
            return None
        case _:
            return value


def message_line(body: MessageBody) -> dict[str, object]:
    """A message with its content: a line of ``turnlog messages``."""
    return plain(body.entry, complete=body.complete, text=body.text, parts=body.parts)
