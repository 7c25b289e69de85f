"""What is asked of the queries to draw or list a conversation: messages, bodies, streams' numbers."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Final

from eventstore.content import Role
from projections.answers import ContextState, MessageEntry
from projections.timetravel import AtVersion
from turnlog.cli.conversation import Drawn
from turnlog.facade import Turnlog

PAGE_MESSAGES: Final = 100
"""Messages asked for at a time, and so of bodies held in memory."""


async def collect(log: Turnlog, state: ContextState, messages_max: int) -> list[Drawn]:
    """The newest messages of every branch and of none, as they were at a moment, parents before children."""
    moment = AtVersion(state.version)
    own = await log.queries.messages(state.id, all_branches=True, last=messages_max, moment=moment)
    found = {entry.id: entry for entry in own.items}
    for name, head in state.branches.items():
        if head is not None and head not in found:  # older, or shared with the source of a fork
            page = await log.queries.messages(state.id, branch=name, last=messages_max, moment=moment)
            found.update((entry.id, entry) for entry in page.items)
    newest = sorted(found.values(), key=lambda entry: (entry.position, entry.version))[-messages_max:]
    return await with_bodies(log, state, newest)


async def with_bodies(log: Turnlog, state: ContextState, entries: Sequence[MessageEntry]) -> list[Drawn]:
    """The entries with what they said at the state's version, and their streams' numbers."""
    drawn: list[Drawn] = []
    for entry in entries:
        body = await log.queries.body(entry.id, context_id=state.id, moment=AtVersion(state.version))
        timeline = await log.queries.timeline(entry.id) if entry.streamed and not entry.redacted else None
        drawn.append(Drawn(body, timeline, state.open_streams.get(entry.id)))
    return drawn


async def listed(
    log: Turnlog,
    state: ContextState,
    *,
    branch: str | None,
    all_branches: bool,
    role: Role | None,
    last: int | None,
) -> AsyncIterator[Sequence[MessageEntry]]:
    """The messages of a branch or of all, as of a moment, page by page."""
    cursor: str | None = None
    while True:
        page = await log.queries.messages(
            state.id,
            branch=branch,
            all_branches=all_branches,
            role=role,
            last=last,
            limit=PAGE_MESSAGES,
            after=cursor,
            moment=AtVersion(state.version),
        )
        yield page.items
        cursor = page.next_cursor
        if cursor is None or last is not None:
            return
