"""Queries: what can be asked of the log's meaning, now or at any moment of the past.

Every answer is read-your-writes: it waits until the views have applied what this process has acknowledged
(in a process that only reads: what the log holds), or ``at_least`` a position. Reads are short and run on the
event loop's thread.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Iterable
from contextlib import aclosing
from uuid import UUID

import anyio

from eventstore.content import Role
from eventstore.events import ChunkReceived, ChunkRun, StreamFinalized
from eventstore.store import EventStore
from eventstore.validation import check_id
from projections import bodies, delivery, listing
from projections.answers import (
    ChunkPage,
    ContextState,
    ContextSummary,
    Diff,
    HistoryEntry,
    MessageBody,
    MessageEntry,
    Opening,
    Page,
    ReplayChunk,
    ReplayDone,
    Timeline,
)
from projections.asking import ALL, CONTEXTS, Asking
from projections.chunks import ChunkReader, Withdrawal, redacted, stored_runs
from projections.diff import diff
from projections.entries import Seen, entry_of, seen
from projections.history import history
from projections.layout import U64_MAX, VERSION_BYTES, version_in
from projections.pages import BODIES_AT_ONCE, PAGE_ITEMS_MAX, decode_cursor
from projections.replay import MonotonicClock, Pace, Sleep, replay
from projections.runner import Runner
from projections.snapshot import Snapshot, message_not_found
from projections.statistics import Tally
from projections.timetravel import NOW, Lineage, Moment, Resolved, state_at
from projections.views import Views


class Queries:
    """Questions about contexts, messages and streams.

    All raise ``NotFound`` for what does not exist (or did not at the moment), ``Refused`` with code
    ``invalid_argument``, ``Unavailable`` when a view is missing, behind or failed, and ``Damaged``.
    Cancelling a question is harmless.
    """

    def __init__(self, store: EventStore, views: Views, runner: Runner) -> None:
        self._store = store
        self._asking = Asking(store, views, runner)

    async def contexts(
        self,
        workspace: str | None = None,
        *,
        limit: int = 50,
        cursor: str | None = None,
        include_deleted: bool = False,
        at_least: int | None = None,
    ) -> Page[ContextSummary]:
        """Contexts of one workspace or of all, those that changed last first."""
        position = await self._asking.applied(at_least, CONTEXTS)
        with self._asking.snapshot(position) as snapshot:
            return listing.contexts(snapshot, workspace, limit, cursor, include_deleted)

    async def context(
        self, context_id: UUID, moment: Moment = NOW, *, at_least: int | None = None
    ) -> ContextState:
        """A context at a moment. It costs the same however long the context is, and however long ago.

        Raises ``NotFound``: ``context_not_found``, ``version_not_found``, ``position_not_found``,
        ``moment_before_creation``, ``message_not_found``.
        """

        def answer(snapshot: Snapshot, at: Resolved) -> ContextState:
            return state_at(snapshot, context_id, at)

        return await self._asking.as_of(answer, CONTEXTS, at_least, context_id, moment)

    async def messages(
        self,
        context_id: UUID,
        *,
        branch: str | None = None,
        all_branches: bool = False,
        role: Role | None = None,
        message_type: str | None = None,
        since: int | None = None,
        until: int | None = None,
        limit: int = 50,
        before: int | str | None = None,
        after: int | str | None = None,
        last: int | None = None,
        moment: Moment = NOW,
        at_least: int | None = None,
    ) -> Page[MessageEntry]:
        """Messages in the order in which they were added, without bodies; see ``listing.Wanted``.

        Those on the path from the root to the head of ``branch`` (the active one unless named), through what
        a fork shares; or the context's own on all branches. A page may be short, even empty, while its
        cursor is there: a filter let few pass.
        """
        wanted = listing.Wanted(
            branch, all_branches, role, message_type, since, until, limit, before, after, last
        )

        def answer(snapshot: Snapshot, at: Resolved) -> Page[MessageEntry]:
            return listing.messages(snapshot, context_id, at, wanted)

        return await self._asking.as_of(answer, ALL, at_least, context_id, moment)

    async def message(self, message_id: UUID, *, at_least: int | None = None) -> MessageEntry:
        """A message's entry, as it is now."""
        position = await self._asking.applied_to_message(message_id, at_least, ALL)
        with self._asking.snapshot(position) as snapshot:
            return entry_of(snapshot, Seen(message_id, snapshot.message(message_id), U64_MAX))

    def context_of(self, message_id: UUID) -> UUID | None:
        """The context that a message was added to; None when there is no such message. Waits for nothing."""
        return self._asking.context_of(message_id)

    async def exists(self, message_id: UUID) -> bool:
        """Whether there is a message of that id, in any context."""
        return self.context_of(message_id) is not None

    async def body(
        self,
        message_id: UUID,
        moment: Moment = NOW,
        *,
        context_id: UUID | None = None,
        at_least: int | None = None,
    ) -> MessageBody:
        """A message's content at a moment: of a stream that was open then, what had arrived.

        The moment is one of the message's own context; or of ``context_id``, which may be a fork that shares
        the message, and sees it as it was when it forked. A redacted message is empty at every moment.
        """
        check_id(message_id, "message_id")
        owner = context_id or self.context_of(message_id)
        if owner is None:
            raise message_not_found(message_id)

        def answer(snapshot: Snapshot, at: Resolved) -> bodies.Plan:
            return bodies.plan(snapshot, seen(snapshot, Lineage(snapshot, owner, at.version), message_id))

        plan = await self._asking.as_of(answer, ALL, at_least, owner, moment)
        return await self._read(plan)

    async def bodies(
        self, message_ids: Iterable[UUID], moment: Moment = NOW, *, context_id: UUID | None = None
    ) -> list[MessageBody]:
        """The contents of some messages, in the order of their ids; see ``body``.

        Of one context they are read some at a time, which costs less.
        """
        ids = list(message_ids)
        if context_id is None:
            return [await self.body(message_id, moment) for message_id in ids]
        found: list[MessageBody] = []
        for start in range(0, len(ids), BODIES_AT_ONCE):
            some = ids[start : start + BODIES_AT_ONCE]
            for message_id in some:
                check_id(message_id, "message_id")

            def answer(snapshot: Snapshot, at: Resolved, some: list[UUID] = some) -> list[bodies.Plan]:
                lineage = Lineage(snapshot, context_id, at.version)
                return [bodies.plan(snapshot, seen(snapshot, lineage, each)) for each in some]

            plans = await self._asking.as_of(answer, ALL, None, context_id, moment)
            found += [await self._read(plan) for plan in plans]
        return found

    async def _read(self, plan: bodies.Plan) -> MessageBody:
        if plan.parts is not None:
            return plan.body(plan.parts)
        chunks = ChunkReader(plan.entry.id)
        return await bodies.read(plan, stored_runs(self._asking.snapshots(0), chunks, plan.chunks))

    async def history(
        self,
        context_id: UUID,
        *,
        after: int | str = 0,
        limit: int = 100,
        moment: Moment = NOW,
        at_least: int | None = None,
    ) -> Page[HistoryEntry]:
        """The events after a version, or a page's cursor; the chunks between two others are one entry."""
        version = version_in(decode_cursor(after, VERSION_BYTES)) if isinstance(after, str) else after

        def answer(snapshot: Snapshot, at: Resolved) -> Page[HistoryEntry]:
            return history(snapshot, context_id, max(0, version), at.version, limit)

        return await self._asking.as_of(answer, CONTEXTS, at_least, context_id, moment)

    async def diff(
        self,
        context_id: UUID,
        a: Moment,
        b: Moment = NOW,
        *,
        limit: int = PAGE_ITEMS_MAX,
        at_least: int | None = None,
    ) -> Diff:
        """What differs from ``a`` to ``b``, in either order. ``limit`` bounds the messages in it."""

        def answer(snapshot: Snapshot, from_: Resolved, to: Resolved) -> Diff:
            return diff(snapshot, context_id, from_, to, limit)

        return await self._asking.as_of(answer, ALL, at_least, context_id, a, b)

    async def opening(self, message_id: UUID, *, at_least: int | None = None) -> Opening:
        """How a stream began. It costs the same however many chunks there are.

        Raises ``NotFound`` (``message_redacted``): nobody begins to read what was withdrawn.
        """
        with self._asking.snapshot(await self._asking.applied_to_message(message_id, at_least)) as snapshot:
            row = snapshot.timeline(message_id)
        if row.redacted:
            raise redacted(message_id)
        return Opening(message_id, row.context_id, row.role, row.model, row.started_at, row.outcome)

    async def timeline(self, message_id: UUID, *, at_least: int | None = None) -> Timeline:
        """A stream in numbers. The chunks of an open one that are not sealed are read and counted."""
        position = await self._asking.applied_to_message(message_id, at_least)
        with self._asking.snapshot(position) as snapshot:
            row = snapshot.timeline(message_id)
        tally = Tally(message_id, row)
        if row.outcome is None and not row.redacted:
            async for run in stored_runs(
                self._asking.snapshots(position), ChunkReader(message_id, row.sealed)
            ):
                tally.add(run)
        return tally.timeline()

    async def chunks(
        self, message_id: UUID, *, after: int = 0, limit: int = 1_000, raw: bool = False
    ) -> ChunkPage:
        """A stream's stored chunks after a sequence. ``raw`` reads the provider's own bytes with them."""
        position = await self._asking.applied_to_message(message_id)
        return await delivery.page_of(self._asking.snapshots(position), message_id, after, limit, raw=raw)

    async def runs(self, message_id: UUID, last: int) -> AsyncGenerator[ChunkRun, None]:
        """A stream's stored chunks up to a sequence, in columns: what ``chunks`` gives, for less."""
        position = await self._asking.applied_to_message(message_id)
        async with aclosing(
            stored_runs(self._asking.snapshots(position), ChunkReader(message_id), last)
        ) as stored:
            async for run in stored:
                yield run

    async def follow(
        self, message_id: UUID, after: int | None = None, *, raw: bool = False
    ) -> AsyncGenerator[ChunkReceived | StreamFinalized, None]:
        """A stream's chunks after a sequence, stored and then live, to its explicit end; see ``delivery``."""
        position = await self._asking.applied_to_message(message_id)
        snapshots = self._asking.snapshots(position)
        withdrawal = Withdrawal(self._store, position, message_id)
        followed = delivery.follow(self._store, snapshots, message_id, withdrawal, after or 0, raw=raw)
        async with aclosing(followed) as events:
            async for event in events:
                yield event

    async def replay(
        self,
        message_id: UUID,
        speed: float = 1.0,
        *,
        from_sequence: int | None = None,
        to_sequence: int | None = None,
        from_ms: float | None = None,
        to_ms: float | None = None,
        max_gap_ms: float | None = None,
        clock: MonotonicClock = anyio.current_time,
        sleep: Sleep = anyio.sleep,
    ) -> AsyncGenerator[ReplayChunk | ReplayDone, None]:
        """A stream's chunks at their recorded intervals divided by ``speed``, then totals; see ``replay``."""
        pace = Pace(speed, from_sequence, to_sequence, from_ms, to_ms, max_gap_ms)
        position = await self._asking.applied_to_message(message_id)
        withdrawal = Withdrawal(self._store, position, message_id)
        replayed = replay(self._asking.snapshots(position), message_id, pace, withdrawal, clock, sleep)
        async with aclosing(replayed) as chunks:
            async for chunk in chunks:
                yield chunk

    async def open_streams(self, *, at_least: int | None = None) -> AsyncIterator[tuple[UUID, UUID]]:
        """Context id and message id of every stream that is not finalized, but for deleted contexts."""
        position = await self._asking.applied(at_least, ("timelines",))
        for stream in listing.open_streams(self._asking.snapshots(position)):
            yield stream
