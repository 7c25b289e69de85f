"""The hot path: a connection answers ``POST /api/commits`` itself, without the way through the application.

That way takes longer than the append: a scope, a task, an event and four messages for each request.
"""

from __future__ import annotations

import asyncio
from http import HTTPStatus
from typing import Final, cast

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle

from turnlog.service.appending import PATH, Admitted, Appending
from turnlog.service.decoding import LONG_BYTES
from turnlog.service.problems import defect
from turnlog.service.requests import AppendCommit

_URL: Final = PATH.encode()


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


class DirectProtocol(HttpToolsProtocol):
    """One connection, with a short way beside uvicorn's own."""

    appending: Appending

    _direct: Direct | None = None
    """The one whose body is being read."""

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
        admitted = self.appending.admitted(self.scope, self.headers)
        if admitted is None:
            super().on_headers_complete()
            return
        self._direct = Direct(admitted, keep_alive=parser.should_keep_alive())
        self.cycle = cast("RequestResponseCycle", self._direct)

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
        self._direct, direct.body = None, bytearray()  # the connection remembers its last request
        task = self.loop.create_task(self._answer(direct, asked))
        task.add_done_callback(self.tasks.discard)
        self.tasks.add(task)

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

    def _send(self, direct: Direct, status_line: bytes, head: bytes, body: bytes) -> None:
        defaults = [b"%b: %b\r\n" % header for header in self.server_state.default_headers]
        if not direct.keep_alive:
            defaults.append(b"connection: close\r\n")
        direct.response_started = direct.response_complete = True
        self.transport.write(b"".join((status_line, *defaults, head, body)))
        if not direct.keep_alive:
            self.transport.close()
        self.on_response_complete()
