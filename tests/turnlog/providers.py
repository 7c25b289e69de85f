"""Providers that send what a test tells them, and a tee of them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Iterable
from typing import Any, TypeVar
from uuid import UUID

import anyio
from gated import GatedStore

from turnlog.tee import Tee, tee

Item = TypeVar("Item")


async def provided(items: Iterable[Item]) -> AsyncGenerator[Item, None]:
    """A provider that sends these, letting others run in between."""
    for item in items:
        await anyio.lowlevel.checkpoint()
        yield item


class Provider:
    """A provider that is told what to send and when, and knows whether it was closed."""

    def __init__(self) -> None:
        self._events: asyncio.Queue[Any] = asyncio.Queue()
        self.closed = False

    def __aiter__(self) -> AsyncIterator[Any]:
        return self

    async def __anext__(self) -> Any:
        event = await self._events.get()
        if isinstance(event, Exception):
            raise event
        return event

    async def aclose(self) -> None:
        """What the tee calls when it is left early."""
        self.closed = True

    def send(self, *events: object) -> None:
        """Send these; an exception is raised instead."""
        for event in events:
            self._events.put_nowait(event)

    def say(self, *texts: str) -> None:
        """Send one chunk for each text."""
        self.send(*map(chunk, texts))

    def end(self) -> None:
        """Nothing more comes."""
        self.send(StopAsyncIteration())


async def collect(events: AsyncIterator[object], into: list[object]) -> None:
    """Keep each event as it passes, so that those before an exception count."""
    async for event in events:
        into.append(event)  # noqa: PERF401 -- a comprehension would lose them


def chunk(text: str = "", **choice: Any) -> dict[str, Any]:
    """An event with one choice."""
    return {"id": "c-1", "model": "m", "choices": [{"index": 0, "delta": {"content": text}, **choice}]}


def started(store: GatedStore, context_id: UUID, items: Any, **options: Any) -> Tee[Any]:
    """A tee of these events."""
    options = {"dialect": "openai_chat", **options}
    return tee(store, context_id, items, **options)


FINISHED = chunk(finish_reason="stop")
