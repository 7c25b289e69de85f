"""The dialect of Anthropic's Messages stream.

    message_start  (content_block_start  content_block_delta*  content_block_stop)*
    message_delta  message_stop

| event                                | chunk                                                  |
|---|---|
| block ``tool_use`` and its kin start | other ``{"type": "tool_call", "id", "name"}``          |
| ``text_delta``                       | text                                                   |
| ``input_json_delta``                 | tool_call                                              |
| ``thinking_delta``                   | reasoning                                              |
| ``signature_delta``                  | other ``{"type": "signature", "signature"}``           |
| any other delta, citations too       | other ``{"type": "delta", "delta": as it came}``       |
| any other block starts               | other ``{"type": "block", "block": as it came}``       |

The part is the block's index. Pings, starts and ends, usage, and events of a type that is not known (the
provider's libraries add accumulated ones) make no chunk. Blocks and deltas that the fold does not know are
content all the same: they are data parts of the final content.

Retries. When an upstream fails, a gateway may send a second ``message_start`` and all blocks anew. The
second attempt begins with the first event of a block that the first attempt had too. It opens with an other
chunk ``{"type": "attempt", "attempt": 2, "id"}``, and its parts are ``2/0``, ``2/1`` ...: the log keeps both,
and the final content is the last attempt's alone.

The end. ``failed`` after an ``error`` event; else ``completed`` after ``message_stop``; else
``interrupted``, also between ``message_delta`` and ``message_stop``, with the stop reason that was given.
Usage is cumulative: later numbers replace earlier ones. Each ``message_start`` begins these facts anew.
"""

from __future__ import annotations

from typing import Final

import msgspec

from eventstore.content import DataPart, Json, Kind, Part, ReasoningPart, fold
from turnlog.dialects.wire import (
    Characters,
    Ended,
    Opened,
    Piece,
    as_error,
    as_index,
    as_list,
    as_object,
    as_text,
    malformed,
    note,
    storable,
)

_EVENTS: Final = (
    "message_start",
    "content_block_start",
    "content_block_delta",
    "content_block_stop",
    "message_delta",
    "message_stop",
    "ping",
    "error",
)
_TOOL_BLOCKS: Final = ("tool_use", "server_tool_use", "mcp_tool_use")
_NOT_METADATA: Final = frozenset({"id", "model", "type", "role", "content", "usage"})
_DELTAS: Final[dict[str, tuple[Kind, str]]] = {
    "text_delta": ("text", "text"),
    "input_json_delta": ("tool_call", "partial_json"),
    "thinking_delta": ("reasoning", "thinking"),
}


class _Block:
    """One content block of one attempt, with what it holds so far."""

    def __init__(self, part: str) -> None:
        self.part = part
        self.pieces: list[tuple[Kind, str | None, str]] = []
        self.signature: str | None = None
        self.whole_input = ""
        self.deltas: list[Json] = []
        self.data: Json = None

    def parts(self) -> list[Part]:
        """The block's content: folded, and verbatim where no part models it."""
        parts: list[Part] = list(fold(self.pieces))
        if not parts and self.signature is not None:
            parts.append(ReasoningPart("", self.signature))
        if self.data is not None:
            parts.append(DataPart(self.data))
        if self.deltas:
            parts.append(DataPart({"type": "deltas", "deltas": self.deltas}))
        return parts


