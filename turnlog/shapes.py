"""Answers as JSON objects: what ``--json`` prints and what the service sends.

One rule makes them all: an object has the answer's own fields, always all of them, in snake_case. Ids are
canonical text, times (``*_at`` and ``at``) RFC 3339 in UTC with ``Z``, spans (``*_us``) microseconds, a
chunk's ``raw`` bytes base64. What an application stored as JSON comes back as it is.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final, cast
from uuid import UUID

import msgspec

from eventstore.commits import Commit
from eventstore.events import ALL_BITS, BIT_OF_TAG
from eventstore.units import format_time
from projections.answers import MessageBody


def plain(answer: msgspec.Struct, **more: object) -> dict[str, object]:
    """The answer as a JSON object, with further members at its end."""
    kind = type(answer)
    tag, members = _MEMBERS.get(kind) or _members(kind)
    shape = tag.copy()
    for name, is_time in members:
        value = getattr(answer, name)
        if type(value) in _AS_THEY_ARE:
            shape[name] = value
        elif type(value) is int:
            shape[name] = format_time(value) if is_time else value
        else:
            shape[name] = _nested(value)
    for name, value in more.items():
        shape[name] = _nested(value)
    return shape


def is_time(name: str) -> bool:
    """Whether integers of this name are times."""
    return name == "at" or name.endswith("_at")


def event_lines(commit: Commit, kinds: int = ALL_BITS) -> Iterator[dict[str, object]]:
    """Each event of some kinds with its place in the log: lines of ``turnlog events``."""
    position, context_id, commit_id = commit.position, commit.context_id, commit.commit_id
    recorded_at, metadata = format_time(commit.recorded_at), commit.metadata
    for version, event in enumerate(commit.events(), commit.first_version):
        if kinds == ALL_BITS or BIT_OF_TAG[str(type(event).__struct_config__.tag)] & kinds:
            yield {
                "position": position,
                "context_id": context_id,
                "version": version,
                "recorded_at": recorded_at,
                "commit_id": commit_id,
                "metadata": metadata,
                "event": plain(event),
            }


_AS_THEY_ARE: Final = frozenset({str, bool, float, UUID, type(None)})
"""What most members are; to ask for each of the shapes below takes longer than all the rest of an answer."""

_MEMBERS: Final[dict[type, tuple[dict[str, object], tuple[tuple[str, bool], ...]]]] = {}
"""By struct: its tag as a member, and the names of its fields, each with whether it is a time."""


def _members(kind: type[msgspec.Struct]) -> tuple[dict[str, object], tuple[tuple[str, bool], ...]]:
    config = kind.__struct_config__
    tag: dict[str, object] = {} if config.tag is None else {str(config.tag_field): config.tag}
    names = tuple((name, is_time(name)) for name in kind.__struct_fields__)
    _MEMBERS[kind] = tag, names
    return tag, names


def _nested(value: Any) -> object:
    match value:
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
