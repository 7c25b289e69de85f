"""The log itself: its events in order, its head, and the signals of contexts."""

from __future__ import annotations

import re
from typing import Annotated, Any, Final, Literal, TypeAlias
from uuid import UUID

import msgspec
from litestar import Request, Response, get
from litestar.datastructures import Headers
from litestar.di import NamedDependency
from litestar.params import FromPath, QueryParameter

from eventstore.errors import Refused
from eventstore.events import BIT_OF_TAG
from eventstore.units import At
from turnlog.service.access import READER, WHOLE, Access
from turnlog.service.answers import Answer
from turnlog.service.bodies import NDJSON
from turnlog.service.conditions import PLACE, last_seen
from turnlog.service.event_stream import SSE, EventStream, NdjsonWords, SseWords
from turnlog.service.following import EventLine, event_page, events, kinds_of_tags, signal_frames
from turnlog.service.requests import ID
from turnlog.service.streams import Streams

PAGE_COMMITS_MAX = 1_000
"""Commits of a page of events."""

CONTEXTS_MAX = 100
"""Contexts that one connection follows."""

TAGS: Final = "|".join(map(re.escape, BIT_OF_TAG))

PositionQuery: TypeAlias = Annotated[
    str | None,
    QueryParameter(
        max_length=20,
        description="A position, excluded, or `now`: only what is new.",
        schema_extra={"pattern": f"^{PLACE}$"},
    ),
]
KindsQuery: TypeAlias = Annotated[
    str | None,
    QueryParameter(
        max_length=1_000,
        description="Types of events, separated by commas.",
        schema_extra={"pattern": f"^({TAGS})(,({TAGS}))*$"},
    ),
]
LiveQuery: TypeAlias = Annotated[
    bool, QueryParameter(description="Go on with what is committed from now on; not of a page.")
]
FormatQuery: TypeAlias = Annotated[
    Literal["json", "ndjson", "sse"] | None,
    QueryParameter(
        name="format",
        description="Instead of an `Accept` header: a page, lines of JSON, or server-sent events.",
    ),
]


class EventPage(msgspec.Struct, frozen=True):
    """Some events, up to ``position``, with what a filter left out. ``has_more``: that is not the end."""

    items: list[EventLine]
    position: int
    has_more: bool


class LogHead(msgspec.Struct, frozen=True):
    """The end of the log. ``chain`` covers every commit up to ``position``: keep it elsewhere to compare."""

    position: int
    recorded_at: At
    chain: str


def wanted_format(headers: Headers, given: str | None) -> str:
    """``json``, ``ndjson`` or ``sse``."""
    accept = headers.get("accept", "")
    if given is None:
        return "sse" if SSE in accept else "ndjson" if NDJSON in accept else "json"
    return given


@get("/events", opt=READER)
async def read_events(
    access: NamedDependency[Access],
    streams: NamedDependency[Streams],
    request: Request[Any, Any, Any],
    after: PositionQuery = None,
    kinds: KindsQuery = None,
    live: LiveQuery = False,
    limit: Annotated[int, QueryParameter(ge=1, le=PAGE_COMMITS_MAX, description="Commits of a page.")] = 100,
    format_: FormatQuery = None,
) -> Response[EventPage]:
    """The events of the log, in order: a page, or all of them as lines or server-sent events.

    With `live` lines and events go on as they are committed. An event's id is its position.
    """
    return await _events(access, streams, request, None, after, kinds, live, limit, format_)


@get("/contexts/{context_id:uuid}/events", opt=READER)
async def read_context_events(
    access: NamedDependency[Access],
    streams: NamedDependency[Streams],
    request: Request[Any, Any, Any],
    context_id: FromPath[UUID],
    after: PositionQuery = None,
    kinds: KindsQuery = None,
    live: LiveQuery = False,
    limit: Annotated[int, QueryParameter(ge=1, le=PAGE_COMMITS_MAX, description="Commits of a page.")] = 100,
    format_: FormatQuery = None,
) -> Response[EventPage]:
    """The events of a context; otherwise as `/api/events`."""
    context = access.context(context_id)
    return await _events(access, streams, request, (context.id,), after, kinds, live, limit, format_)


