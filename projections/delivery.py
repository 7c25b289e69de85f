"""Delivering a stream: a page of what is stored, or all of it and then each chunk as it is committed."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from typing import Final
from uuid import UUID

import anyio.lowlevel

from eventstore.errors import NotFound, Unavailable
from eventstore.events import ChunkReceived, StreamFinalized
from eventstore.store import EventStore
from projections.answers import ChunkPage
from projections.chunks import FOLLOWED_KINDS, ChunkReader, Withdrawal, stored_runs
from projections.pages import checked_limit
from projections.snapshot import Snapshot

CHUNKS_MAX: Final = 10_000
"""Chunks of one page."""


async def page_of(
    snapshot: Callable[[], Snapshot], message_id: UUID, after: int, limit: int, *, raw: bool
) -> ChunkPage:
    """The chunks after a sequence. Raises as ``ChunkReader.read``, or ``Refused``."""
    checked_limit(limit, most=CHUNKS_MAX)
    reader = ChunkReader(message_id, after, raw=raw)
    runs = [run async for run in stored_runs(snapshot, reader, after + limit + 1)]
    chunks = [chunk for run in runs for chunk in run.chunks()]
    has_more = len(chunks) > limit
    outcome = None if has_more or reader.end is None else reader.end.outcome
    return ChunkPage(chunks[:limit], has_more, outcome)


async def follow(
    store: EventStore,
    snapshot: Callable[[], Snapshot],
    message_id: UUID,
    withdrawal: Withdrawal,
    after: int = 0,
    *,
    raw: bool = False,
) -> AsyncGenerator[ChunkReceived | StreamFinalized]:
    """The chunks after a sequence, in order, without gap or repetition, then the stream's end.

    A chunk is delivered only after it is in the log. The seam: the stored part is read up to a known position
    of the log, and the live part begins after exactly that position. Past the stream's head it waits while
    the stream is open. Cancelling loses nothing: go on after the last sequence.

    Raises ``NotFound``: ``message_not_found``, ``stream_not_open`` when the message was not streamed,
    ``message_redacted`` when it was or is withdrawn, ``context_deleted`` after the last chunk of a stream
    that will never end; ``Unavailable`` with code ``log_closed`` when the store is closed.
    """
    reader = ChunkReader(message_id, after, raw=raw)
    while True:
        with snapshot() as view:
            runs = reader.read(view)
            context_id = view.timeline(message_id).context_id
        for run in runs:
            for chunk in run.chunks():
                await withdrawal.check()
                yield chunk
        if reader.end is not None:
            await withdrawal.check()
            yield reader.end
            return
        if reader.drained:
            break
        await anyio.lowlevel.checkpoint()
    _check(reader, context_id)
    commits = store.subscribe(reader.position, contexts=(context_id,), kinds=FOLLOWED_KINDS)
    async with aclosing(commits) as live:
        async for commit in live:
            for run in reader.take(commit):
                for chunk in run.chunks():
                    await withdrawal.check()
                    yield chunk
            if reader.end is not None:
                await withdrawal.check()
                yield reader.end
                return
            _check(reader, context_id)
    raise Unavailable("log_closed", "the store was closed while the stream was open", message_id=message_id)


def _check(reader: ChunkReader, context_id: UUID) -> None:
    if reader.abandoned:
        raise NotFound(
            "context_deleted",
            "the context was deleted while the stream was open",
            context_id=context_id,
            message_id=reader.message_id,
        )
