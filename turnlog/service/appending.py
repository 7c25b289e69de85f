"""``POST /api/commits`` without the framework: what a plain request asks for, and the answer to it.

Plain is a key in a header and a body of the route's shape. All else is left to the same route inside the
framework: errors of requests, tickets and pages of other origins are understood there alone.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final
from uuid import UUID

import anyio.to_thread
import msgspec

from eventstore.commits import Committed
from eventstore.errors import Refused, TurnlogError
from eventstore.events import Event
from eventstore.units import format_time
from turnlog.facade import Turnlog
from turnlog.service.access import Access, Admission
from turnlog.service.answers import JSON, POSITION_HEADER
from turnlog.service.bodies import JSON_TYPES, MSGPACK_TYPES, UNREADABLE, decoded, fitted
from turnlog.service.decoding import check_depth, listed, pieces
from turnlog.service.edge import Ledger, given_request_id, head_of, new_request_id, now
from turnlog.service.problems import defect, refusal
from turnlog.service.requests import AppendCommit
from turnlog.service.routes.commits import append
from turnlog.service.settings import Limits
from turnlog.service.strict import EventIn

PATH: Final = "/api/commits"

CREATED: Final = 201

_WRITTEN: Final = (
    b'{"context_id":%b,"position":%d,"version":%d,"recorded_at":"%b","written":%b,"message_id":null}'
)
_POSITION: Final = POSITION_HEADER.lower().encode()
_JSON: Final = (b"content-type", JSON.encode())

_json: Final = msgspec.json.Decoder(AppendCommit)
_msgpack: Final = msgspec.msgpack.Decoder(AppendCommit)


class _Unread(AppendCommit, frozen=True, kw_only=True):
    """A long commit, whose events are yet to be decoded."""

    events: list[msgspec.Raw]  # pyright: ignore[reportIncompatibleVariableOverride, reportGeneralTypeIssues] -- it is never taken for one


_json_unread: Final = msgspec.json.Decoder(_Unread)
_json_events: Final = msgspec.json.Decoder(list[EventIn])
_msgpack_unread: Final = msgspec.msgpack.Decoder(_Unread)
_msgpack_event: Final = msgspec.msgpack.Decoder(EventIn)


class Plain(msgspec.Struct, frozen=True, gc=False):
    """Headers of a request that may go the short way."""

    by_name: dict[str, str]
    request_id: bytes | None
    """The one that it came with, if it can be one."""

    packed: bool
    """Whether the body is MessagePack."""


class Admitted(msgspec.Struct, frozen=True, gc=False):
    """A request that is let in; its body is yet to be read."""

    access: Access
    plain: Plain
    request_id: bytes
    start: float


class Answered(msgspec.Struct, frozen=True, gc=False):
    """The answer to it: the response's head, from its first header on, and its body."""

    status: int
    head: bytes
    body: bytes


