"""Delivering a stream to one reader, in the dialect that it chose: from where it was, to the explicit end.

begin, or silence up to where the reader was  ->  what is stored  ->  what comes  ->  the end
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import Final

import anyio.lowlevel
import anyio.to_thread
import msgspec

from eventstore.events import ChunkReceived, StreamFinalized
from projections.answers import Opening, ReplayChunk, ReplayDone
from projections.queries import Queries
from projections.replay import Pace
from turnlog.dialects import renderer
from turnlog.dialects.rendering import Event, Renderer, StreamFacts
from turnlog.dialects.sse_out import frames
from turnlog.service.connections import Connection
from turnlog.service.feeds import Feed, Feeds

PAGE_CHUNKS: Final = 60
"""Stored chunks that are read and sent at once, some 0.4 ms. Whoever attaches meanwhile waits for one or two
of these; with 250 it was twice as long, and 50,000 chunks were sent in 0.23 s instead of 0.35."""

SNAPSHOT_CHUNKS: Final = 4_000
"""Stored chunks that are read at once when they become one event."""

FIRST_CHUNKS: Final = 50
"""The first of them: a reader sees something at once, however much there is."""

GATHERED_BYTES: Final = 16 * 1024
"""What a replay without pauses gathers before it is sent."""


class Delivery:
    """One reader of one stream. ``sequence`` is the last chunk that it has."""

    def __init__(
        self, queries: Queries, opening: Opening, dialect: str, connection: Connection, after: int
    ) -> None:
        """Raises ``Refused`` (``unknown_dialect``)."""
        facts = StreamFacts(
            opening.message_id, opening.context_id, opening.role, opening.model, opening.started_at
        )
        self.renderer: Renderer = renderer(dialect, facts)
        self.sequence = after
        self._queries = queries
        self._context_id = opening.context_id
        self._message_id = opening.message_id
        self._dialect = dialect
        self._raw = dialect == "raw"
        self._ahead: dict[int, ChunkReceived] = {}
        self._connection = connection
        connection.at = after

    async def live(self, feeds: Feeds, *, fresh: bool, snapshot: bool) -> AsyncGenerator[bytes, None]:
        """All that is stored, accumulated if it is to be a ``snapshot``, then what comes, and the end.

        ``fresh``: a reader that has nothing of the stream yet, wherever it begins.
        """
        if fresh:
            yield self._framed(self.renderer.begin())
        else:
            await self._skip()
            yield b""  # the answer begins now, though there may be nothing to tell for long
        if snapshot:
            yield await self._snapshot()
        while True:
            async with aclosing(self._stored()) as stored:
                async for data in stored:
                    yield data
            async with (
                feeds.reading(self._context_id, self._message_id, self.sequence, raw=self._raw) as feed,
                aclosing(self._fed(feed)) as coming,
            ):
                async for data in coming:
                    yield data
                if feed.error is not None:
                    raise feed.error.copy()
                if feed.end is not None and self.sequence >= feed.base + len(feed.chunks):
                    yield self._framed(self.renderer.end(feed.end))
                    return

    async def replay(self, pace: Pace, *, fresh: bool) -> AsyncGenerator[bytes, None]:
        """The chunks at their recorded intervals, and the totals. Without pauses they go in larger pieces."""
        if fresh:
            yield self._framed(self.renderer.begin())
        else:
            await self._skip_replayed(pace)
            first = max(self.sequence + 1, pace.from_sequence or 0)
            pace = msgspec.structs.replace(pace, from_sequence=first)
        gathered: list[bytes] = []
        size, most = 0, 0 if pace.speed else GATHERED_BYTES
        async with aclosing(self._paced(pace)) as chunks:
            async for chunk in chunks:
                if isinstance(chunk, ReplayDone):
                    gathered.append(self._framed(self.renderer.end(await self._end(chunk), chunk)))
                    break
                kept = await self._with_bytes(chunk) if self._raw else chunk
                data = frames(self.renderer.chunk(kept), chunk.sequence)
                self.sequence = self._connection.at = chunk.sequence
                gathered.append(data)
                size += len(data)
                if size > most:
                    yield b"".join(gathered)
                    gathered, size = [], 0
        yield b"".join(gathered)

    async def _skip(self) -> None:
        """Bring the renderer to where the reader was."""
        at = 0
        while at < self.sequence and not self.renderer.resumes_anywhere:
            limit = min(PAGE_CHUNKS, self.sequence - at)
            page = await self._queries.chunks(self._message_id, after=at, limit=limit)
            for chunk in page.chunks:
                self.renderer.skip(chunk)
            if not page.has_more:
                return
            at = page.chunks[-1].sequence

    async def _skip_replayed(self, pace: Pace) -> None:
        """Bring the renderer to where the reader of a replay was: it saw only the part that it asked for."""
        if self.renderer.resumes_anywhere:
            return
        seen = msgspec.structs.replace(pace, speed=0, to_sequence=self.sequence)
        async with aclosing(self._paced(seen)) as chunks:
            async for chunk in chunks:
                if isinstance(chunk, ReplayChunk):
                    self.renderer.skip(chunk)

    def _paced(self, pace: Pace) -> AsyncGenerator[ReplayChunk | ReplayDone, None]:
        return self._queries.replay(self._message_id, **msgspec.structs.asdict(pace))

    async def _snapshot(self) -> bytes:
        chunks: list[ChunkReceived] = []
        more = True
        while more:
            at = chunks[-1].sequence if chunks else self.sequence
            page = await self._queries.chunks(
                self._message_id, after=at, limit=SNAPSHOT_CHUNKS, raw=self._raw
            )
            chunks += page.chunks
            more = page.has_more
        # A long one takes longer than others may wait for the loop.
        events = await anyio.to_thread.run_sync(self.renderer.snapshot, chunks)
        before = self.sequence
        self.sequence = self._connection.at = chunks[-1].sequence if chunks else before
        return frames(events, self.sequence, before)

    async def _stored(self) -> AsyncGenerator[bytes, None]:
        more, limit = True, FIRST_CHUNKS
        while more:
            page = await self._queries.chunks(
                self._message_id, after=self.sequence, limit=limit, raw=self._raw
            )
            if page.chunks:
                yield self._rendered(page.chunks, {})
            more, limit = page.has_more, PAGE_CHUNKS
            if more:
                await anyio.lowlevel.checkpoint()  # what is sent goes out, and others have their turn

    async def _fed(self, feed: Feed) -> AsyncGenerator[bytes, None]:
        """From the feed, until it ends or no longer holds the reader's place."""
        while (chunks := feed.after(self.sequence)) is not None:
            if chunks:
                yield self._rendered(chunks, feed.rendered(self._dialect))
            elif feed.ended:
                return
            else:
                await feed.change()

    def _rendered(self, chunks: Sequence[ChunkReceived], known: dict[int, bytes]) -> bytes:
        """What the chunks are in the dialect; each is rendered once for all readers of a feed."""
        found: list[bytes] = []
        render = self.renderer
        for chunk in chunks:
            data = known.get(chunk.sequence)
            if data is None:
                data = known[chunk.sequence] = frames(render.chunk(chunk), chunk.sequence)
            else:
                render.skip(chunk)
            found.append(data)
        self.sequence = self._connection.at = chunks[-1].sequence
        return b"".join(found)

    def _framed(self, events: Sequence[Event]) -> bytes:
        """Events that belong to no chunk: who comes back after them goes on after the last chunk."""
        return frames(events, self.sequence, self.sequence)

    async def _with_bytes(self, chunk: ReplayChunk) -> ChunkReceived:
        """A replayed chunk as it is stored; read ahead, because timelines leave the provider's bytes out."""
        if chunk.sequence not in self._ahead:
            page = await self._queries.chunks(
                self._message_id, after=chunk.sequence - 1, limit=PAGE_CHUNKS, raw=True
            )
            self._ahead = {stored.sequence: stored for stored in page.chunks}
        return self._ahead[chunk.sequence]

    async def _end(self, done: ReplayDone) -> StreamFinalized | None:
        """The event that ended the replayed stream."""
        if done.outcome is None:
            return None
        total = (await self._queries.timeline(self._message_id)).chunks
        async with aclosing(self._queries.follow(self._message_id, total)) as events:
            async for event in events:
                if isinstance(event, StreamFinalized):
                    return event
        return None
