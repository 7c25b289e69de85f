"""The application: routes, their guard, their errors, their schema; one log for all of them."""

from __future__ import annotations

from typing import Any, Final

from litestar import Litestar, Request, Router
from litestar.datastructures import State
from litestar.di import Provide
from litestar.openapi.config import OpenAPIConfig

from turnlog.facade import Turnlog
from turnlog.service.access import OPEN, Access, Gate, Workspaces, guard, require_scopes
from turnlog.service.bodies import TypedRequest
from turnlog.service.problems import HANDLERS
from turnlog.service.routes import branches, commits, contexts, messages, past

API: Final = (*contexts.ROUTES, *messages.ROUTES, *branches.ROUTES, *past.ROUTES, *commits.ROUTES)


def create_app(log: Turnlog, gate: Gate) -> Litestar:
    """The service over an open log. Raises ``RuntimeError`` for a route that declares no scope."""
    api = Router("/api", route_handlers=API, guards=[guard])
    app = Litestar(
        [api],
        state=State({"log": log, "gate": gate, "workspaces": Workspaces(log.store.log)}),
        dependencies={"access": Provide(_access, sync_to_thread=False)},
        exception_handlers=HANDLERS,
        request_class=TypedRequest,
        openapi_config=OpenAPIConfig(
            title="Turnlog",
            version="0.1.0",
            path="/schema",
            openapi_router=Router("/schema", route_handlers=[], opt=OPEN),
        ),
        logging_config=None,
        pdb_on_exception=False,
    )
    require_scopes(app)
    return app


def _access(request: Request[Any, Any, Any]) -> Access:
    return request.state.access
