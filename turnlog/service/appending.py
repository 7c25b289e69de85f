"""The hot path: ``POST /api/commits`` without the framework around it, which takes longer than the append.

It answers what is plain: a key in a header, a body of the route's shape. All else it hands on, with what it
has read, to the same route inside the framework: errors of requests, tickets and pages of other origins are
understood there alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import msgspec
from litestar import Response
from litestar.types import ASGIApp, Receive, Scope, Send

from eventstore.errors import TurnlogError
from turnlog.facade import Turnlog
from turnlog.service.access import Access, Admission
from turnlog.service.answers import JSON, POSITION_HEADER, outcome
from turnlog.service.bodies import JSON_TYPES, MSGPACK_TYPES, UNREADABLE, check_depth
from turnlog.service.problems import defect, refusal
from turnlog.service.requests import AppendCommit
from turnlog.service.routes.commits import append
from turnlog.service.settings import Limits
from turnlog.shapes import plain

PATH: Final = "/api/commits"

CREATED: Final = 201

_POSITION: Final = POSITION_HEADER.lower().encode()

_json: Final = msgspec.json.Decoder(AppendCommit)
_msgpack: Final = msgspec.msgpack.Decoder(AppendCommit)


class Appending:
    """Wraps the application."""

    def __init__(self, app: ASGIApp, log: Turnlog, admission: Admission, limits: Limits) -> None:
        self._app = app
        self._log = log
        self._admission = admission
        self._limits = limits

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        request: Any = scope
        if request["path"] != PATH or request["method"] != "POST" or request["query_string"]:
            await self._app(scope, receive, send)
            return
        read: list[Any] = []
        given = reversed(
            request["headers"]
        )  # of one that is sent twice the first counts, as in the framework
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in given}
        access = None if "origin" in headers else self._access(request, headers)
        data = None if access is None else await self._body(headers, receive, read)
        if data is None or access is None:
            await self._app(scope, _again(read, receive), send)
            return
        request["path_template"], request["state"]["access"] = PATH, access
        try:
            committed = await append(access, headers, data, self._limits.commit_events_max)
        except TurnlogError as error:
            await _refuse(refusal(self._log, self._limits, headers, error), send)
        except Exception as error:
            await _refuse(refusal(self._log, self._limits, headers, defect(error, route=PATH)), send)
        else:
            fields = [(_POSITION, b"%d" % committed.position), (b"etag", b'"%d"' % committed.version)]
            body = msgspec.json.encode(plain(outcome(data.context_id, committed)))
            await _send(CREATED, fields, JSON, body, send)

    async def _body(
        self, headers: Mapping[str, str], receive: Receive, read: list[Any]
    ) -> AppendCommit | None:
        """The decoded body, or None; ``read`` gets what was read for it."""
        kind = headers.get("content-type", "")
        decoder = _json if kind in JSON_TYPES else _msgpack if kind in MSGPACK_TYPES else None
        if decoder is None:
            return None
        size, more = 0, True
        while more:
            message: Any = await receive()
            read.append(message)
            size += len(message.get("body", b""))
            if message["type"] != "http.request" or size > self._limits.body_bytes_max:
                return None
            more = message.get("more_body", False)
        body = read[0]["body"] if len(read) == 1 else b"".join(message["body"] for message in read)
        try:
            data = decoder.decode(body)
            check_depth(body if decoder is _json else msgspec.json.encode(data), self._limits.json_depth_max)
        except (TurnlogError, *UNREADABLE):
            return None
        return data

    def _access(self, scope: Any, headers: Mapping[str, str]) -> Access | None:
        try:
            return self._admission.admit(scope, headers, "writer")
        except TurnlogError:
            return None


def _again(read: list[Any], receive: Receive) -> Receive:
    """What was read, once more, and then what comes."""
    messages = iter(read)

    async def receive_again() -> Any:
        message = next(messages, None)
        return await receive() if message is None else message

    return receive_again


async def _refuse(response: Response[Any], send: Send) -> None:
    media_type = str(response.media_type)
    headers = [(name.lower().encode(), value.encode()) for name, value in response.headers.items()]
    assert response.status_code is not None
    body = response.render(response.content, media_type)
    await _send(response.status_code, headers, media_type, body, send)


async def _send(
    status: int, headers: list[tuple[bytes, bytes]], media_type: str, body: bytes, send: Send
) -> None:
    """A whole response, as the framework would send it."""
    of_body = ((b"content-type", media_type.encode()), (b"content-length", b"%d" % len(body)))
    start: Any = {"type": "http.response.start", "status": status, "headers": [*headers, *of_body]}
    await send(start)
    await send({"type": "http.response.body", "body": body, "more_body": False})
