"""What an operation takes, from its route: parameters, headers, a body, a key."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, Final, NamedTuple, get_args

from litestar import Litestar
from litestar.handlers import HTTPRouteHandler
from litestar.params import BodyKwarg, PathParameter, QueryParameter
from litestar.routes import HTTPRoute
from litestar.typing import FieldDefinition

from turnlog.service.access import Scope
from turnlog.service.gate import TICKET
from turnlog.service.schema import shapes
from turnlog.service.schema.examples import Example
from turnlog.service.schema.operations import (
    IF_NONE_MATCH,
    OPERATIONS,
    READ_IF_NONE_MATCH,
    REQUEST_HEADERS,
    Facts,
)
from turnlog.service.schema.shapes import Schema

SECURITY: Final[dict[str, Any]] = {
    "bearer": {"type": "http", "scheme": "bearer", "description": "A key: `turnlog keys create` makes one."},
    "api_key": {"type": "apiKey", "in": "header", "name": "X-Api-Key", "description": "The same key."},
    "ticket": {
        "type": "apiKey",
        "in": "query",
        "name": TICKET,
        "description": "From `POST /api/tickets`, for one GET of one path.",
    },
}

_METHODS: Final = ("GET", "POST", "PUT", "PATCH", "DELETE")


class Operation(NamedTuple):
    """One method of one path."""

    path: str
    method: str
    handler: HTTPRouteHandler

    @property
    def name(self) -> str:
        """Of its handler."""
        return self.handler.fn.__name__

    @property
    def facts(self) -> Facts:
        """What is declared of it."""
        return OPERATIONS[self.name]

    @property
    def fields(self) -> dict[str, FieldDefinition]:
        """What its handler takes."""
        return self.handler.parsed_fn_signature.parameters

    @property
    def body(self) -> Any:
        """The type of its JSON body; None without one."""
        data = self.fields.get("data")
        if self.facts.asks is not None:
            return self.facts.asks
        return data.annotation if data and isinstance(data.kwarg_definition, BodyKwarg) else None

    @property
    def answer(self) -> Any:
        """The type of its JSON answer; None without one."""
        kinds = get_args(self.handler.parsed_fn_signature.return_type.annotation)
        return None if kinds in ((), (bytes,)) else kinds[0]


def operations(app: Litestar) -> list[Operation]:
    """All that the application answers, in order of path and method."""
    found = [
        Operation(route.path_format, method, handler)
        for route in app.routes
        if isinstance(route, HTTPRoute)
        for handler in route.route_handlers
        for method in sorted(handler.http_methods)
        if method in _METHODS
    ]
    return sorted(found, key=lambda one: (one.path, _METHODS.index(one.method)))


def parameters(one: Operation, asked: Example) -> Iterator[dict[str, Any]]:
    """In the path and the query."""
    for key, field in one.fields.items():
        kwarg = field.kwarg_definition
        if not isinstance(kwarg, PathParameter | QueryParameter):
            continue
        in_path = f"{{{key}}}" in one.path
        name = kwarg.name or key
        schema = shapes.parameter(field.annotation) | _constraints(kwarg)
        if not in_path and not field.is_required and field.default is not None:
            schema["default"] = field.default
        made = {
            "name": name,
            "in": "path" if in_path else "query",
            "required": in_path or field.is_required,
            "schema": schema,
        }
        if kwarg.description or name in _DESCRIBED:
            made["description"] = kwarg.description or _DESCRIBED[name]
        if name in asked.parameters:
            made["example"] = asked.parameters[name]
        yield made


def _constraints(kwarg: PathParameter | QueryParameter) -> Schema:
    given = {
        "minimum": kwarg.ge,
        "maximum": kwarg.le,
        "minLength": kwarg.min_length,
        "maxLength": kwarg.max_length,
        **(kwarg.schema_extra or {}),
    }
    return {name: value for name, value in given.items() if value is not None}


_DESCRIBED: Final = {
    "context_id": "The context.",
    "message_id": "The message.",
    "name": "Its name.",
}


def headers(one: Operation) -> Iterator[dict[str, Any]]:
    """Those that it reads."""
    for name in one.facts.takes:
        reads = name == IF_NONE_MATCH and one.method == "GET"
        header = READ_IF_NONE_MATCH if reads else REQUEST_HEADERS[name]
        yield {"name": name, "in": "header", "required": False, **header}


def security(method: str, scope: Scope) -> list[dict[str, list[str]]]:
    """Any of these, in the name of a key that has the role."""
    if scope == "open":
        return []
    schemes = ("bearer", "api_key", "ticket") if method == "GET" else ("bearer", "api_key")
    return [{scheme: [scope]} for scheme in schemes]


def camel(name: str) -> str:
    """A handler's name as an operation id."""
    return re.sub(r"_(\w)", lambda match: match[1].upper(), name)
