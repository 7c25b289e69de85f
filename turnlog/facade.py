"""Turnlog and Context: a data directory and one conversation in it, as a program uses them."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterable, Container, Iterable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from pathlib import Path
from typing import Any, Final, TypeVar
from uuid import UUID, uuid5

import anyio
from msgspec import UNSET, UnsetType
from uuid_utils.compat import uuid7

from eventstore.closing import Once
from eventstore.commits import ANY, NO_CONTEXT, Committed, ExpectedVersion
from eventstore.content import Json, Part, Role, TextPart
from eventstore.errors import NotFound, Refused, TurnlogError
from eventstore.events import (
    BranchDeleted,
    BranchMoved,
    BranchSwitched,
    ContextCreated,
    ContextDeleted,
    ContextUpdated,
    MessageAppended,
    MessageRedacted,
    Record,
    StateChanged,
)
from eventstore.store import EventStore
from eventstore.units import Clock, wall_clock_us
from eventstore.validation import check_id, check_optional_ids
from projections.answers import ContextState, Diff, MessageEntry
from projections.contexts import Contexts
from projections.loading import installed, load
from projections.messages import Messages
from projections.projection import Projection
from projections.queries import Queries
from projections.runner import Runner
from projections.timelines import Timelines
from projections.timetravel import NOW, Moment, fork_events
from projections.views import Views
from turnlog.recorder import record, resume
from turnlog.stream import StreamRecorder
from turnlog.sweep import stop, sweep
from turnlog.tee import Tee, tee

Provided = TypeVar("Provided")

CATCH_UP_SECONDS: Final = 2.0
"""How long closing waits for the views to follow; they lag by milliseconds unless one is being built."""


class Turnlog:
    """An open data directory: ``store`` is the truth, ``queries`` what it means.

    Use it from the asyncio event loop that it was opened on. ``turnlog.open`` makes one.
    """

    def __init__(self, store: EventStore, views: Views, runner: Runner, queries: Queries) -> None:
        self.store: EventStore = store
        self.views: Views = views
        self.runner: Runner = runner
        self.queries: Queries = queries
        self._ending = Once(self._close)

    async def create_context(
        self,
        *,
        title: str | None = None,
        workspace: str = "default",
        config: dict[str, Json] | None = None,
        attributes: dict[str, Json] | None = None,
        context_id: UUID | None = None,
        commit_id: UUID | None = None,
    ) -> Context:
        """Create a context, durably. ``config``: model, mode, system prompt, parameters ...

        Repeated with the same ``commit_id`` it is the same context: its id follows from that unless given.
        Raises ``Refused`` (``context_exists`` when ``context_id`` is taken); see ``EventStore.append``.
        """
        check_optional_ids(context_id=context_id, commit_id=commit_id)
        context = Context(self, context_id or new_id(commit_id))
        created = ContextCreated(title, workspace, config or {}, attributes or {})
        await context.append(created, commit_id=commit_id)
        return context

    def context(self, context_id: UUID) -> Context:
        """The handle of a context; whether it exists shows when it is used."""
        return Context(self, context_id)

    async def sweep(self, *, lease_seconds: float = 60.0, alive: Container[UUID] = ()) -> list[UUID]:
        """Close the open streams whose producer died as interrupted, and return their message ids.

        A stream's producer counts as dead when it is not recorded by this process, nor among the message ids
        that are known to be ``alive``, and its last chunk is older than the lease. The text that arrived
        stays.
        """
        return await sweep(self.store, self.queries, lease_seconds=lease_seconds, alive=alive)

    async def close(self) -> None:
        """Finish what was appended, stop following, close the directory. Idempotent, done to its end."""
        await self._ending.done()

    async def _close(self) -> None:
        # Whoever opens the directory next, perhaps only to read, should find the views up to date. A failed
        # projection says so in its status; one that is being built goes on at the next open.
        # A process that only reads has nobody to wait for.
        if not self.store.log.read_only:
            with anyio.move_on_after(CATCH_UP_SECONDS), suppress(TurnlogError):
                await self.runner.wait_for(self.store.acknowledged)
        try:
            await self.runner.close()
        finally:
            self.views.close()
            await self.store.close()


class Context:
    """One conversation. Every method that writes is durable when it returns."""

    def __init__(self, log: Turnlog, context_id: UUID) -> None:
        check_id(context_id, "context_id")
        self.log: Turnlog = log
        self.id: UUID = context_id

    async def append(
        self,
        *events: Record,
        expected_version: ExpectedVersion = ANY,
        commit_id: UUID | None = None,
        metadata: dict[str, Json] | None = None,
    ) -> Committed:
        """Append events as one commit; see ``EventStore.append``."""
        return await self.log.store.append(
            self.id, events, expected_version=expected_version, commit_id=commit_id, metadata=metadata
        )

    async def append_message(
        self,
        role: Role,
        content: str | Sequence[Part],
        *,
        branch: str | None = None,
        parent_id: UUID | UnsetType | None = UNSET,
        message_id: UUID | None = None,
        message_type: str = "message",
        metadata: dict[str, Json] | None = None,
        occurred_at: int | None = None,
        commit_id: UUID | None = None,
    ) -> UUID:
        """Append a message to a branch (the active one unless named) and return its id.

        ``parent_id`` makes it a sibling of what is there: an edit. Repeated with the same ``commit_id`` it is
        the same message: its id follows from that unless given. Raises ``Refused``.
        """
        check_optional_ids(message_id=message_id, parent_id=parent_id, commit_id=commit_id)
        if not isinstance(content, Iterable):  # pyright: ignore[reportUnnecessaryIsInstance] -- for callers without one
            raise Refused("invalid_argument", "content is a text or a list of parts", argument="content")
        message_id = message_id or new_id(commit_id)
        parts = (TextPart(content),) if isinstance(content, str) else tuple(content)
        branch = branch or await self._active_branch()
        message = MessageAppended(
            message_id, role, parts, branch, parent_id, message_type, metadata, occurred_at
        )
        await self.append(message, commit_id=commit_id)
        return message_id

    @asynccontextmanager
    async def record(
        self,
        *,
        model: str | None = None,
        role: Role = "assistant",
        branch: str | None = None,
        parent_id: UUID | UnsetType | None = UNSET,
        message_id: UUID | None = None,
        metadata: dict[str, Json] | None = None,
    ) -> AsyncGenerator[StreamRecorder, None]:
        """Record an answer while a model streams it, on a branch (the active one unless named).

        See ``recorder.record``.
        """
        recording = record(
            self.log.store,
            self.id,
            model=model,
            role=role,
            branch=branch or await self._active_branch(),
            parent_id=parent_id,
            message_id=message_id,
            metadata=metadata,
        )
        async with recording as stream:
            yield stream

    async def tee(
        self,
        provider_stream: AsyncIterable[Provided],
        *,
        dialect: str,
        branch: str | None = None,
        **options: Any,
    ) -> Tee[Provided]:
        """Pass a provider's stream through unchanged, each event after it is logged.

        ``async for event in await context.tee(...)``. ``branch``: the active one unless named; for the
        ``options`` see ``tee.tee``.
        """
        branch = branch or await self._active_branch()
        return tee(self.log.store, self.id, provider_stream, dialect=dialect, branch=branch, **options)

    def resume(self, message_id: UUID) -> AbstractAsyncContextManager[StreamRecorder]:
        """Go on with a stream whose producer died, after its last chunk; see ``recorder.resume``."""
        return resume(self.log.store, self.id, message_id)

    async def stop(self, message_id: UUID) -> bool:
        """Stop a stream and keep what arrived; idempotent. Returns whether this call ended it."""
        return await stop(self.log.store, self.id, message_id)

    async def state(self, moment: Moment = NOW) -> ContextState:
        """What the context is, or was at a moment: metadata, state, branches, open streams."""
        return await self.log.queries.context(self.id, moment)

    async def messages(self, moment: Moment = NOW, *, last: int = 50) -> list[MessageEntry]:
        """The last messages of the active branch, oldest first, without their bodies.

        ``log.queries.messages`` pages through all, by branch, role, type or time.
        """
        return (await self.log.queries.messages(self.id, last=last, moment=moment)).items

    async def diff(self, a: Moment, b: Moment = NOW) -> Diff:
        """What changed from one moment to another."""
        return await self.log.queries.diff(self.id, a, b)

    async def update(self, changes: dict[str, Json]) -> Committed:
        """Change title, config, attributes or tags, together 256 KiB at most, by an RFC 7396 merge patch."""
        return await self.append(ContextUpdated(changes))

    async def set_state(self, state: str, detail: Json = None) -> Committed:
        """Record the application's own state."""
        return await self.append(StateChanged(state, detail))

    async def redact(self, message_id: UUID, reason: str | None = None) -> Committed:
        """Withdraw a message's text: from now on no read at any moment shows it."""
        check_id(message_id, "message_id")
        return await self.append(MessageRedacted(message_id, reason))

    async def delete(self, reason: str | None = None) -> Committed:
        """Tombstone the context: it takes no more events; its history stays readable."""
        return await self.append(ContextDeleted(reason))

    async def branch(self, name: str, moment: Moment = NOW, *, of: str | None = None) -> Committed:
        """Point the branch ``name`` at the head that a branch (the active one) had at a moment."""
        state = await self.state(moment)
        source = of or state.active_branch
        if source not in state.branches:
            raise NotFound(
                "branch_not_found", f"there was no branch {source!r} then", context_id=self.id, branch=source
            )
        return await self.append(BranchMoved(name, state.branches[source]))

    async def switch(self, branch: str) -> Committed:
        """Make a branch the active one."""
        return await self.append(BranchSwitched(branch))

    async def delete_branch(self, branch: str) -> Committed:
        """Forget a branch's name; its messages stay."""
        return await self.append(BranchDeleted(branch))

    async def fork(self, moment: Moment = NOW, *, title: str | None = None) -> Context:
        """A new context that shares this one's history up to a moment, by reference, not by copy."""
        state = await self.state(moment)
        forked = Context(self.log, uuid7())
        await forked.append(*fork_events(state, title=title), expected_version=NO_CONTEXT)
        return forked

    async def _active_branch(self) -> str:
        return (await self.state()).active_branch


def new_id(commit_id: UUID | None, within: str = "turnlog") -> UUID:
    """An id for what a commit adds. It follows from the commit's: a retry must name the same thing again."""
    return uuid7() if commit_id is None else uuid5(commit_id, within)


async def open_turnlog(
    path: str | Path,
    *,
    read_only: bool,
    create: bool,
    projections: Iterable[str | Projection],
    allow_unsafe_file_system: bool,
    clock: Clock = wall_clock_us,
) -> Turnlog:
    """See ``turnlog.open``."""
    store = await EventStore.open(
        path,
        read_only=read_only,
        create=create,
        allow_unsafe_file_system=allow_unsafe_file_system,
        clock=clock,
    )
    try:
        named = [load(p) if isinstance(p, str) else p for p in projections]
        every = [Contexts(), Messages(), Timelines(), *installed(), *named]
        views = Views(store.path / "views", every, store.log, read_only=read_only)
        try:
            runner = Runner(store, views)
            runner.start()
        except BaseException:
            views.close()
            raise
    except BaseException:
        await store.close()
        raise
    return Turnlog(store, views, runner, Queries(store, views, runner))
