"""Reading a stream: its chunks, what comes of it live, and its replay."""

from __future__ import annotations

from typing import Annotated, Any, Literal, TypeAlias
from uuid import UUID

import anyio.lowlevel
from litestar import Request, Response, get
from litestar.di import NamedDependency
from litestar.params import FromPath, QueryParameter

from eventstore.errors import Refused
from projections.answers import ChunkPage, Opening, Timeline
from projections.replay import Pace
from turnlog.dialects import RENDERERS
from turnlog.recorder import last_sequence
from turnlog.service.access import READER, Access
from turnlog.service.answers import Answer
from turnlog.service.conditions import PLACE, last_seen
from turnlog.service.connections import Connection
from turnlog.service.delivering import Delivery
from turnlog.service.event_stream import EventStream, SseWords
from turnlog.service.streams import Streams

DialectQuery: TypeAlias = Annotated[
    str,
    QueryParameter(
        max_length=50,
        description="What the events look like: our own, a provider's, text alone, or the recorded bytes.",
        schema_extra={"enum": sorted(RENDERERS)},
    ),
]
AfterQuery: TypeAlias = Annotated[
    str | None,
    QueryParameter(
        max_length=20,
        description="The last sequence that the reader has; `now`: only what is new.",
        schema_extra={"pattern": f"^{PLACE}$"},
    ),
]
OF_READING = (
    "stream_not_open",
    "message_redacted",
    "invalid_argument",
    "unknown_dialect",
    "raw_not_kept",
)


@get("/messages/{message_id:uuid}/chunks", opt=READER, problems=("stream_not_open", "message_redacted"))
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
    await anyio.lowlevel.checkpoint()  # to write two thousand takes as long again
    return Answer(page, position=access.position)


@get("/messages/{message_id:uuid}/timeline", opt=READER, problems=("stream_not_open",))
async def read_timeline(access: NamedDependency[Access], message_id: FromPath[UUID]) -> Answer[Timeline]:
    """A stream in numbers: time to the first chunk, rate, duration, characters, usage, outcome."""
    access.context_of(message_id)
    return Answer(await access.log.queries.timeline(message_id), position=access.position)


@get("/messages/{message_id:uuid}/stream", opt=READER, problems=OF_READING)
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
    seen = last_seen(request.headers, after)
    now = seen == "now"
    sequence = (
        await last_sequence(store, context_id, message_id, store.version_of(context_id)) if now else seen or 0
    )
    connection = streams.open(access)
    delivery = await _delivery(access, streams, connection, opening, dialect, sequence)
    source = delivery.live(streams.feeds, fresh=now or not seen, snapshot=mode == "snapshot")
    return EventStream(streams, connection, source, _words(dialect), headers=delivery.renderer.headers)


@get("/messages/{message_id:uuid}/replay", opt=READER, problems=OF_READING)
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
    dialect: DialectQuery = "turnlog",
) -> Response[bytes]:
    """A stream once more, at the intervals at which it came, divided by `speed`; then totals.

    Times count from the stream's first chunk. A reader that comes back with `Last-Event-ID` goes on after it.
    """
    access.context_of(message_id)
    opening = await access.log.queries.opening(message_id)
    seen = last_seen(request.headers, None)
    sequence = 0 if seen == "now" else seen or 0  # nothing of a replay is new
    pace = Pace(speed, from_, to, from_ms, to_ms, max_gap_ms)
    pace.check()
    connection = streams.open(access)
    delivery = await _delivery(access, streams, connection, opening, dialect, sequence)
    source = delivery.replay(pace, fresh=not sequence)
    return EventStream(streams, connection, source, _words(dialect), headers=delivery.renderer.headers)


async def _delivery(
    access: Access, streams: Streams, connection: Connection, opening: Opening, dialect: str, sequence: int
) -> Delivery:
    """Over a connection, which is closed when there is nothing to deliver. Raises ``Refused``."""
    try:
        delivery = Delivery(access.log.queries, opening, dialect, connection, sequence)
        if dialect == "raw" and not (await access.log.queries.timeline(opening.message_id)).has_raw:
            message_id = opening.message_id
            raise Refused("raw_not_kept", "the provider's own bytes were not kept", message_id=message_id)
    except BaseException:
        streams.connections.close(connection)
        raise
    return delivery


def _words(dialect: str) -> SseWords:
    """What stands around the events: nothing around the provider's own bytes."""
    ours = dialect != "raw"
    return SseWords(returns=ours, beats=ours, foreign=dialect not in ("turnlog", "text"))


ROUTES = [read_chunks, read_timeline, read_stream, replay_stream]
