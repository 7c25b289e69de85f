"""One producer's hold on one open stream: its chunks in sequence, and its end.

``write`` only gathers. What is gathered is not durable, and nothing that ``write`` returns says so: wait for
``flush``, or compare ``durable`` with ``sequence``.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, Final
from uuid import UUID

import msgspec
from uuid_utils.compat import uuid7

from eventstore.commits import Committed
from eventstore.content import Json, Kind, Part
from eventstore.errors import OutcomeUnknown, Refused, TurnlogError
from eventstore.events import (
    ChunkReceived,
    Outcome,
    Record,
    StreamFinalized,
    StreamResumed,
    StreamStarted,
)
from eventstore.store import EventStore
from eventstore.units import Clock, wall_clock_us
from eventstore.validation import check_id
from turnlog.gathering import Gathering, size_of_chunk

REPEATS_MAX: Final = 3
"""How often an append of unknown outcome is repeated: the writer recovers in between, or gives up."""

ERROR_CHARACTERS_MAX: Final = 1_000
"""Of an exception's message in the log: enough to know it, too little for a document."""

_NOT_OURS: Final = frozenset({"stream_finalized", "producer_fenced", "sequence_gap", "chunk_conflict"})
# After these somebody else owns the stream, or ended it: it is not for this producer to finalize.

_TOO_LARGE: Final = frozenset({"event_too_large", "commit_too_large"})

_recording: weakref.WeakValueDictionary[UUID, StreamRecorder] = weakref.WeakValueDictionary()
# The streams recorded by this process. Weak: a recorder that nobody holds does not keep its stream open.


class RecorderStatistics(msgspec.Struct, frozen=True):
    """Counts of one recorder: what was written, and how much of it is in the log for sure."""

    chunks: int
    chunks_durable: int
    characters: int
    commits: int
    chunks_per_commit_max: int


class Ending(msgspec.Struct, frozen=True):
    """How a stream is finalized; the fields are those of ``StreamFinalized``."""

    outcome: Outcome = "completed"
    finish_reason: str | None = None
    usage: dict[str, Json] | None = None
    error: dict[str, Json] | None = None
    parts: tuple[Part, ...] | None = None


