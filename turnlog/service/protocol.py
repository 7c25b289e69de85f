"""HTTP connections within limits: how many, how long headers may be and take, how long silence lasts.

uvicorn's protocol limits none of these but the time between two requests.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sized
from typing import Any, Final, cast

import msgspec
import structlog
from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.httptools_impl import STATUS_LINE

from turnlog.service.appending import Appending
from turnlog.service.direct import DirectProtocol
from turnlog.service.edge import head_of, new_request_id
from turnlog.service.problems import MEDIA_TYPE, WAITING, problem_of
from turnlog.service.settings import Limits

_logger: Final = structlog.get_logger("turnlog.service")


class LimitedProtocol(DirectProtocol):
    """One connection. ``limited`` makes the class for given limits, as uvicorn wants one."""

    limits: Limits = Limits()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Refuse one too many, before it costs anything."""
        self._gathered = Gathered(cast("asyncio.Transport", transport), self.loop)
        super().connection_made(cast("asyncio.Transport", self._gathered))
        self.flow = OneByOne(self.transport, self.pipeline)
        self._header_bytes = self._untold_bytes = 0
        self._heard = self._taken = self.loop.time()
        self._waiting = self._taken_bytes = 0
        self._begun: float | None = None
        self._body_open = False
        if len(self.connections) > self.limits.connections_max:
            most = self.limits.connections_max
            self._refuse("too_many_connections", f"{most} connections are open", status=503)

    def data_received(self, data: bytes) -> None:
        """Take a packet. What the parser keeps without a word is counted: a header line may never end."""
        self._heard = self.loop.time()
        if self.transport.is_closing():
            return
        if self.lacking:
            data = self.goes_on(data)
            self._body_open = self.lacking > 0
            if not data:
                return
        between = self._begun is None and not self._body_open
        if between and self.repeats(data):
            self._body_open = self.lacking > 0
            return
        self.packet = data if between else b""
        self._untold_bytes += len(data)
        super().data_received(data)
        self.packet = b""
        if self._untold_bytes > self.limits.header_bytes_max:
            self._refuse_headers()

    def on_message_begin(self) -> None:
        """A request begins."""
        super().on_message_begin()
        self._header_bytes, self._begun, self._body_open = 0, self._heard, True

    def on_url(self, url: bytes) -> None:
        """Some of its target."""
        self._header_bytes += len(url)
        if self._header_bytes > self.limits.header_bytes_max:
            self._refuse_headers()
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        """One of its headers."""
        self._untold_bytes = 0
        self._header_bytes += len(name) + len(value) + 4
        if self._header_bytes > self.limits.header_bytes_max:
            self._refuse_headers()
        if self._begun is None:
            return  # a trailer: no header, or what it says would depend on how the packets fall
        if not self.transport.is_closing():
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """The request can be answered."""
        self._begun, self._untold_bytes = None, 0
        if self.transport.is_closing():
            return
        assert self.parser is not None, "it calls this"
        if self.parser.should_upgrade() and self._has_body():
            # The parser skips the body then, and what is in it would be read as requests.
            self._refuse("invalid_header", "Upgrade: there is nothing else here, and this request has a body")
        elif len(self.pipeline) >= self.limits.requests_queued_max:
            most = self.limits.requests_queued_max
            self._refuse("too_many_connections", f"{most} requests wait on this connection", status=503)
        else:
            super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """Some of its body."""
        self._untold_bytes = 0
        if not self.transport.is_closing():
            super().on_body(body)

    def on_message_complete(self) -> None:
        """It is all here."""
        self._body_open, self._untold_bytes = False, 0
        if not self.transport.is_closing():
            super().on_message_complete()

    def on_response_complete(self) -> None:
        """It is answered. No timer waits for the next: ``check`` ends a connection that is silent."""
        self._heard = self.loop.time()
        if self.pipeline or self.flow.read_paused:
            super().on_response_complete()
        else:
            self.server_state.total_requests += 1

    def send_400_response(self, msg: str) -> None:
        """Refuse what is no HTTP."""
        self._refuse("invalid_request", msg)

    def _has_body(self) -> bool:
        lengths = [value for name, value in self.headers if name == b"content-length"]
        return any(length != b"0" for length in lengths) or b"transfer-encoding" in dict(self.headers)

    def _refuse_headers(self) -> None:
        most = self.limits.header_bytes_max
        self._refuse("invalid_header", f"the headers are more than {most} bytes", status=431)

    def end(self) -> None:
        """End it, with a word where one is owed and can be said: the service stops."""
        self._refuse("shutting_down", "the service is stopping")

    def cut_off(self) -> None:
        """End it without a word."""
        self.transport.abort()

    def check(self, now: float) -> None:
        """End the connection when it is silent for too long where it should speak, or takes nothing."""
        waiting = self.transport.get_write_buffer_size()
        taken_bytes = self._gathered.written - waiting
        if waiting == 0 or self._waiting == 0 or taken_bytes > self._taken_bytes:
            self._taken = now  # or it begins to wait now, whenever it was last looked at
        self._waiting, self._taken_bytes = waiting, taken_bytes
        if self.transport.is_closing():
            if now - self._taken > self.limits.reader_stalled_seconds_max:
                self.transport.abort()  # or it waits for ever to send its last words
        elif self._begun is not None and now - self._begun > self.limits.header_seconds_max:
            self._refuse("invalid_request", "the headers took too long", status=408)
        elif self._is_unused() and now - self._heard > self.limits.idle_seconds_max:
            self.transport.close()
        elif self._body_is_stalled(now):
            self._refuse("invalid_request", "the body does not go on", status=408)
        elif now - self._taken > self.limits.reader_stalled_seconds_max:
            connection = self._state().get("connection")
            _logger.warning(
                "slow_reader_cut_off",
                at=connection and connection.at,
                key_id=(connection and connection.key_id) or None,
            )
            self.transport.abort()

    def _is_unused(self) -> bool:
        """Whether no request is under way: none yet, or all are answered.

        uvicorn looks to that too, after an answer, but until the next byte, which may be a blank line.
        """
        return self._begun is None and not self.is_answering()

    def _body_is_stalled(self, now: float) -> bool:
        """Whether a request's body should go on and does not.

        One that we do not read cannot, and a producer may be silent for as long as its model thinks.
        """
        return (
            self._body_open
            and self._begun is None
            and now - self._heard > self.limits.idle_seconds_max
            and not self.flow.read_paused
            and "connection" not in self._state()
        )

    def _state(self) -> dict[str, Any]:
        scope: Any = self.scope
        return {} if scope is None else scope["state"]

    def _refuse(self, code: str, detail: str, status: int | None = None) -> None:
        """Answer the newest request and close, once."""
        if self.transport.is_closing():
            return
        body, request_id = problem_of(code, detail, status=status), new_request_id()
        if not self._owes_another():
            self.refused(int(str(body["status"])), self._say(body, request_id))
        self.transport.close()
        _logger.info("connection_refused", request_id=request_id.decode(), code=code, status=body["status"])

    def _owes_another(self) -> bool:
        """Whether an answer has begun, or an earlier request's is to come: ours would be taken for it."""
        if not self.is_answering():
            return False
        in_body = self._body_open and self._begun is None
        cycle: Any = self.cycle
        return not in_body or cycle.response_started or bool(self.pipeline)

    def _say(self, body: dict[str, object], request_id: bytes) -> int:
        """Write the answer; how many bytes its body has."""
        encoded = msgspec.json.encode(body)
        headers = [(b"content-type", MEDIA_TYPE.encode()), (b"connection", b"close")]
        if body["code"] in WAITING:
            headers.append((b"retry-after", b"%d" % self.limits.retry_after_seconds))
        head = head_of(headers, len(encoded), request_id)
        self.transport.write(STATUS_LINE[int(str(body["status"]))] + head + encoded)
        return len(encoded)


