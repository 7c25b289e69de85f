"""Producing a stream: start it, send its chunks, end it; or send a provider's stream as it arrives."""

from __future__ import annotations

from typing import Annotated, Any, TypeAlias
from uuid import UUID

import msgspec
from litestar import Request, Response, post
from litestar.di import NamedDependency
from litestar.params import FromPath, JSONBody, QueryParameter

from eventstore.errors import Refused
from eventstore.events import NUMBER_MAX, Record, StreamResumed, StreamStarted
from eventstore.units import wall_clock_us
from projections.answers import ContextState
from turnlog.dialects import DIALECTS, no_event_of
from turnlog.dialects import dialect as dialect_named
from turnlog.facade import Context, new_id
from turnlog.recorder import last_sequence
from turnlog.service.access import WRITER, Access
from turnlog.service.answers import MESSAGE_HEADER, Answer, Written, written
from turnlog.service.bodies import NDJSON, NDJSON_TOO, arriving, fitted, media_type
from turnlog.service.conditions import commit_id, expected_version
from turnlog.service.event_stream import SSE, EventStream, NdjsonWords, SseWords
from turnlog.service.ingest import ChunkIngest, acknowledged, finalized, passed, told
from turnlog.service.requests import BranchQuery, Finalize, ResumeStream, StartStream
from turnlog.service.routes.contexts import OF_ADDING
from turnlog.service.streams import Streams
from turnlog.service.strict import ChunkIn, micros

EpochQuery: TypeAlias = Annotated[
    int,
    QueryParameter(ge=1, le=NUMBER_MAX, description="The producer's: after a resume a lower one is refused."),
]
OF_STREAMS = (
    "stream_not_found",
    "stream_finalized",
    "stream_not_open",
    "producer_fenced",
)


class Started(msgspec.Struct, frozen=True):
    """A stream that takes chunks: the next one is ``sequence`` + 1."""

    context_id: UUID
    message_id: UUID
    epoch: int
    sequence: int
    position: int
    version: int


class Durable(msgspec.Struct, frozen=True):
    """Chunks up to here are in the log for sure."""

    message_id: UUID
    sequence: int


class Stopped(msgspec.Struct, frozen=True):
    """``stopped`` is false when the stream had ended before."""

    message_id: UUID
    stopped: bool


@post(
    "/contexts/{context_id:uuid}/streams",
    opt=WRITER,
    status_code=201,
    problems=("message_exists", *OF_ADDING),
)
async def start_stream(
    access: NamedDependency[Access],
    request: Request[Any, Any, Any],
    context_id: FromPath[UUID],
    data: JSONBody[StartStream],
) -> Answer[Started]:
    """Open a stream: an answer that will arrive in chunks. It is a message of its branch at once."""
    context, key = access.context(context_id), commit_id(request.headers)
    message_id = data.message_id or new_id(key, str(context_id))

    def events(now: ContextState) -> list[Record]:
        return [
            StreamStarted(
                message_id,
                data.role,
                data.branch or now.active_branch,
                data.parent_id,
                data.model,
                data.metadata,
                None if data.occurred_at is None else micros(data.occurred_at),
            )
        ]

    committed = await access.append_from(request.headers, context, events)
    answer = Started(context_id, message_id, 1, 0, committed.position, committed.version)
    return Answer(
        answer,
        position=committed.position,
        etag=committed.version,
        location=f"/api/messages/{message_id}/stream",
        status_code=201,
    )


@post(
    "/messages/{message_id:uuid}/resume",
    opt=WRITER,
    status_code=200,
    problems=("epoch_not_higher", *OF_STREAMS),
)
async def resume_stream(
    access: NamedDependency[Access], message_id: FromPath[UUID], data: JSONBody[ResumeStream]
) -> Answer[Started]:
    """Take over a stream whose producer died: whoever has a lower epoch is refused from now on."""
    context = access.log.context(access.context_of(message_id))
    epoch = data.epoch or 2
    while True:
        try:
            committed = await context.append(StreamResumed(message_id, epoch))
            break
        except Refused as refused:
            current = refused.fields.get("current")
            if data.epoch is not None or refused.code != "epoch_not_higher" or not isinstance(current, int):
                raise
            epoch = current + 1
    sequence = await last_sequence(access.log.store, context.id, message_id, committed.version)
    answer = Started(context.id, message_id, epoch, sequence, committed.position, committed.version)
    return Answer(answer, position=committed.position, etag=committed.version)


