"""What an exporter asks of a store: contexts, messages along a branch, and all that is known of one."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Iterator
from functools import cached_property
from typing import NamedTuple
from uuid import UUID

from eventstore.content import Json, Part, TextPart
from eventstore.events import ChunkReceived, MessageAppended, StreamFinalized, StreamStarted
from projections.answers import ContextState, MessageBody, MessageEntry
from projections.pages import BODIES_AT_ONCE, PAGE_ITEMS_MAX
from projections.timetravel import AtPosition
from turnlog.exporters.restoring import Restoring
from turnlog.facade import Turnlog


class Told(NamedTuple):
    """A message with its content, the event that added it, and the end of its stream."""

    entry: MessageEntry
    parts: tuple[Part, ...]
    event: MessageAppended | StreamStarted
    end: StreamFinalized | None

    @property
    def metadata(self) -> dict[str, Json]:
        """What is stored with it; nothing of a redacted one, for it may quote the text."""
        return {} if self.entry.redacted else self.event.metadata or {}


async def states(log: Turnlog, context_ids: Iterable[UUID], *, deleted: bool) -> AsyncIterator[ContextState]:
    """Some contexts, each as it is when its turn comes; ``deleted``: those that are deleted too."""
    for context_id in context_ids:
        state = await log.queries.context(context_id)
        if deleted or not state.deleted:
            yield state


class Contents:
    """A context and its messages as of one moment, whatever is written meanwhile.

    What an import kept aside of them stands in its place again.
    """

    def __init__(self, log: Turnlog, state: ContextState) -> None:
        self._log = log
        self._state = state
        self._restoring = Restoring(log.store, state.id, state.version)
        self._moment = AtPosition(state.position)
        self._commit: tuple[UUID, range] | None = None
        self._added: dict[UUID, MessageAppended | StreamStarted] = {}
        self._ended: dict[UUID, StreamFinalized] = {}

    @cached_property
    def state(self) -> ContextState:
        """The context."""
        return self._restoring.state(self._state)

    def untaken(self) -> Iterator[tuple[UUID, Json]]:
        """The messages that an import could not take, each as its source has it."""
        return self._restoring.untaken()

    async def pages(self, branch: str | None) -> AsyncGenerator[list[MessageEntry]]:
        """The entries of a branch from the root to its head, through what a fork shares.

        Of no branch: those of the context's own messages, wherever they stand.
        """
        if branch is not None and self._state.branches[branch] is None:
            return
        cursor = None
        while True:
            page = await self._log.queries.messages(
                self._state.id,
                branch=branch,
                all_branches=branch is None,
                limit=PAGE_ITEMS_MAX,
                after=cursor,
                moment=self._moment,
            )
            yield list(page.items)
            if (cursor := page.next_cursor) is None:
                return

    async def told(self, entries: list[MessageEntry]) -> AsyncGenerator[Told]:
        """All that is known of these messages, as the context sees them. Memory holds a few of them."""
        ids = [entry.id for entry in entries]
        for start in range(0, len(ids), BODIES_AT_ONCE):
            some = ids[start : start + BODIES_AT_ONCE]
            for body in await self._log.queries.bodies(some, self._moment, context_id=self._state.id):
                yield await self._told(body)

    async def _told(self, body: MessageBody) -> Told:
        entry, end = body.entry, None
        self._load(entry.context_id, entry.version)
        event = self._added[entry.id]
        if entry.outcome is not None:
            timeline = await self._log.queries.timeline(entry.id)
            if timeline.finalized_version is not None:
                self._load(entry.context_id, timeline.finalized_version)
                end = self._ended[entry.id]
        parts = self._restoring.parts(entry.id, body.parts)
        return Told(entry, parts, self._restoring.begun(event), end and self._restoring.ended(end))

    def _load(self, context_id: UUID, version: int) -> None:
        """Look into the commit that holds a version; neighbours often share it, so the last one is kept."""
        if self._commit is not None and context_id == self._commit[0] and version in self._commit[1]:
            return
        with self._log.store.log.reading() as txn:
            commit = self._log.store.log.commit_of(txn, context_id, version)
        self._commit = context_id, range(commit.first_version, commit.last_version + 1)
        self._added.clear()
        self._ended.clear()
        for record in commit.records:
            if isinstance(record, (MessageAppended, StreamStarted)):
                self._added[record.message_id] = record
            elif isinstance(record, StreamFinalized):
                self._ended[record.message_id] = record

    async def chunks(self, message: Told) -> list[ChunkReceived]:
        """Every chunk of its stream; of one that was open, those that its parts are made of."""
        if not message.entry.streamed or message.entry.redacted:
            return []
        found: list[ChunkReceived] = []
        more = True
        while more:
            page = await self._log.queries.chunks(message.entry.id, after=len(found), limit=PAGE_ITEMS_MAX)
            found += page.chunks
            more = page.has_more and bool(page.chunks)
        if message.entry.outcome is None:  # more may have come since
            room = sum(len(part.text) for part in message.parts if isinstance(part, TextPart))
            for index, chunk in enumerate(found):
                room -= len(chunk.delta) if chunk.kind == "text" else 0
                if room < 0:
                    return found[:index]
        return self._restoring.chunks(message.entry.id, found)
