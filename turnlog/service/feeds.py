"""Live feeds: one stream's chunks, followed once for all who read it, and rendered once for each dialect.

A reader is only a place in the stream. It reads what is stored until it has caught up, then takes from the
feed; a slow one whose place the feed no longer holds goes back to reading what is stored. Readers cost the
writer nothing, and each other little: five hundred share one task, one decoding and one rendering.

A feed that nobody reads any more goes on for a moment: whoever comes back, or is next, need not wait until it
is taken down and another one is put up.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Final
from uuid import UUID

from eventstore.errors import TurnlogError
from eventstore.events import ChunkReceived, StreamFinalized
from eventstore.store import EventStore
from projections.queries import Queries
from turnlog.recorder import last_sequence
from turnlog.service.problems import defect

HELD_CHUNKS_MAX: Final = 4_096
"""Chunks that a feed holds: minutes of a fast model. Who is further behind reads the log."""


class Feed:
    """One stream's chunks after ``base``, as they come. ``ended`` once nothing more will.

    ``is_left``: when it was last looked at nobody read it, and nobody has since.
    """

    def __init__(self, queries: Queries, message_id: UUID, base: int, *, raw: bool) -> None:
        self.base = base
        self.chunks: list[ChunkReceived] = []
        self.end: StreamFinalized | None = None
        self.error: TurnlogError | None = None
        self.readers = 0
        self.is_left = False
        self._rendered: dict[str, dict[int, bytes]] = {}
        self._changed = asyncio.Event()
        self._queries = queries
        self._message_id = message_id
        self._raw = raw
        self._task = asyncio.create_task(self._follow())

    @property
    def ended(self) -> bool:
        """Whether nothing more will come."""
        return self.end is not None or self.error is not None

    def after(self, sequence: int) -> list[ChunkReceived] | None:
        """The chunks after a sequence that are there; None when those are no longer held."""
        return None if sequence < self.base else self.chunks[sequence - self.base :]

    def rendered(self, dialect: str) -> dict[int, bytes]:
        """What the chunks are in a dialect, by sequence, as far as a reader has rendered them already."""
        return self._rendered.setdefault(dialect, {})

    async def change(self) -> None:
        """Wait until there is more, or the end."""
        await self._changed.wait()

    def stop(self) -> None:
        """Nobody reads it any more."""
        self._task.cancel()

    async def _follow(self) -> None:
        try:
            async for event in self._queries.follow(self._message_id, self.base, raw=self._raw):
                if isinstance(event, StreamFinalized):
                    self.end = event
                else:
                    self.chunks.append(event)
                    if len(self.chunks) > 2 * HELD_CHUNKS_MAX:
                        self._forget()
                self._tell()
        except TurnlogError as error:
            self.error = error
            self._tell()
        except Exception as error:  # or its readers would wait for ever
            self.error = defect(error, "feed_failed", message_id=str(self._message_id))
            self._tell()

    def _forget(self) -> None:
        dropped = len(self.chunks) - HELD_CHUNKS_MAX
        del self.chunks[:dropped]
        self.base += dropped
        for frames in self._rendered.values():
            for sequence in range(self.base - dropped + 1, self.base + 1):
                frames.pop(sequence, None)

    def _tell(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()


class Feeds:
    """The feeds of the streams that are read live now."""

    def __init__(self, store: EventStore, queries: Queries) -> None:
        self._store = store
        self._queries = queries
        self._feeds: dict[tuple[UUID, bool], Feed] = {}

    @asynccontextmanager
    async def reading(
        self, context_id: UUID, message_id: UUID, sequence: int, *, raw: bool = False
    ) -> AsyncGenerator[Feed]:
        """A stream's feed for one reader, who has the chunks up to ``sequence``.

        It begins with nothing that is not stored yet: one reader may be ahead, and others come who are not.
        """
        key = (message_id, raw)
        if self._running(key) is None:
            version = self._store.version_of(context_id)
            base = min(sequence, await last_sequence(self._store, context_id, message_id, version))
            if self._running(key) is None:  # still
                self._feeds[key] = Feed(self._queries, message_id, base, raw=raw)
        feed = self._feeds[key]
        feed.readers += 1
        feed.is_left = False
        try:
            yield feed
        finally:
            feed.readers -= 1
            if feed.readers == 0 and feed.ended and self._feeds.get(key) is feed:
                del self._feeds[key]

    def tend(self) -> None:
        """Stop the feeds that nobody has read since the time before."""
        for key, feed in list(self._feeds.items()):
            if feed.readers == 0 and (feed.is_left or feed.ended):
                feed.stop()
                del self._feeds[key]
            feed.is_left = feed.readers == 0

    def stop(self) -> None:
        """Stop them all."""
        for feed in self._feeds.values():
            feed.stop()
        self._feeds.clear()

    def _running(self, key: tuple[UUID, bool]) -> Feed | None:
        feed = self._feeds.get(key)
        return None if feed is None or feed.ended else feed

    def __len__(self) -> int:
        """Those that are read."""
        return sum(feed.readers > 0 for feed in self._feeds.values())
