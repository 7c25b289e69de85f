"""What answers of the service must be: problems of one shape, and lines."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

import httpx
import msgspec

from eventstore.errors import CODES
from turnlog.shapes import plain


def problem(response: httpx.Response, status: int, code: str) -> dict[str, Any]:
    """The body of a response that must be a problem with this code; what it says besides is left."""
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/problem+json"
    body = response.json()
    assert body.pop("code") == code, body
    assert body.pop("type") == f"urn:turnlog:problem:{code}"
    assert body.pop("title") == HTTPStatus(status).phrase
    assert body.pop("status") == status
    assert body.pop("hint") == CODES[code].hint
    return body


def invalid(response: httpx.Response) -> dict[str, str]:
    """Path and message of everything that a response says is wrong with its request."""
    errors = problem(response, 400, "invalid_request")["errors"]
    return {error["path"]: error["message"] for error in errors}


def lines(body: str) -> list[Any]:
    """The lines of an NDJSON body, but for heartbeats."""
    return [msgspec.json.decode(line) for line in body.splitlines() if line]


def told(answer: msgspec.Struct) -> Any:
    """What a query answers, as the service should tell it."""
    return msgspec.json.decode(msgspec.json.encode(plain(answer)))
