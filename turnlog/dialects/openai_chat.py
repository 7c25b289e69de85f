"""The dialect of OpenAI's chat completion chunks, and of the many providers that speak it.

    {"id", "model", "choices": [{"index", "delta": {...}, "finish_reason"}], "usage"}  ...  [DONE]

| delta                              | chunk                                            | part   |
|---|---|---|
| ``content``                        | text                                             | none   |
| ``reasoning_content``, ``reasoning`` | reasoning, the first that is there             | none   |
| ``refusal``                        | refusal                                          | none   |
| ``tool_calls[i]``                  | other ``{"type": "tool_call", "id", "name"}``, | tool:0 |
|                                    | then tool_call                                   |        |
| any other field with a value       | other ``{"type": "delta", "fields"}``            | none   |

The parts of a choice above 0 begin with ``choice:1``, and its finish reason is an other chunk ``{"type":
"finish", ...}``. Role-only deltas, usage, log probabilities, filter results and obfuscation make no chunk.

Tool calls. A delta belongs to the call of its ``index``. Another call begins at the same index, or without
one, where both id and name are given and the id is new: some providers number all calls 0. An id that merely
changes is ignored; the first one stands, as it does for the answer's own id.

The end. ``failed`` after an error object; else ``completed`` when every choice has its finish reason, or
after ``[DONE]``, which many providers and recordings leave out; else ``interrupted``. The finish reason kept
is that of the lowest choice.
"""

from __future__ import annotations

from typing import Any, Final

from eventstore.content import Json
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
    note,
    storable,
)

_NOT_METADATA: Final = frozenset({"id", "object", "model", "choices", "usage", "obfuscation", "error"})
_DELTA_FIELDS: Final = frozenset(
    {"role", "content", "reasoning_content", "reasoning", "refusal", "tool_calls"}
)


class _Call:
    def __init__(self, part: str) -> None:
        self.part = part
        self.id = ""
        self.name = ""


class _Choice:
    def __init__(self, index: int) -> None:
        self.index = index
        self.part = f"choice:{index}" if index else None
        self.begun = False
        self.finish_reason: str | None = None
        self.calls: list[_Call] = []
        self.call_at: dict[int, _Call] = {}


