"""Generated copilot_chat contexts, and how each generation of the program lays one out in files.

A context is held as generation 3 writes it: a dict with its messages in ``message_pool``.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final, TypeAlias
from uuid import UUID

from hypothesis import strategies as st

Context: TypeAlias = dict[str, Any]

START: Final = datetime(2025, 11, 15, 17, 45, tzinfo=UTC)

PASCAL: Final = {
    "idle": "Idle",
    "processing_user_message": "ProcessingUserMessage",
    "awaiting_l_l_m_response": "AwaitingLLMResponse",
    "streaming_l_l_m_response": "StreamingLLMResponse",
    "awaiting_tool_approval": "AwaitingToolApproval",
    "executing_tool": "ExecutingTools",
    "failed": "Failed",
}
"""How the first two generations spell a state."""

words = st.text(st.characters(exclude_categories=["Cs"]), max_size=12) | st.sampled_from(
    ["hello", "数据 {}", "😊", ' said "x": ', "a\\", "# T\n\n"]
)
deltas = words.filter(bool)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | words,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(words, inner, max_size=3),
    max_leaves=6,
)
states = st.sampled_from(["idle", "processing_user_message", "awaiting_l_l_m_response"]) | st.sampled_from(
    [
        {"awaiting_tool_approval": {"pending_requests": [], "tool_names": ["read_file"]}},
        {"failed": {"error_message": "no route", "failed_at": "2025-11-15T17:45:00Z"}},
        {"executing_tool": {"tool_name": "read_file", "attempt": 1}},
    ]
)


def stamp(at: datetime) -> str:
    """A time as the program writes it."""
    return at.strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def _milliseconds(at: datetime) -> int:
    return (at - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(milliseconds=1)


def stream_payload(pieces: list[str], gaps_us: list[int], *, finished: bool = True) -> dict[str, Any]:
    """The ``data`` of a streaming_response; ``gaps_us`` before each chunk."""
    chunks: list[dict[str, Any]] = []
    at = START
    for delta, gap in zip(pieces, gaps_us, strict=True):
        before, at = at, at + timedelta(microseconds=gap)
        size = (chunks[-1]["accumulated_chars"] if chunks else 0) + len(delta.encode())
        chunk = {
            "sequence": len(chunks) + 1,
            "delta": delta,
            "timestamp": stamp(at),
            "accumulated_chars": size,
        }
        interval = _milliseconds(at) - _milliseconds(before)
        if chunks and interval >= 0:
            chunk["interval_ms"] = interval
        chunks.append(chunk)
    payload: dict[str, Any] = {"content": "".join(pieces), "chunks": chunks, "started_at": stamp(START)}
    if finished:
        payload["completed_at"] = stamp(at)
        payload["total_duration_ms"] = _milliseconds(at) - _milliseconds(START)
        payload["model"] = "gpt-4"
        payload["finish_reason"] = "stop"
    return payload


@st.composite
def streams(draw: st.DrawFn) -> dict[str, Any]:
    """A message that was streamed: finished or not, with usage or without."""
    pieces = draw(st.lists(deltas, max_size=6))
    gaps = draw(st.lists(st.integers(0, 2_000_000), min_size=len(pieces), max_size=len(pieces)))
    payload = stream_payload(pieces, gaps, finished=draw(st.booleans()))
    if "completed_at" in payload and draw(st.booleans()):
        payload["usage"] = {"prompt_tokens": 3, "completion_tokens": len(pieces)}
    content = [{"type": "text", "text": payload["content"]}] if pieces else []
    figures = {"chunks_count": len(pieces), "started_at": payload["started_at"]}
    return {
        "role": "Assistant",
        "content": content,
        "metadata": {
            "created_at": payload["started_at"],
            "source": "a_i_generated",
            "streaming": figures,
        },
        "message_type": "text",
        "rich_type": {"kind": "streaming_response", "data": payload},
    }


@st.composite
def plain_messages(draw: st.DrawFn) -> dict[str, Any]:
    """A message that was not streamed: text, an image, calls, a result."""
    role = draw(st.sampled_from(["User", "Assistant", "Tool", "System"]))
    content: list[dict[str, Any]] = [
        {"type": "text", "text": text} for text in draw(st.lists(words, max_size=2))
    ]
    if draw(st.booleans()):
        content.append({"type": "image", "url": "https://example.org/i.png"})
    message: dict[str, Any] = {"role": role, "content": content, "metadata": None, "message_type": "text"}
    if role == "Assistant" and draw(st.booleans()):
        arguments = draw(words | json_values)
        message["tool_calls"] = [
            {
                "id": "call-1",
                "tool_name": "read_file",
                "arguments": arguments,
                "approval_status": "Pending",
                "display_preference": "Default",
            }
        ]
        message["message_type"] = "tool_call"
    if role == "Tool":
        message["tool_result"] = {"request_id": "read_file", "result": draw(json_values)}
        message["message_type"] = "tool_result"
    if draw(st.booleans()):
        message["metadata"] = {"extra": {"display_text": draw(words)}}
    return message


@st.composite
def legacy_contexts(draw: st.DrawFn, *, streaming: bool = True) -> Context:
    """Contexts of up to a dozen messages on up to two branches, with orphans and dangling ids."""
    numbers = iter(range(1, 1_000))
    seed = draw(st.integers(0, 2**64 - 1))

    def new_id() -> str:
        return str(UUID(int=(seed << 64) + next(numbers)))

    context_id = new_id()
    pool: dict[str, Any] = {}

    def add(parent: str | None) -> str:
        message_id = new_id()
        message = draw(plain_messages() | streams() if streaming else plain_messages())
        pool[message_id] = {"id": message_id, "message": message, "parent_id": parent}
        return message_id

    main: list[str] = []
    for _ in range(draw(st.integers(0, 5))):
        main.append(add(main[-1] if main else None))
    branches = {"main": _branch("main", main)}
    if draw(st.booleans()):
        other = main[: draw(st.integers(0, len(main)))]
        for _ in range(draw(st.integers(0, 3))):
            other.append(add(other[-1] if other else None))
        branches["other"] = _branch("other", other)
    for _ in range(draw(st.integers(0, 2))):
        add(draw(st.sampled_from([None, *main])))
    if draw(st.booleans()):
        branches[draw(st.sampled_from(sorted(branches)))]["message_ids"].append(new_id())
    context: Context = {
        "id": context_id,
        "parent_id": None,
        "config": {
            "model_id": "gpt-4",
            "mode": "chat",
            "parameters": draw(st.dictionaries(st.just("top_p"), st.just(1), max_size=1)),
        },
        "message_pool": dict(draw(st.permutations(list(pool.items())))),
        "branches": branches,
        "active_branch_name": draw(st.sampled_from(sorted(branches))),
        "current_state": draw(states),
    }
    if draw(st.booleans()):
        context["title"] = draw(words)
    if draw(st.booleans()):
        context["auto_generate_title"] = draw(st.booleans())
    return context


def _branch(name: str, ids: list[str]) -> dict[str, Any]:
    return {"name": name, "message_ids": ids, "system_prompt": None, "user_prompt": None}


def write_json(path: Path, value: Any) -> Path:
    """A file as the program writes it: two spaces, UTF-8."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value, indent=2, ensure_ascii=False), encoding="utf-8")
    return path


