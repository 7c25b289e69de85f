"""Pass a provider's stream through unchanged, each event after what it says is in the log.

    provider  ->  feeder task: interpret, write to the recorder, queue  ->  consumer
                                                                 an event is passed on when its
                                                                 last chunk is durable

Theory of operation. A task of the stream's own reads the provider, so that events that arrive while a commit
is synced gather for the next one; when that is durable, all of them are passed on. The end is written by the
same task as soon as the provider's stream ends, however slowly the consumer follows.

| what ends it                                         | outcome                                          |
|---|---|
| the provider's own end was seen                      | completed, whatever happens after it             |
| the provider's stream ceases before, even at once    | interrupted                                      |
| the provider reports an error                        | failed, with that error                          |
| its iterator raises, or an event is malformed        | failed; the consumer gets the exception          |
| what it sent holds no event of the dialect at all    | nothing is written, or ``failed`` where ``model`` |
|                                                      | had started it; the consumer gets the exception  |
| its iterator raises a cancellation of its own        | failed; the consumer gets a ``RuntimeError``     |
| the consumer leaves: ``break``, ``aclose``, cancelled | aborted; the provider's stream is closed        |
| somebody stops the stream (``sweep.stop``)           | it was finalized as aborted; the iteration ends  |
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator
from uuid import UUID

import anyio
from msgspec import UNSET, UnsetType
from uuid_utils.compat import uuid7

from eventstore.content import Json, Role
from eventstore.context import MAIN
from eventstore.events import StreamFinalized, StreamStarted
from eventstore.store import EventStore
from eventstore.units import Clock, wall_clock_us
from eventstore.validation import check_optional_ids
from turnlog.dialects import dialect as dialect_named
from turnlog.dialects.interpreter import Interpreter
from turnlog.feeder import CLOSE_SECONDS, Feeder, Provided
from turnlog.recorder import FINALIZE_SECONDS
from turnlog.stream import StreamRecorder


def tee(
    store: EventStore,
    context_id: UUID,
    provider_stream: AsyncIterable[Provided],
    *,
    dialect: str,
    model: str | None = None,
    role: Role = "assistant",
    branch: str = MAIN,
    parent_id: UUID | UnsetType | None = UNSET,
    message_id: UUID | None = None,
    metadata: dict[str, Json] | None = None,
    keep_raw: bool = False,
    epoch: int = 1,
    clock: Clock = wall_clock_us,
) -> Tee[Provided]:
    """Record a provider's stream while passing it through; the table above says how it ends.

    Args:
        store: the log.
        context_id: the context that gets the message.
        provider_stream: bytes or text of server-sent events in any slices, which come out as one item for
            each event; or mappings, or objects of the provider's library, which come out as they are. Lines
            without their ends (``aiter_lines``) are refused: ``interpreter.py`` says why.
        dialect: a name in ``dialects.DIALECTS``.
        model: the model that was asked. With it the stream is started before the provider is read, so that
            it shows while the model thinks; what the provider says of itself goes to the metadata of the
            next commit. Without it the provider's first event starts the stream and names the model.
        role, branch, parent_id, message_id, metadata: see ``StreamStarted``.
        keep_raw: keep each event's own bytes too; costs about fifty times the text.
        epoch: the producer's.
        clock: when chunks arrive.

    Nothing happens before the first event is asked for. Raises ``Refused`` with code ``unknown_dialect`` at
    once; while iterating what ``EventStore.append`` raises, ``Refused`` with code ``malformed_stream``, for
    bare lines ``invalid_argument``, and whatever the provider's iterator raises, each after the events
    before it were passed on.
    """
    check_optional_ids(parent_id=parent_id)
    started = StreamStarted(message_id or uuid7(), role, branch, parent_id, model, metadata)
    recorder = StreamRecorder(store, context_id, started.message_id, epoch=epoch, clock=clock)
    interpreter = Interpreter(dialect_named(dialect), keep_raw)
    return Tee(Feeder(provider_stream, interpreter, recorder, started))


class Tee(AsyncIterator[Provided]):
    """The provider's events, each after it is logged; ``tee`` makes it.

    Use it in one task. ``aclose`` leaves early, and so does dropping it after a ``break``, though only when
    Python notices; use ``contextlib.aclosing`` where that matters.
    """

    def __init__(self, feeder: Feeder[Provided]) -> None:
        self._recorder = feeder.recorder
        self._events = _pass_on(feeder)

    @property
    def message_id(self) -> UUID:
        """The message that the stream becomes."""
        return self._recorder.message_id

    @property
    def recorder(self) -> StreamRecorder:
        """Counts, what is durable, and why it failed."""
        return self._recorder

    @property
    def finalized(self) -> StreamFinalized | None:
        """The end, once it is in the log."""
        return self._recorder.finalized

    def __aiter__(self) -> Tee[Provided]:
        return self

    async def __anext__(self) -> Provided:
        return await self._events.__anext__()

    async def aclose(self) -> None:
        """Leave: finalize as aborted, unless the end was seen, and close the provider's stream."""
        await self._events.aclose()


async def _pass_on(feeder: Feeder[Provided]) -> AsyncGenerator[Provided, None]:
    recorder, passing = feeder.recorder, feeder.passing
    task = asyncio.create_task(feeder.run())
    try:
        while True:
            if passing and passing[0].sequence <= recorder.durable:
                yield feeder.pop()
            elif feeder.done or recorder.failure is not None:
                break
            else:
                await feeder.changed.wait()
    finally:
        if not feeder.done:
            feeder.leave()
            task.cancel()
            with anyio.CancelScope(shield=True):
                await asyncio.wait({task}, timeout=FINALIZE_SECONDS + CLOSE_SECONDS)
    error = feeder.error or recorder.failure
    if error is not None and not recorder.stopped:
        raise error
