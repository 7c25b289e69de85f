"""The dialect ``ai_sdk``: the UI message stream, version 1, that the AI SDK's ``useChat`` reads.

    start  start-step  (text-start text-delta* text-end | ...)*  finish-step  finish  [DONE]

| chunk               | events                                                                           |
|---|---|
| text, refusal       | text-start, text-delta, text-end; a refusal's start says so in its metadata      |
| reasoning           | reasoning-start, reasoning-delta, reasoning-end                                  |
| other ``signature`` | a reasoning-delta without text that carries it, as the AI SDK passes Anthropic's |
| other ``tool_call`` | tool-input-start with its id and name                                            |
| tool_call           | tool-input-delta; tool-input-available with all of it once it is whole           |
| any other note      | nothing                                                                          |

``messageId`` is the message's; the start's metadata holds context_id, model, provider_id and created_at. A
part's id is its kind and name. What is said and what is thought end when something of another kind begins and
begin anew as a further part if they go on: interfaces fold up a thought that has ended. A tool's input is
available when it is a whole JSON object and something else begins, or at the end.

| outcome     | events after the last chunk                          | what ``useChat`` does               |
|---|---|---|
| completed   | ends, finish-step, finish with reason, usage; [DONE] | status ready                        |
| aborted     | ends, abort, [DONE]                                  | status ready, with what there is    |
| interrupted | error, [DONE]                                        | status error, with what there is    |
| failed      | error with the error's message, [DONE]               | status error, with what there is    |
| still open  | nothing                                              | status ready, parts still streaming |

A tool's input that is no JSON at the end becomes tool-input-error with its text.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from msgspec import UNSET

from eventstore.content import Json, Kind, read_note
from eventstore.events import StreamFinalized
from eventstore.units import format_time
from projections.answers import ReplayDone
from turnlog.dialects.endings import ai_sdk_usage, error_of, finish_reason
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

_REASONS: Final = frozenset({"stop", "length", "content-filter", "tool-calls", "error"})
_REFUSAL: Final = {"turnlog": {"kind": "refusal"}}


class AISdkOut:
    """The state of one reader; see ``rendering.Renderer``."""

    name = "ai_sdk"
    headers: Mapping[str, str] = {"x-vercel-ai-ui-message-stream": "v1"}
    resumes_anywhere = False

    def __init__(self, facts: StreamFacts) -> None:
        self._facts = facts
        self._parts: dict[tuple[Kind, str | None], str] = {}
        self._calls: dict[str | None, ToolCall] = {}
        self._given: set[str | None] = set()
        self._notes = ToolCalls()
        self._call: ToolCall | None = None
        self._kind: Kind | None = None
        self._part: str | None = None
        self._before = b""

    def begin(self) -> list[Event]:
        """The message's id and facts, and its one step."""
        facts = self._facts
        metadata = {
            "context_id": facts.context_id,
            "model": facts.model,
            "provider_id": facts.provider_id,
            "created_at": format_time(facts.created_at),
        }
        return [_event("start", messageId=facts.message_id, messageMetadata=metadata), _event("start-step")]

    def chunk(self, chunk: Chunk) -> list[Event]:
        """The delta, after what ends one part and starts another."""
        return self._say(chunk.kind, chunk.part, chunk.delta)

    def skip(self, chunk: Chunk) -> None:
        """The same without saying it."""
        self._say(chunk.kind, chunk.part, chunk.delta)

    def snapshot(self, chunks: Iterable[Chunk]) -> list[Event]:
        """A delta for each part."""
        return [event for said in accumulated(chunks) for event in self._say(*said)]

    def end(self, finalized: StreamFinalized | None, totals: ReplayDone | None = None) -> list[Event]:
        """What ends the parts, the step and the message, or an error."""
        events = self._open(self._notes.open())
        if finalized is None:
            return events
        if finalized.outcome in ("failed", "interrupted"):
            return [*events, _event("error", errorText=error_of(finalized)["message"]), Event(b"[DONE]")]
        events += self._end_parts(None)
        for call in self._calls.values():
            events += self._give(call, at_end=True)
        if finalized.outcome == "aborted":
            return [*events, _event("abort"), Event(b"[DONE]")]
        reason = finish_reason("ai_sdk", finalized, called=bool(self._calls))
        finish: dict[str, Json] = {"finishReason": reason if reason in _REASONS else "other"}
        if finalized.usage:
            finish["messageMetadata"] = {"usage": ai_sdk_usage(finalized.usage)}
        return [*events, _event("finish-step"), _event("finish", **finish), Event(b"[DONE]")]

    def _say(self, kind: Kind, part: str | None, delta: str) -> list[Event]:
        events: list[Event] = []
        if kind != self._kind or part != self._part:
            if kind == "other":
                self._kind = None
                return self._note(part, read_note(delta))
            events = self._open(self._notes.open())
            events += self._turn_to(kind, part)
        if self._call is not None:
            if part in self._given:
                return events
            self._call.arguments.append(delta)
        events.append(Event(self._before + text_in_json(delta) + b"}"))
        return events

    def _turn_to(self, kind: Kind, part: str | None) -> list[Event]:
        events: list[Event] = []
        if kind == "tool_call":
            if part not in self._calls:
                events += self._start_call(self._notes.without_note(part))
            else:
                events += self._leave(kind, part)
            self._call = self._calls[part]
            self._before = b'{"type":"tool-input-delta","toolCallId":%b,"inputTextDelta":' % in_json(
                _call_id(self._call)
            )
        else:
            events += self._start_part(kind, part)
            self._before = b'{"type":"%b-delta","id":%b,"delta":' % (
                _type(kind).encode(),
                in_json(self._parts[kind, part]),
            )
        self._kind, self._part = kind, part
        return events

    def _start_part(self, kind: Kind, part: str | None) -> list[Event]:
        events = self._leave(kind, part)
        if (kind, part) not in self._parts:
            name = self._parts[kind, part] = kind if part is None else f"{kind}:{part}"
            more = {"providerMetadata": _REFUSAL} if kind == "refusal" else {}
            events.append(_event(f"{_type(kind)}-start", id=name, **more))
        return events

    def _note(self, part: str | None, note: dict[str, Json]) -> list[Event]:
        kind = note.get("type")
        if kind == "tool_call":
            return self._open(self._notes.hear(part, note))
        events = self._open(self._notes.open())
        if kind == "signature":
            events += self._start_part("reasoning", part)
            signed = {"anthropic": {"signature": note.get("signature")}}
            name = self._parts["reasoning", part]
            events.append(_event("reasoning-delta", id=name, delta="", providerMetadata=signed))
        return events

    def _open(self, calls: list[ToolCall]) -> list[Event]:
        return [event for call in calls for event in self._start_call(call)]

    def _start_call(self, call: ToolCall) -> list[Event]:
        events = self._leave("tool_call", call.part)
        self._calls[call.part] = call
        events.append(_event("tool-input-start", toolCallId=_call_id(call), toolName=call.name))
        return events

    def _leave(self, kind: Kind, part: str | None) -> list[Event]:
        """End what the beginning of something of that kind and part ends."""
        events = self._end_parts(kind)
        call, self._call = self._call, None
        if call is not None and not (kind == "tool_call" and call.part == part):
            events += self._give(call)
        return events

    def _end_parts(self, but: Kind | None) -> list[Event]:
        over = [place for place in self._parts if place[0] != but]
        return [_event(f"{_type(place[0])}-end", id=self._parts.pop(place)) for place in over]

    def _give(self, call: ToolCall, at_end: bool = False) -> list[Event]:
        """The whole input of a call; one that is not whole waits for the end."""
        if call.part in self._given or not (at_end or call.is_whole()):
            return []
        self._given.add(call.part)
        about: dict[str, Json] = {"toolCallId": _call_id(call), "toolName": call.name}
        given = call.input()
        if given is not UNSET:
            return [_event("tool-input-available", **about, input=given)]
        text = "".join(call.arguments)
        return [_event("tool-input-error", **about, input=text, errorText="the input is no JSON")]


def _type(kind: Kind) -> str:
    return "reasoning" if kind == "reasoning" else "text"


def _call_id(call: ToolCall) -> str:
    """The call's id; one that has none still needs a name of its own."""
    return call.id or f"call:{call.part or ''}"


def _event(kind: str, **members: Json) -> Event:
    return Event(in_json({"type": kind, **members}))