async def _events(
    access: Access,
    streams: Streams,
    request: Request[Any, Any, Any],
    contexts: tuple[UUID, ...] | None,
    after: str | None,
    kinds: str | None,
    live: bool,
    limit: int,
    format_: str | None,
) -> Response[Any]:
    store, wanted = access.log.store, kinds_of_tags(kinds)
    head = store.head().position
    seen = last_seen(request.headers, after)
    position = head if seen == "now" else seen or 0
    form = wanted_format(request.headers, format_)
    if form == "json":
        if live:
            raise Refused("invalid_argument", "a page does not go on: ask for sse or ndjson", argument="live")
        page = await event_page(access, position, contexts=contexts, kinds=wanted, limit=limit)
        body = b'{"items":[%b],"position":%d,"has_more":%b}' % (
            page[0],
            page[1],
            b"true" if page[2] else b"false",
        )
        return Answer(body, position=access.position)
    connection = streams.open(access)
    source = events(
        access, connection, position, contexts=contexts, kinds=wanted, live=live, sse=form == "sse"
    )
    words = SseWords() if form == "sse" else NdjsonWords()
    media_type = SSE if form == "sse" else NDJSON
    return EventStream(streams, connection, source, words, media_type=media_type)


@get("/contexts/{context_id:uuid}/sse", opt=READER)
async def follow_context(
    access: NamedDependency[Access],
    streams: NamedDependency[Streams],
    request: Request[Any, Any, Any],
    context_id: FromPath[UUID],
    after: PositionQuery = None,
) -> Response[bytes]:
    """Signals of a context as server-sent events: what happened and where, without content.

    From now on, unless `Last-Event-ID` or `after` says from where.
    """
    return _signals(access, streams, request, (access.context(context_id).id,), after)


@get("/sse", opt=READER, problems=("context_not_found",))
async def follow_contexts(
    access: NamedDependency[Access],
    streams: NamedDependency[Streams],
    request: Request[Any, Any, Any],
    contexts: Annotated[
        str,
        QueryParameter(
            max_length=40 * CONTEXTS_MAX,
            description="Ids, separated by commas.",
            schema_extra={"pattern": f"^{ID}(,{ID})*$"},
        ),
    ],
    after: PositionQuery = None,
) -> Response[bytes]:
    """Signals of several contexts, in the order of the log."""
    try:
        wanted = [UUID(text.strip()) for text in contexts.split(",")]
    except ValueError:
        raise Refused(
            "invalid_argument", "contexts are ids, separated by commas", argument="contexts"
        ) from None
    if len(wanted) > CONTEXTS_MAX:
        raise Refused("invalid_argument", f"at most {CONTEXTS_MAX} contexts at once", argument="contexts")
    return _signals(access, streams, request, [access.context(one).id for one in wanted], after)


def _signals(
    access: Access, streams: Streams, request: Request[Any, Any, Any], contexts: Any, after: str | None
) -> Response[Any]:
    seen = last_seen(request.headers, after)
    position = seen if isinstance(seen, int) else access.log.store.head().position
    connection = streams.open(access)
    source = signal_frames(access, connection, position, contexts)
    return EventStream(streams, connection, source, SseWords())


@get("/log/head", opt=READER | WHOLE)
async def read_head(access: NamedDependency[Access]) -> Answer[LogHead]:
    """The log's last position and the chain over all commits up to it."""
    head = access.log.store.head()
    return Answer(LogHead(head.position, head.recorded_at, head.chain.hex()), position=head.position)


ROUTES = [read_events, read_context_events, follow_context, follow_contexts, read_head]
