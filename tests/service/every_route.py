"""Every route of the service: who may use it, and a request that it answers when they may."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, Literal, NamedTuple, TypeAlias, cast
from uuid import UUID, uuid4

from litestar import Litestar
from litestar.handlers import BaseRouteHandler
from serving import Served

from eventstore.content import TextPart
from eventstore.events import (
    ChunkReceived,
    ContextCreated,
    MessageAppended,
    StreamFinalized,
    StreamStarted,
)
from eventstore.units import wall_clock_us
from turnlog.service.access import Scope

About: TypeAlias = Literal["one", "own", "whole"]
"""One thing, which is in a workspace; whatever the key's workspace has; or the whole store."""

JSON: Final = "application/json"
NDJSON: Final = "application/x-ndjson"
SSE: Final = "text/event-stream"
GOES_ON: Final = (SSE, NDJSON)

PROVIDERS: Final = (
    b'data: {"id":"c","object":"chat.completion.chunk","created":1,"model":"m",'
    b'"choices":[{"index":0,"delta":{"content":"Hi"},"finish_reason":"stop"}]}\n\ndata: [DONE]\n\n'
)
"""A stream of a provider's."""


class Place(NamedTuple):
    """What a request can be about, in one workspace: a context with a message and two streams."""

    context: UUID
    message: UUID
    streamed: UUID
    """A stream that has ended."""
    stream: UUID
    """One that is open, with one chunk."""

    def named(self, text: str) -> str:
        """The text with what the ids stand for in their place."""
        for name, value in self._asdict().items():
            text = text.replace(str(value), name)
        return text


class Ask(NamedTuple):
    """A request and the status of its success."""

    path: str
    body: object = None
    status: int = 200
    content: bytes | None = None
    content_type: str = JSON


class Row(NamedTuple):
    """What a route declares, and how to ask it."""

    scope: Scope
    about: About
    ask: Callable[[Place], Ask]


def nowhere() -> Place:
    """Ids of nothing."""
    return Place(uuid4(), uuid4(), uuid4(), uuid4())


async def place_in(served: Served, workspace: str, text: str = "Tides") -> Place:
    """A context in a workspace, with its messages, in one commit."""
    place, now = nowhere(), wall_clock_us()
    await served.service.log.store.append(
        place.context,
        [
            ContextCreated(text, workspace, {}, {}),
            MessageAppended(place.message, "user", (TextPart(text),)),
            StreamStarted(place.streamed, "assistant"),
            ChunkReceived(place.streamed, 1, text, "text", now),
            StreamFinalized(place.streamed, "completed"),
            StreamStarted(place.stream, "assistant"),
            ChunkReceived(place.stream, 1, text, "text", now),
        ],
    )
    return place


def _on_context(rest: str = "", body: object = None, status: int = 200) -> Callable[[Place], Ask]:
    return lambda place: Ask(f"/api/contexts/{place.context}{rest}", body, status)


def _on_message(rest: str = "") -> Callable[[Place], Ask]:
    return lambda place: Ask(f"/api/messages/{place.streamed}{rest}")


def _on_stream(rest: str, body: object = None) -> Callable[[Place], Ask]:
    return lambda place: Ask(f"/api/messages/{place.stream}{rest}", body)


def _plainly(path: str, body: object = None, status: int = 200) -> Callable[[Place], Ask]:
    return lambda _: Ask(path, body, status)


def _commit(place: Place) -> Ask:
    events = [{"type": "context.state_changed", "state": "busy"}]
    return Ask("/api/commits", {"context_id": str(place.context), "events": events}, 201)


def _batch(place: Place) -> Ask:
    return Ask(f"/api/messages/batch?ids={place.message}")


def _signals(place: Place) -> Ask:
    return Ask(f"/api/sse?contexts={place.context}")


def _ingest(place: Place) -> Ask:
    path = f"/api/contexts/{place.context}/ingest?dialect=openai_chat"
    return Ask(path, content=PROVIDERS, content_type=SSE)


