"""The hot path: a connection answers ``POST /api/commits`` itself, without the way through the application.

That way takes longer than the append: a scope, a task, an event and four messages for each request.
"""

from __future__ import annotations

import asyncio
import re
from http import HTTPStatus
from typing import Any, Final, NamedTuple, cast

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle

from turnlog.service.appending import PATH, Admitted, Appending, Plain
from turnlog.service.decoding import LONG_BYTES
from turnlog.service.problems import defect
from turnlog.service.requests import AppendCommit

_URL: Final = PATH.encode()

_HEAD_END: Final = b"\r\n\r\n"
_LENGTH: Final = re.compile(rb"\r\ncontent-length:[ \t]*([0-9]+)[ \t]*\r\n", re.IGNORECASE)
_DIGITS_MAX: Final = 9


class Direct:
    """A request that is answered here. To the rest of the protocol it is a request like others.

    So it has what that looks at, by the names that it has there.
    """

    message_event: Final = asyncio.Event()  # nobody waits for it

    def __init__(self, admitted: Admitted, *, keep_alive: bool) -> None:
        self.admitted = admitted
        self.keep_alive = keep_alive
        self.response_started = False
        self.response_complete = False
        self.disconnected = False
        self.body = bytearray()
        self.task: asyncio.Task[None] | None = None


class Head(NamedTuple):
    """The head of a request, around the digits that say how long its body is, and what was read in it."""

    before: bytes
    after: bytes
    scope: Any
    plain: Plain

    def measured(self, packet: bytes) -> tuple[int, int] | None:
        """Where the body of a request begins and how long it is, if its head is the same but for that."""
        start = len(self.before)
        if not packet.startswith(self.before):
            return None
        end = packet.find(b"\r", start, start + _DIGITS_MAX + 1)
        if not packet.startswith(self.after, end) or not (digits := packet[start:end]).isdigit():
            return None
        return end + len(self.after), int(digits)


