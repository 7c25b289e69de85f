"""A real store whose appends can be held up or made to fail, and what a stream left in it."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import anyio

from eventstore.commits import Commit, Committed
from eventstore.content import Part, fold
from eventstore.events import ChunkReceived, ContextCreated, Record, StreamFinalized, StreamStarted
from eventstore.store import EventStore


class GatedStore(EventStore):
    """``shut`` holds back every append before it is asked for, ``fail`` has errors instead of appends."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.requests: list[tuple[Record, ...]] = []
        self.errors: list[Exception] = []
        self.errors_after: list[Exception] = []
        self.arrived = anyio.Event()
        self._gate: anyio.Event | None = None

    async def append(self, context_id: UUID, events: Iterable[Record], **options: Any) -> Committed:
        """Wait at the gate, then fail or append."""
        events = tuple(events)
        self.requests.append(events)
        self.arrived.set()
        self.arrived = anyio.Event()
        if self._gate is not None:
            await self._gate.wait()
        if self.errors:
            raise self.errors.pop(0)
        committed = await super().append(context_id, events, **options)
        if self.errors_after:
            raise self.errors_after.pop(0)
        return committed

    def shut(self) -> None:
        """Hold appends back from now on."""
        self._gate = anyio.Event()

    def lift(self) -> None:
        """Let them all through."""
        if self._gate is not None:
            self._gate.set()
            self._gate = None


@asynccontextmanager
async def opened(path: Path, **options: Any) -> AsyncGenerator[tuple[GatedStore, UUID], None]:
    """A store with one context."""
    async with await GatedStore.open(path, **options) as store:
        assert isinstance(store, GatedStore)
        context_id = uuid4()
        await store.append(context_id, [ContextCreated()])
        store.requests.clear()
        yield store, context_id


def commits_of(store: EventStore, context_id: UUID) -> list[Commit]:
    """The context's commits after its creation."""
    return list(store.read_context(context_id))[1:]


class Left:
    """What a stream left in the log."""

    def __init__(self, store: EventStore, context_id: UUID, message_id: UUID) -> None:
        own = [
            event
            for commit in store.read_context(context_id)
            for event in commit.events()
            if getattr(event, "message_id", None) == message_id
        ]
        self.started = [event for event in own if isinstance(event, StreamStarted)]
        self.chunks = [event for event in own if isinstance(event, ChunkReceived)]
        self.ends = [event for event in own if isinstance(event, StreamFinalized)]
        self.text = "".join(chunk.delta for chunk in self.chunks if chunk.kind == "text")
        assert [chunk.sequence for chunk in self.chunks] == list(range(1, len(self.chunks) + 1))
        assert len(self.ends) <= 1

    @property
    def outcome(self) -> str | None:
        """The end's outcome; None while the stream is open."""
        return self.ends[0].outcome if self.ends else None

    @property
    def content(self) -> tuple[Part, ...]:
        """The final content."""
        if self.ends and self.ends[0].parts is not None:
            return self.ends[0].parts
        return fold((chunk.kind, chunk.part, chunk.delta) for chunk in self.chunks)