class OpenAIChat:
    """The state of one stream; see ``wire.Dialect``."""

    name = "openai_chat"

    def __init__(self) -> None:
        self.recognized: bool = False
        self._characters = Characters()
        self._opened = False
        self._metadata: dict[str, Json] = {}
        self._choices: dict[int, _Choice] = {}
        self._usage: dict[str, Json] | None = None
        self._error: dict[str, Json] | None = None
        self._done = False

    def feed(self, event: dict[str, Json], name: str | None = None) -> list[Opened | Piece]:
        """What one chunk says."""
        given: list[Opened | Piece] = []
        if event.get("error") or "error" in (name, event.get("type")):
            self.recognized = True
            self._error = as_error(event.get("error") or event)
            return given
        if "choices" in event or as_text(event.get("object")).startswith("chat.completion"):
            self.recognized = True
        usage = as_object(event.get("usage")) or as_object(as_object(event.get("x_groq")).get("usage"))
        if usage:
            self._usage = storable(usage)
        if not self._opened:
            given += self._open(event)
        for choice in as_list(event.get("choices")):
            given += self._feed_choice(as_object(choice))
        return given

    def finish(self) -> None:
        """``[DONE]``: the provider's own end."""
        self.recognized = True
        self._done = True

    def close(self) -> tuple[list[Piece], Ended]:
        """What was held back, and the end."""
        choices = [self._choices[index] for index in sorted(self._choices)]
        finished = bool(choices) and all(choice.finish_reason is not None for choice in choices)
        reasons = [choice.finish_reason for choice in choices if choice.finish_reason is not None]
        outcome = "failed" if self._error else "completed" if finished or self._done else "interrupted"
        ended = Ended(outcome, reasons[0] if reasons else None, self._usage, self._error)
        return self._characters.close(), ended

    def _open(self, event: dict[str, Json]) -> list[Opened]:
        """Azure's filter results come before the answer, in a chunk without id and model or any choice."""
        for key, value in event.items():
            if key not in _NOT_METADATA and value not in (None, "", 0):
                self._metadata[key] = storable(value)
        provider_id, model = as_text(event.get("id")), as_text(event.get("model"))
        if not (self.recognized and (provider_id or model or event.get("choices"))):
            return []
        self._opened = True
        return [Opened(storable(model) or None, storable(provider_id) or None, self._metadata)]

    def _feed_choice(self, choice: dict[str, Json]) -> list[Piece]:
        index = as_index(choice.get("index"), 0)
        state = self._choices.get(index)
        if state is None:
            state = self._choices[index] = _Choice(index)
        if choice.get("error"):
            self._error = as_error(choice["error"])
        delta = as_object(choice.get("delta"))
        if not delta and not state.begun:
            # A provider that does not stream answers with the whole message at once.
            delta = as_object(choice.get("message"))
        pieces = self._feed_delta(state, delta)
        state.begun = state.begun or bool(pieces)
        reason = as_text(choice.get("finish_reason"))
        if reason:
            state.finish_reason = storable(reason)
            if index:
                pieces.append(note(state.part, {"type": "finish", "choice": index, "finish_reason": reason}))
        return pieces

    def _feed_delta(self, choice: _Choice, delta: dict[str, Json]) -> list[Piece]:
        characters, part = self._characters, choice.part
        pieces: list[Piece] = []
        reasoning = as_text(delta.get("reasoning_content")) or as_text(delta.get("reasoning"))
        if reasoning:
            pieces += characters.pieces("reasoning", part, reasoning)
        content: Any = delta.get("content")
        if isinstance(content, str):
            pieces += characters.pieces("text", part, content)
        else:
            for item in as_list(content):
                pieces += self._feed_content(choice, as_object(item))
        pieces += characters.pieces("refusal", part, as_text(delta.get("refusal")))
        for call in as_list(delta.get("tool_calls")):
            pieces += self._feed_call(choice, as_object(call))
        fields = {key: value for key, value in delta.items() if value and key not in _DELTA_FIELDS}
        if fields:
            pieces.append(note(part, {"type": "delta", "fields": fields}))
        return pieces

    def _feed_content(self, choice: _Choice, item: dict[str, Json]) -> list[Piece]:
        """One item of content given as a list, as Mistral's reasoning models do."""
        match item.get("type"):
            case "text":
                return self._characters.pieces("text", choice.part, as_text(item.get("text")))
            case "thinking":
                texts = [as_text(as_object(inner).get("text")) for inner in as_list(item.get("thinking"))]
                return self._characters.pieces("reasoning", choice.part, "".join(texts))
            case _:
                return [note(choice.part, {"type": "delta", "fields": {"content": item}})] if item else []

    def _feed_call(self, choice: _Choice, delta: dict[str, Json]) -> list[Piece]:
        function = as_object(delta.get("function"))
        call_id, name = storable(as_text(delta.get("id"))), storable(as_text(function.get("name")))
        call = self._call(choice, delta, call_id, name)
        pieces: list[Piece] = []
        opening = call not in choice.calls
        if opening:
            choice.calls.append(call)
        if opening or (call_id and not call.id) or (name and not call.name):
            call.id, call.name = call.id or call_id, call.name or name
            pieces.append(note(call.part, {"type": "tool_call", "id": call.id, "name": call.name}))
        return pieces + self._characters.pieces("tool_call", call.part, as_text(function.get("arguments")))

    def _call(self, choice: _Choice, delta: dict[str, Json], call_id: str, name: str) -> _Call:
        """The call that a delta belongs to: one of the choice's, or a new one."""
        index = as_index(delta.get("index"), -1)
        latest = choice.calls[-1] if choice.calls else None
        call = choice.call_at.get(index) if index >= 0 else latest
        if call is None or (call_id and name and call.id and call_id != call.id):
            prefix = f"{choice.part}/" if choice.part else ""
            call = _Call(f"{prefix}tool:{len(choice.calls)}")
        if index >= 0:
            choice.call_at[index] = call
        return call
