"""What httpx-sse, a client that knows nothing of ours, reads of event streams; and their bare text."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

import msgspec
from httpx import AsyncClient
from httpx_sse import EventSource, ServerSentEvent, aconnect_sse
from serving import SECONDS

from eventstore.content import Kind, Part, fold

Said = list[tuple[Kind, str | None, str]]


class Follower:
    """A response that goes on: ``text`` is what came of it."""

    def __init__(self) -> None:
        self.text = ""
        self.came = asyncio.Event()

    async def follow(self, client: AsyncClient, path: str, headers: Mapping[str, str] | None = None) -> None:
        """Read it to its end."""
        async with client.stream("GET", path, headers=headers) as response:
            response.raise_for_status()
            async for text in response.aiter_text():
                self.text += text
                self.came.set()

    def last(self) -> dict[str, Any]:
        """The last thing that it said."""
        line = self.text.rstrip("\n").rpartition("\n")[2]
        return msgspec.json.decode(line.removeprefix("data: "))


@asynccontextmanager
async def source(
    client: AsyncClient, path: str, last_id: str = "", params: Mapping[str, str] | None = None
) -> AsyncGenerator[EventSource]:
    """An open event stream; ``last_id`` as a browser sends it that comes back."""
    headers = {"last-event-id": last_id} if last_id else {}
    async with (
        asyncio.timeout(SECONDS),
        aconnect_sse(client, "GET", path, headers=headers, params=params) as opened,
    ):
        opened.response.raise_for_status()
        yield opened


@asynccontextmanager
async def listening(
    client: AsyncClient, path: str, last_id: str = ""
) -> AsyncGenerator[AsyncIterator[ServerSentEvent]]:
    """The events of a path while the block lasts."""
    async with source(client, path, last_id) as opened:
        yield opened.aiter_sse()


async def heard(
    client: AsyncClient,
    path: str,
    last_id: str = "",
    params: Mapping[str, str] | None = None,
    until: Callable[[ServerSentEvent], bool] = lambda _: False,
) -> list[ServerSentEvent]:
    """The events to the end of the stream, or to one that is waited for."""
    found: list[ServerSentEvent] = []
    async with source(client, path, last_id, params) as opened:
        async for event in opened.aiter_sse():
            found.append(event)
            if until(event):
                break
    return found


def told(found: Sequence[ServerSentEvent]) -> list[tuple[str, str, str]]:
    """Id, name and data: the first event also says how soon to come back, wherever one begins."""
    return [(event.id, event.event, event.data) for event in found]


def data(event: ServerSentEvent) -> dict[str, Any]:
    """What an event says."""
    return msgspec.json.decode(event.data)


def objects(found: Sequence[ServerSentEvent]) -> list[dict[str, Any]]:
    """The data of those that have any."""
    return [data(event) for event in found if event.data]


def said(found: Sequence[ServerSentEvent]) -> Said:
    """What the events of the dialect ``turnlog`` say, for ``fold``."""
    pieces: Said = []
    for each in objects(found):
        match each["type"]:
            case "stream.chunk_received":
                pieces.append((each["kind"], each["part"], each["delta"]))
            case "stream.snapshot":
                pieces += [(piece["kind"], piece["part"], piece["delta"]) for piece in each["pieces"]]
            case _:
                pass
    return pieces


def folded(found: Sequence[ServerSentEvent]) -> tuple[Part, ...]:
    """The content."""
    return fold(said(found))
