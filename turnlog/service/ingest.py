"""Chunks as they arrive: lines of JSON into one stream, or a provider's own stream into a context.

Whatever arrives while a commit is synced goes as the next one, as everywhere. The response tells how far
chunks are durable, while the request still goes on.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator, Sequence
from contextlib import AbstractContextManager, aclosing
from typing import Any, Final
from uuid import UUID

import anyio.lowlevel
import msgspec

from eventstore.errors import Refused
from eventstore.events import ChunkReceived, StreamFinalized
from eventstore.units import Clock
from turnlog.facade import Context
from turnlog.gathering import Gathering, size_of_chunk
from turnlog.service.choices import allowed
from turnlog.service.decoding import check_depth
from turnlog.service.requests import Finalize
from turnlog.service.settings import Limits
from turnlog.service.strict import ChunkIn, micros
from turnlog.tee import Tee

LINE_BYTES_MAX: Final = 8 * 1024 * 1024
"""One line: the log takes no larger event."""


class Last(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The last line of a stream of chunks, if it is to end with it."""

    finalize: Finalize


_lines: Final = msgspec.json.Decoder(ChunkIn)
_last: Final = msgspec.json.Decoder(Last)


class Lines:
    """Lines from slices of a body."""

    def __init__(self, bytes_max: int) -> None:
        self._bytes_max = bytes_max
        self._rest = b""
        self.number = 0

    def feed(self, data: bytes) -> list[bytes]:
        """The lines that end within ``data``. Raises ``Refused`` (``body_too_large``)."""
        *lines, self._rest = (self._rest + data).split(b"\n")
        for number, line in enumerate((*lines, self._rest), self.number + 1):
            if len(line) > self._bytes_max:
                most = self._bytes_max
                raise Refused("body_too_large", f"line {number} is more than {most} bytes", limit=most)
        return lines

    def close(self) -> list[bytes]:
        """What no line end follows."""
        return [self._rest] if self._rest else []


LINES_AT_ONCE: Final = 500
"""Taken before others have their turn, in some milliseconds: a slice of a body may have thousands."""


class ChunkIngest:
    """One producer's chunks on their way into its stream, each with the sequence that it was given."""

    def __init__(self, context: Context, message_id: UUID, epoch: int, clock: Clock, limits: Limits) -> None:
        self._context = context
        self._message_id = message_id
        self._epoch = epoch
        self._clock = clock
        self._gathering = Gathering(self._append)
        self._depth_max = limits.json_depth_max
        self._lines = Lines(min(LINE_BYTES_MAX, limits.body_bytes_max))
        self._sequence = 0
        self.finalized: StreamFinalized | None = None

    @property
    def durable(self) -> int:
        """The last sequence that is in the log for sure."""
        return self._gathering.durable

    @property
    def failure(self) -> Exception | None:
        """Why nothing more is taken, if so."""
        return self._gathering.failure

    def on_change(self, listener: Callable[[], None]) -> None:
        """Call ``listener`` whenever more is durable, or it failed."""
        self._gathering.on_change = listener

    async def feed(self, data: bytes) -> None:
        """Take a slice of the body. Raises ``Refused`` for a line that is no chunk, naming it."""
        for number, line in enumerate(self._lines.feed(data), 1):
            await self._take(line)
            if number % LINES_AT_ONCE == 0:
                await anyio.lowlevel.checkpoint()

    async def close(self) -> None:
        """The body is over: take what is left, and wait until all is durable. Raises what failed."""
        for line in self._lines.close():
            await self._take(line)
        if self._sequence:
            await self._gathering.flush(self._sequence)
        if self.finalized is not None:
            await self._context.log.store.append(self._context.id, (self.finalized,), epoch=self._epoch)

    async def _take(self, line: bytes) -> None:
        self._lines.number += 1
        if not line.strip():
            return
        if self.finalized is not None:
            raise self._refused("nothing follows after finalize")
        try:
            given = _lines.decode(line)
        except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
            self.finalized = self._last(line, error)
            return
        await self.take(given)

    async def take(self, given: ChunkIn) -> None:
        """Take one chunk."""
        chunk = given.chunk(self._message_id, self._clock())
        size = size_of_chunk(chunk.delta, chunk.kind, chunk.part, None, chunk.at)
        await self._gathering.wait_for_room()
        self._sequence = chunk.sequence
        self._gathering.take(chunk, size)

    def _last(self, line: bytes, error: Exception) -> StreamFinalized:
        check_depth(line, self._depth_max)
        try:
            last = _last.decode(line).finalize
        except (msgspec.MsgspecError, UnicodeError, RecursionError):
            message, _, place = str(error).partition(" - at `$")
            known = allowed(ChunkIn, place.removesuffix("`"), message)
            raise self._refused(f"no chunk: {error}{known}") from None
        return finalized(self._message_id, last)

    def _refused(self, why: str) -> Refused:
        number = self._lines.number
        return Refused("invalid_request", f"line {number}: {why}", line=number, durable=self.durable)

    async def _append(self, chunks: Sequence[ChunkReceived]) -> None:
        """As one commit; where sequences jump as several, so that what is before a gap is in the log."""
        for run in _consecutive(chunks):
            await self._context.log.store.append(self._context.id, run, epoch=self._epoch)