class DirectProtocol(HttpToolsProtocol):
    """One connection, with a short way beside uvicorn's own.

    Clients send the same head again and again, and to parse it takes a third of the loop's work for a commit.
    So the last one that was parsed is known by its bytes.
    """

    appending: Appending

    packet: bytes = b""
    """What is being parsed, when it began with a request."""

    lacking: int = 0
    """Bytes of a body that are to come, when its head was not parsed."""

    _direct: Direct | None = None
    """The one whose body is being read."""

    _head: Head | None = None
    """The last one that came in one packet."""

    def is_answering(self) -> bool:
        """Whether a request is under way."""
        cycle = cast("RequestResponseCycle | None", self.cycle)
        return cycle is not None and not cycle.response_complete

    def on_headers_complete(self) -> None:
        """Take the short way, where it is one and nothing else is under way."""
        parser = self.parser
        assert parser is not None, "it calls this"
        if (
            self.url != _URL
            or parser.get_method() != b"POST"
            or parser.get_http_version() != "1.1"
            or parser.should_upgrade()
            or self.expect_100_continue
            or self.is_answering()
        ):
            super().on_headers_complete()
            return
        self.scope["method"], self.scope["query_string"] = "POST", b""
        plain = self.appending.plain(self.headers)
        admitted = plain and self.appending.admitted(self.scope, plain)
        if admitted is None:
            super().on_headers_complete()
            return
        self._direct = Direct(admitted, keep_alive=parser.should_keep_alive())
        self.cycle = cast("RequestResponseCycle", self._direct)
        self._head = _head_of(self.packet, self.scope, admitted.plain)

    def on_body(self, body: bytes) -> None:
        """Some of its body."""
        direct = self._direct
        if direct is None:
            super().on_body(body)
            return
        direct.body += body
        if len(direct.body) > self.appending.body_bytes_max:
            self._hand_on(direct)

    def on_message_complete(self) -> None:
        """It is all here."""
        direct = self._direct
        if direct is None:
            super().on_message_complete()
            return
        body = bytes(direct.body)
        asked = body if len(body) > LONG_BYTES else self.appending.commit(direct.admitted, body)
        if asked is None:
            self._hand_on(direct)
            super().on_message_complete()
            return
        self._begin(direct, asked)

    def repeats(self, packet: bytes) -> bool:
        """Take the beginning of a request, if it is as the last one's, and else leave it to the parser.

        It is for when nothing else is being read.
        """
        head = self._head
        measured = None if head is None or self.is_answering() else head.measured(packet)
        if head is None or measured is None:
            return False
        start, length = measured
        if len(packet) - start > length or length > min(LONG_BYTES, self.appending.body_bytes_max):
            return False
        admitted = self.appending.admitted(head.scope, head.plain)
        if admitted is None:
            return False
        self._unset_keepalive_if_required()
        self.scope, self._direct = head.scope, Direct(admitted, keep_alive=True)
        self.cycle = cast("RequestResponseCycle", self._direct)
        self.lacking = length
        self.goes_on(packet[start:], at_once=True)
        return True

    def goes_on(self, packet: bytes, *, at_once: bool = False) -> bytes:
        """Take what a body lacks; what is left of the packet. ``at_once``: the head came with it."""
        direct, head = self._direct, self._head
        assert direct is not None, "a body is being read"
        assert head is not None, "a head was repeated"
        some = packet[: self.lacking]
        self.lacking -= len(some)
        direct.body += some
        if not self.lacking:
            body = bytes(direct.body)
            asked = self.appending.commit(direct.admitted, body, at_once=at_once)
            if asked is None:  # it is parsed after all, and handed on
                self._direct, self.cycle = None, cast("RequestResponseCycle", None)
                super().data_received(b"%b%d%b%b" % (head.before, len(body), head.after, body))
            else:
                self._begin(direct, asked)
        return packet[len(some) :]

    def _begin(self, direct: Direct, asked: AppendCommit | bytes) -> None:
        self._direct, direct.body = None, bytearray()  # the connection remembers its last request
        direct.task = self.loop.create_task(self._answer(direct, asked))
        self.tasks.add(direct.task)

    def connection_lost(self, exc: Exception | None) -> None:
        """The other side is gone, perhaps before its body was here."""
        self.refused(HTTPStatus.BAD_REQUEST, 0)
        super().connection_lost(exc)

    def _hand_on(self, direct: Direct) -> None:
        """Take the long way after all, with what was read."""
        self._direct, self.cycle = None, cast("RequestResponseCycle", None)
        cast("dict[str, dict[str, object]]", self.scope)["state"]["start"] = direct.admitted.start
        super().on_headers_complete()
        self.cycle.keep_alive = direct.keep_alive
        super().on_body(bytes(direct.body))

    def refused(self, status: int, sent: int) -> None:
        """The one whose body is being read was answered after all, or could not be."""
        direct, self._direct = self._direct, None
        if direct is not None:
            self.appending.tell(direct.admitted, status, sent)

    async def _answer(self, direct: Direct, asked: AppendCommit | bytes) -> None:
        status, sent = 0, 0
        try:
            answered = await self.appending.answer(direct.admitted, asked)
            if self.flow.write_paused:
                await self.flow.drain()
            status, sent = answered.status, len(answered.body)
            if not self.transport.is_closing():
                self._send(direct, STATUS_LINE[answered.status], answered.head, answered.body)
        except Exception as error:
            defect(error, route=PATH)
        finally:
            self.appending.tell(direct.admitted, status, sent)
            if not direct.response_complete:
                self.transport.close()  # or who asked would wait for ever
            self.tasks.discard(
                cast("asyncio.Task[None]", direct.task)
            )  # a callback would be a turn of the loop

    def _send(self, direct: Direct, status_line: bytes, head: bytes, body: bytes) -> None:
        defaults = [b"%b: %b\r\n" % header for header in self.server_state.default_headers]
        if not direct.keep_alive:
            defaults.append(b"connection: close\r\n")
        direct.response_started = direct.response_complete = True
        self.transport.write(b"".join((status_line, *defaults, head, body)))
        if not direct.keep_alive:
            self.transport.close()
        self.on_response_complete()


def _head_of(packet: bytes, scope: Any, plain: Plain) -> Head | None:
    """The head that a packet begins with, if it is all there; lines that end otherwise are not parsed."""
    end = packet.find(_HEAD_END) + len(_HEAD_END)
    found = _LENGTH.search(packet, 0, end)
    if found is None or found[1].decode() != plain.by_name.get("content-length"):
        return None
    return Head(packet[: found.start(1)], packet[found.end(1) : end], scope, plain)
