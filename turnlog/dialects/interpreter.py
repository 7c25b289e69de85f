"""What a provider sends -> what is recorded: the framing and a dialect joined, without I/O.

Provider events come as slices of bytes or text (server-sent events, or recordings with one event on each
line), as mappings, or as the objects of the providers' own libraries (with ``model_dump`` or ``to_dict``).

Slices may be cut anywhere, so a line ends where its line end is, not where a slice ends. Lines that lost
their ends, as those of httpx's ``aiter_lines``, are refused as soon as two slices prove it. They are not
given their ends back: such a client also cuts at characters that may stand inside an event (U+2028, U+0085),
and what was cut there is lost.

With ``keep_raw`` the pieces hold each event's own bytes, so that joined in order of sequence they are the
provider's stream byte for byte: an event of several pieces has them on the first, an event without any
becomes one of kind ``other`` with an empty delta, and so do comments. Of events that came as mappings or
objects the bytes are their JSON.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final, cast

import msgspec

from eventstore.content import Json
from eventstore.errors import Refused
from turnlog.dialects import no_event_of
from turnlog.dialects.sse import Decoder, Frame
from turnlog.dialects.wire import Dialect, Ended, Opened, Piece, as_event, parse, storable

_DONE: Final = "[DONE]"
_FIELD: Final = re.compile(rb"(?:event|id|retry):[^\r\n]*")
_COMMENT: Final = re.compile(rb":[^\r\n]*")


class Heard(msgspec.Struct, frozen=True):
    """One provider event: ``sent`` as it came, and what it says.

    ``sent`` is the framed event's bytes or text, or the very mapping or object.
    """

    sent: object
    pieces: tuple[Piece, ...] = ()
    opened: Opened | None = None


class Interpreter:
    """Reads one stream. Give it what the provider sends, then ``close``; ``end`` says how it ended.

    ``read`` and ``close`` raise ``Refused`` with code ``malformed_stream``, for lines without their ends
    ``invalid_argument``, after what came before the fault: consume what they give to the end. ``end`` may be
    asked at any time, once.
    """

    def __init__(self, dialect: Dialect, keep_raw: bool = False) -> None:
        self._dialect = dialect
        self._keep_raw = keep_raw
        self._decoder = Decoder()
        self._as_text = False
        self._said_something = False
        self._bare_lines: int | None = 0  # until a slice shows that they are cut anywhere

    @property
    def recognized(self) -> bool:
        """Whether any event so far was one of the dialect."""
        return self._dialect.recognized

    def read(self, sent: object) -> Iterator[Heard]:
        """The events that are complete with ``sent``."""
        match sent:
            case bytes() | bytearray() | memoryview():
                data = bytes(cast("bytes", sent))
            case str():
                self._as_text = True
                data = sent.encode("utf-8", "surrogatepass")
            case _:
                yield self._read_object(sent)
                return
        if self._bare_lines is not None:
            self._refuse_bare_lines(self._bare_lines, data)
        for frame in self._decoder.feed(data):
            yield self._read_frame(frame)

    def close(self) -> Iterator[Heard]:
        """The provider's stream ended: what its last bytes hold, even without the end of their event.

        A stream that ended before its first event is none of another kind; one that held events, but none
        of the dialect, is refused.
        """
        for frame in self._decoder.close():
            yield self._read_frame(frame)
        if self._said_something and not self.recognized:
            raise no_event_of(self._dialect.name)

    def end(self) -> tuple[list[Piece], Ended]:
        """What was held back, and how the stream ended as far as the provider told it."""
        return self._dialect.close()

    def _read_frame(self, frame: Frame) -> Heard:
        sent = frame.raw.decode("utf-8", "surrogatepass") if self._as_text else frame.raw
        data = (frame.data or "").strip()
        said: list[Opened | Piece] = []
        if data == _DONE:
            self._said_something = True
            self._dialect.finish()
        elif data:
            event = self._parse(data, frame)
            if event is not None:
                said = self._feed(event, frame.event, frame.line)
        return self._heard(sent, said, frame.raw if self._keep_raw else None)

    def _refuse_bare_lines(self, before: int, data: bytes) -> None:
        """Two whole lines in two slices, and no line end so far: no cut of one line gives that.

        A comment is no proof: what follows on its beginning may be a part of it.
        """
        is_event = _is_event(data)
        if is_event and before:
            raise Refused(
                "invalid_argument",
                "the provider's stream comes in lines without their line ends: give its bytes (aiter_bytes)",
                argument="provider_stream",
            )
        if is_event or _FIELD.fullmatch(data):
            self._bare_lines = before + 1
        elif data and not _COMMENT.fullmatch(data):
            self._bare_lines = None

    def _parse(self, data: str, frame: Frame) -> dict[str, Json] | None:
        try:
            return parse(data, frame.line)
        except Refused:
            if frame.terminated:
                raise
            return None  # the stream was cut within this event

    def _read_object(self, sent: object) -> Heard:
        event = as_event(_plain(sent))
        raw = msgspec.json.encode(storable(event)) if self._keep_raw else None
        return self._heard(sent, self._feed(event, None, None), raw)

    def _feed(self, event: dict[str, Json], name: str | None, line: int | None) -> list[Opened | Piece]:
        self._said_something = True
        try:
            return self._dialect.feed(event, name)
        except Refused as error:
            if line is None:
                raise
            raise Refused(error.code, f"line {line}: {error.message}", line=line) from None

    def _heard(self, sent: object, said: list[Opened | Piece], raw: bytes | None) -> Heard:
        opened = next((item for item in said if isinstance(item, Opened)), None)
        pieces = [item for item in said if isinstance(item, Piece)]
        if raw is not None:
            first = pieces[0] if pieces else Piece("other", None, "")
            pieces[:1] = [msgspec.structs.replace(first, raw=raw)]
        return Heard(sent, tuple(pieces), opened)


def _is_event(line: bytes) -> bool:
    """Whether a slice is the whole line of an event's data, without the line's end."""
    if b"\n" in line or b"\r" in line:
        return False
    text = line.removeprefix(b"data:").strip().decode("utf-8", "replace")
    if text == _DONE:
        return True
    try:
        parse(text)
    except Refused:
        return False
    return True


def _plain(sent: Any) -> object:
    """The mapping behind a provider library's object."""
    if isinstance(sent, Mapping):
        return dict(cast("Mapping[str, object]", sent))
    if callable(getattr(sent, "model_dump", None)):
        return sent.model_dump(mode="json")
    if callable(getattr(sent, "to_dict", None)):
        return sent.to_dict()
    return sent
