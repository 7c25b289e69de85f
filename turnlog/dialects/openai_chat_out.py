"""The dialect ``openai_chat``, written: chunks of a chat completion, as ``openai_chat.py`` reads them.

    {"id", "object", "created", "model", "choices": [{"index", "delta", "finish_reason"}]}  ...  [DONE]

| chunk                        | delta                                                                 |
|---|---|
| before the first of a choice | ``role``                                                              |
| text, reasoning, refusal     | ``content``, ``reasoning_content`` (as DeepSeek says it), ``refusal`` |
| other ``tool_call``          | ``tool_calls[i]`` with its id and name, i counting the choice's parts |
| tool_call                    | ``tool_calls[i].function.arguments``                                  |
| other ``delta`` with fields  | the fields                                                            |
| any other note               | nothing                                                               |

``id`` is the message's. A part that begins with ``choice:1`` is of that choice, any other of choice 0. A
choice has one content, so the texts of its parts stand one after another.

| outcome     | events after the last chunk                      | what OpenAI's client does               |
|---|---|---|
| completed   | the finish reason, usage if known, [DONE]        | ends; ``finish_reason`` says why        |
| aborted     | the same; the reason is ``aborted`` unless given | ends, with a reason that is no ``stop`` |
| interrupted | a reason and usage if given, then an error       | raises ``APIError`` of type interrupted |
| failed      | the same, with the error as it was recorded      | raises ``APIError`` with it as ``body`` |
| still open  | nothing                                          | ends without a finish reason            |
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Final

import msgspec

from eventstore.content import Json, Kind, read_note
from eventstore.events import StreamFinalized
from projections.answers import ReplayDone
from turnlog.dialects.endings import error_of, finish_reason, openai_usage
from turnlog.dialects.rendering import Chunk, Event, StreamFacts, accumulated, in_json, text_in_json
from turnlog.dialects.wire import as_object, as_text

CHOICES_MAX: Final = 128
"""The most that OpenAI makes. What names a higher one is of choice 0, since each below would be announced."""

_CHOICE: Final = re.compile(r"choice:([0-9]{1,3})(?:/|\Z)")
_FIELDS: Final[dict[Kind, bytes]] = {
    "text": b"content",
    "reasoning": b"reasoning_content",
    "refusal": b"refusal",
}
_MODELLED: Final = frozenset({"role", "content", "reasoning_content", "reasoning", "refusal", "tool_calls"})
_UNFINISHED: Final = b'},"logprobs":null,"finish_reason":null}]}'


class _Call(msgspec.Struct):
    index: int
    id: str
    name: str


class _Choice(msgspec.Struct):
    index: int
    finished: bool = False
    calls: dict[str | None, _Call] = {}


class OpenAIChatOut:
    """The state of one reader; see ``rendering.Renderer``."""

    name = "openai_chat"
    headers: Mapping[str, str] = {}
    resumes_anywhere = False

    def __init__(self, facts: StreamFacts) -> None:
        said = {
            "id": facts.message_id,
            "object": "chat.completion.chunk",
            "created": facts.created_at // 1_000_000,
            "model": facts.model or "",
        }
        self._head = in_json(said)[:-1] + b',"choices":['
        self._role = facts.role
        self._choices = [_Choice(0)]
        self._kind: Kind | None = None
        self._part: str | None = None
        self._before = self._after = b""

    def begin(self) -> list[Event]:
        """The role of the first choice."""
        return [self._announced(self._choices[0])]

    def chunk(self, chunk: Chunk) -> list[Event]:
        """The delta, after what announces its choice or call."""
        return self._say(chunk.kind, chunk.part, chunk.delta)

    def skip(self, chunk: Chunk) -> None:
        """The same without saying it."""
        self._say(chunk.kind, chunk.part, chunk.delta)

    def snapshot(self, chunks: Iterable[Chunk]) -> list[Event]:
        """A chunk for each field of each choice, and for each call."""
        return [event for said in accumulated(chunks, _place) for event in self._say(*said)]

    def end(self, finalized: StreamFinalized | None, totals: ReplayDone | None = None) -> list[Event]:
        """The finish reasons, usage, and the end or an error."""
        if finalized is None:
            return []
        events: list[Event] = []
        for choice in self._choices:
            # Only the first choice's reason is the stream's; the others had theirs in notes.
            told = finalized if choice.index == 0 else msgspec.structs.replace(finalized, finish_reason=None)
            reason = finish_reason("openai_chat", told, called=bool(choice.calls))
            if reason is not None and not choice.finished:
                events.append(self._finished(choice, reason))
        if finalized.usage:
            usage = in_json(openai_usage(finalized.usage))
            events.append(Event(self._head + b'],"usage":%b}' % usage))
        if finalized.outcome in ("failed", "interrupted"):
            return [*events, Event(in_json({"error": error_of(finalized)}))]
        return [*events, Event(b"[DONE]")]

    def _say(self, kind: Kind, part: str | None, delta: str) -> list[Event]:
        events: list[Event] = []
        if kind != self._kind or part != self._part:
            if kind == "other":
                self._kind = None
                return self._note(part, read_note(delta))
            events = self._turn_to(kind, part)
        events.append(Event(self._before + text_in_json(delta) + self._after))
        return events

    def _turn_to(self, kind: Kind, part: str | None) -> list[Event]:
        choice, events = self._choice(part)
        field = _FIELDS.get(kind)
        if field is not None:
            before, after = b'"%b":' % field, b""
        else:
            if part not in choice.calls:
                events.append(self._opened(choice, part, "", ""))
            before = b'"tool_calls":[{"index":%d,"function":{"arguments":' % choice.calls[part].index
            after = b"}}]"
        self._kind, self._part = kind, part
        self._before = self._head + b'{"index":%d,"delta":{%b' % (choice.index, before)
        self._after = after + _UNFINISHED
        return events

    def _note(self, part: str | None, note: dict[str, Json]) -> list[Event]:
        choice, events = self._choice(part)
        match note.get("type"):
            case "tool_call":
                call = choice.calls.get(part)
                given = as_text(note.get("id")), as_text(note.get("name"))
                if call is None:
                    events.append(self._opened(choice, part, *given))
                else:
                    events += self._completed(choice, call, *given)
            case "delta":
                fields = {k: v for k, v in as_object(note.get("fields")).items() if k not in _MODELLED}
                if fields:
                    events.append(self._delta(choice, fields))
            case "finish" if choice.index and not choice.finished:
                choice.finished = True
                events.append(self._finished(choice, as_text(note.get("finish_reason")) or "stop"))
            case _:
                pass
        return events

    def _choice(self, part: str | None) -> tuple[_Choice, list[Event]]:
        """The choice of a part, and what announces it: clients find a choice by counting those before it."""
        index = choice_of(part)
        events: list[Event] = []
        while index >= len(self._choices):
            self._choices.append(_Choice(len(self._choices)))
            events.append(self._announced(self._choices[-1]))
        return self._choices[index], events

    def _opened(self, choice: _Choice, part: str | None, call_id: str, name: str) -> Event:
        call = choice.calls[part] = _Call(len(choice.calls), call_id, name)
        function = {"name": name, "arguments": ""}
        opening = {"index": call.index, "id": call_id, "type": "function", "function": function}
        return self._delta(choice, {"tool_calls": [opening]})

    def _completed(self, choice: _Choice, call: _Call, call_id: str, name: str) -> list[Event]:
        """What the call's opening lacked; clients join what comes twice."""
        more: dict[str, Json] = {"index": call.index}
        if call_id and not call.id:
            call.id = more["id"] = call_id
        if name and not call.name:
            call.name = name
            more["function"] = {"name": name}
        return [self._delta(choice, {"tool_calls": [more]})] if len(more) > 1 else []

    def _announced(self, choice: _Choice) -> Event:
        return self._delta(choice, {"role": self._role, "content": None})

    def _delta(self, choice: _Choice, delta: dict[str, Json], reason: str | None = None) -> Event:
        said = {"index": choice.index, "delta": delta, "logprobs": None, "finish_reason": reason}
        return Event(self._head + in_json(said) + b"]}")

    def _finished(self, choice: _Choice, reason: str) -> Event:
        return self._delta(choice, {}, reason)


def choice_of(part: str | None) -> int:
    """The choice that a part is of."""
    found = _CHOICE.match(part) if part else None
    index = int(found[1]) if found else 0
    return index if index < CHOICES_MAX else 0


def _place(kind: Kind, part: str | None) -> tuple[Kind, str | int | None]:
    """What this dialect tells apart: calls by part, anything else by choice."""
    return kind, part if kind == "tool_call" else choice_of(part)
