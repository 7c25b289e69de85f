"""Chunks -> commits without added latency: what gathers while one commit is synced goes as the next one.

As soon as something is gathered, one task appends all of it as one commit, again what gathered in the
meantime, and ends. So a chunk waits for at most the sync under way and its own, a fast model shares a sync
among many chunks, and an idle stream costs nothing.

    take  ->  gathered  ->  being synced  ->  durable
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, cast, get_args

import anyio

from eventstore.content import Kind
from eventstore.errors import OutcomeUnknown, Refused
from eventstore.events import NUMBER_MAX, ChunkReceived
from eventstore.limits import EVENT_BYTES_MAX, NAME_CHARACTERS_MAX

GATHERED_BYTES_MAX: Final = 4 * 1024 * 1024
"""Bytes gathered before a producer waits: with one more chunk of the largest size they still fit a commit."""

GATHERED_CHUNKS_MAX: Final = 4_096
"""Chunks gathered before a producer waits: as many again may be on their way, and both fit a commit."""

CHUNK_OVERHEAD_BYTES: Final = 1_024
"""The most that a chunk's ids, part and numbers add to its text."""

_KINDS: Final = frozenset(get_args(Kind))


class Gathering:
    """The chunks of one stream on their way to the log.

    ``durable`` is the last sequence that is in the log for sure. After ``failure`` nothing is appended any
    more, and no chunk is lost to it: ``rest`` gives those that are not in the log.
    """

    def __init__(self, append: Callable[[Sequence[ChunkReceived]], Awaitable[object]]) -> None:
        self.durable: int = 0
        self.failure: Exception | None = None
        self.on_change: Callable[[], None] | None = None
        """Called when ``durable`` or ``failure`` has changed."""
        self._append = append
        self._chunks: list[ChunkReceived] = []
        self._bytes = 0
        self._appending: asyncio.Task[None] | None = None
        self._leaving = self._ended = False
        self._round: anyio.Event | None = None  # of the append under way, once somebody waits for its end

    async def wait_for_room(self) -> None:
        """Wait until a chunk may be taken. Raises the failure, or ``Refused`` after ``leave``."""
        while self.failure is None and not self._leaving and self._is_full():
            await self._end_of_round()
        self._raise_failure()
        if self._leaving:
            raise _after_the_end()

    def take(self, chunk: ChunkReceived, size_bytes: int) -> None:
        """Gather one chunk, after ``wait_for_room``."""
        self._chunks.append(chunk)
        self._bytes += size_bytes
        if self._appending is None:
            self._appending = asyncio.create_task(self._append_all())

    async def flush(self, sequence: int) -> None:
        """Wait until a chunk and all before it are durable. Raises the failure; ``Refused`` after ``end``."""
        while self.durable < sequence:
            self._raise_failure()
            if self._ended:
                raise _after_the_end()
            await self._end_of_round()

    def leave(self) -> None:
        """Take nothing more and begin no further append: what is gathered goes with the stream's end."""
        self._leaving = True

    def end(self) -> None:
        """After ``leave``: what is not in the log by now never will be."""
        self._ended = True
        self._changed()

    async def rest(self) -> Sequence[ChunkReceived]:
        """After ``leave``: the chunks that are not in the log, once the append under way is over."""
        while self._appending is not None:
            await self._end_of_round()
        return tuple(self._chunks)

    def appended(self, chunks: Sequence[ChunkReceived]) -> None:
        """These, the first of those that were left, are in the log."""
        if chunks:
            self.durable = chunks[-1].sequence
            del self._chunks[: len(chunks)]
        self._changed()

    def fail(self, failure: Exception) -> None:
        """Append nothing more."""
        self.failure = failure
        self._changed()

    def _raise_failure(self) -> None:
        """Without the frames of those who got it before: one error, raised often, would hold them all."""
        if self.failure is not None:
            raise self.failure.with_traceback(None)

    async def _append_all(self) -> None:
        """The one task while something is gathered. It raises nothing but its cancellation."""
        try:
            while self._chunks and not self._leaving and self.failure is None:
                await self._append_once()
        finally:
            self._appending = None
            self._changed()  # who waits for the task's own end

    async def _append_once(self) -> None:
        chunks, size = self._chunks, self._bytes
        self._chunks, self._bytes = [], 0
        try:
            await self._append(chunks)
        except BaseException as error:
            self._chunks[:0] = chunks
            self._bytes += size
            if isinstance(error, Exception):
                self.failure = error
            else:
                self.failure = OutcomeUnknown("outcome_unknown", "an append of the recording was cancelled")
                raise
        else:
            self.durable = chunks[-1].sequence
            self._changed()

    def _is_full(self) -> bool:
        return self._bytes >= GATHERED_BYTES_MAX or len(self._chunks) >= GATHERED_CHUNKS_MAX

    async def _end_of_round(self) -> None:
        if self._round is None:
            self._round = anyio.Event()
        await self._round.wait()

    def _changed(self) -> None:
        if self._round is not None:
            self._round.set()
            self._round = None
        if self.on_change is not None:
            self.on_change()


def _after_the_end() -> Refused:
    return Refused("stream_finalized", "this recording has ended and takes no more chunks")


def size_of_chunk(delta: str, kind: Kind, part: str | None, raw: bytes | None, at: int) -> int:
    """About the bytes of a chunk's event. Refuses what would spoil the commit that it shares with others."""
    text_bytes = _bytes_of(delta)
    if text_bytes is None:
        raise Refused("invalid_event", "a chunk's delta is a str, without half of a surrogate pair")
    if type(cast("object", kind)) is not str or kind not in _KINDS:
        raise Refused("invalid_event", f"a chunk's kind is one of {', '.join(sorted(_KINDS))}, not {kind!r}")
    if part is not None and not _is_name(part):
        raise Refused(
            "invalid_event", f"a chunk's part is a str of 1 to {NAME_CHARACTERS_MAX} encodable characters"
        )
    if raw is not None and type(raw) is not bytes:
        raise Refused("invalid_event", f"a chunk's raw is bytes, not {type(raw).__name__}")
    if type(at) is not int or not -NUMBER_MAX <= at <= NUMBER_MAX:
        raise Refused("invalid_event", "a chunk's at is an int: microseconds since the epoch")
    size = text_bytes + len(raw or b"") + CHUNK_OVERHEAD_BYTES
    if size > EVENT_BYTES_MAX:
        raise Refused(
            "event_too_large",
            f"a chunk of {size} bytes; the limit is {EVENT_BYTES_MAX}",
            limit=EVENT_BYTES_MAX,
            actual=size,
        )
    return size


def _is_name(part: str) -> bool:
    return bool(_bytes_of(part)) and len(part) <= NAME_CHARACTERS_MAX


def _bytes_of(text: object) -> int | None:
    """Its size in UTF-8; None for what the log does not encode, as are subclasses of ``str``."""
    if type(text) is not str:
        return None
    try:
        return len(text.encode())
    except UnicodeEncodeError:
        return None
