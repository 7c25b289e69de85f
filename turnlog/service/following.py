"""Following the log over HTTP: raw events and signals, from any position, stored and then live."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Collection, Iterable
from contextlib import aclosing
from typing import Any, Final
from uuid import UUID

import msgspec

from eventstore.commits import Commit
from eventstore.errors import Refused
from eventstore.events import ALL_BITS, BIT_OF_TAG
from eventstore.units import At
from turnlog.dialects.rendering import Event
from turnlog.dialects.sse_out import frame
from turnlog.service.access import Access
from turnlog.service.connections import Connection
from turnlog.service.signals import signals
from turnlog.shapes import plain

BATCH_BYTES: Final = 64 * 1024
"""What is gathered of a long catch-up before it is sent."""


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


def event_lines(commits: Iterable[Commit], kinds: int) -> list[EventLine]:
    """Each event of some kinds, with its place in the log."""
    return [
        EventLine(
            commit.position,
            commit.context_id,
            version,
            commit.recorded_at,
            commit.commit_id,
            commit.metadata,
            plain(event),
        )
        for commit in commits
        for version, event in enumerate(commit.events(), commit.first_version)
        if BIT_OF_TAG[str(type(event).__struct_config__.tag)] & kinds
    ]


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
    async with aclosing(pages):
        async for page, reached in pages:
            gathered: list[bytes] = []
            size = 0
            for commit in page:
                if not access.sees(commit.context_id):
                    continue
                lines = [msgspec.json.encode(plain(line)) for line in event_lines([commit], kinds)]
                if sse:
                    gathered += framed([("event", line) for line in lines], connection.at, commit.position)
                else:
                    gathered += [line + b"\n" for line in lines]
                connection.at = commit.position
                size += sum(map(len, lines))
                if size >= BATCH_BYTES:
                    yield b"".join(gathered)
                    gathered, size = [], 0
            if sse and reached > connection.at:
                position = Event(msgspec.json.encode({"position": reached}), "position")
                gathered.append(frame(position, reached))
            connection.at = reached
            if gathered:
                yield b"".join(gathered)


async def signal_frames(
    access: Access, connection: Connection, after: int, contexts: Collection[UUID]
) -> AsyncGenerator[bytes, None]:
    """Signals of some contexts, in the order of the log; the first frame says where they begin."""
    connection.at = after
    yield frame(Event(msgspec.json.encode({"position": after}), "open"), after)
    pages = access.log.store.pages(after, contexts=contexts)
    async with aclosing(pages):
        async for page, reached in pages:
            frames: list[bytes] = []
            for commit in page:
                told = [(name, msgspec.json.encode(facts)) for name, facts in signals(commit)]
                frames += framed(told, connection.at, commit.position)
                connection.at = commit.position
            connection.at = reached
            if frames:
                yield b"".join(frames)


def framed(items: list[tuple[str, bytes]], before: int, position: int) -> list[bytes]:
    """What a commit says as server-sent events.

    Only the last has the commit's position as its id: whoever is cut off before it gets all of them again.
    """
    last = len(items) - 1
    return [
        frame(Event(data, name), position if n == last else before) for n, (name, data) in enumerate(items)
    ]
