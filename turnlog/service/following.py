"""Following the log over HTTP: raw events and signals, from any position, stored and then live."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Collection
from contextlib import aclosing
from typing import Any, Final
from uuid import UUID

import anyio.lowlevel
import msgspec

from eventstore.commits import Commit
from eventstore.errors import Damaged, Refused
from eventstore.events import ALL_BITS, BIT_OF_TAG
from eventstore.units import At
from turnlog.dialects.rendering import Event
from turnlog.dialects.sse_out import frame, frames
from turnlog.service.access import Access
from turnlog.service.connections import Connection
from turnlog.service.signals import signals
from turnlog.shapes import event_lines

BATCH_BYTES: Final = 32 * 1024
"""What is gathered of a long catch-up before it is sent, and before others have their turn: some 1 ms."""

PAGE_BYTES: Final = 1024 * 1024
"""A page of events is not much longer."""

PAGE_READS: Final = 64
"""Reads of the log for one page."""


def kinds_of_tags(tags: str | None) -> int:
    """The bits of events named by their tags, separated by commas; all of them unless given."""
    if tags is None:
        return ALL_BITS
    kinds = 0
    for tag in tags.split(","):
        bit = BIT_OF_TAG.get(tag.strip())
        if bit is None:
            raise Refused(
                "invalid_argument",
                f"there is no event {tag.strip()[:40]!r}; there are {', '.join(BIT_OF_TAG)}",
                argument="kinds",
            )
        kinds |= bit
    return kinds


class EventLine(msgspec.Struct, frozen=True):
    """An event with its place in the log."""

    position: int
    context_id: UUID
    version: int
    recorded_at: At
    commit_id: UUID | None
    metadata: dict[str, Any] | None
    event: dict[str, Any]


async def event_page(
    access: Access, after: int, *, contexts: Collection[UUID] | None, kinds: int, limit: int
) -> tuple[bytes, int, bool]:
    """Events in JSON, separated by commas; the position that they reach, and whether that is not the end.

    They end before the commit that follows ``limit`` of them or ``PAGE_BYTES``, or where a filter has let
    little pass for ``PAGE_READS`` reads.
    """
    head = access.log.store.head().position
    pages = access.log.store.pages(after, contexts=contexts, kinds=kinds, live=False)
    items: list[bytes] = []
    position, commits, size, reads = after, 0, 0, 0
    full = False
    try:
        async with aclosing(_encoded(access, pages, kinds)) as encoded:
            async for lines, reached in encoded:
                if full and lines:
                    return b",".join(items), position, True
                items += lines
                size += sum(map(len, lines))
                if reached is not None:
                    position = reached
                    commits, reads = commits + bool(lines), reads + (not lines)
                    full = commits >= limit or size >= PAGE_BYTES
                    if reads >= PAGE_READS:
                        break
    except Damaged:
        if position == after:
            raise
        return b",".join(items), position, True  # what lies before the damage; the next page fails
    return b",".join(items), position, position < head


async def events(
    access: Access,
    connection: Connection,
    after: int,
    *,
    contexts: Collection[UUID] | None,
    kinds: int,
    live: bool,
    sse: bool,
) -> AsyncGenerator[bytes, None]:
    """Raw events of the contexts that the key sees.

    A filter still advances the position: as server-sent events it is told by an event of that name, because
    clients take an id without data for an event that says nothing.
    """
    pages = access.log.store.pages(after, contexts=contexts, kinds=kinds, live=live)
    connection.at = after
    if live:
        yield b""  # the answer begins now, though there may be nothing to tell for long
    gathered: list[bytes] = []
    size, known = 0, after
    async with aclosing(_encoded(access, pages, kinds)) as encoded:
        async for lines, position in encoded:
            if sse and lines:
                told = [Event(line, "event") for line in lines]
                reached = connection.at if position is None else position  # or the commit has more to say
                gathered.append(frames(told, reached, connection.at))
            else:
                gathered += [line + b"\n" for line in lines]
            size += sum(map(len, lines))
            if position is not None:
                connection.at = position
            if sse and not lines and connection.at > known:
                place = msgspec.json.encode({"position": connection.at})
                gathered.append(frame(Event(place, "position"), connection.at))
            known = connection.at
            if gathered and (size >= BATCH_BYTES or not lines):
                yield b"".join(gathered)
                gathered, size = [], 0


async def _encoded(
    access: Access, pages: AsyncGenerator[tuple[list[Commit], int], None], kinds: int
) -> AsyncGenerator[tuple[list[bytes], int | None], None]:
    """The events of each commit in JSON, with its position, or with None when it goes on.

    No events, with the position reached, are the end of a page. Others on the loop have their turn after
    every ``BATCH_BYTES``.
    """
    size = 0
    async with aclosing(pages):
        async for page, reached in pages:
            for commit in page:
                if not access.sees(commit.context_id):
                    continue
                lines: list[bytes] = []
                for line in event_lines(commit, kinds):
                    if size >= BATCH_BYTES:
                        if lines:
                            yield lines, None
                        await anyio.lowlevel.checkpoint()
                        lines, size = [], 0
                    lines.append(msgspec.json.encode(line))
                    size += len(lines[-1])
                if lines:
                    yield lines, commit.position
            yield [], reached


async def signal_frames(
    access: Access, connection: Connection, after: int, contexts: Collection[UUID]
) -> AsyncGenerator[bytes, None]:
    """Signals of some contexts, in the order of the log; the first frame says where they begin."""
    connection.at = after
    yield frame(Event(msgspec.json.encode({"position": after}), "open"), after)
    pages = access.log.store.pages(after, contexts=contexts)
    async with aclosing(pages):
        async for page, reached in pages:
            found = b""
            for commit in page:
                told = [Event(msgspec.json.encode(facts), name) for name, facts in signals(commit)]
                found += frames(told, commit.position, connection.at)
                connection.at = commit.position
            connection.at = reached
            if found:
                yield found