class OneByOne(FlowControl):
    """Reads no further while requests wait for the one before: each answer would let in hundreds more."""

    def __init__(self, transport: asyncio.Transport, waiting: Sized) -> None:
        super().__init__(transport)
        self._waiting = waiting

    def resume_reading(self) -> None:
        """Go on, when nothing waits."""
        if not self._waiting:
            super().resume_reading()


class Gathered:
    """A transport that sends what is written in one turn of the loop at once.

    uvicorn writes a response's head and its body by themselves, which is a system call more for each answer.
    """

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        self._transport = transport
        self._loop = loop
        self._gathered: list[bytes] = []
        self.written = 0
        self.get_extra_info = transport.get_extra_info
        self.is_closing = transport.is_closing
        self.pause_reading = transport.pause_reading
        self.resume_reading = transport.resume_reading

    def write(self, data: bytes) -> None:
        """Send it, soon."""
        if not self._gathered:
            self._loop.call_soon(self._flush)
        self._gathered.append(data)
        self.written += len(data)

    def get_write_buffer_size(self) -> int:
        """What was not sent yet."""
        return self._transport.get_write_buffer_size() + sum(map(len, self._gathered))

    def close(self) -> None:
        """Close it when all is sent."""
        self._flush()
        self._transport.close()

    def abort(self) -> None:
        """Close it now."""
        self._gathered.clear()
        self._transport.abort()

    def _flush(self) -> None:
        gathered, self._gathered = self._gathered, []
        if gathered and not self._transport.is_closing():
            self._transport.write(b"".join(gathered))


def limited(limits: Limits, appending: Appending) -> type[Any]:
    """The protocol with these limits, for one service."""
    return type("Protocol", (LimitedProtocol,), {"limits": limits, "appending": appending})
