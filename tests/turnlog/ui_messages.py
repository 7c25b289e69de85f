"""A reader of the UI message stream, version 1: as strict as the AI SDK's, written from its documentation."""

from __future__ import annotations

import json
from typing import Any

from turnlog.dialects.rendering import Event

MEMBERS: dict[str, tuple[set[str], set[str]]] = {
    "start": (set(), {"messageId", "messageMetadata"}),
    "start-step": (set(), set()),
    "finish-step": (set(), set()),
    "text-start": ({"id"}, {"providerMetadata"}),
    "text-delta": ({"id", "delta"}, {"providerMetadata"}),
    "text-end": ({"id"}, {"providerMetadata"}),
    "reasoning-start": ({"id"}, {"providerMetadata"}),
    "reasoning-delta": ({"id", "delta"}, {"providerMetadata"}),
    "reasoning-end": ({"id"}, {"providerMetadata"}),
    "tool-input-start": ({"toolCallId", "toolName"}, set()),
    "tool-input-delta": ({"toolCallId", "inputTextDelta"}, set()),
    "tool-input-available": ({"toolCallId", "toolName", "input"}, set()),
    "tool-input-error": ({"toolCallId", "toolName", "input", "errorText"}, set()),
    "error": ({"errorText"}, set()),
    "abort": (set(), set()),
    "finish": (set(), {"finishReason", "messageMetadata"}),
}
"""Members that an event must have, and those that it may have: all clients take these."""

REASONS = {"stop", "length", "content-filter", "tool-calls", "error", "other"}


class UiMessage:
    """What a client holds of a message, event by event."""

    def __init__(self) -> None:
        self.id: str | None = None
        self.metadata: dict[str, Any] = {}
        self.parts: list[dict[str, Any]] = []
        self.error: str | None = None
        self.aborted = False
        self.finish_reason: str | None = None
        self.done = False
        self._open: dict[tuple[str, str], dict[str, Any]] = {}
        self._calls: dict[str, dict[str, Any]] = {}
        self._begun = self._in_step = False

    @property
    def ended(self) -> bool:
        """Whether the end was said."""
        return bool(self.finish_reason or self.error or self.aborted)

    def take(self, event: Event) -> None:
        """One event; an assertion fails where a client would throw."""
        assert not self.done, "nothing follows [DONE]"
        assert event.name is None
        if event.data == b"[DONE]":
            self.done = True
            return
        assert not self.ended, "nothing follows the end but [DONE]"
        said: dict[str, Any] = json.loads(event.data)
        kind = said.pop("type")
        needed, allowed = MEMBERS[kind]
        assert needed <= set(said), kind
        assert set(said) <= needed | allowed, kind
        family, _, step = kind.rpartition("-")
        if family in ("text", "reasoning"):
            assert self._in_step
            self._take_piece(family, step, said)
        elif family == "tool-input":
            assert self._in_step
            self._take_input(step, said)
        else:
            self._take_frame(kind, said)

    def _take_frame(self, kind: str, said: dict[str, Any]) -> None:
        match kind:
            case "start":
                assert not self._begun
                self._begun, self.id, self.metadata = True, said["messageId"], said["messageMetadata"]
            case "start-step":
                assert self._begun
                assert not self._in_step
                self._in_step = True
            case "finish-step":
                assert self._in_step
                assert not self._open, "parts end before their step"
                self._in_step = False
            case "finish":
                assert not self._in_step
                assert said["finishReason"] in REASONS
                self.finish_reason = said["finishReason"]
                self.metadata |= said.get("messageMetadata", {})
            case "abort":
                self.aborted = True
            case _:
                self.error = said["errorText"]

    def _take_piece(self, family: str, step: str, said: dict[str, Any]) -> None:
        place = (family, said["id"])
        if step == "start":
            assert place not in self._open
            self._open[place] = {"type": family, "id": said["id"], "text": "", "state": "streaming"}
            self.parts.append(self._open[place])
        part = self._open[place]
        if "providerMetadata" in said:
            part["metadata"] = said["providerMetadata"]
        if step == "delta":
            part["text"] += said["delta"]
        elif step == "end":
            part["state"] = "done"
            del self._open[place]

    def _take_input(self, step: str, said: dict[str, Any]) -> None:
        call_id = said["toolCallId"]
        if step == "start":
            assert call_id not in self._calls
            part = {"type": "tool", "id": call_id, "name": said["toolName"], "text": "", "state": "streaming"}
            self._calls[call_id] = part
            self.parts.append(part)
            return
        part = self._calls[call_id]
        assert part["state"] == "streaming", "an input that is available does not go on"
        if step == "delta":
            part["text"] += said["inputTextDelta"]
        else:
            assert said["toolName"] == part["name"]
            part["state"], part["input"] = step, said["input"]
            assert "errorText" not in said or said["errorText"]


def ui_message(events: list[Event]) -> UiMessage:
    """What a client holds after these events."""
    message = UiMessage()
    for event in events:
        message.take(event)
    return message