def write_gen1(directory: Path, context: Context) -> Path:
    """Without message types and agent role; states in PascalCase. For contexts without streams."""
    old = json.loads(json.dumps(context))
    old["current_state"] = pascal_state(context["current_state"])
    for node in old["message_pool"].values():
        del node["message"]["message_type"]
    return write_json(directory / "conversations" / f"{context['id']}.json", old)


def write_gen2(directory: Path, context: Context) -> Path:
    """States in PascalCase. For contexts without streams."""
    old = {**context, "config": {**context["config"], "agent_role": "actor"}}
    old["current_state"] = pascal_state(context["current_state"])
    return write_json(directory / "conversations" / f"{context['id']}.json", old)


def write_gen3(directory: Path, context: Context) -> Path:
    """One file."""
    return write_json(directory / "conversations" / f"{context['id']}.json", context)


def write_gen4(directory: Path, context: Context) -> Path:
    """A folder with the context, and its messages in a pool beside it."""
    folder = directory / "contexts" / context["id"]
    for message_id, node in context["message_pool"].items():
        write_json(folder / "messages_pool" / f"{message_id}.json", node)
    return write_json(folder / "context.json", {**context, "message_pool": {}})


def write_designed(directory: Path, context: Context) -> Path:
    """The layout that was only designed: messages in a folder for each branch but the active one."""
    folder = directory / context["id"]
    active = context["active_branch_name"]
    entries: dict[str, Any] = {}
    for number, (message_id, node) in enumerate(context["message_pool"].items()):
        homes = [name for name, branch in context["branches"].items() if message_id in branch["message_ids"]]
        inner = "messages" if active in homes or not homes else f"messages/branch-{homes[0]}"
        write_json(folder / inner / f"{message_id}.json", node)
        entries[message_id] = {
            "message_id": message_id,
            "role": node["message"]["role"],
            "timestamp": stamp(START + timedelta(seconds=number)),
        }
    write_json(folder / "index.json", {"entries": entries, "version": 1, "updated_at": stamp(START)})
    metadata = {key: value for key, value in context.items() if key not in ("id", "message_pool")}
    metadata |= {"context_id": context["id"], "active_branch": active, "created_at": stamp(START)}
    del metadata["active_branch_name"]
    return write_json(folder / "metadata.json", metadata)


def pascal_state(state: Any) -> Any:
    """A state as the first two generations spell it: approval and execution say nothing more there."""
    if isinstance(state, str):
        return PASCAL[state]
    ((name, data),) = state.items()
    return {"Failed": {"error": data["error_message"]}} if name == "failed" else PASCAL[name]
