"""The outermost layer of every request: one log line, one count, and the headers that every response has."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from itertools import count
from typing import Any, Final
from uuid import UUID

import structlog
from litestar.types import ASGIApp, Message, Receive, Scope, Send
from uuid_utils import uuid7

from turnlog.service.keys import Key
from turnlog.service.metrics import Metrics

REQUEST_ID_HEADER: Final = b"x-request-id"
REQUEST_ID_CHARACTERS_MAX: Final = 64

_SECURITY_HEADERS: Final = (
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"x-frame-options", b"DENY"),
)
_NO_STORE: Final = (b"cache-control", b"no-store")
_ALWAYS: Final = b"".join(b"%b: %b\r\n" % header for header in (_NO_STORE, *_SECURITY_HEADERS))

_BEGAN: Final = uuid7().hex[:16].encode()
_numbers: Final = count(1)

now: Final = time.perf_counter
"""The clock that requests are timed by, in seconds."""

_logger: Final = structlog.get_logger("turnlog.service")


class Ledger:
    """Where every request is written down once it is over: a line of the log, and a number in the metrics.

    A line tells who asked what and how it went: never a body, never a key.
    """

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics

    def tell(
        self,
        method: str,
        route: str,
        status: int,
        sent: int,
        start: float,
        request_id: bytes,
        key: Key | None,
        ids: Iterable[UUID] = (),
        *,
        goes_on: bool = False,
    ) -> None:
        """One request, from ``start`` by ``now``. ``status`` is 0 when it was not answered."""
        seconds = now() - start
        self._metrics.count(method, route, status, seconds, goes_on=goes_on)
        _logger.info(
            "request",
            request_id=request_id.decode("latin-1"),
            method=method,
            route=route,
            status=status,
            duration_ms=round(seconds * 1e3, 2),
            sent_bytes=sent,
            key_id=(key and key.id) or None,
            workspace=key and key.workspace,
            ids=[str(each) for each in ids],
        )


class Edge:
    """Wraps the application, and gives each request the ``state`` that its route needs."""

    def __init__(self, app: ASGIApp, ledger: Ledger, state: Mapping[str, object]) -> None:
        self._app = app
        self._ledger = ledger
        self._state = state

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        start: float = scope["state"].pop("start", None) or now()  # that of one whose connection has read it
        request_id = request_id_of(scope["headers"])
        status, sent = 0, 0
        scope["state"].update(self._state)

        async def answer(message: Message) -> None:
            nonlocal status, sent
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = completed(message.get("headers", ()), request_id)
            elif message["type"] == "http.response.body":
                sent += len(message["body"])
            await send(message)

        try:
            await self._app(scope, receive, answer)
        finally:
            self._tell(scope, request_id, status, sent, start)

    def _tell(self, scope: Any, request_id: bytes, status: int, sent: int, start: float) -> None:
        state, route = scope["state"], scope.get("path_template", "") or "(none)"
        self._ledger.tell(
            scope["method"],
            route,
            status,
            sent,
            start,
            request_id,
            state.get("key"),
            [value for value in scope.get("path_params", {}).values() if isinstance(value, UUID)],
            goes_on="connection" in state,
        )


def request_id_of(headers: Iterable[tuple[bytes, bytes]]) -> bytes:
    """The id that a request came with, if it can be one, or a new one."""
    return given_request_id(headers) or new_request_id()


def given_request_id(headers: Iterable[tuple[bytes, bytes]]) -> bytes | None:
    """The id that a request came with, if it can be one."""
    for name, value in headers:
        if name == REQUEST_ID_HEADER and len(value) <= REQUEST_ID_CHARACTERS_MAX and value.isalnum():
            return value
    return None


def new_request_id() -> bytes:
    """An id for a request that came with none: when this process began, and a number."""
    return b"%b%016x" % (_BEGAN, next(_numbers))


def completed(headers: Iterable[tuple[bytes, bytes]], request_id: bytes) -> list[tuple[bytes, bytes]]:
    """The headers of a response, and those that every response has."""
    given = list(headers)
    for name, _ in given:
        if name.lower() == b"cache-control":
            break
    else:
        given.append(_NO_STORE)
    return [*given, *_SECURITY_HEADERS, (REQUEST_ID_HEADER, request_id)]


def head_of(headers: Iterable[tuple[bytes, bytes]], length: int, request_id: bytes) -> bytes:
    """The head of a response that is there whole, from its first header on; nothing of it is to be stored."""
    given = b"".join([b"%b: %b\r\n" % header for header in headers])
    return b"%bcontent-length: %d\r\n%b%b: %b\r\n\r\n" % (
        given,
        length,
        _ALWAYS,
        REQUEST_ID_HEADER,
        request_id,
    )
