"""EventStore: the log as a program uses it: open, append, read, subscribe, statistics, close."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Collection, Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any
from uuid import UUID

import anyio.lowlevel
import anyio.to_thread

from eventstore import reading, validation
from eventstore.closing import Once
from eventstore.commits import ANY, Append, Commit, Committed, ExpectedVersion
from eventstore.content import Json
from eventstore.directory import Opened, open_directory
from eventstore.disk import Disk
from eventstore.errors import TurnlogError, Unavailable
from eventstore.events import ALL_BITS, Record
from eventstore.inbox import Inbox, settled
from eventstore.limits import COMMIT_EVENTS_MAX, FREE_BYTES_LOW, MAP_BYTES
from eventstore.log import Log
from eventstore.request import Request, make_together, request_of
from eventstore.statistics import StoreStatistics, gather
from eventstore.stored import Head
from eventstore.subscription import Signal, one_by_one, pages
from eventstore.units import Clock, wall_clock_us
from eventstore.writer import Listener, Outcome, Writer


class EventStore:
    """The log of one data directory. One process writes it, any number read it.

    Use it from one asyncio event loop, the one it was opened on.
    """

    def __init__(self, opened: Opened, clock: Clock, free_bytes_low: int) -> None:
        self.path: Path = opened.path
        self.log: Log = opened.log
        self._opened = opened
        self._loop = asyncio.get_running_loop()
        self._inbox = Inbox()
        self._signal = Signal(None if opened.lock else opened.log)
        self._free_bytes_low = free_bytes_low
        self._closed = False
        self._ending = Once(self._end)
        self.acknowledged: int = self.head().position
        """The highest position that this process knows to be durable."""
        self._writer: Writer | None = None
        if opened.lock is not None:
            self._writer = Writer(opened.log, self._inbox, clock, self._deliver, free_bytes_low)

    @classmethod
    async def open(
        cls,
        path: str | Path,
        *,
        read_only: bool = False,
        create: bool = True,
        allow_unsafe_file_system: bool = False,
        clock: Clock = wall_clock_us,
        map_bytes: int = MAP_BYTES,
        free_bytes_low: int = FREE_BYTES_LOW,
    ) -> EventStore:
        """Open the log in ``path``, creating it if need be.

        A new directory is made with mode 0700 and appears whole or not at all. A writer holds a lock that
        the kernel drops with its process; a reader (``read_only=True``) takes none and sees what the writer
        commits.

        Raises ``Unavailable`` (``writer_locked`` with the holder's ``pid``, ``directory_foreign``,
        ``directory_newer``, ``file_system_unsafe``, ``already_open``, ``disk_full``), ``Damaged``
        (``directory_damaged``) or ``NotFound`` (``directory_not_found``).
        """
        opened = open_directory(
            path,
            read_only=read_only,
            create=create,
            allow_unsafe_file_system=allow_unsafe_file_system,
            clock=clock,
            map_bytes=map_bytes,
        )
        try:
            return cls(opened, clock, free_bytes_low)
        except BaseException:
            opened.close()
            raise

    async def append(
        self,
        context_id: UUID,
        events: Iterable[Record],
        *,
        expected_version: ExpectedVersion = ANY,
        commit_id: UUID | None = None,
        metadata: dict[str, Json] | None = None,
        epoch: int = 1,
        with_events_between: bool = False,
    ) -> Committed:
        """Append the events of one commit to a context: all of them, or none.

        Durability: when it returns, the commit is on the disk (fsynced, LMDB's meta page included) and
        survives kill -9 and power loss. Cancellation: a cancelled append may or may not have happened;
        repeat it with the same ``commit_id`` to find out, which returns the first outcome and writes
        nothing. It waits while the writer's inbox is full.

        Args:
            context_id: the context; its first event is ``ContextCreated``.
            events: 1 to ``limits.COMMIT_EVENTS_MAX``; ``ChunkRun`` stands for its chunks.
            expected_version: an exact version, ``NO_CONTEXT``, ``EXISTS`` or ``ANY``.
            commit_id: names the append for ever; the same id with other events is refused.
            metadata: actor, correlation and causation ids, anything JSON.
            epoch: the producer's, for stream events.
            with_events_between: lets a version conflict carry the events after ``expected_version``.

        Raises ``Refused`` (nothing written; see ``rules``), ``WrongExpectedVersion``, ``Unavailable``
        (nothing written: ``disk_full``, ``log_full``, ``log_read_only``, ``log_closed``) or
        ``OutcomeUnknown``.
        """
        taken = tuple(islice(events, COMMIT_EVENTS_MAX + 1))
        append = Append(context_id, taken, expected_version, commit_id, metadata, epoch, with_events_between)
        return await (await self._send(append))

    async def append_together(self, appends: Iterable[Append]) -> list[Committed]:
        """Append several commits of one context together, up to ``TOGETHER_BYTES_MAX``: all of them, or none.

        Each has its own position; they become visible in one step, to readers, subscribers and views.
        Durability, cancellation and errors as in ``append``; the first that is refused is told. Repeating it
        with the same commit ids returns the first outcomes. Another thread takes them, one at a time; many
        wait in a temporary file. Raises ``Unavailable`` (``spool_failed``) where there can be none.
        """
        self._check_writable()
        request = await anyio.to_thread.run_sync(make_together, appends, self._loop.create_future())
        if request is None:
            return []
        outcome: Committed | list[Committed] = await (await self._put(request))
        return outcome if isinstance(outcome, list) else [outcome]

    async def append_many(self, appends: Iterable[Append]) -> list[Committed | TurnlogError]:
        """Append many commits, each with an outcome of its own, in their order.

        Any may be refused while its neighbours are written. Durability and cancellation as in ``append``.
        """
        outcomes: list[Committed | TurnlogError | asyncio.Future[Committed]] = []
        try:
            for append in appends:
                try:
                    outcomes.append(await self._send(append))
                except TurnlogError as error:
                    outcomes.append(error)
            return [await settled(outcome) for outcome in outcomes]
        except BaseException:
            for outcome in outcomes:
                if isinstance(outcome, asyncio.Future):
                    outcome.cancel()  # nobody is left to hear of it
            raise

    async def _send(self, append: Append) -> asyncio.Future[Any]:
        """Hand an append to the writer, once there is room; returns what its outcome comes by."""
        self._check_writable()
        return await self._put(await request_of(append, self._loop.create_future()))

    async def _put(self, request: Request) -> asyncio.Future[Any]:
        if self._closed:  # since it was checked
            self._check_writable()
        if not self._inbox.has_room():
            await self._inbox.wait_for_room(request)
            self._check_writable()
        self._inbox.put(request)
        return request.future

    def _check_writable(self) -> None:
        if self._closed:
            raise Unavailable("log_closed", "the log is closed", path=str(self.path))
        if self._writer is None:
            raise Unavailable("log_read_only", "the log was opened read-only", path=str(self.path))
        self.log.check_process()
        if asyncio.get_running_loop() is not self._loop:
            raise Unavailable("wrong_event_loop", "the store was opened on another event loop")

    def _deliver(self, batch: list[Request], outcomes: list[Outcome], head: Head) -> None:
        """On the writer's thread: hand the outcomes to the event loop."""
        try:  # noqa: SIM105 -- suppress() takes longer, and somebody waits
            self._loop.call_soon_threadsafe(self._delivered, batch, outcomes, head)
        except RuntimeError:
            pass  # the loop was closed before the store: nobody waits any more

    def _delivered(self, batch: list[Request], outcomes: list[Outcome], head: Head) -> None:
        self.acknowledged = head.position
        for request, outcome in zip(batch, outcomes, strict=True):
            future: asyncio.Future[Committed | list[Committed]] = request.future
            if future.done():
                continue  # its waiter was cancelled
            if isinstance(outcome, Exception):
                future.set_exception(outcome)
            else:
                future.set_result(outcome)
        self._inbox.delivered(batch)
        self._signal.notify(request.append.context_id for request in batch)

    def add_commit_listener(self, listener: Listener) -> Callable[[], None]:
        """Call ``listener(after, position, kinds)`` after each transaction, on the writer's thread: be quick.

        The commits after the one position, up to the other, are durable; ``kinds`` has the bits of all their
        events and milestones, and maybe others. Returns the function that removes the listener. In a
        read-only store it is never called.
        """
        if self._writer is None:
            return lambda: None
        return self._writer.add_listener(listener)

    def head(self) -> Head:
        """The last commit's position, time and chain."""
        with self.log.reading() as txn:
            return self.log.head(txn)

    def version_of(self, context_id: UUID) -> int:
        """The number of events a context has had; 0 when it does not exist."""
        validation.check_id(context_id, "context_id")
        with self.log.reading() as txn:
            return self.log.version_of(txn, context_id)

    def read(self, after: int = 0, *, to: int | None = None, kinds: int = ALL_BITS) -> Iterator[Commit]:
        """The commits after a position, in order, up to ``to`` or to the head when it gets there.

        Reads in bounded pages, each in a short transaction. Raises ``Damaged`` at a damaged commit.
        """
        return reading.commits(self.log, after, to, kinds)

    def read_context(
        self, context_id: UUID, from_version: int = 1, to_version: int | None = None
    ) -> Iterator[Commit]:
        """The commits of a context that hold these versions, both inclusive, in order.

        The first and last may hold others, too. Raises ``NotFound`` (``context_not_found``) or ``Damaged``.
        """
        validation.check_id(context_id, "context_id")
        return reading.context_commits(self.log, context_id, from_version, to_version)

    def subscribe(
        self,
        after: int = 0,
        *,
        contexts: Collection[UUID] | None = None,
        kinds: int = ALL_BITS,
        live: bool = True,
    ) -> AsyncGenerator[Commit, None]:
        """The commits after a position: those that are there, then each new one as it is committed.

        One code path: it reads pages until it has caught up, then waits for the next commit. A slow
        subscriber costs the writer nothing, it just reads on later. With ``live=False`` it ends when it has
        caught up. Cancelling loses nothing: go on from the last commit's position.
        """
        return one_by_one(self.pages(after, contexts=contexts, kinds=kinds, live=live))

    def pages(
        self,
        after: int = 0,
        *,
        contexts: Collection[UUID] | None = None,
        kinds: int = ALL_BITS,
        live: bool = True,
    ) -> AsyncGenerator[tuple[list[Commit], int], None]:
        """As ``subscribe``, page by page, each with the position that it reaches.

        What a filter leaves out advances the position too: go on from there, not from the last commit.
        """
        for context_id in contexts or ():
            validation.check_id(context_id, "contexts")
        if self._closed:
            raise Unavailable("log_closed", "the log is closed", path=str(self.path))
        return pages(self.log, self._signal, after, contexts=contexts, kinds=kinds, live=live)

    def stop_writing(self, why: str) -> None:
        """Make the log read-only until it is opened anew: what is stored is not to be trusted with more.

        Appends raise ``Unavailable`` with code ``log_read_only``; reads go on.
        """
        if self._writer is not None:
            self._writer.stop_writing(why)

    def check_room(self) -> None:
        """Raise ``Unavailable`` (``disk_full``) when appends are refused for want of free disk."""
        Disk(self.log.path, self._free_bytes_low).check()

    def waiting(self) -> tuple[int, int]:
        """The appends that wait for the writer, and their bytes."""
        return self._inbox.requests, self._inbox.bytes

    def statistics(self) -> StoreStatistics:
        """Sizes, head and the writer's counts, read now."""
        return gather(self.log, self._inbox, self._writer.statistics if self._writer else None)

    async def close(self) -> None:
        """Write what was appended before, end the writer, close the environment. Idempotent.

        Subscriptions end; later calls raise ``Unavailable`` with code ``log_closed``. Cancellation: it is
        done to its end all the same.
        """
        self._closed = True
        await self._ending.done()

    async def _end(self) -> None:
        try:
            if self._writer is not None:
                self._inbox.close()
                await anyio.to_thread.run_sync(self._writer.join)
                await anyio.lowlevel.checkpoint()  # the last outcomes are delivered before this returns
        finally:
            self._signal.close()
            self._opened.close()

    async def __aenter__(self) -> EventStore:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()