@post(
    "/messages/{message_id:uuid}/chunks",
    opt=WRITER | NDJSON_TOO,
    status_code=200,
    problems=("sequence_gap", "chunk_conflict", *OF_STREAMS),
)
async def send_chunks(
    access: NamedDependency[Access],
    streams: NamedDependency[Streams],
    request: Request[Any, Any, Any],
    message_id: FromPath[UUID],
    epoch: EpochQuery = 1,
) -> Response[Durable]:
    """Send chunks: one, an array, or lines of JSON for as long as the stream goes on.

    `application/json` is answered when all are durable. `application/x-ndjson` is answered with lines, each
    time more is durable; its last line may be `{"finalize": {...}}`. A repeat is a no-op; a gap is 409 and
    says what was expected.
    """
    context = access.log.context(access.context_of(message_id))
    ingest = ChunkIngest(context, message_id, epoch, wall_clock_us, request.state.limits)
    if media_type(request.headers) == NDJSON:
        connection = streams.open(access)
        source = acknowledged(ingest, arriving(request), streams.produced(message_id))
        return EventStream(streams, connection, source, NdjsonWords(), media_type=NDJSON, watch=False)
    given = await request.json()
    chunks = fitted(given, list[ChunkIn]) if isinstance(given, list) else [fitted(given, ChunkIn)]
    for chunk in chunks:
        await ingest.take(chunk)
    await ingest.close()
    return Answer(Durable(message_id, ingest.durable), position=access.log.store.acknowledged)


@post(
    "/contexts/{context_id:uuid}/ingest",
    opt=WRITER,
    status_code=200,
    problems=("message_exists", "unknown_dialect", "malformed_stream", *OF_ADDING),
)
async def ingest_stream(
    access: NamedDependency[Access],
    streams: NamedDependency[Streams],
    request: Request[Any, Any, Any],
    context_id: FromPath[UUID],
    dialect: Annotated[
        str,
        QueryParameter(
            max_length=50, description="The provider's, of the body.", schema_extra={"enum": sorted(DIALECTS)}
        ),
    ],
    model: Annotated[
        str | None,
        QueryParameter(max_length=200, description="The one asked; it shows while it thinks."),
    ] = None,
    branch: BranchQuery = None,
    message_id: Annotated[UUID | None, QueryParameter(description="For the message that it becomes.")] = None,
    keep_raw: Annotated[bool, QueryParameter(description="Keep the provider's bytes too.")] = False,
    tee: Annotated[bool, QueryParameter(description="Answer with the provider's events.")] = False,
) -> Response[bytes]:
    """Record a provider's stream: the body is its server-sent events as they arrive.

    The response tells as lines of JSON how far it is durable; with `tee` it is the provider's events
    themselves, each after it is in the log, so that this stands between a model and its user.
    A body that is over and holds nothing is refused.
    """
    dialect_named(dialect)
    context = access.context(context_id)
    if (await context.state()).deleted:
        raise Refused("context_deleted", "the context is deleted", context_id=context_id)
    nothing = no_event_of(dialect)
    if request.content_length == 0:
        raise nothing
    options = {"model": model, "message_id": message_id, "keep_raw": keep_raw}
    passing = await context.tee(arriving(request, nothing), dialect=dialect, branch=branch, **options)
    if model is not None:
        nothing.fields["message_id"] = passing.message_id  # it is there by then, and has failed
    connection = streams.open(access)
    headers = {MESSAGE_HEADER: str(passing.message_id)}
    source, words, kind = (
        (passed(passing), SseWords(returns=False, foreign=True), SSE)
        if tee
        else (told(passing), NdjsonWords(), NDJSON)
    )
    return EventStream(streams, connection, source, words, media_type=kind, watch=False, headers=headers)


@post("/messages/{message_id:uuid}/finalize", opt=WRITER, status_code=200, problems=OF_STREAMS)
async def finalize_stream(
    access: NamedDependency[Access],
    request: Request[Any, Any, Any],
    message_id: FromPath[UUID],
    data: JSONBody[Finalize],
    epoch: EpochQuery = 1,
) -> Answer[Written]:
    """Close a stream with an outcome."""
    context_id = access.context_of(message_id)
    committed = await access.log.store.append(
        context_id,
        (finalized(message_id, data),),
        expected_version=expected_version(request.headers),
        commit_id=commit_id(request.headers),
        epoch=epoch,
    )
    return written(context_id, committed, message_id)


@post("/messages/{message_id:uuid}/stop", opt=WRITER, status_code=200, problems=OF_STREAMS)
async def stop_stream(access: NamedDependency[Access], message_id: FromPath[UUID]) -> Answer[Stopped]:
    """Stop a stream and keep what arrived; idempotent. Its producer is refused from now on."""
    context: Context = access.log.context(access.context_of(message_id))
    stopped = Stopped(message_id, await context.stop(message_id))
    return Answer(stopped, position=access.log.store.acknowledged)


ROUTES = [
    start_stream,
    resume_stream,
    send_chunks,
    ingest_stream,
    finalize_stream,
    stop_stream,
]
