"""The dialect ``anthropic``, written: the Messages stream, as ``anthropic.py`` reads it.

| chunk                              | events                                                          |
|---|---|
| before the first                   | ``message_start``                                               |
| the first of a kind and part       | ``content_block_start``, with the next index                    |
| text, and refusal in its own block | ``text_delta``                                                  |
| reasoning, other ``signature``     | ``thinking_delta``, ``signature_delta``                         |
| other ``tool_call``, tool_call     | a ``tool_use`` block with its id and name, ``input_json_delta`` |
| other ``delta``                    | that delta, in the block of its part                            |
| other ``block``                    | ``content_block_start`` with that block                         |
| other ``stop_sequence``            | in ``message_delta``                                            |
| any other note                     | nothing                                                         |

``id`` is the message's. Where a gateway began the answer anew, each attempt is in blocks of its own.

A block stops when another begins, as the provider's do. One exception: a tool's input that is no whole JSON
object may go on, as parallel calls of other providers do, so that its block stops when it is, or at the end.
Text that goes on after its block has stopped keeps its index; the provider's clients find blocks by that.

| outcome     | events after the last chunk                        | what Anthropic's client does            |
|---|---|---|
| completed   | stops, ``message_delta``, ``message_stop``         | ends; ``stop_reason`` says why          |
| aborted     | the same; the reason is ``aborted`` unless given   | ends, with a reason that is no end_turn |
| interrupted | stops and ``message_delta`` if a reason was given, | raises ``APIStatusError`` of type       |
|             | then ``error``                                     | interrupted                             |
| failed      | the same, with the error as it was recorded        | raises ``APIStatusError`` of its type   |
| still open  | nothing                                            | ends without a stop reason              |

Usage comes at the end; until then, and where it is not known, the counts that the format demands are 0.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

import msgspec

from eventstore.content import Json, Kind, read_note
from eventstore.events import StreamFinalized
from projections.answers import ReplayDone
from turnlog.dialects.endings import anthropic_usage, error_of, finish_reason
from turnlog.dialects.rendering import (
    Chunk,
    Event,
    StreamFacts,
    ToolCall,
    ToolCalls,
    accumulated,
    in_json,
    text_in_json,
)
from turnlog.dialects.wire import as_object

_DELTA: Final = "content_block_delta"
_FIELDS: Final[dict[Kind, bytes]] = {
    "text": b'"text_delta","text":',
    "refusal": b'"text_delta","text":',
    "reasoning": b'"thinking_delta","thinking":',
    "tool_call": b'"input_json_delta","partial_json":',
}
_ANY_BLOCK: Final[tuple[Kind, ...]] = ("text", "reasoning", "tool_call", "refusal", "other")
_TEXT_BLOCK: Final[dict[str, Json]] = {"type": "text", "text": ""}
_THINKING_BLOCK: Final[dict[str, Json]] = {"type": "thinking", "thinking": "", "signature": ""}


class _Block(msgspec.Struct):
    index: int
    call: ToolCall | None = None
    stopped: bool = False


class AnthropicOut:
    """The state of one reader; see ``rendering.Renderer``."""

    name = "anthropic"
    headers: Mapping[str, str] = {}
    resumes_anywhere = False

    def __init__(self, facts: StreamFacts) -> None:
        self._facts = facts
        self._blocks: dict[tuple[Kind, str | None], _Block] = {}
        self._count = 0
        self._current: _Block | None = None
        self._call: ToolCall | None = None
        self._kind: Kind | None = None
        self._part: str | None = None
        self._before = b""
        self._calls = ToolCalls()
        self._refused = False
        self._stop_sequence: Json = None

    def begin(self) -> list[Event]:
        """The message without its content."""
        message: Json = {
            "id": self._facts.message_id,
            "type": "message",
            "role": self._facts.role,
            "model": self._facts.model or "",
            "content": [],
            "stop_reason": None,
            "stop_sequence": None,
            "usage": {"input_tokens": 0, "output_tokens": 0},
        }
        return [_event("message_start", message=message)]

    def chunk(self, chunk: Chunk) -> list[Event]:
        """The delta, after what stops one block and starts another."""
        return self._say(chunk.kind, chunk.part, chunk.delta)

    def skip(self, chunk: Chunk) -> None:
        """The same without saying it."""
        self._say(chunk.kind, chunk.part, chunk.delta)

    def snapshot(self, chunks: Iterable[Chunk]) -> list[Event]:
        """A delta for each block."""
        return [event for said in accumulated(chunks) for event in self._say(*said)]

    def end(self, finalized: StreamFinalized | None, totals: ReplayDone | None = None) -> list[Event]:
        """The last stops, the stop reason, and the end or an error."""
        events = self._open(self._calls.open())
        if finalized is None:
            return events
        called = any(block.call is not None for block in self._blocks.values())
        reason = finish_reason("anthropic", finalized, called=called)
        if reason == "end_turn" and self._refused:
            reason = "refusal"
        if reason is not None:
            for block in sorted(self._blocks.values(), key=lambda block: block.index):
                events += self._stop(block)
            delta = {"stop_reason": reason, "stop_sequence": self._stop_sequence}
            events.append(_event("message_delta", delta=delta, usage=anthropic_usage(finalized.usage or {})))
        if finalized.outcome in ("failed", "interrupted"):
            return [*events, _event("error", error=error_of(finalized))]
        return [*events, _event("message_stop")]

    def _say(self, kind: Kind, part: str | None, delta: str) -> list[Event]:
        events: list[Event] = []
        if kind != self._kind or part != self._part:
            if kind == "other":
                self._kind = None
                return self._note(part, read_note(delta))
            events = self._open(self._calls.open())
            events += self._turn_to(kind, part)
        if self._call is not None:
            self._call.arguments.append(delta)
        events.append(Event(self._before + text_in_json(delta) + b"}}", _DELTA))
        return events

    def _turn_to(self, kind: Kind, part: str | None) -> list[Event]:
        block = self._blocks.get((kind, part)) or self._blocks.get(("other", part))
        if block is not None:
            events = self._enter(block)
        elif kind == "tool_call":
            events = self._start_call(self._calls.without_note(part))
        else:
            self._refused = self._refused or kind == "refusal"
            events = self._start(kind, part, _THINKING_BLOCK if kind == "reasoning" else _TEXT_BLOCK)
        assert self._current is not None, "a block was entered"
        self._kind, self._part, self._call = kind, part, self._current.call
        self._before = b'{"type":"content_block_delta","index":%d,"delta":{"type":%b' % (
            self._current.index,
            _FIELDS[kind],
        )
        return events

    def _note(self, part: str | None, note: dict[str, Json]) -> list[Event]:
        kind = note.get("type")
        if kind == "tool_call":
            return self._open(self._calls.hear(part, note))
        events = self._open(self._calls.open())
        if kind == "signature":
            events += self._enter_or_start(("reasoning", "other"), part, _THINKING_BLOCK)
            events.append(self._delta({"type": "signature_delta", "signature": note.get("signature")}))
        elif kind == "delta" and (delta := as_object(note.get("delta"))):
            events += self._enter_or_start(_ANY_BLOCK, part, _TEXT_BLOCK)
            events.append(self._delta(delta))
        elif kind == "block" and (content := as_object(note.get("block"))):
            events += self._start("other", part, content)
        elif kind == "stop_sequence":
            self._stop_sequence = note.get("stop_sequence")
        return events

    def _open(self, calls: list[ToolCall]) -> list[Event]:
        return [event for call in calls for event in self._start_call(call)]

    def _start_call(self, call: ToolCall) -> list[Event]:
        content: Json = {"type": "tool_use", "id": call.id, "name": call.name, "input": {}}
        return self._start("tool_call", call.part, content, call)

    def _enter_or_start(
        self, kinds: tuple[Kind, ...], part: str | None, content: dict[str, Json]
    ) -> list[Event]:
        """The first block there is of these kinds and a part, or one of the first kind."""
        for kind in kinds:
            if (block := self._blocks.get((kind, part))) is not None:
                return self._enter(block)
        return self._start(kinds[0], part, content)

    def _start(
        self, kind: Kind, part: str | None, content: dict[str, Json], call: ToolCall | None = None
    ) -> list[Event]:
        block = self._blocks[kind, part] = _Block(self._count, call)
        self._count += 1
        events = self._enter(block)
        events.append(_event("content_block_start", index=block.index, content_block=content))
        return events

    def _enter(self, block: _Block) -> list[Event]:
        left, self._current = self._current, block
        if left is None or left is block or (left.call is not None and not left.call.is_whole()):
            return []
        return self._stop(left)

    def _stop(self, block: _Block) -> list[Event]:
        if block.stopped:
            return []
        block.stopped = True
        return [_event("content_block_stop", index=block.index)]

    def _delta(self, delta: dict[str, Json]) -> Event:
        assert self._current is not None, "a block was entered"
        return _event(_DELTA, index=self._current.index, delta=delta)


def _event(kind: str, **members: Json) -> Event:
    return Event(in_json({"type": kind, **members}), kind)