class StreamRecorder:
    """One producer's hold on one open stream; ``recorder.record`` and ``resume`` make it.

    Once an append has failed, every ``write`` and ``flush`` raises that error: nothing is recorded past a
    hole. ``Refused`` with code ``stream_finalized`` means that somebody stopped the stream: stop producing
    and leave the block. ``producer_fenced`` means that another producer goes on with it.
    """

    def __init__(
        self,
        store: EventStore,
        context_id: UUID,
        message_id: UUID,
        *,
        epoch: int = 1,
        clock: Clock = wall_clock_us,
    ) -> None:
        check_id(context_id, "context_id")
        check_id(message_id, "message_id")
        self.context_id: UUID = context_id
        self.message_id: UUID = message_id
        self.epoch: int = epoch
        self.sequence: int = 0
        """The last chunk that was taken."""
        self.finalized: StreamFinalized | None = None
        """The end that this recorder wrote."""
        self._store = store
        self._clock = clock
        self._gathering = Gathering(self._append)
        self._metadata: dict[str, Json] | None = None
        self._ending = Ending()
        self._first = self._characters = self._commits = self._chunks_per_commit_max = 0

    @property
    def durable(self) -> int:
        """The last chunk that is in the log for sure."""
        return self._gathering.durable

    @property
    def failure(self) -> Exception | None:
        """Why nothing more is recorded, if so."""
        return self._gathering.failure

    @property
    def stopped(self) -> bool:
        """Whether somebody else finalized the stream."""
        return _code(self.failure) == "stream_finalized"

    @property
    def statistics(self) -> RecorderStatistics:
        """Counts so far, of this recorder alone."""
        return RecorderStatistics(
            self.sequence - self._first,
            self.durable - self._first,
            self._characters,
            self._commits,
            self._chunks_per_commit_max,
        )

    async def write(
        self,
        delta: str,
        kind: Kind = "text",
        part: str | None = None,
        raw: bytes | None = None,
        at: int | None = None,
    ) -> int:
        """Gather one chunk and return its sequence. It is not durable yet: see ``flush``.

        An empty delta without ``raw`` is no chunk. ``at`` is when it arrived, now unless given. Returns at
        once unless more is gathered than the bounds allow. Cancellation: a write that waited is not taken.

        Raises ``Refused`` for a chunk that no log takes (``invalid_event``, ``event_too_large``): it is not
        taken, and the stream goes on. Raises the error of an earlier append that failed, and ``Refused``
        with code ``stream_finalized`` once the end is being written.
        """
        arrived = self._clock() if at is None else at
        size = size_of_chunk(delta, kind, part, raw, arrived)
        await self._gathering.wait_for_room()
        if delta or raw is not None:
            self.sequence += 1
            self._characters += len(delta)
            chunk = ChunkReceived(self.message_id, self.sequence, delta, kind, arrived, part, raw)
            self._gathering.take(chunk, size)
        return self.sequence

    async def flush(self, sequence: int | None = None) -> None:
        """Wait until a chunk, the last one taken unless named, and all before it are durable.

        Cancellation: what is gathered stays gathered and is appended. Raises the error of a failed append,
        of the end's too, and ``Refused`` (``stream_finalized``) for a chunk that the ended stream lacks.
        """
        await self._gathering.flush(self.sequence if sequence is None else sequence)

    def finalize(
        self,
        outcome: Outcome = "completed",
        *,
        finish_reason: str | None = None,
        usage: dict[str, Json] | None = None,
        error: dict[str, Json] | None = None,
        parts: tuple[Part, ...] | None = None,
    ) -> None:
        """Say how the stream ends; it is written when the block is left.

        An exception or a cancellation that leaves the block replaces the outcome and the error.
        """
        self._ending = Ending(outcome, finish_reason, usage, error, parts)

    def annotate(self, metadata: dict[str, Json]) -> None:
        """Give metadata to the stream's next commit: ids by which the provider knows the answer."""
        self._metadata = {**(self._metadata or {}), **metadata}

    def on_change(self, listener: Callable[[], None]) -> None:
        """Call ``listener`` whenever ``durable`` or ``failure`` has changed."""
        self._gathering.on_change = listener

    def fail(self, failure: Exception) -> None:
        """Record nothing more: later writes raise ``failure``."""
        self._gathering.fail(failure)

    def now(self) -> int:
        """The recorder's clock."""
        return self._clock()

    async def start(self, event: StreamStarted | StreamResumed) -> Committed:
        """Append the stream's opening event, durably, and guard the stream from ``sweep``."""
        committed = await self._append((event,), commit_id=uuid7())
        _recording[self.message_id] = self
        return committed

    def go_on_after(self, sequence: int) -> None:
        """The stream has chunks already, up to this one."""
        self.sequence = self._first = self._gathering.durable = sequence

    def end(
        self, outcome: Outcome | None = None, error: dict[str, Json] | None = None
    ) -> Coroutine[Any, Any, None]:
        """Append what is gathered and the end as ``finalize`` said it, or with another outcome and error.

        Content of the end that the log refuses as too large is left out: the chunks have it. After a
        failed append it keeps what arrived as far as the log takes it, finalizes as failed and raises that
        append's error; when the end's own append fails, but for a refusal, the stream stays open. When the
        stream was stopped there is nothing left to do.
        """
        ending = self._ending
        if outcome is not None:
            ending = msgspec.structs.replace(ending, outcome=outcome, error=error)
        self._gathering.leave()  # now, not when the coroutine first runs: one commit less
        return self._end(ending)

    async def _end(self, ending: Ending) -> None:
        try:
            rest = await self._gathering.rest()
            if self.failure is None:
                try:
                    await self._append_end(rest, ending)
                except Refused as refused:
                    self.fail(refused)
            if self.failure is not None and not self.stopped:
                await self._end_after(self.failure)
                raise self.failure
        except Exception as error:
            if self.failure is None:
                self.fail(error)
            raise
        except BaseException:
            if self.failure is None:
                self.fail(OutcomeUnknown("outcome_unknown", "the end of the recording was cancelled"))
            raise
        finally:
            self._gathering.end()
            if _recording.get(self.message_id) is self:
                del _recording[self.message_id]

    async def _end_after(self, failure: Exception) -> None:
        if _code(failure) in _NOT_OURS:
            return
        for chunks in (await self._gathering.rest(), ()):
            try:
                await self._append_end(chunks, Ending("failed", error=describe(failure)))
                return
            except TurnlogError:
                continue  # the failure itself says more than its consequence

    async def _append_end(self, chunks: Sequence[ChunkReceived], ending: Ending) -> None:
        fields: dict[str, Any] = msgspec.structs.asdict(ending)
        finalized = StreamFinalized(self.message_id, **fields, occurred_at=self._clock())
        try:
            await self._append((*chunks, finalized), commit_id=uuid7())
        except Refused as refused:
            if refused.code == "commit_too_large" and chunks:
                await self._append(chunks)
                self._gathering.appended(chunks)
                chunks = ()
            elif refused.code in _TOO_LARGE and ending.parts is not None:
                ending = msgspec.structs.replace(ending, parts=None)
            else:
                raise
            await self._append_end(chunks, ending)
        else:
            self.finalized = finalized
            self._gathering.appended(chunks)

    async def _append(self, events: Sequence[Record], commit_id: UUID | None = None) -> Committed:
        """Append, and again while the outcome is unknown: chunks need no id, their sequences are known."""
        metadata = self._metadata
        for repeat in range(REPEATS_MAX + 1):
            try:
                committed = await self._store.append(
                    self.context_id, events, commit_id=commit_id, metadata=metadata, epoch=self.epoch
                )
            except OutcomeUnknown:
                if repeat == REPEATS_MAX:
                    raise
                continue
            if self._metadata is metadata:
                self._metadata = None
            chunks = sum(type(event) is ChunkReceived for event in events)
            self._commits += 1
            self._chunks_per_commit_max = max(self._chunks_per_commit_max, chunks)
            return committed
        raise AssertionError("the last repeat returns or raises")


def recorder_of(message_id: UUID) -> StreamRecorder | None:
    """The recorder of this process that holds a stream."""
    return _recording.get(message_id)


def describe(error: BaseException) -> dict[str, Json]:
    """An exception as a finalized stream keeps it: its code or type, and a bounded message."""
    message = str(error).encode("utf-8", "replace").decode()
    return {"type": _code(error) or type(error).__name__, "message": message[:ERROR_CHARACTERS_MAX]}


def _code(error: BaseException | None) -> str | None:
    return error.code if isinstance(error, TurnlogError) else None
