"""The application: routes, their guard, their errors, their schema; one log for all of them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any, Final

from litestar import Litestar, Request, Router
from litestar.config.cors import CORSConfig
from litestar.datastructures import State
from litestar.di import Provide
from litestar.openapi.config import OpenAPIConfig
from litestar.types import ASGIApp

from turnlog.facade import Turnlog
from turnlog.service.access import OPEN, Access, Gate, Workspaces, guard, require_scopes
from turnlog.service.bodies import TypedRequest
from turnlog.service.connections import Connections
from turnlog.service.edge import Edge
from turnlog.service.metrics import Metrics
from turnlog.service.problems import HANDLERS
from turnlog.service.routes import (
    branches,
    commits,
    contexts,
    log,
    messages,
    past,
    producing,
    reading,
    upkeep,
)
from turnlog.service.streams import Streams

API: Final = (
    *contexts.ROUTES,
    *messages.ROUTES,
    *branches.ROUTES,
    *past.ROUTES,
    *commits.ROUTES,
    *log.ROUTES,
    *producing.ROUTES,
    *reading.ROUTES,
    *upkeep.API_ROUTES,
)


def create_app(
    turnlog: Turnlog, gate: Gate, connections: Connections, *, cors_origins: list[str], body_bytes_max: int
) -> ASGIApp:
    """The service over an open log. Raises ``RuntimeError`` for a route that declares no scope."""
    streams = Streams(turnlog, connections)
    metrics = Metrics(turnlog, streams)

    @asynccontextmanager
    async def tended(_: Litestar) -> AsyncGenerator[None]:
        tending = asyncio.create_task(connections.tend(gate.is_live))
        try:
            yield
        finally:
            tending.cancel()

    app = Litestar(
        [
            Router("/api", route_handlers=API, guards=[guard]),
            Router("/", route_handlers=upkeep.ROOT_ROUTES, guards=[guard]),
        ],
        state=State(
            {
                "log": turnlog,
                "gate": gate,
                "workspaces": Workspaces(turnlog.store.log),
                "streams": streams,
                "metrics": metrics,
            }
        ),
        dependencies={
            "access": Provide(_access, sync_to_thread=False),
            "streams": Provide(_streams, sync_to_thread=False),
        },
        exception_handlers=HANDLERS,
        request_class=TypedRequest,
        request_max_body_size=body_bytes_max,
        cors_config=CORSConfig(allow_origins=cors_origins) if cors_origins else None,
        openapi_config=OpenAPIConfig(
            title="Turnlog",
            version="0.1.0",
            path="/schema",
            openapi_router=Router("/schema", route_handlers=[], opt=OPEN),
        ),
        lifespan=[tended],
        logging_config=None,
        pdb_on_exception=False,
    )
    require_scopes(app)
    return Edge(app, metrics)


def _access(request: Request[Any, Any, Any]) -> Access:
    return request.state.access


def _streams(request: Request[Any, Any, Any]) -> Streams:
    return request.app.state.streams
