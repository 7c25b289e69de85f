"""Responses that go on: server-sent events or lines of JSON, as they come, to their explicit end.

    status and headers  ->  what the source yields ...  ->  its last words, or those of an ending  ->  close

The status is sent with the first bytes, so what fails before is an answer like any other.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from typing import Any, Final, Protocol

import msgspec
from litestar import Response
from litestar.types import ASGIApp, Receive, Scope, Send

from eventstore.errors import Refused, TurnlogError, Unavailable
from turnlog.dialects.rendering import Event
from turnlog.dialects.sse_out import KEEP_ALIVE, frame, retry
from turnlog.dialects.sse_out import MEDIA_TYPE as SSE
from turnlog.service.connections import Connection, Ending
from turnlog.service.health import note
from turnlog.service.problems import defect, problem_of, route_of
from turnlog.service.streams import Streams

_HEADERS: Final = (
    (b"cache-control", b"no-store, no-transform"),
    (b"x-accel-buffering", b"no"),  # what keeps nginx from gathering events
)

_ENDED: Final[dict[Ending, TurnlogError]] = {
    "shutdown": Unavailable("shutting_down", "the service is stopping"),
    "revoked": Refused("key_revoked", "the key is not valid any more"),
    "expired": Refused("key_expired", "the key has expired"),
    "disconnected": Unavailable("shutting_down", "the client has gone"),
}
"""What a response says instead, when it is ended before it has begun."""


class Words(Protocol):
    """What a kind of response says besides its data."""

    def opening(self, retry_ms: int) -> bytes:
        """Stands before everything else, and belongs to what comes first."""
        ...

    def heartbeat(self) -> bytes:
        """Keeps a quiet connection alive."""
        ...

    def farewell(self, why: Ending, at: int) -> bytes:
        """The service ends the response; ``at`` is where to go on from."""
        ...

    def failure(self, error: TurnlogError) -> bytes:
        """The response fails after it has begun."""
        ...


class SseWords:
    """In server-sent events. A failure is told in a form that the clients of OpenAI and Anthropic raise.

    ``returns``: a reader that is cut off comes back by itself, and is told when. ``beats``: comments may
    stand between the events. Without both, what goes well is the source's own bytes and nothing else.
    ``foreign``: the reader knows a provider's events only, and takes a farewell for one of them.
    """

    def __init__(self, *, returns: bool = True, beats: bool = True, foreign: bool = False) -> None:
        self._returns = returns
        self._beats = beats
        self._foreign = foreign

    def opening(self, retry_ms: int) -> bytes:
        """How soon a browser comes back: said at once, because a service that is killed says nothing."""
        return retry(retry_ms) if self._returns else b""

    def heartbeat(self) -> bytes:
        """A comment."""
        return KEEP_ALIVE if self._beats else b""

    def farewell(self, why: Ending, at: int) -> bytes:
        """A browser connects again by itself, soon, and sends the last id; a provider's client must raise."""
        if self._foreign:
            error = _ENDED[why].copy()
            error.fields["after"] = at
            return self.failure(error)
        data = msgspec.json.encode({"type": "closing", "reason": why, "after": at})
        return frame(Event(data, "closing"))

    def failure(self, error: TurnlogError) -> bytes:
        """An event of the name and shape that is an error everywhere."""
        return frame(Event(msgspec.json.encode(_failure(error)), "error"))


class NdjsonWords:
    """In lines of JSON."""

    def opening(self, retry_ms: int) -> bytes:
        """Nothing: who reads lines decides that itself."""
        return b""

    def heartbeat(self) -> bytes:
        """An empty line."""
        return b"\n"

    def farewell(self, why: Ending, at: int) -> bytes:
        """A line of its own type."""
        return msgspec.json.encode({"type": "closing", "reason": why, "after": at}) + b"\n"

    def failure(self, error: TurnlogError) -> bytes:
        """A line of its own type."""
        return msgspec.json.encode(_failure(error)) + b"\n"


def _failure(error: TurnlogError) -> dict[str, object]:
    told = problem_of(error.code, error.message, error.fields)
    return {"type": "error", "error": {"type": error.code, "message": error.message}, "problem": told}


class EventStream(Response[Any]):
    """A response whose body is what an async generator yields.

    ``watch``: notice a client that leaves; not for a source that reads the request's body.
    """

    def __init__(
        self,
        streams: Streams,
        connection: Connection,
        source: AsyncGenerator[bytes, None],
        words: Words,
        *,
        media_type: str = SSE,
        watch: bool = True,
        headers: Mapping[str, str] | None = None,
        status_code: int = 200,
    ) -> None:
        super().__init__(None, media_type=media_type, status_code=status_code, headers=dict(headers or {}))
        self._streams = streams
        self._connection = connection
        self._source = source
        self._words = words
        self._watch = watch

    def to_asgi_response(  # pyright: ignore[reportIncompatibleMethodOverride] -- all that the others take is dropped
        self, *_: Any, **__: Any
    ) -> ASGIApp:
        """The application that sends it."""
        return self._respond

    async def _respond(self, scope: Scope, receive: Receive, send: Send) -> None:
        connection = self._connection
        connection.send, connection.task = send, asyncio.current_task()
        scope["state"]["connection"] = connection
        try:
            async with aclosing(self._source) as source:
                first = await self._first(source)
                await send(self._start())
                opening = self._words.opening(self._streams.connections.retry_ms)
                connection.heartbeat = self._words.heartbeat()
                watching = asyncio.ensure_future(self._watched(receive))
                try:
                    await self._send_all(opening + (first or b""), source, scope)
                finally:
                    connection.heartbeat = b""
                    watching.cancel()
            if connection.ending != "disconnected":
                await send({"type": "http.response.body", "body": b"", "more_body": False})
        finally:
            self._streams.connections.close(connection)

    async def _first(self, source: AsyncGenerator[bytes, None]) -> bytes | None:
        """What comes first; raises what is then the whole answer."""
        ending = self._connection.ending
        if ending is None:
            try:
                return await anext(source, None)
            except asyncio.CancelledError:
                ending = self._taken_back()
        raise _ENDED[ending].copy()

    async def _send_all(self, first: bytes, source: AsyncGenerator[bytes, None], scope: Scope) -> None:
        connection = self._connection
        try:
            await connection.transmit(first)
            async for data in source:
                await connection.transmit(data)
        except asyncio.CancelledError:
            ending = self._taken_back()
            if ending != "disconnected":
                await connection.transmit(self._words.farewell(ending, connection.at))
        except TurnlogError as error:
            note(self._streams.log, error)
            await connection.transmit(self._words.failure(error))
        except Exception as error:
            await connection.transmit(self._words.failure(defect(error, route=route_of(scope))))

    def _taken_back(self) -> Ending:
        """Why the task was cancelled, if that was our doing; otherwise it goes on being cancelled."""
        task, ending = asyncio.current_task(), self._connection.ending
        if ending is None or task is None:
            raise
        task.uncancel()
        return ending

    def _start(self) -> Any:
        kind = f"{self.media_type}; charset=utf-8" if self.media_type == SSE else str(self.media_type)
        headers = [(name.lower().encode(), value.encode()) for name, value in self.headers.items()]
        return {
            "type": "http.response.start",
            "status": self.status_code or 200,
            "headers": [(b"content-type", kind.encode()), *_HEADERS, *headers],
        }

    async def _watched(self, receive: Receive) -> None:
        """End the connection when the client has gone; a source that reads the body sees that itself."""
        if self._watch:
            while (await receive())["type"] != "http.disconnect":
                pass
            self._connection.end("disconnected")
