"""Errors over HTTP: RFC 9457 problem details, each with a stable code and a hint.

Whatever a route raises becomes one here, and nowhere else. The message of an unknown exception may hold
anything, a conversation too: it is never sent, and only its type and place are logged.
"""

from __future__ import annotations

import traceback
from collections.abc import Callable, Mapping
from http import HTTPStatus
from types import MappingProxyType
from typing import Any, Final, cast

import msgspec
import structlog
from litestar import Response
from litestar.connection import ASGIConnection
from litestar.enums import ParamType
from litestar.exceptions import HTTPException, ValidationException

from eventstore.errors import CODES, TurnlogError, Unavailable
from turnlog.facade import Turnlog
from turnlog.service.bodies import named
from turnlog.service.choices import allowed
from turnlog.service.health import note
from turnlog.service.parameters import Parameters
from turnlog.service.settings import Limits

MEDIA_TYPE: Final = "application/problem+json"

WAITING: Final = frozenset({"overloaded", "too_many_connections", "too_many_tickets", "shutting_down"})
"""What ``Retry-After`` comes with: it passes by itself."""

_CODE_OF_STATUS: Final = {
    400: "invalid_request",
    404: "route_not_found",
    405: "method_not_allowed",
    413: "body_too_large",
    415: "unsupported_media_type",
}

_DETAILS: Final = {"route_not_found": "there is nothing at this path; ids in paths are UUIDs"}
"""Where the framework's own words say nothing."""

_NO_BODY: Final = "'data'"
"""What the framework says of a body that is empty."""

_logger: Final = structlog.get_logger("turnlog.service")


class Problem(msgspec.Struct):
    """What went wrong. Further members carry the facts: ids, versions, positions, limits."""

    type: str
    """``urn:turnlog:problem:`` and the code."""
    title: str
    status: int
    detail: str
    code: str
    """Stable: programs decide by it."""
    hint: str
    """What to do about it."""


def problem_of(
    code: str, detail: str, fields: Mapping[str, object] = MappingProxyType({}), status: int | None = None
) -> dict[str, object]:
    """The body for a code; ``status`` where HTTP has a better one than the code's own."""
    known = CODES[code]
    status = known.status if status is None else status
    members: dict[str, object] = {
        "type": f"urn:turnlog:problem:{code}",
        "title": HTTPStatus(status).phrase,
        "status": status,
        "detail": detail,
        "code": code,
        "hint": known.hint,
    }
    return members | {name: _plain(value) for name, value in fields.items() if name not in members}


def problem(
    code: str,
    detail: str,
    fields: Mapping[str, object] = MappingProxyType({}),
    *,
    status: int | None = None,
    headers: Mapping[str, str] = MappingProxyType({}),
) -> Response[dict[str, object]]:
    """The response for a code."""
    body = problem_of(code, detail, fields, status)
    status = cast("int", body["status"])
    return Response(body, status_code=status, media_type=MEDIA_TYPE, headers=headers)


def _plain(value: object) -> object:
    """A fact as JSON: what it cannot say is said as text."""
    return msgspec.json.decode(msgspec.json.encode(value, enc_hook=str))


def of_turnlog(request: ASGIConnection[Any, Any, Any, Any], error: TurnlogError) -> Response[Any]:
    """A refusal of ours."""
    return refusal(request.state.log, request.state.limits, request.headers, error)


def refusal(log: Turnlog, limits: Limits, headers: Mapping[str, str], error: TurnlogError) -> Response[Any]:
    """The response for an error of ours. A version that a header expected is a precondition of HTTP's own."""
    note(log, error)
    conditional = "if-match" in headers or "if-none-match" in headers
    failed = conditional and error.code in ("wrong_expected_version", "context_exists")
    more: dict[str, str] = {}
    if error.code in WAITING:
        more["Retry-After"] = str(limits.retry_after_seconds)
    elif CODES[error.code].status == HTTPStatus.UNAUTHORIZED:
        more["WWW-Authenticate"] = "Bearer"
    return problem(error.code, error.message, error.fields, status=412 if failed else None, headers=more)


def of_http(request: ASGIConnection[Any, Any, Any, Any], error: HTTPException) -> Response[Any]:
    """A refusal of the framework's: no such route, a body or parameter that does not fit."""
    code = _CODE_OF_STATUS.get(error.status_code, "invalid_request")
    headers = {name: value for name, value in (error.headers or {}).items() if name.lower() == "allow"}
    if not isinstance(error, ValidationException):
        detail = _DETAILS.get(code) or error.detail
        return problem(code, detail, status=error.status_code, headers=headers)
    errors = [_named(request, item) for item in cast("list[dict[str, str]]", error.extra or [])]
    detail = "; ".join(f"{item['path']}: {item['message']}" for item in errors) or error.detail
    return problem(code, detail, {"errors": errors}, headers=headers)


def _named(request: ASGIConnection[Any, Any, Any, Any], item: dict[str, str]) -> dict[str, str]:
    """Where in the request, as ``body.parts[0].text`` or ``query.limit``, and why."""
    source, key = item.get("source", "request"), item.get("key", "")
    fields, message = request.scope["route_handler"].parsed_fn_signature.parameters, item["message"]
    if source == "body":
        path, place = ("body", "") if key == "data" else (f"body.{key}", key)
        if message == _NO_BODY:
            return named(path, "there is none")
        return named(path, message + allowed(fields["data"].annotation, place, message))
    parameters: Parameters = request.app.state.parameters
    where = source.value if isinstance(source, ParamType) else source
    name = parameters.name(request, key)
    if key in fields:
        message += allowed(fields[key].annotation, "", message)
    return {"path": f"{where}.{name}" if name else where, "message": message}


def of_unexpected(request: ASGIConnection[Any, Any, Any, Any], error: Exception) -> Response[Any]:
    """A defect. The client learns that it is one, the log where it is."""
    failure = defect(error, route=route_of(request.scope))
    return refusal(request.state.log, request.state.limits, {}, failure)


def route_of(scope: Any) -> str:
    """A request's route, as far as one was found."""
    return scope.get("path_template", "")


def defect(error: Exception, event: str = "request_failed", **facts: object) -> TurnlogError:
    """What is told of an exception that should not have been raised; where it was is logged."""
    frames = traceback.extract_tb(error.__traceback__)
    place = f"{frames[-1].filename}:{frames[-1].lineno}" if frames else "unknown"
    _logger.error(event, error=type(error).__name__, at=place, **facts)
    return Unavailable("unexpected", "the service failed to answer")


HANDLERS: Final[dict[int | type[Exception], Callable[..., Response[Any]]]] = {
    TurnlogError: of_turnlog,
    HTTPException: of_http,
    Exception: of_unexpected,
}
