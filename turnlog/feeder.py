"""Read a provider's stream in a task of its own: interpret, record, and queue what may be passed on."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterable, Iterable
from contextlib import suppress
from typing import Any, Final, Generic, NamedTuple, TypeVar, cast

import anyio
import msgspec

from eventstore.content import Json
from eventstore.errors import Refused
from eventstore.events import StreamStarted
from turnlog.dialects.interpreter import Heard, Interpreter
from turnlog.dialects.wire import Opened
from turnlog.recorder import begin, settle, settle_cancelled
from turnlog.stream import StreamRecorder, describe

PASSING_EVENTS_MAX: Final = 65_536
"""Events that wait for a slow consumer before the provider is read at the consumer's pace: more than the
longest answers have, so that a browser that stalls does not stall the recording."""

PASSING_BYTES_MAX: Final = 64 * 1024 * 1024
"""Bytes of framed events that wait for a slow consumer, likewise."""

HELD_EVENTS_MAX: Final = 16
"""Events without content that are held until one names the model: Azure sends one, heartbeats may be more."""

FACTS_BYTES_MAX: Final = 16 * 1024
"""JSON of what a provider says of itself; beyond it only its id and model are kept, cut to a sixteenth of
this. A commit's metadata, where it may go, takes four times this."""

CLOSE_SECONDS: Final = 5.0
"""How long closing the provider's stream may take after the consumer left."""

Provided = TypeVar("Provided")


class Passing(NamedTuple):
    """An event as it was sent, to be passed on once chunk ``sequence`` is durable."""

    sequence: int
    sent: object
    size_bytes: int


