"""What an exporter asks of a store: contexts, messages along a branch, and all that is known of one."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import NamedTuple
from uuid import UUID

from eventstore.content import Json, Part
from eventstore.events import ChunkReceived, MessageAppended, StreamFinalized, StreamStarted
from projections.answers import ContextState, MessageEntry
from projections.pages import PAGE_ITEMS_MAX
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


async def every_context(log: Turnlog) -> AsyncIterator[UUID]:
    """The ids of all contexts that are not deleted, those that changed last first."""
    cursor = None
    while True:
        page = await log.queries.contexts(limit=PAGE_ITEMS_MAX, cursor=cursor)
        for summary in page.items:
            yield summary.id
        if (cursor := page.next_cursor) is None:
            return


async def along(log: Turnlog, state: ContextState, branch: str) -> AsyncIterator[MessageEntry]:
    """The messages of a branch from the root to its head, through what a fork shares."""
    cursor = None
    while state.branches[branch] is not None:
        page = await log.queries.messages(state.id, branch=branch, limit=PAGE_ITEMS_MAX, after=cursor)
        for entry in page.items:
            yield entry
        if (cursor := page.next_cursor) is None:
            return


async def own(log: Turnlog, state: ContextState) -> AsyncIterator[MessageEntry]:
    """The context's own messages, on a branch or not."""
    cursor = None
    while True:
        page = await log.queries.messages(state.id, all_branches=True, limit=PAGE_ITEMS_MAX, after=cursor)
        for entry in page.items:
            yield entry
        if (cursor := page.next_cursor) is None:
            return


async def told(log: Turnlog, state: ContextState, entry: MessageEntry) -> Told:
    """All that is known of a message, as the context sees it."""
    body = await log.queries.body(entry.id, context_id=state.id)
    event = _event(log, entry.context_id, entry.version, entry.id, (MessageAppended, StreamStarted))
    end = None
    if entry.outcome is not None:
        timeline = await log.queries.timeline(entry.id)
        if timeline.finalized_version is not None:
            end = _event(log, entry.context_id, timeline.finalized_version, entry.id, (StreamFinalized,))
    assert isinstance(event, (MessageAppended, StreamStarted)), "a message is added where its entry says"
    assert end is None or isinstance(end, StreamFinalized)
    return Told(body.entry, body.parts, event, end)


def _event(
    log: Turnlog, context_id: UUID, version: int, message_id: UUID, kinds: tuple[type, ...]
) -> MessageAppended | StreamStarted | StreamFinalized | None:
    with log.store.log.reading() as txn:
        commit = log.store.log.commit_of(txn, context_id, version)
    for record in commit.records:
        if isinstance(record, kinds) and getattr(record, "message_id", None) == message_id:
            assert isinstance(record, (MessageAppended, StreamStarted, StreamFinalized))
            return record
    return None


async def chunks(log: Turnlog, message_id: UUID) -> list[ChunkReceived]:
    """Every chunk of a stream that is not redacted."""
    found: list[ChunkReceived] = []
    more = True
    while more:
        page = await log.queries.chunks(message_id, after=len(found), limit=PAGE_ITEMS_MAX)
        found += page.chunks
        more = page.has_more and bool(page.chunks)
    return found