ROWS: Final[dict[str, Row]] = {
    "POST /api/contexts": Row("writer", "own", _plainly("/api/contexts", {}, 201)),
    "GET /api/contexts": Row("reader", "own", _plainly("/api/contexts")),
    "GET /api/contexts/{context_id:uuid}": Row("reader", "one", _on_context()),
    "PATCH /api/contexts/{context_id:uuid}": Row("writer", "one", _on_context("", {"title": "New"})),
    "DELETE /api/contexts/{context_id:uuid}": Row("writer", "one", _on_context()),
    "PUT /api/contexts/{context_id:uuid}/state": Row("writer", "one", _on_context("/state", {"state": "s"})),
    "POST /api/contexts/{context_id:uuid}/fork": Row("writer", "one", _on_context("/fork", {}, 201)),
    "POST /api/contexts/{context_id:uuid}/messages": Row(
        "writer", "one", _on_context("/messages", {"role": "user", "text": "more"}, 201)
    ),
    "GET /api/contexts/{context_id:uuid}/messages": Row("reader", "one", _on_context("/messages")),
    "GET /api/messages/batch": Row("reader", "own", _batch),
    "GET /api/messages/{message_id:uuid}": Row("reader", "one", _on_message()),
    "POST /api/messages/{message_id:uuid}/redact": Row("writer", "one", _on_stream("/redact", {})),
    "GET /api/contexts/{context_id:uuid}/branches": Row("reader", "one", _on_context("/branches")),
    "GET /api/contexts/{context_id:uuid}/branches/{name:str}": Row(
        "reader", "one", _on_context("/branches/main")
    ),
    "PUT /api/contexts/{context_id:uuid}/branches/{name:str}": Row(
        "writer", "one", _on_context("/branches/other", {"of": "main"})
    ),
    "DELETE /api/contexts/{context_id:uuid}/branches/{name:str}": Row(
        "writer", "one", _on_context("/branches/spare")
    ),
    "GET /api/contexts/{context_id:uuid}/history": Row("reader", "one", _on_context("/history")),
    "GET /api/contexts/{context_id:uuid}/diff": Row("reader", "one", _on_context("/diff?from=v1")),
    "GET /api/contexts/{context_id:uuid}/events": Row("reader", "one", _on_context("/events")),
    "GET /api/contexts/{context_id:uuid}/sse": Row("reader", "one", _on_context("/sse")),
    "GET /api/sse": Row("reader", "one", _signals),
    "POST /api/commits": Row("writer", "one", _commit),
    "GET /api/events": Row("reader", "own", _plainly("/api/events")),
    "GET /api/log/head": Row("reader", "whole", _plainly("/api/log/head")),
    "POST /api/contexts/{context_id:uuid}/streams": Row("writer", "one", _on_context("/streams", {}, 201)),
    "POST /api/contexts/{context_id:uuid}/ingest": Row("writer", "one", _ingest),
    "POST /api/messages/{message_id:uuid}/resume": Row("writer", "one", _on_stream("/resume", {})),
    "POST /api/messages/{message_id:uuid}/chunks": Row(
        "writer", "one", _on_stream("/chunks", {"sequence": 2, "delta": "x"})
    ),
    "POST /api/messages/{message_id:uuid}/finalize": Row("writer", "one", _on_stream("/finalize", {})),
    "POST /api/messages/{message_id:uuid}/stop": Row("writer", "one", _on_stream("/stop")),
    "GET /api/messages/{message_id:uuid}/chunks": Row("reader", "one", _on_message("/chunks")),
    "GET /api/messages/{message_id:uuid}/timeline": Row("reader", "one", _on_message("/timeline")),
    "GET /api/messages/{message_id:uuid}/stream": Row("reader", "one", _on_message("/stream")),
    "GET /api/messages/{message_id:uuid}/replay": Row("reader", "one", _on_message("/replay?speed=0")),
    "GET /api/projections": Row("reader", "whole", _plainly("/api/projections")),
    "POST /api/projections/{name:str}/rebuild": Row(
        "admin", "whole", _plainly("/api/projections/totals/rebuild", None, 202)
    ),
    "GET /api/stats": Row("admin", "whole", _plainly("/api/stats")),
    "POST /api/tickets": Row("reader", "own", _plainly("/api/tickets", {"path": "/api/events"}, 201)),
    "GET /healthz": Row("open", "whole", _plainly("/healthz")),
    "GET /readyz": Row("open", "whole", _plainly("/readyz")),
    "GET /metrics": Row("admin", "whole", _plainly("/metrics")),
}


def framework(served: Served) -> Litestar:
    """The application inside of what wraps it."""
    app: Any = served.service.app.routed
    while not isinstance(app, Litestar):
        app = app._app
    return app


def declared(served: Served) -> dict[str, BaseRouteHandler]:
    """Every route of the application, but for what the framework makes: answers to OPTIONS."""
    found: dict[str, BaseRouteHandler] = {}
    for route in framework(served).routes:
        own: Any = route
        for handler in getattr(own, "route_handlers", None) or (own.route_handler,):
            for method in cast("set[str]", handler.http_methods) - {"OPTIONS"}:
                found[f"{method} {route.path}"] = handler
    return found