def _consecutive(chunks: Sequence[ChunkReceived]) -> Iterator[Sequence[ChunkReceived]]:
    start = 0
    for at in range(1, len(chunks)):
        if chunks[at].sequence != chunks[at - 1].sequence + 1:
            yield chunks[start:at]
            start = at
    yield chunks[start:]


def finalized(message_id: UUID, last: Finalize) -> StreamFinalized:
    """The end that was asked for. A repeat must give the same, so no clock is read for it."""
    return StreamFinalized(
        message_id,
        last.outcome,
        last.finish_reason,
        last.usage,
        last.error,
        None if last.parts is None else tuple(last.parts),
        None if last.occurred_at is None else micros(last.occurred_at),
    )


async def acknowledged(
    ingest: ChunkIngest, body: AsyncIterator[bytes], produced: AbstractContextManager[None]
) -> AsyncGenerator[bytes, None]:
    """Take a body to its end, and tell as a line of JSON how far it is durable, whenever that changes.

    ``produced`` is entered for as long as the body goes on.
    """
    changed = asyncio.Event()

    async def take() -> None:
        try:
            with produced:
                async for data in body:
                    await ingest.feed(data)
                await ingest.close()
        finally:
            changed.set()

    ingest.on_change(changed.set)
    taking, known = asyncio.create_task(take()), 0
    try:
        while not taking.done() and ingest.failure is None:  # who sends nothing for long must hear of it too
            await changed.wait()
            changed.clear()
            if ingest.durable > known:
                known = ingest.durable
                yield _line({"type": "durable", "sequence": known})
    finally:
        taking.cancel()
        await asyncio.wait([taking])
    if ingest.failure is not None:
        raise ingest.failure
    taking.result()
    end = ingest.finalized
    yield _line({"type": "done", "sequence": ingest.durable, "outcome": end and end.outcome})


async def told(tee: Tee[bytes]) -> AsyncGenerator[bytes, None]:
    """Record a provider's stream to its end, and tell as lines of JSON how far it is durable."""
    known = -1
    async with aclosing(tee):
        async for _ in tee:
            if known < 0 and not tee.recorder.statistics.commits:
                continue  # of what is no stream of the dialect nothing is written: there is no message
            if known < 0:
                yield _line({"type": "started", "message_id": tee.message_id})
            if tee.recorder.durable > known:
                known = tee.recorder.durable
                yield _line({"type": "durable", "sequence": known})
    yield _line(ending(tee))


async def passed(tee: Tee[bytes]) -> AsyncGenerator[bytes, None]:
    """Record a provider's stream to its end, and pass it on."""
    async with aclosing(tee):
        async for event in tee:
            yield event


def ending(tee: Tee[bytes]) -> dict[str, Any]:
    """How a recorded stream ended."""
    end = tee.finalized
    return {
        "type": "done",
        "message_id": tee.message_id,
        "sequence": tee.recorder.durable,
        "outcome": end and end.outcome,
        "finish_reason": end and end.finish_reason,
    }


def _line(facts: dict[str, Any]) -> bytes:
    return msgspec.json.encode(facts) + b"\n"
