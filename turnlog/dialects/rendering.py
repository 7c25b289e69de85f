"""What a renderer takes and gives: a stored stream as the server-sent events of some dialect.

``wire.Dialect`` is the reading direction, this the writing one. A renderer is made for one reader:

    begin  chunk*  end              from the start
    begin  snapshot  chunk*  end    what is there in as few events as can be, then what follows
    skip*  chunk*  end              after a sequence: goes on exactly where the reader had stopped

Chunks come in order of sequence. A renderer never looks ahead, so that a live stream and its replay are
rendered alike; what it knows of the chunks before is all in its state, and ``skip`` brings it there.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping
from typing import Final, Protocol, TypeAlias
from uuid import UUID

import msgspec
from msgspec import UNSET, UnsetType

from eventstore.content import Json, Kind, Role
from eventstore.events import ChunkReceived, StreamFinalized
from projections.answers import ReplayChunk, ReplayDone
from turnlog.dialects.wire import as_text

Chunk: TypeAlias = ChunkReceived | ReplayChunk

Said: TypeAlias = tuple[Kind, str | None, str]
"""Kind, part and delta: what ``content.fold`` takes."""

_encode: Final = msgspec.json.Encoder().encode

_LINE_ENDS_TO_SOME: Final = (
    (b"\xe2\x80\xa8", b"\\u2028"),
    (b"\xe2\x80\xa9", b"\\u2029"),
    (b"\xc2\x85", b"\\u0085"),
)


class StreamFacts(msgspec.Struct, frozen=True):
    """What is known of a stream before its first chunk. ``created_at`` is in microseconds since the epoch.

    ``provider_id``: what the provider called the answer. Events carry the message's own id instead, because
    that is what Turnlog can be asked for, and a reader that comes early must be told the same as one that
    comes late.
    """

    message_id: UUID
    context_id: UUID
    role: Role
    model: str | None
    created_at: int
    provider_id: str | None = None


class Event(msgspec.Struct, frozen=True, gc=False):
    """One server-sent event without its id. ``name`` is its ``event:`` line.

    ``framed``: ``data`` is no event's data but bytes to be passed on as they are.
    """

    data: bytes
    name: str | None = None
    framed: bool = False


class Renderer(Protocol):
    """The state of one reader of one stream."""

    @property
    def headers(self) -> Mapping[str, str]:
        """What a client asks of the response, beside the media type."""
        ...

    @property
    def resumes_anywhere(self) -> bool:
        """Whether a reader that resumes needs no ``skip``: no event depends on the chunks before it."""
        ...

    def begin(self) -> list[Event]:
        """What comes before the first chunk."""
        ...

    def chunk(self, chunk: Chunk) -> list[Event]:
        """The next chunk; no events where the dialect has no place for it."""
        ...

    def skip(self, chunk: Chunk) -> None:
        """The next chunk, which the reader has seen."""
        ...

    def snapshot(self, chunks: Iterable[Chunk]) -> list[Event]:
        """The next chunks, accumulated. They and what follows fold to the same as each for itself would."""
        ...

    def end(self, finalized: StreamFinalized | None, totals: ReplayDone | None = None) -> list[Event]:
        """The stream's end; None: that of a replay, while the stream itself is still open.

        ``totals`` are those of a replay.
        """
        ...


class ToolCall:
    """A tool call as far as it is known."""

    def __init__(self, part: str | None) -> None:
        self.part = part
        self.id: str = ""
        self.name: str = ""
        self.arguments: list[str] = []

    def is_whole(self) -> bool:
        """Whether the arguments are a JSON object, so that nothing can follow."""
        # Parallel calls ask this for every delta; only a brace makes it worth joining them all.
        return bool(self.arguments) and self.arguments[-1].endswith("}") and self.input() is not UNSET

    def input(self) -> msgspec.Raw | UnsetType:
        """The arguments, an empty object without any; unset if they are no JSON."""
        text = "".join(self.arguments).strip().encode() or b"{}"
        try:
            msgspec.json.decode(text)
        except (msgspec.DecodeError, UnicodeError, RecursionError):
            return UNSET
        return msgspec.Raw(msgspec.json.format(text, indent=-1))


class ToolCalls:
    """The notes that open tool calls, for dialects that say a call's id and name only once.

    A call opens as soon as both are known, or with what is known when anything else comes.
    """

    def __init__(self) -> None:
        self._heard: set[str | None] = set()
        self._waiting: ToolCall | None = None

    def hear(self, part: str | None, note: dict[str, Json]) -> list[ToolCall]:
        """The calls that open with a note of type ``tool_call``; one that is open already does not again."""
        opening: list[ToolCall] = []
        if self._waiting is None or self._waiting.part != part:
            opening = self.open()
            if part in self._heard:
                return opening
            self._heard.add(part)
            self._waiting = ToolCall(part)
        call = self._waiting
        call.id, call.name = as_text(note.get("id")) or call.id, as_text(note.get("name")) or call.name
        return opening + self.open() if call.id and call.name else opening

    def open(self) -> list[ToolCall]:
        """The call that waits for its id or name, if one does."""
        waiting, self._waiting = self._waiting, None
        return [] if waiting is None else [waiting]

    def without_note(self, part: str | None) -> ToolCall:
        """A call whose arguments come without the note."""
        self._heard.add(part)
        return ToolCall(part)


def accumulated(
    chunks: Iterable[Chunk], place: Callable[[Kind, str | None], Hashable] = lambda kind, part: (kind, part)
) -> list[Said]:
    """As few pieces as say the same: one for each place, where its first chunk stood, and every note."""
    runs: dict[Hashable, tuple[Kind, str | None, list[str]]] = {}
    for number, chunk in enumerate(chunks):
        kind, part, delta = chunk.kind, chunk.part, chunk.delta
        where = number if kind == "other" else place(kind, part)
        run = runs.get(where)
        if run is None:
            runs[where] = (kind, part, [delta])
        else:
            run[2].append(delta)
    return [(kind, part, "".join(deltas)) for kind, part, deltas in runs.values()]


def text_in_json(text: str) -> bytes:
    """A JSON string. Characters that some clients take for line ends (U+2028, U+2029, U+0085) are escaped."""
    data = _encode(text)
    return data if text.isascii() else _escaped(data)


def in_json(value: Json) -> bytes:
    """Any value as JSON, with the same escapes; ids as canonical text."""
    return _escaped(_encode(value))


def _escaped(data: bytes) -> bytes:
    for character, escape in _LINE_ENDS_TO_SOME:
        if character in data:
            data = data.replace(character, escape)
    return data
