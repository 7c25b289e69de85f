"""Answers as JSON: what ``--json`` prints, for every verb.

One rule makes them all: an object has the answer's own fields, always all of them, in snake_case. Ids are
canonical text, times (``*_at`` and ``at``) RFC 3339 in UTC with ``Z``, spans (``*_us``) microseconds, a
chunk's ``raw`` bytes base64. What an application stored as JSON comes back as it is.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, cast
from uuid import UUID

import msgspec

from eventstore.commits import Commit, Committed
from eventstore.events import Event
from eventstore.findings import Finding
from eventstore.statistics import StoreStatistics
from eventstore.units import format_time
from projections.answers import (
    ContextState,
    ContextSummary,
    Diff,
    HistoryEntry,
    MessageBody,
    MessageEntry,
    ReplayChunk,
    ReplayDone,
    StreamStretch,
    Timeline,
)
from projections.status import ProjectionStatus
from turnlog.service.configuration import Row
from turnlog.service.keys import Key


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


def _member(name: str, value: Any) -> object:
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


def _fields(*answers: type[msgspec.Struct]) -> str:
    return ", ".join(name for answer in answers for name in answer.__struct_fields__)


JSON_SHAPES: Final[dict[str, str]] = {
    "demo": "an object: context_ids, message_ids",
    "record": f"the stream as an object: {_fields(Timeline)}",
    "branch": f"an object: context_id, branch, head, {_fields(Committed)}",
    "fork": f"the new context as an object: {_fields(ContextState)}",
    "contexts": f"a line for each context: {_fields(ContextSummary)}",
    "show": f"the context as an object: {_fields(ContextState)}",
    "messages": f"a line for each message: {_fields(MessageEntry)}, complete, text, parts",
    "replay": (
        f"a line for each chunk, with type chunk: {_fields(ReplayChunk)}; "
        f"and a last one, with type done: {_fields(ReplayDone)}"
    ),
    "history": (
        f"a line for each event or stretch of chunks: {_fields(HistoryEntry)}. "
        f"Streams, each: {_fields(StreamStretch)}"
    ),
    "diff": f"an object: {_fields(Diff)}",
    "events": (
        "a line for each event: position, context_id, version, recorded_at, commit_id, metadata, event; "
        "an event has its type, such as message.appended, and its own members"
    ),
    "stats": (
        f"an object: path, store, projections. store: {_fields(StoreStatistics)}. "
        f"projections, each: {_fields(ProjectionStatus)}"
    ),
    "verify": f"an object: sound, after, position, chain, findings. Findings, each: {_fields(Finding)}",
    "rebuild": "a line for each projection: projection, version, position, duration_us",
    "sweep": "a line for each stream: message_id, outcome",
    "serve": f"and --print-settings a line for each setting: {_fields(Row)}",
    "keys create": f"an object: key, which is the secret itself, {_fields(Key)}",
    "keys list": f"a line for each key: {_fields(Key)}, state",
    "keys revoke": f"the key as an object: {_fields(Key)}, state",
}
"""What ``--json`` gives, by verb: the end of its help."""
