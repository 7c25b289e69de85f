"""End a stream from outside: stop one that is wanted no more, sweep those whose producer died."""

from __future__ import annotations

from collections.abc import AsyncIterable, Container
from contextlib import suppress
from typing import Final, Protocol
from uuid import UUID

import structlog

from eventstore.content import Json
from eventstore.errors import Refused, TurnlogError, WrongExpectedVersion
from eventstore.events import NUMBER_MAX, ChunkRun, Record, StreamFinalized, StreamResumed, StreamStarted
from eventstore.store import EventStore
from eventstore.units import Clock, wall_clock_us
from eventstore.validation import check_id
from turnlog.stream import recorder_of

LEASE_SECONDS: Final = 60.0
"""Silence after which the producer of a stream that this process does not record counts as dead."""

BEYOND_EPOCHS: Final = NUMBER_MAX
"""The epoch of those who end a stream without producing it: no producer fences them off."""

_logger: Final = structlog.get_logger("turnlog.sweep")


class OpenStreams(Protocol):
    """Who knows the open streams; ``projections.queries.Queries`` does."""

    def open_streams(self) -> AsyncIterable[tuple[UUID, UUID]]:
        """Context id and message id of every stream that is open, or was a moment ago."""
        ...


async def stop(
    store: EventStore,
    context_id: UUID,
    message_id: UUID,
    *,
    metadata: dict[str, Json] | None = None,
    clock: Clock = wall_clock_us,
) -> bool:
    """Stop a stream: finalize it as aborted, with the text that arrived until now. Idempotent.

    Its producer, here or elsewhere, is refused with code ``stream_finalized`` from now on. Returns whether
    this call ended it; false when it had ended before. ``metadata`` is the commit's: who, and why.

    Cancellation: it may or may not have happened; call it again. Raises ``Refused`` (``stream_not_found``,
    ``stream_not_open``) or what ``EventStore.append`` raises.
    """
    check_id(context_id, "context_id")
    check_id(message_id, "message_id")
    recorder = recorder_of(message_id)
    if recorder is not None:
        with suppress(TurnlogError):  # its own producer learns of a failure
            await recorder.flush()
    finalized = StreamFinalized(message_id, "aborted", occurred_at=clock())
    try:
        await store.append(context_id, (finalized,), metadata=metadata, epoch=BEYOND_EPOCHS)
    except Refused as refused:
        if refused.code != "stream_finalized":
            raise
        return False
    if recorder is not None:
        recorder.fail(Refused("stream_finalized", "the stream was stopped", message_id=message_id))
    return True


async def sweep(
    store: EventStore,
    source: OpenStreams,
    *,
    lease_seconds: float = LEASE_SECONDS,
    alive: Container[UUID] = (),
    clock: Clock = wall_clock_us,
) -> list[UUID]:
    """Finalize as interrupted every open stream whose producer died; returns their message ids.

    A producer counts as dead when this process does not record the stream, it is not among those that the
    caller knows to be ``alive``, and the log recorded nothing of it for ``lease_seconds``. A
    chunk that comes between this look and the end wins: the end is appended for exactly the version that was
    looked at, and the stream is left alone.

    Cancellation: what was swept stays swept. Raises what ``EventStore.append`` raises, but for streams that
    took an end or a chunk in between, or whose context was deleted: these are left out.
    """
    swept: list[UUID] = []
    silent_since = clock() - round(lease_seconds * 1_000_000)
    async for context_id, message_id in source.open_streams():
        if recorder_of(message_id) is not None or message_id in alive:
            continue
        version = _version_if_silent(store, context_id, message_id, silent_since)
        if version is None:
            continue
        finalized = StreamFinalized(message_id, "interrupted")
        try:
            await store.append(context_id, (finalized,), expected_version=version, epoch=BEYOND_EPOCHS)
        except WrongExpectedVersion:
            continue
        except Refused as refused:
            _logger.info("stream_not_swept", message_id=str(message_id), code=refused.code)
            continue
        swept.append(message_id)
    return swept


def _version_if_silent(
    store: EventStore, context_id: UUID, message_id: UUID, silent_since: int
) -> int | None:
    """The context's version, unless the stream was heard of after ``silent_since``.

    Reads the context backwards, and no further than that moment: what is older cannot change the answer.
    """
    with store.log.reading() as txn:
        version = before = store.log.version_of(txn, context_id)
        while before:
            commit = store.log.commit_of(txn, context_id, before)
            if commit.recorded_at <= silent_since:
                break
            if any(_is_activity(record, message_id) for record in commit.records):
                return None
            before = commit.first_version - 1
    return version


def _is_activity(record: Record, message_id: UUID) -> bool:
    return isinstance(record, (ChunkRun, StreamStarted, StreamResumed)) and record.message_id == message_id
