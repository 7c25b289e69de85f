"""What a route's signature does not say: its group, the headers that it reads and gives, its streams.

In the order of a story: asked one after the other with the examples, on an empty log, all of them succeed.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

from turnlog.service.answers import MESSAGE_HEADER, POSITION_HEADER
from turnlog.service.bodies import NDJSON
from turnlog.service.conditions import (
    AT_LEAST_HEADER,
    IDEMPOTENCY_HEADER,
    KEY_CHARACTERS_MAX,
    LAST_EVENT_ID,
    PLACE,
)
from turnlog.service.event_stream import SSE
from turnlog.service.following import EventLine
from turnlog.service.routes.schema import HTML, OPENAPI
from turnlog.service.schema import streaming
from turnlog.service.strict import ChunkIn

IF_MATCH: Final = "If-Match"
IF_NONE_MATCH: Final = "If-None-Match"
ETAG: Final = "ETag"
LOCATION: Final = "Location"
RETRY_AFTER: Final = "Retry-After"

TAGS: Final = {
    "contexts": "Conversations: metadata, state, and all of it as of any moment.",
    "messages": "Whole messages, by branch, role, type and time.",
    "branches": "Names for heads: edits and regenerations are siblings, and nothing is overwritten.",
    "streams": "Answers that arrive in chunks: produced, followed, resumed and replayed.",
    "log": "The log itself: commits, its events in order, and signals.",
    "upkeep": "Health, sizes, projections and their rebuilds.",
    "access": "Tickets for browsers, which cannot send a key.",
    "schema": "This description.",
}

REQUEST_HEADERS: Final[dict[str, dict[str, Any]]] = {
    AT_LEAST_HEADER: {
        "description": "A position that the answer must know of: what `Turnlog-Position` said after a write.",
        "schema": {"type": "string", "pattern": "^[0-9]{1,18}$"},
        "example": "0",
    },
    IF_MATCH: {
        "description": 'The version that the context must have, as its `ETag` gives it: `"12"`; or `*`: that '
        "it exists. Not together with `If-None-Match`.",
        "schema": {"anyOf": [{"const": "*"}, {"type": "string", "pattern": '^(W/)?"[0-9]{1,15}"$'}]},
        "example": "*",
    },
    IF_NONE_MATCH: {
        "description": "`*`: the context must not exist yet. Not together with `If-Match`.",
        "schema": {"type": "string", "enum": ["*"]},
    },
    IDEMPOTENCY_HEADER: {
        "description": "Names this append for ever: repeated with the same key it writes nothing and gives "
        "the first outcome. A UUID, or any other text.",
        "schema": {"type": "string", "minLength": 1, "maxLength": KEY_CHARACTERS_MAX, "pattern": '[^" ]'},
        "example": "turn-7f3a",
    },
    LAST_EVENT_ID: {
        "description": "The last id that the reader has: the response goes on after it, and `after` does not "
        "count. A browser sends it by itself.",
        "schema": {"type": "string", "pattern": f"^{PLACE}?$"},
        "example": "0",
    },
}

READ_IF_NONE_MATCH: Final[dict[str, Any]] = {
    "description": "Versions that the reader has: of an unchanged context the answer is 304, without a body.",
    "schema": {"type": "string"},
    "example": '"0"',
}
"""``If-None-Match`` of a read."""

RESPONSE_HEADERS: Final[dict[str, dict[str, Any]]] = {
    POSITION_HEADER: {
        "description": "The log's position that this answer knows of; send it back as `Turnlog-At-Least`.",
        "required": True,
        "schema": {"type": "integer", "minimum": 0},
        "example": 42,
    },
    ETAG: {
        "description": "The context's version, for `If-Match` and `If-None-Match`.",
        "required": True,
        "schema": {"type": "string", "pattern": '^"[0-9]+"$'},
        "example": '"7"',
    },
    LOCATION: {
        "description": "The path of what was made.",
        "required": True,
        "schema": {"type": "string"},
        "example": "/api/messages/0190c4f2-7b1e-7c00-8000-000000000012",
    },
    MESSAGE_HEADER: {
        "description": "The message that the stream becomes.",
        "required": True,
        "schema": {"type": "string", "format": "uuid"},
        "example": "0190c4f2-7b1e-7c00-8000-000000000013",
    },
    RETRY_AFTER: {
        "description": "Seconds to wait, where waiting helps.",
        "schema": {"type": "integer", "minimum": 1},
        "example": 1,
    },
    "WWW-Authenticate": {
        "description": "The scheme of keys.",
        "required": True,
        "schema": {"type": "string", "enum": ["Bearer"]},
        "example": "Bearer",
    },
}


class Told(msgspec.Struct, frozen=True):
    """Server-sent events of a name ("" for none), or lines of JSON.

    ``data``: the struct that they say; None for the events of another dialect, which are its own matter.
    """

    name: str
    data: Any


class Facts(msgspec.Struct, frozen=True):
    """Of one route. ``streams``: what a response that goes on says, by its media type.

    ``asks``: the type of a JSON body that the handler reads itself; ``bodies``: the schemas of others, by
    their media types. ``also``: what another status than that of success says, though it is no problem.
    ``made``: the member of the answer that names what was made, which other operations ask for. ``kinds``:
    the media types of an answer that is neither JSON nor a stream.
    """

    tag: str
    takes: tuple[str, ...] = ()
    gives: tuple[str, ...] = (POSITION_HEADER,)
    streams: dict[str, tuple[Told, ...]] = {}
    asks: Any = None
    bodies: dict[str, dict[str, Any]] = {}
    also: dict[int, str] = {}
    made: str | None = None
    kinds: tuple[str, ...] = ()


_ENDINGS: Final = (Told("closing", streaming.Closing), Told("error", streaming.Failed))

_SIGNALS: Final = (
    Told("open", streaming.Opened),
    Told("created", streaming.CreatedSignal),
    Told("message", streaming.MessageSignal),
    Told("content_delta", streaming.DeltaSignal),
    Told("completed", streaming.CompletedSignal),
    Told("state", streaming.StateSignal),
    Told("branch", streaming.BranchSignal),
    Told("updated", streaming.UpdatedSignal),
    Told("redacted", streaming.RedactedSignal),
    Told("deleted", streaming.Signal),
    Told("custom", streaming.CustomSignal),
    *_ENDINGS,
)

_STREAM: Final = (
    Told("", streaming.StreamStartedEvent),
    Told("", streaming.StreamChunkEvent),
    Told("", streaming.StreamSnapshotEvent),
    Told("", streaming.StreamFinalizedEvent),
    Told("", streaming.StreamCaughtUpEvent),
    *_ENDINGS,
    Told("", None),
)

_EVENT_LINES: Final = (Told("event", EventLine), *_ENDINGS)

_EVENTS: Final = (*_EVENT_LINES, Told("position", streaming.Reached))

_CHUNK_LINES: Final = (Told("", streaming.ProducedLine), Told("", streaming.EndedLine), *_ENDINGS)

_INGEST_LINES: Final = (
    Told("", streaming.IngestStartedLine),
    Told("", streaming.ProducedLine),
    Told("", streaming.IngestEndedLine),
    *_ENDINGS,
)

_LINES: Final[dict[str, Any]] = {
    "type": "string",
    "format": "ndjson",
    "description": '`ChunkIn` objects, one a line; the last line may be `{"finalize": {...}}`.',
}

_PROVIDED: Final[dict[str, Any]] = {
    "type": "string",
    "format": "event-stream",
    "description": "The provider's server-sent events, as they come.",
}

_READ: Final = (AT_LEAST_HEADER,)
_WRITE: Final = (IF_MATCH, IDEMPOTENCY_HEADER)
_MAKE: Final = (IF_NONE_MATCH, IDEMPOTENCY_HEADER)
_VERSIONED: Final = (POSITION_HEADER, ETAG)
_MADE: Final = (POSITION_HEADER, ETAG, LOCATION)
_FOLLOWED: Final = (LAST_EVENT_ID,)

OPERATIONS: Final[dict[str, Facts]] = {
    "create_context": Facts("contexts", (IF_MATCH, *_MAKE), _MADE, made="context_id"),
    "patch_context": Facts("contexts", _WRITE, _VERSIONED),
    "put_state": Facts("contexts", _WRITE, _VERSIONED),
    "append_message": Facts("messages", _WRITE, _MADE, made="message_id"),
    "start_stream": Facts("streams", _WRITE, _MADE, made="message_id"),
    "send_chunks": Facts(
        "streams", asks=ChunkIn | list[ChunkIn], bodies={NDJSON: _LINES}, streams={NDJSON: _CHUNK_LINES}
    ),
    "resume_stream": Facts("streams", gives=_VERSIONED),
    "finalize_stream": Facts("streams", _WRITE, _VERSIONED),
    "stop_stream": Facts("streams"),
    "ingest_stream": Facts(
        "streams",
        gives=(MESSAGE_HEADER,),
        bodies={SSE: _PROVIDED},
        streams={NDJSON: _INGEST_LINES, SSE: (Told("", None), *_ENDINGS)},
    ),
    "append_commit": Facts("log", (IF_MATCH, *_MAKE), _VERSIONED),
    "put_branch": Facts("branches", _WRITE, _VERSIONED),
    "fork_context": Facts("contexts", _WRITE, _MADE, made="context_id"),
    "list_contexts": Facts("contexts", _READ),
    "read_context": Facts("contexts", (*_READ, IF_NONE_MATCH), _VERSIONED, also={304: "It has not changed."}),
    "read_history": Facts("contexts", _READ),
    "read_diff": Facts("contexts", _READ),
    "list_messages": Facts("messages", _READ),
    "read_messages": Facts("messages", _READ),
    "read_message": Facts("messages", _READ),
    "list_branches": Facts("branches", _READ, _VERSIONED),
    "read_branch": Facts("branches", _READ, gives=_VERSIONED),
    "read_chunks": Facts("streams", _READ),
    "read_timeline": Facts("streams", _READ),
    "read_stream": Facts("streams", (*_READ, *_FOLLOWED), (), {SSE: _STREAM}),
    "replay_stream": Facts("streams", (*_READ, *_FOLLOWED), (), {SSE: _STREAM}),
    "read_events": Facts("log", (*_READ, *_FOLLOWED), streams={NDJSON: _EVENT_LINES, SSE: _EVENTS}),
    "read_context_events": Facts("log", (*_READ, *_FOLLOWED), streams={NDJSON: _EVENT_LINES, SSE: _EVENTS}),
    "follow_context": Facts("log", (*_READ, *_FOLLOWED), (), {SSE: _SIGNALS}),
    "follow_contexts": Facts("log", (*_READ, *_FOLLOWED), (), {SSE: _SIGNALS}),
    "read_head": Facts("log", _READ),
    "list_projections": Facts("upkeep", _READ),
    "rebuild_projection": Facts("upkeep"),
    "read_stats": Facts("upkeep", _READ),
    "read_health": Facts("upkeep", gives=(), also={503: "Something is wrong: `problems` says what."}),
    "read_readiness": Facts("upkeep", gives=()),
    "read_metrics": Facts("upkeep", gives=(), kinds=("text/plain",)),
    "issue_ticket": Facts("access", gives=()),
    "read_schema": Facts("schema", gives=(), kinds=(OPENAPI, HTML)),
    "read_openapi": Facts("schema", gives=(), kinds=(OPENAPI,)),
    "redact_message": Facts("messages", _WRITE, _VERSIONED),
    "delete_branch": Facts("branches", _WRITE, _VERSIONED),
    "delete_context": Facts("contexts", _WRITE, _VERSIONED),
}
"""By the name of the handler."""
