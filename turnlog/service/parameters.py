"""Query parameters: which ones each route knows. Another, or one given twice, is never ignored in silence."""

from __future__ import annotations

from collections import Counter
from typing import Any
from urllib.parse import parse_qsl

from litestar import Litestar
from litestar.connection import ASGIConnection
from litestar.routes import HTTPRoute

from eventstore.errors import Refused
from turnlog.service.gate import TICKET


class Parameters:
    """Of every route of an application. ``name`` is for whoever tells what is wrong with one."""

    def __init__(self, app: Litestar) -> None:
        self._names: dict[Any, dict[str, str]] = {}
        self._required: dict[Any, list[str]] = {}
        for route in app.routes:
            if isinstance(route, HTTPRoute):
                for handler, model in route.route_handler_map.values():
                    taken = model.expected_query_params
                    self._names[handler] = {each.field_name: each.field_alias for each in taken}
                    self._required[handler] = [each.field_alias for each in taken if each.is_required]

        self._optional: dict[Any, set[str]] = {
            handler: {
                self._names[handler][name]
                for name, field in handler.parsed_fn_signature.parameters.items()
                if name in self._names[handler] and field.is_optional and not field.has_inner_subclass_of(str)
            }
            for handler in self._names
        }
        """Other than text: of these the framework takes the text null for a parameter that is not there."""

    def name(self, connection: ASGIConnection[Any, Any, Any, Any], argument: str) -> str:
        """What requests call an argument of their route's function."""
        return self._names[connection.scope["route_handler"]].get(argument, argument)

    def check(self, connection: ASGIConnection[Any, Any, Any, Any]) -> None:
        """Raise ``Refused`` (``invalid_request``) for a query that the route would not take as meant."""
        query, handler = connection.scope["query_string"], connection.scope["route_handler"]
        required = self._required[handler]
        if not query and not required:
            return
        known = self._names[handler].values()
        pairs = parse_qsl(query.decode("latin-1"), keep_blank_values=True)
        given = Counter(name for name, _ in pairs)
        errors = [{"path": f"query.{name}", "message": "required"} for name in required if name not in given]
        for name, times in given.items():
            if name not in known and name != TICKET:
                takes = f"this route takes {', '.join(sorted(known))}" if known else "this route takes none"
                errors.append({"path": f"query.{name}", "message": f"unknown; {takes}"})
            elif times > 1:
                errors.append({"path": f"query.{name}", "message": "given more than once"})
        for name, value in pairs:
            if value.lower() == "null" and name in self._optional[handler]:
                errors.append({"path": f"query.{name}", "message": "null is no value; leave it out"})
        if errors:
            detail = "; ".join(f"{error['path']}: {error['message']}" for error in errors)
            raise Refused("invalid_request", detail, errors=errors)
