"""The application: routes, their guard, their errors, their schema; one log for all of them."""

from __future__ import annotations

from functools import cache
from importlib.metadata import version
from typing import Any, Final, NamedTuple

from litestar import Litestar, Request, Response, Router
from litestar.config.cors import CORSConfig
from litestar.di import Provide
from litestar.routes import HTTPRoute
from litestar.types import ASGIApp

from turnlog.facade import Turnlog
from turnlog.service.access import Access, Admission, guard, require_scopes
from turnlog.service.answers import MESSAGE_HEADER, POSITION_HEADER
from turnlog.service.appending import Appending
from turnlog.service.bodies import TypedRequest
from turnlog.service.conditions import AT_LEAST_HEADER, IDEMPOTENCY_HEADER, LAST_EVENT_ID
from turnlog.service.edge import Edge, Ledger
from turnlog.service.gate import Gate
from turnlog.service.keyring import Keyring
from turnlog.service.metrics import Metrics
from turnlog.service.parameters import Parameters
from turnlog.service.problems import HANDLERS
from turnlog.service.routes import (
    branches,
    commits,
    contexts,
    messages,
    past,
    producing,
    reading,
    schema,
    tickets,
    upkeep,
)
from turnlog.service.routes import (
    log as log_routes,
)
from turnlog.service.schema.described import Described
from turnlog.service.settings import Settings
from turnlog.service.streams import Streams

CORS_HEADERS: Final = [
    "Authorization",
    "Content-Type",
    "If-Match",
    "If-None-Match",
    LAST_EVENT_ID,
    "X-Api-Key",
    AT_LEAST_HEADER,
    IDEMPOTENCY_HEADER,
]
"""What pages of other origins may send."""

API: Final = (
    *contexts.ROUTES,
    *messages.ROUTES,
    *branches.ROUTES,
    *past.ROUTES,
    *commits.ROUTES,
    *log_routes.ROUTES,
    *producing.ROUTES,
    *reading.ROUTES,
    *upkeep.API_ROUTES,
    *tickets.ROUTES,
)


class App(NamedTuple):
    """All routes, and the short way to the busiest of them, for the connections to take."""

    routed: ASGIApp
    appending: Appending


def create_app(log: Turnlog, gate: Gate, keyring: Keyring, streams: Streams, settings: Settings) -> App:
    """The service over an open log. Raises ``RuntimeError`` for a route that declares no scope."""
    metrics = Metrics(log, streams)
    admission = Admission(log, gate, settings.limits)
    state = {
        "log": log,
        "gate": gate,
        "keyring": keyring,
        "limits": settings.limits,
        "admission": admission,
        "streams": streams,
        "metrics": metrics,
    }
    ledger = Ledger(metrics)
    routed = Edge(_routed(settings.cors_origins), ledger, state)
    return App(routed, Appending(log, admission, ledger, settings.limits))


@cache
def _routed(origins: tuple[str, ...]) -> Litestar:
    """The routes. They know no log: what they need of a service is in the state of each request.

    To make them takes longer than to open a log, and they are the same for every service of a process.
    """
    app = Litestar(
        [
            Router("/api", route_handlers=API, guards=[guard]),
            Router("/", route_handlers=[*upkeep.ROOT_ROUTES, *schema.ROUTES], guards=[guard]),
        ],
        dependencies={
            "access": Provide(_access, sync_to_thread=False),
            "streams": Provide(_streams, sync_to_thread=False),
        },
        before_request=_options,
        exception_handlers=HANDLERS,
        request_class=TypedRequest,
        request_max_body_size=None,  # TypedRequest has the bound, with a message that names it
        cors_config=_cors(origins),
        openapi_config=None,  # ours says more: headers, streams, problems, examples
        logging_config=None,
        pdb_on_exception=False,
    )
    app.state.parameters = Parameters(app)
    app.state.methods = {
        route.path_format: route.methods for route in app.routes if isinstance(route, HTTPRoute)
    }
    require_scopes(app)
    app.state.described = Described(app, version("turnlog"))
    return app


def _cors(origins: tuple[str, ...]) -> CORSConfig | None:
    """Closed unless configured. Keys travel in headers, so no cookies are let in."""
    if not origins:
        return None
    return CORSConfig(
        allow_origins=list(origins),
        allow_methods=["GET", "POST", "PUT", "PATCH", "DELETE"],
        allow_headers=CORS_HEADERS,
        expose_headers=[
            "ETag",
            "Location",
            "Retry-After",
            POSITION_HEADER,
            MESSAGE_HEADER,
            "X-Request-Id",
        ],
        max_age=600,
    )


async def _options(request: Request[Any, Any, Any]) -> Response[None] | None:
    """The methods of a path: the framework's own answer names those alone that it was told of first.

    Async, or the framework would call it in a thread.
    """
    if request.method != "OPTIONS":
        return None
    methods = request.app.state.methods[request.scope["path_template"]]
    return Response(None, status_code=204, headers={"Allow": ", ".join(sorted(methods))})


def _access(request: Request[Any, Any, Any]) -> Access:
    return request.state.access


def _streams(request: Request[Any, Any, Any]) -> Streams:
    return request.state.streams