class Appending:
    """What the short way needs of a service."""

    def __init__(self, log: Turnlog, admission: Admission, ledger: Ledger, limits: Limits) -> None:
        self._log = log
        self._admission = admission
        self._ledger = ledger
        self._limits = limits
        self.body_bytes_max: int = limits.body_bytes_max

    def plain(self, given: list[tuple[bytes, bytes]]) -> Plain | None:
        """A request's headers; None when they are not plain."""
        # Of a header that is sent twice the first counts, as in the framework.
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in reversed(given)}
        kind = headers.get("content-type", "")
        packed = kind in MSGPACK_TYPES
        if "origin" in headers or not (packed or kind in JSON_TYPES):
            return None
        if (
            int(headers.get("content-length", "0")) > self.body_bytes_max
        ):  # the parser takes nothing but digits
            return None
        return Plain(headers, given_request_id(given), packed)

    def admitted(self, scope: Any, plain: Plain) -> Admitted | None:
        """A request by its headers; None when it is to be refused."""
        start = now()
        try:
            access = self._admission.admit(scope, plain.by_name, "writer")
        except TurnlogError:
            return None
        return Admitted(access, plain, plain.request_id or new_request_id(), start)

    def commit(self, admitted: Admitted, body: bytes, *, at_once: bool = False) -> AppendCommit | None:
        """What its body asks for; None when it is to be refused. ``at_once``: it came with the head."""
        try:
            if not at_once:
                admitted.access.check_key()
            packed = admitted.plain.packed
            commit = (_msgpack if packed else _json).decode(body)
            check_depth(msgspec.json.encode(commit) if packed else body, self._limits.json_depth_max)
        except Exception:  # whatever it is, the framework says it
            return None
        return commit

    async def answer(self, admitted: Admitted, asked: AppendCommit | bytes) -> Answered:
        """Append what is asked for, or what a long body asks for, and say how it went."""
        try:
            commit = await self._long(admitted, asked) if isinstance(asked, bytes) else asked
            committed = await append(
                admitted.access, admitted.plain.by_name, commit, self._limits.commit_events_max
            )
            body = _body(commit.context_id, committed)
        except TurnlogError as error:
            return self._refused(admitted, error)
        except Exception as error:
            return self._refused(admitted, defect(error, route=PATH))
        position, version = (_POSITION, b"%d" % committed.position), (b"etag", b'"%d"' % committed.version)
        return _answered(admitted, CREATED, (position, version, _JSON), body)

    def tell(self, admitted: Admitted, status: int, sent: int = 0) -> None:
        """The request is over; ``status`` is 0 when it was not answered, ``sent`` the bytes of the body."""
        self._ledger.tell(
            "POST", PATH, status, sent, admitted.start, admitted.request_id, admitted.access.key
        )

    async def _long(self, admitted: Admitted, body: bytes) -> AppendCommit:
        """What a long body asks for, on another thread and in pieces. Raises ``Refused`` as the route."""
        admitted.access.check_key()
        most, packed = self._limits.json_depth_max, admitted.plain.packed
        try:
            return await anyio.to_thread.run_sync(_commit_of, body, most, packed)
        except (*UNREADABLE, Refused):  # decoded as the route does it, for its words
            return fitted(await decoded(body, most, packed=packed), AppendCommit)

    def _refused(self, admitted: Admitted, error: TurnlogError) -> Answered:
        response = refusal(self._log, self._limits, admitted.plain.by_name, error)
        assert response.status_code is not None
        kind = str(response.media_type)
        headers = [(name.lower().encode(), value.encode()) for name, value in response.headers.items()]
        body = response.render(response.content, kind)
        return _answered(admitted, response.status_code, (*headers, (b"content-type", kind.encode())), body)


def _commit_of(body: bytes, most: int, packed: bool) -> AppendCommit:
    unread = (_msgpack_unread if packed else _json_unread).decode(body)
    check_depth(msgspec.json.encode(unread.metadata), most - 1)
    events: list[Event] = []
    for some in pieces(unread.events):
        if packed:
            events += (read := list(map(_msgpack_event.decode, some)))
            text = msgspec.json.encode(read)
        else:
            events += _json_events.decode(text := listed(some))
        check_depth(text, most - 1)
    given: dict[str, Any] = {name: getattr(unread, name) for name in AppendCommit.__struct_fields__}
    given["events"] = events
    return AppendCommit(**given)


def _body(context_id: UUID, committed: Committed) -> bytes:
    """The route's answer, ``Written``, in a third of the time that any answer takes."""
    return _WRITTEN % (
        msgspec.json.encode(context_id),
        committed.position,
        committed.version,
        format_time(committed.recorded_at).encode(),
        b"true" if committed.written else b"false",
    )


def _answered(
    admitted: Admitted, status: int, headers: Iterable[tuple[bytes, bytes]], body: bytes
) -> Answered:
    return Answered(status, head_of(headers, len(body), admitted.request_id), body)
