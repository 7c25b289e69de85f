"""Bytes -> framed provider events, in any slicing: server-sent events, or one JSON value on each line.

The first line that is not blank decides: if it begins with ``{`` or ``[`` the input is a recording with one
event on each line, otherwise it is a server-sent event stream (WHATWG HTML, section 9.2).

    : keep-alive                  no data: a frame that says nothing, passed on so that it can keep a
                                  connection alive
    event: content_block_delta    one frame; its data lines are joined with
    data: {"index": 0,            a line feed, and the blank line ends it
    data:  "delta": ...}

Every input byte is in the ``raw`` of exactly one frame, in order: joined, they are the input. Lines end with
LF, CR or CRLF. Invalid UTF-8 becomes U+FFFD in ``data`` and stays what it was in ``raw``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

import msgspec

from eventstore.errors import Refused

FRAME_BYTES_MAX: Final = 3 * 1024 * 1024
"""Bytes of one provider event, and so of one line. Twice this, delta and raw bytes, and what is around them
fit the log's bound of 8 MiB for an event. The largest seen, an image in base64, is about 2 MiB."""

QUIET_BYTES: Final = 4_096
"""Comments and blank lines gathered before they become a frame of their own, although no event ended: a
stream of nothing but heartbeats must not fill the memory."""

_BOM: Final = b"\xef\xbb\xbf"
_BEGINNINGS: Final = (_BOM, b"data", b"event", b"id", b"retry")
"""What an input may have been cut within, so that what is left of it is no line of something else."""

_LINE_END: Final = re.compile(rb"[\r\n]")
_CR: Final = 0x0D
_LF: Final = 0x0A


class Frame(msgspec.Struct, frozen=True):
    """One provider event as it was framed.

    ``data`` is None when there is none: comments, blank lines, a ``retry:`` alone. ``id`` is the last one
    seen. ``line`` counts from 1 and is the line of the first data. ``terminated`` is false when the input
    ended before the event did.
    """

    raw: bytes
    data: str | None = None
    event: str | None = None
    id: str | None = None
    line: int = 0
    terminated: bool = True


class Decoder:
    """Frames from bytes. Feed it slices as they come, then close it.

    ``feed`` and ``close`` raise ``Refused`` with code ``malformed_stream``, after the frames before the
    fault: consume what they give to the end.
    """

    def __init__(self, frame_bytes_max: int = FRAME_BYTES_MAX) -> None:
        self._frame_bytes_max = frame_bytes_max
        self._buffer = bytearray()  # begins where the frame under way begins
        self._line_at: int = 0
        self._scanned: int = 0
        self._line = 0
        self._one_event_a_line: bool | None = None
        self._bare_cr = False
        self._after_cr = False
        self._data: list[bytes] = []
        self._data_line = 0
        self._event: str | None = None
        self._id: str | None = None
        self._said_something = False
        self._frames_with_data = 0
        self._lines_ignored = 0

    def feed(self, data: bytes) -> Iterator[Frame]:
        """The frames that end within ``data``."""
        self._buffer += data
        while (line := self._next_line()) is not None:
            frame = self._take(line)
            self._check_size(self._line_at)
            if frame is not None:
                yield self._cut(frame)
        self._check_size(len(self._buffer))

    def close(self) -> Iterator[Frame]:
        """What is left at the end of the input: an event even without the blank line that ends it."""
        frame = self._last_line() if self._line_at < len(self._buffer) else None
        if frame is None and self._data:
            frame = msgspec.structs.replace(self._dispatch(), terminated=False)
        self._line_at = len(self._buffer)
        if frame is not None or self._buffer:
            yield self._cut(frame or Frame(b"", terminated=False))
        if self._lines_ignored and not self._frames_with_data:
            raise _malformed("the input holds no event, but lines of something else", line=1)

    def _last_line(self) -> Frame | None:
        """Take the line that no line end follows, or whose CR could have been half of a CRLF."""
        ignored = self._lines_ignored
        line = bytes(self._buffer[self._line_at :])
        if line.endswith(b"\r"):
            return self._take(line[:-1])
        frame = self._take(line)
        start = line.removeprefix(_BOM)
        if any(name.startswith(start) for name in _BEGINNINGS):
            self._lines_ignored = ignored
        return None if frame is None else msgspec.structs.replace(frame, terminated=False)

    def _next_line(self) -> bytes | None:
        buffer = self._buffer
        if self._after_cr and self._line_at < len(buffer):
            self._after_cr = False
            if buffer[self._line_at] == _LF:
                self._line_at += 1
                self._scanned = max(self._scanned, self._line_at)
        found = _LINE_END.search(buffer, self._scanned)
        if found is None:
            self._scanned = len(buffer)
            return None
        end = found.start()
        self._scanned = end
        following = end + 1
        if buffer[end] == _CR:
            if self._bare_cr:
                # Waiting for a LF that never comes would hold back every event until the next one.
                self._after_cr = True
            elif following == len(buffer):
                return None
            elif buffer[following] == _LF:
                following += 1
            else:
                self._bare_cr = True
        line = bytes(buffer[self._line_at : end])
        self._line_at = self._scanned = following
        return line

    def _take(self, line: bytes) -> Frame | None:
        self._line += 1
        if self._line == 1:
            line = line.removeprefix(_BOM)
        if self._one_event_a_line is None and line.strip():
            self._one_event_a_line = line.lstrip()[:1] in (b"{", b"[")
        if self._one_event_a_line:
            if line := line.strip():
                self._data, self._data_line = [line], self._line
                return self._dispatch()
        elif line:
            self._said_something = True
            self._field(line)
        elif self._data or self._said_something:
            return self._dispatch()
        if not self._data and self._line_at >= QUIET_BYTES:
            return Frame(b"")
        return None

    def _field(self, line: bytes) -> None:
        name, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        match name:
            case b"data":
                if not self._data:
                    self._data_line = self._line
                self._data.append(value)
            case b"event":
                self._event = value.decode("utf-8", "replace")
            case b"id":
                self._id = value.decode("utf-8", "replace")
            case b"" | b"retry":
                pass
            case _:
                self._lines_ignored += 1

    def _dispatch(self) -> Frame:
        data, self._data = self._data, []
        event, self._event = self._event, None
        self._said_something = False
        if not data:
            return Frame(b"", id=self._id)
        self._frames_with_data += 1
        text = b"\n".join(data).decode("utf-8", "replace")
        return Frame(b"", text, event, self._id, self._data_line)

    def _cut(self, frame: Frame) -> Frame:
        raw = bytes(self._buffer[: self._line_at])
        del self._buffer[: self._line_at]
        self._scanned -= self._line_at
        self._line_at = 0
        return msgspec.structs.replace(frame, raw=raw)

    def _check_size(self, size: int) -> None:
        if size > self._frame_bytes_max:
            raise _malformed(
                f"a provider event is larger than {self._frame_bytes_max} bytes",
                line=self._line,
                limit=self._frame_bytes_max,
            )


def _malformed(message: str, **fields: object) -> Refused:
    return Refused("malformed_stream", message, **fields)