class Feeder(Generic[Provided]):
    """The reading side of a tee, and what it has ready for the consumer.

    ``changed`` is set, and replaced, whenever something is ready, has become durable, failed or ended.
    """

    def __init__(
        self,
        provider_stream: AsyncIterable[Provided],
        interpreter: Interpreter,
        recorder: StreamRecorder,
        started: StreamStarted,
    ) -> None:
        self.recorder = recorder
        self.passing: deque[Passing] = deque()
        self.error: Exception | None = None
        self.done = False
        self.changed = anyio.Event()
        self._provider_stream = provider_stream
        self._interpreter = interpreter
        self._started = started
        self._asked_at = 0
        self._start_tried = self._is_started = self._consumer_left = False
        self._passing_bytes = 0
        self._held: list[tuple[Heard, int]] = []
        recorder.on_change(self._change)

    async def run(self) -> None:
        """Feed until the provider ends, then write the end. ``error`` says what went wrong."""
        self._asked_at = self.recorder.now()
        left, iterator = False, None
        try:
            try:
                if self._started.model is not None:
                    await self._start(None)
                iterator = aiter(self._provider_stream)
                async for sent in iterator:
                    await self._hear(self._interpreter.read(sent))
                await self._hear(self._interpreter.close())
            except asyncio.CancelledError as cancelled:
                left = self._consumer_left or _is_being_cancelled()
                if not self._consumer_left:
                    self.error = RuntimeError("the provider's stream was cancelled")
                    self.error.__cause__ = cancelled
            except Exception as error:
                self.error = error
            if left:
                await settle_cancelled(self.recorder, self._end(left=True))
            else:
                await settle(self.recorder, self._end(left=False))
        finally:
            if left or self.error is not None:
                await _close(self._provider_stream, iterator)
            self.done = True
            self._change()

    def leave(self) -> None:
        """The consumer is about to cancel this: no other cancellation ends quietly."""
        self._consumer_left = True

    def pop(self) -> Provided:
        """The next event that may be passed on."""
        passing = self.passing.popleft()
        self._passing_bytes -= passing.size_bytes
        self._change()
        return cast("Provided", passing.sent)

    async def _start(self, opened: Opened | None) -> None:
        """``model`` is the caller's, or the provider's."""
        self._start_tried = True
        event = self._started
        if opened is not None:
            event = msgspec.structs.replace(
                event, model=opened.model, metadata={**(event.metadata or {}), **_facts(opened)}
            )
        await begin(self.recorder, msgspec.structs.replace(event, occurred_at=self._asked_at))
        self._is_started = True
        held, self._held = self._held, []
        for heard, arrived_at in held:
            await self._take(heard, arrived_at)

    async def _hear(self, events: Iterable[Heard]) -> None:
        """Record and queue events; those with nothing but raw bytes wait for one that names the model."""
        arrived_at = self.recorder.now()
        for heard in events:
            if self._start_tried:
                if heard.opened is not None:
                    self.recorder.annotate(_facts(heard.opened))
                await self._take(heard, arrived_at)
            elif heard.pieces or heard.opened is not None:
                self._held.append((heard, arrived_at))
                says_something = heard.opened is not None or any(piece.delta for piece in heard.pieces)
                if says_something or len(self._held) >= HELD_EVENTS_MAX:
                    await self._start(heard.opened)
            else:
                await self._queue(heard.sent)

    async def _take(self, heard: Heard, arrived_at: int) -> None:
        for piece in heard.pieces:
            await self.recorder.write(piece.delta, piece.kind, piece.part, piece.raw, arrived_at)
        await self._queue(heard.sent)

    async def _queue(self, sent: object) -> None:
        while len(self.passing) >= PASSING_EVENTS_MAX or self._passing_bytes >= PASSING_BYTES_MAX:
            await self.changed.wait()
        size = len(sent) if isinstance(sent, (bytes, str)) else 0
        self._passing_bytes += size
        self.passing.append(Passing(self.recorder.sequence, sent, size))
        self._change()

    async def _end(self, *, left: bool) -> None:
        """Never raises: the consumer gets the first error."""
        recorder = self.recorder
        pieces, ended = self._interpreter.end()
        try:
            if not self._start_tried and self._is_refused():
                for heard, _ in self._held:
                    await self._queue(heard.sent)
                return
            if not self._start_tried:
                await self._start(None)
            if not self._is_started:
                return  # it may be the stream of another, whose id was taken
            if recorder.failure is None:
                for piece in pieces:
                    await recorder.write(piece.delta, piece.kind, piece.part, at=recorder.now())
            outcome, error = ended.outcome, ended.error
            if outcome == "interrupted" and left:
                outcome = "aborted"
            elif outcome == "interrupted" and self.error is not None:
                outcome, error = "failed", describe(self.error)
            recorder.finalize(
                outcome,
                finish_reason=ended.finish_reason,
                usage=ended.usage,
                error=error,
                parts=ended.parts,
            )
            await recorder.end()
        except Exception as error:
            self.error = self.error or error

    def _is_refused(self) -> bool:
        """Whether this never was a stream of the dialect: then there is no answer to record."""
        return isinstance(self.error, Refused) and not self._interpreter.recognized

    def _change(self) -> None:
        self.changed.set()
        self.changed = anyio.Event()


def _is_being_cancelled() -> bool:
    """Whether somebody cancelled this task, as a closing event loop does; a provider may only raise as if."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


async def _close(*streams: Any) -> None:
    """Close the first of the provider's stream and its iterator that can be closed, in bounded time."""
    for stream in streams:
        close = getattr(stream, "aclose", None) or getattr(stream, "close", None)
        if close is not None:
            with suppress(Exception), anyio.move_on_after(CLOSE_SECONDS, shield=True):
                closing = close()
                if closing is not None:
                    await closing
            return


def _facts(opened: Opened) -> dict[str, Json]:
    """What the provider says of itself and its answer."""
    facts = {"id": opened.provider_id, "model": opened.model, **opened.metadata}
    if len(msgspec.json.encode(facts)) > FACTS_BYTES_MAX:
        names = {"id": opened.provider_id, "model": opened.model}
        facts = {key: value and value[: FACTS_BYTES_MAX // 16] for key, value in names.items()}
    return {"provider": {key: value for key, value in facts.items() if value is not None}}
