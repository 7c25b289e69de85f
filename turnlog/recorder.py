"""Record a model's answer while it streams.

    async with record(store, context_id, model="m") as stream:
        async for delta in model:
            await stream.write(delta)

``write`` only gathers. What is gathered is not durable, and nothing that ``write`` returns says so: wait for
``flush``, or compare ``durable`` with ``sequence``. Leaving the block makes all of it durable, with its end.

| the block is left by            | outcome                                                             |
|---|---|
| its last line                   | completed, or what ``finalize`` said                                |
| an exception, which goes on     | failed, with the exception's type and the beginning of its message  |
| a cancellation, which goes on   | aborted                                                             |
| a stop of the stream            | it was finalized by whoever stopped it; the block ends quietly      |
| the death of the process        | the stream stays open until ``sweep`` or ``resume``                 |
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Coroutine
from contextlib import asynccontextmanager
from typing import Any, Final, cast
from uuid import UUID

import anyio
import anyio.lowlevel
import structlog
from msgspec import UNSET, UnsetType
from uuid_utils.compat import uuid7

from eventstore.commits import Committed
from eventstore.content import Json, Role
from eventstore.context import MAIN
from eventstore.errors import Refused
from eventstore.events import ChunkRun, StreamResumed, StreamStarted
from eventstore.store import EventStore
from eventstore.units import Clock, wall_clock_us
from eventstore.validation import check_optional_ids
from turnlog.stream import StreamRecorder, describe

FINALIZE_SECONDS: Final = 5.0
"""How long a recording that was cancelled may hold that up to write its end. Later ``sweep`` writes it."""

SECOND_EPOCH: Final = 2
"""What a stream is resumed with that never was before; streams start with epoch 1."""

_logger: Final = structlog.get_logger("turnlog.recorder")


@asynccontextmanager
async def record(
    store: EventStore,
    context_id: UUID,
    *,
    model: str | None = None,
    role: Role = "assistant",
    branch: str = MAIN,
    parent_id: UUID | UnsetType | None = UNSET,
    message_id: UUID | None = None,
    metadata: dict[str, Json] | None = None,
    epoch: int = 1,
    clock: Clock = wall_clock_us,
) -> AsyncGenerator[StreamRecorder, None]:
    """Start a stream, durably, and finalize it when the block is left; the table above says how.

    Cancellation: the end is written all the same, for at most ``FINALIZE_SECONDS``. Raises what
    ``EventStore.append`` raises, at the start, in ``write`` and ``flush``, or when the block is left.
    """
    check_optional_ids(parent_id=parent_id)
    recorder = StreamRecorder(store, context_id, message_id or uuid7(), epoch=epoch, clock=clock)
    started = StreamStarted(recorder.message_id, role, branch, parent_id, model, metadata, recorder.now())
    await begin(recorder, started)
    async with _ended(recorder):
        yield recorder


@asynccontextmanager
async def resume(
    store: EventStore,
    context_id: UUID,
    message_id: UUID,
    *,
    epoch: int | None = None,
    clock: Clock = wall_clock_us,
) -> AsyncGenerator[StreamRecorder, None]:
    """Go on with an open stream after its last durable chunk, as ``record`` would.

    The new ``epoch``, one above the stream's unless given, fences off the producer before. It costs the same
    however long the stream is. Raises ``Refused`` (``stream_finalized``, ``stream_not_open``,
    ``stream_not_found``, ``epoch_not_higher``) or what ``record`` raises.
    """
    first_epoch = SECOND_EPOCH if epoch is None else epoch
    recorder = StreamRecorder(store, context_id, message_id, epoch=first_epoch, clock=clock)
    version = await _take_over(recorder, epoch)
    async with _ended(recorder):
        recorder.go_on_after(await last_sequence(store, context_id, message_id, version))
        yield recorder


async def begin(recorder: StreamRecorder, event: StreamStarted | StreamResumed) -> Committed:
    """Append the opening event. Cancelled meanwhile, what was opened is finalized as aborted."""
    task = asyncio.create_task(recorder.start(event))
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await _wait_for(recorder, task)
        if task.done() and not task.cancelled() and task.exception() is None:
            await settle_cancelled(recorder, recorder.end("aborted"))
        raise


@asynccontextmanager
async def _ended(recorder: StreamRecorder) -> AsyncGenerator[None, None]:
    """Finalize when the block is left, whatever the way."""
    try:
        yield
    except Exception as error:
        if not (recorder.stopped and error is recorder.failure):
            await _end_for(recorder, error)
            raise
        await settle(recorder, recorder.end())
    except BaseException:
        await settle_cancelled(recorder, recorder.end("aborted"))
        raise
    else:
        await settle(recorder, recorder.end())


async def _end_for(recorder: StreamRecorder, error: Exception) -> None:
    """Finalize as failed. The error that left the block goes on; another one leaves a note on it."""
    try:
        await settle(recorder, recorder.end("failed", describe(error)))
    except Exception as failure:
        if failure is not error:
            error.add_note(f"the recording failed too: {failure}")


async def settle(recorder: StreamRecorder, work: Coroutine[Any, Any, None]) -> None:
    """Do the work to its end, in a task of its own so that no cancellation leaves it half done.

    Cancelled meanwhile, it gets ``FINALIZE_SECONDS`` more, then the cancellation goes on.
    """
    task = asyncio.create_task(work)
    try:
        await asyncio.shield(task)
    except asyncio.CancelledError:
        await _wait_for(recorder, task)
        raise


async def settle_cancelled(recorder: StreamRecorder, work: Coroutine[Any, Any, None]) -> None:
    """Do the work within ``FINALIZE_SECONDS``, in a task that is being cancelled. Raises nothing of it."""
    await _wait_for(recorder, asyncio.create_task(work))


async def _wait_for(recorder: StreamRecorder, task: asyncio.Task[Any]) -> None:
    with anyio.CancelScope(shield=True):
        await asyncio.wait({task}, timeout=FINALIZE_SECONDS)
    failure = "timeout" if not task.done() else "cancelled" if task.cancelled() else task.exception()
    if failure is not None:
        _logger.warning("stream_left_open", message_id=str(recorder.message_id), error=str(failure))


async def _take_over(recorder: StreamRecorder, epoch: int | None) -> int:
    """Put the fence up: nobody of a lower epoch adds a chunk from here on. Returns the context's version.

    The writer knows the stream's epoch, and names it when it refuses one that is not higher: asking it costs
    a message to its thread, where reading the log would cost the whole stream.
    """
    while True:
        try:
            return (await begin(recorder, StreamResumed(recorder.message_id, recorder.epoch))).version
        except Refused as refused:
            if epoch is not None or refused.code != "epoch_not_higher":
                raise
            recorder.epoch = cast("int", refused.fields["current"]) + 1


async def last_sequence(store: EventStore, context_id: UUID, message_id: UUID, version: int) -> int:
    """The stream's last chunk at or below a version of its context; 0 before the first.

    Reads backwards, so it costs what the context got since that chunk, and lets others run after each commit.
    """
    while True:
        with store.log.reading() as txn:
            commit = store.log.commit_of(txn, context_id, version)
        for record in reversed(commit.records):
            match record:
                case ChunkRun() if record.message_id == message_id:
                    return record.last_sequence
                case StreamStarted() if record.message_id == message_id:
                    return 0
                case _:
                    pass
        version = commit.first_version - 1
        await anyio.lowlevel.checkpoint()
