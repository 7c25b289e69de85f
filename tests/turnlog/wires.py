"""Provider streams written by hand, and everything that an interpreter understands of a stream."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from eventstore.content import Part, ReasoningPart, TextPart, ToolCallPart, fold
from turnlog.dialects import dialect
from turnlog.dialects.interpreter import Interpreter
from turnlog.dialects.wire import Ended, Opened, Piece

WIRE = Path(__file__).parent.parent / "fixtures" / "wire"
RECORDINGS = {f"{path.parent.name}/{path.name}": path.read_bytes() for path in sorted(WIRE.glob("*/*.txt"))}
"""The recordings by dialect and file name."""

DONE = b"data: [DONE]\n\n"

Event = dict[str, Any]


def understood(name: str, *slices: object, keep_raw: bool = False) -> tuple[list[Piece], Ended, list[Opened]]:
    """Everything that a stream in the dialect of that name says."""
    interpreter = Interpreter(dialect(name), keep_raw)
    heard = [event for sent in slices for event in interpreter.read(sent)]
    heard += interpreter.close()
    left, ended = interpreter.end()
    pieces = [piece for event in heard for piece in event.pieces]
    return pieces + left, ended, [event.opened for event in heard if event.opened]


def content(pieces: Iterable[Piece]) -> tuple[Part, ...]:
    """What the chunks fold to."""
    return fold((piece.kind, piece.part, piece.delta) for piece in pieces)


def final(pieces: Iterable[Piece], ended: Ended) -> tuple[Part, ...]:
    """The final content, as a reader of the log sees it."""
    return content(pieces) if ended.parts is None else ended.parts


def is_prefix(part: tuple[Part, ...], whole: tuple[Part, ...]) -> bool:
    """Whether one content is the beginning of another."""
    if not part:
        return True
    last, full = part[-1], whole[len(part) - 1]
    if part[:-1] != whole[: len(part) - 1] or type(last) is not type(full):
        return False
    match last, full:
        case ToolCallPart(), ToolCallPart():
            same_call = (last.id, last.name) == (full.id, full.name)
            return same_call and full.arguments.startswith(last.arguments)
        case ((TextPart() | ReasoningPart()), (TextPart() | ReasoningPart())):
            return full.text.startswith(last.text)
        case _:
            return False


def sse(event: object) -> bytes:
    """A framed event; a string stands for JSON as it is."""
    text = event if isinstance(event, str) else json.dumps(event)
    return f"data: {text}\n\n".encode()


def chunk(delta: dict[str, Any] | None = None, index: int = 0, **fields: Any) -> bytes:
    """A chunk with one choice."""
    choice = {"index": index, "delta": delta or {}, "finish_reason": None, **fields}
    return sse({"id": "c-1", "model": "m", "object": "chat.completion.chunk", "choices": [choice]})


def call(
    index: int | None, call_id: str | None = None, name: str | None = None, arguments: str = ""
) -> bytes:
    """A chunk with a piece of a tool call."""
    delta: dict[str, Any] = {"function": {"arguments": arguments}}
    delta |= {"index": index} if index is not None else {}
    delta |= {"id": call_id} if call_id is not None else {}
    if name is not None:
        delta["function"]["name"] = name
    return chunk({"tool_calls": [delta]})


def start(message_id: str = "msg_1", **usage: int) -> Event:
    """The beginning of an Anthropic message."""
    return {
        "type": "message_start",
        "message": {"id": message_id, "model": "m", "content": [], "usage": usage},
    }


def block(index: int, kind: str = "text", **content: Any) -> Event:
    """The beginning of a content block."""
    return {"type": "content_block_start", "index": index, "content_block": {"type": kind, **content}}


def delta(index: int, text: str, kind: str = "text_delta", field: str = "text") -> Event:
    """A piece of a content block."""
    return {"type": "content_block_delta", "index": index, "delta": {"type": kind, field: text}}


def arguments(index: int, text: str) -> Event:
    """A piece of a tool's input."""
    return delta(index, text, "input_json_delta", "partial_json")


def finish(reason: str = "end_turn", **usage: int) -> Event:
    """The stop reason and the last usage."""
    return {"type": "message_delta", "delta": {"stop_reason": reason, "stop_sequence": None}, "usage": usage}


def block_stop(index: int) -> Event:
    """The end of a content block."""
    return {"type": "content_block_stop", "index": index}


STOP: Event = {"type": "message_stop"}
