"""Reading a stream: its chunks, what comes of it live, and its replay."""

from __future__ import annotations

from typing import Annotated, Any, Literal, TypeAlias
from uuid import UUID

from litestar import Request, Response, get
from litestar.datastructures import Headers
from litestar.di import NamedDependency
from litestar.params import FromPath, QueryParameter

from eventstore.errors import Refused
from projections.answers import ChunkPage, Timeline
from projections.replay import Pace
from turnlog.dialects import RENDERERS
from turnlog.recorder import last_sequence
from turnlog.service.access import READER, Access
from turnlog.service.answers import Answer
from turnlog.service.delivering import Delivery
from turnlog.service.event_stream import EventStream, SseWords
from turnlog.service.problems import problems
from turnlog.service.streams import Streams

DialectQuery: TypeAlias = Annotated[
    str,
    QueryParameter(
        max_length=50,
        description="What the events look like: our own, a provider's, text alone, or the recorded bytes.",
        schema_extra={"enum": sorted(RENDERERS)},
    ),
]
ReplayDialectQuery: TypeAlias = Annotated[
    str,
    QueryParameter(
        max_length=50,
        description="As of `/stream`, but for the recorded bytes.",
        schema_extra={"enum": sorted(RENDERERS.keys() - {"raw"})},
    ),
]
AfterQuery: TypeAlias = Annotated[
    str | None,
    QueryParameter(
        max_length=20,
        description="The last sequence that the reader has; `now`: only what is new.",
        schema_extra={"pattern": "^(now|[0-9]{1,18})?$"},
    ),
]
OF_READING = (
    "message_not_found",
    "stream_not_open",
    "message_redacted",
    "invalid_argument",
    "unknown_dialect",
    "raw_not_kept",
    "too_many_connections",
)


@get(
    "/messages/{message_id:uuid}/chunks",
    opt=READER,
    responses=problems("message_not_found", "stream_not_open", "message_redacted", "invalid_argument"),
)
async def read_chunks(
    access: NamedDependency[Access],
    message_id: FromPath[UUID],
    after: Annotated[int, QueryParameter(ge=0, description="The last sequence that is known.")] = 0,
    limit: Annotated[int, QueryParameter(ge=1, le=2_000, description="Chunks at most.")] = 1_000,
    raw: Annotated[bool, QueryParameter(description="With the provider's bytes, where kept.")] = False,
) -> Answer[ChunkPage]:
    """Stored chunks after a sequence. `has_more` is true when further ones are stored already.

    `outcome` comes with the last of a finalized stream: nothing will follow. `raw` adds the provider's bytes.
    """
    access.context_of(message_id)
    page = await access.log.queries.chunks(message_id, after=after, limit=limit, raw=raw)
    return Answer(page, position=access.position)


@get(
    "/messages/{message_id:uuid}/timeline",
    opt=READER,
    responses=problems("message_not_found", "stream_not_open"),
)
async def read_timeline(access: NamedDependency[Access], message_id: FromPath[UUID]) -> Answer[Timeline]:
    """A stream in numbers: time to the first chunk, rate, duration, characters, usage, outcome."""
    access.context_of(message_id)
    return Answer(await access.log.queries.timeline(message_id), position=access.position)


@get("/messages/{message_id:uuid}/stream", opt=READER, responses=problems("raw_not_kept", *OF_READING))
async def read_stream(
    access: NamedDependency[Access],
    streams: NamedDependency[Streams],
    request: Request[Any, Any, Any],
    message_id: FromPath[UUID],
    after: AfterQuery = None,
    mode: Annotated[
        Literal["events", "snapshot"],
        QueryParameter(description="What is there: event by event, or accumulated in one."),
    ] = "events",
    dialect: DialectQuery = "turnlog",
) -> Response[bytes]:
    """A stream as server-sent events: what is there, then what comes, to its explicit end.

    An event's id is a sequence. `Last-Event-ID`, or `after`, goes on exactly after it, in any dialect;
    `mode=snapshot` sends what is there as one accumulated event first.
    """
    context_id = access.context_of(message_id)
    queries, store = access.log.queries, access.log.store
    opening = await queries.opening(message_id)
    given = _resumed(request.headers, after)
    sequence = given or 0
    if given is None and after == "now":
        sequence = await last_sequence(store, context_id, message_id, store.version_of(context_id))
    connection = streams.open(access)
    try:
        delivery = Delivery(queries, opening, dialect, connection, sequence)
        if dialect == "raw":
            await _check_raw(access, message_id)
    except BaseException:
        streams.connections.close(connection)
        raise
    source = delivery.live(streams.feeds, fresh=not given, snapshot=mode == "snapshot")
    return EventStream(streams, connection, source, _words(dialect), headers=delivery.renderer.headers)


@get("/messages/{message_id:uuid}/replay", opt=READER, responses=problems(*OF_READING))
async def replay_stream(
    access: NamedDependency[Access],
    streams: NamedDependency[Streams],
    request: Request[Any, Any, Any],
    message_id: FromPath[UUID],
    speed: Annotated[
        float, QueryParameter(ge=0, description="1 keeps the recorded intervals, 0 makes none.")
    ] = 1.0,
    from_: Annotated[int | None, QueryParameter(name="from", ge=1, description="The first sequence.")] = None,
    to: Annotated[int | None, QueryParameter(ge=1, description="The last sequence.")] = None,
    from_ms: Annotated[
        float | None, QueryParameter(ge=0, description="From this many milliseconds on.")
    ] = None,
    to_ms: Annotated[float | None, QueryParameter(ge=0, description="Up to this many milliseconds.")] = None,
    max_gap_ms: Annotated[
        float | None, QueryParameter(ge=0, description="Longer pauses are cut to this.")
    ] = None,
    dialect: ReplayDialectQuery = "turnlog",
) -> Response[bytes]:
    """A stream once more, at the intervals at which it came, divided by `speed`; then totals.

    Times count from the stream's first chunk. A reader that comes back with `Last-Event-ID` goes on after it.
    """
    access.context_of(message_id)
    opening = await access.log.queries.opening(message_id)
    given = _resumed(request.headers, None)
    pace = Pace(speed, from_, to, from_ms, to_ms, max_gap_ms)
    pace.check()
    connection = streams.open(access)
    try:
        delivery = Delivery(access.log.queries, opening, dialect, connection, given or 0)
        if dialect == "raw":
            await _check_raw(access, message_id)
    except BaseException:
        streams.connections.close(connection)
        raise
    source = delivery.replay(pace, fresh=given is None)
    return EventStream(streams, connection, source, _words(dialect), headers=delivery.renderer.headers)


def _words(dialect: str) -> SseWords:
    """What stands around the events: nothing around the provider's own bytes."""
    ours = dialect != "raw"
    return SseWords(returns=ours, beats=ours, foreign=dialect not in ("turnlog", "text"))


def _resumed(headers: Headers, after: str | None) -> int | None:
    """The sequence that a reader has, if it comes back. Raises ``Refused``."""
    sent = headers.get("last-event-id")
    for given in (sent, after):
        fits = given in (None, "now", "") or (given.isascii() and given.isdigit() and len(given) <= 18)
        if not fits:
            raise Refused("invalid_argument", "after is a sequence or now", argument="after")
    given = sent or after
    return None if given in (None, "now", "") else int(given) or None


async def _check_raw(access: Access, message_id: UUID) -> None:
    if not (await access.log.queries.timeline(message_id)).has_raw:
        raise Refused("raw_not_kept", "the provider's own bytes were not kept", message_id=message_id)


ROUTES = [read_chunks, read_timeline, read_stream, replay_stream]