class Anthropic:
    """The state of one stream; see ``wire.Dialect``."""

    name = "anthropic"

    def __init__(self) -> None:
        self.recognized: bool = False
        self._characters = Characters()
        self._opened = False
        self._id: str | None = None
        self._restarting = False
        self._attempt = 1
        self._blocks: dict[int, _Block] = {}
        self._logged: list[tuple[Kind, str | None, str]] = []
        self._finish_reason: str | None = None
        self._usage: dict[str, Json] = {}
        self._error: dict[str, Json] | None = None
        self._stopped = False

    def feed(self, event: dict[str, Json], name: str | None = None) -> list[Opened | Piece]:
        """What one event says."""
        kind = event.get("type", name)
        if kind in _EVENTS or event.get("error"):
            self.recognized = True
        match kind:
            case "message_start":
                return self._start(as_object(event.get("message")))
            case "content_block_start":
                return [*self._start_block(_index(event), as_object(event.get("content_block")))]
            case "content_block_delta":
                return [*self._feed_delta(_index(event), as_object(event.get("delta")))]
            case "content_block_stop":
                return [*self._stop_block(self._blocks.get(_index(event)))]
            case "message_delta":
                return [*self._feed_message_delta(event)]
            case "message_stop":
                self._stopped = True
            case "error":
                self._error = as_error(event.get("error") or event)
            case _:
                if event.get("error"):
                    self._error = as_error(event["error"])
        return []

    def finish(self) -> None:
        """``[DONE]`` is not of this dialect; gateways that add it do so after failures too."""

    def close(self) -> tuple[list[Piece], Ended]:
        """What was held back, and the end."""
        left = self._give_held_back()
        final = tuple(part for block in self._blocks.values() for part in block.parts())
        outcome = "failed" if self._error else "completed" if self._stopped else "interrupted"
        return left, Ended(
            outcome,
            self._finish_reason,
            self._usage or None,
            self._error,
            None if final == fold(self._logged) else final,
        )

    def _start(self, message: dict[str, Json]) -> list[Opened | Piece]:
        provider_id = storable(as_text(message.get("id"))) or None
        self._restarting = bool(self._blocks) and provider_id != self._id
        self._id = provider_id
        self._finish_reason, self._error, self._stopped = None, None, False
        self._usage = {}
        self._merge_usage(message)
        given: list[Opened | Piece] = []
        if not self._opened:
            self._opened = True
            facts = {key: value for key, value in message.items() if key not in _NOT_METADATA and value}
            given.append(
                Opened(storable(as_text(message.get("model"))) or None, provider_id, storable(facts))
            )
        for index, block in enumerate(as_list(message.get("content"))):
            given += self._start_block(index, as_object(block))
        return given

    def _begin_attempt(self) -> list[Piece]:
        left = self._give_held_back()
        self._attempt += 1
        self._blocks = {}
        return [*left, note(None, {"type": "attempt", "attempt": self._attempt, "id": self._id})]

    def _block(self, index: int, again: bool) -> tuple[_Block, list[Piece]]:
        """The block of that index; ``again`` if one there already means that a new attempt begins."""
        pieces = self._begin_attempt() if again and index in self._blocks else []
        self._restarting = False
        block = self._blocks.get(index)
        if block is None:
            part = str(index) if self._attempt == 1 else f"{self._attempt}/{index}"
            block = self._blocks[index] = _Block(part)
        return block, pieces

    def _start_block(self, index: int, content: dict[str, Json]) -> list[Piece]:
        block, pieces = self._block(index, again=True)
        kind = content.get("type")
        if kind == "text":
            return pieces + self._add(block, "text", as_text(content.get("text")))
        if kind == "thinking":
            pieces += self._add(block, "reasoning", as_text(content.get("thinking")))
            return pieces + self._sign(block, as_text(content.get("signature")))
        if kind in _TOOL_BLOCKS:
            call = {"id": as_text(content.get("id")), "name": as_text(content.get("name"))}
            if as_object(content.get("input")):
                block.whole_input = msgspec.json.encode(storable(content["input"])).decode()
            return pieces + self._log(block, note(block.part, {"type": "tool_call", **call}))
        block.data = storable(content)
        return pieces + self._log(block, note(block.part, {"type": "block", "block": content}))

    def _feed_delta(self, index: int, delta: dict[str, Json]) -> list[Piece]:
        block, pieces = self._block(index, again=self._restarting)
        kind = as_text(delta.get("type"))
        if kind in _DELTAS:
            chunk_kind, field = _DELTAS[kind]
            return pieces + self._add(block, chunk_kind, as_text(delta.get(field)))
        if kind == "signature_delta":
            return pieces + self._sign(block, as_text(delta.get("signature")))
        block.deltas.append(storable(delta))
        return pieces + self._log(block, note(block.part, {"type": "delta", "delta": delta}))

    def _stop_block(self, block: _Block | None) -> list[Piece]:
        """A tool's input that came whole with the start, and not again in deltas."""
        if block is None or not block.whole_input:
            return []
        return self._add(block, "tool_call", block.whole_input)

    def _feed_message_delta(self, event: dict[str, Json]) -> list[Piece]:
        delta = as_object(event.get("delta"))
        self._finish_reason = storable(as_text(delta.get("stop_reason"))) or self._finish_reason
        self._merge_usage(event)
        if not delta.get("stop_sequence"):
            return []
        return [note(None, {"type": "stop_sequence", "stop_sequence": delta["stop_sequence"]})]

    def _merge_usage(self, holder: dict[str, Json]) -> None:
        usage = as_object(holder.get("usage"))
        self._usage.update({key: value for key, value in storable(usage).items() if value is not None})

    def _add(self, block: _Block, kind: Kind, text: str) -> list[Piece]:
        if kind == "tool_call" and text:
            block.whole_input = ""
        return self._log(block, *self._characters.pieces(kind, block.part, text))

    def _sign(self, block: _Block, signature: str) -> list[Piece]:
        if not signature:
            return []
        block.signature = storable(signature)
        return self._log(block, note(block.part, {"type": "signature", "signature": signature}))

    def _log(self, block: _Block, *pieces: Piece) -> list[Piece]:
        for piece in pieces:
            logged = (piece.kind, piece.part, piece.delta)
            block.pieces.append(logged)
            self._logged.append(logged)
        return list(pieces)

    def _give_held_back(self) -> list[Piece]:
        pieces: list[Piece] = []
        for block in self._blocks.values():
            pieces += self._stop_block(block)
        by_part = {block.part: block for block in self._blocks.values()}
        for piece in self._characters.close():
            pieces += self._log(by_part[piece.part or ""], piece)
        return pieces


def _index(event: dict[str, Json]) -> int:
    if event.get("index") is None:
        raise malformed("a content block event without its index")
    return as_index(event["index"], 0)
