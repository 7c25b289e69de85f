"""The states of a copilot_chat context in all their spellings: which last, and which were passing by."""

from __future__ import annotations

from typing import Any, Final

from eventstore.content import Json
from turnlog.importers.copilot_chat.notes import object_of, squashed

_NAMES: Final = (
    "idle",
    "processing_user_message",
    "resolving_file_references",
    "enhancing_system_prompt",
    "optimizing_context",
    "preparing_llm_request",
    "connecting_to_llm",
    "connecting_llm",
    "awaiting_llm_response",
    "streaming_llm_response",
    "processing_llm_response",
    "parsing_tool_calls",
    "awaiting_tool_approval",
    "executing_tool",
    "executing_tools",
    "collecting_tool_results",
    "processing_tool_results",
    "tool_auto_loop",
    "switching_branch",
    "merging_branches",
    "saving_context",
    "saving_message",
    "loading_messages",
    "compressing_messages",
    "generating_summary",
    "generating_response",
    "transient_failure",
    "waiting_for_recovery",
    "failed",
    "initializing",
    "paused",
    "cancelling",
)
_BY_SPELLING: Final = {squashed(name): name for name in _NAMES}

_LASTING: Final = ("idle", "failed", "paused")
"""In every other state something was running that no longer runs."""

_RENAMED: Final = {"executing_tools": "executing_tool", "connecting_llm": "connecting_to_llm"}
"""Older and deprecated names, by what they became."""


def read_state(found: object) -> tuple[str, dict[str, Any] | None, bool]:
    """The state that lasts, its detail and whether it is one that we know.

    The detail has the state that it ``was``, with its ``data`` as the newest generation spells it, and the
    original as ``source``; a plain idle has none.
    """
    held = object_of(found)
    spelled: object = found
    data: Json = None
    if held is not None and len(held) == 1:
        ((spelled, data),) = held.items()
    name = _BY_SPELLING.get(squashed(spelled)) if isinstance(spelled, str) else None
    if name is None:
        return "idle", {"source": found}, False
    if name == "idle" and data is None:
        return "idle", None, True
    was = _RENAMED.get(name, name)
    detail: dict[str, Any] = {"was": was, "source": found}
    if was == "awaiting_tool_approval" and data is None:
        data = {"pending_requests": [], "tool_names": []}
    members = object_of(data)
    if members is not None:
        error = {"failed": "error_message", "transient_failure": "error_type"}.get(was)
        data = {(error or key) if key == "error" else key: value for key, value in members.items()}
    if data is not None:
        detail["data"] = data
    return (was if was in _LASTING else "idle"), detail, True
