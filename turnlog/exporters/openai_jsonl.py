"""Conversations in the shape of OpenAI's chat fine-tuning: a line for each branch, with its tools."""

from __future__ import annotations

from collections.abc import AsyncIterable, Iterator, Sequence
from typing import Any, Final, assert_never, cast
from uuid import UUID

import msgspec

from eventstore.content import (
    AudioPart,
    DataPart,
    FilePart,
    ImagePart,
    Json,
    Part,
    ReasoningPart,
    RefusalPart,
    TextPart,
    ToolCallPart,
    ToolResultPart,
)
from projections.answers import ContextState
from turnlog.exporters.exported import Exported, Progress
from turnlog.exporters.folder import Folder
from turnlog.exporters.messages import Told, along, told
from turnlog.facade import Turnlog

FORMAT: Final = "openai_jsonl"

FILE_NAME: Final = "conversations.jsonl"

_encode: Final = msgspec.json.Encoder().encode


async def export(log: Turnlog, contexts: AsyncIterable[UUID], folder: Folder, progress: Progress) -> Exported:
    """Write a line for each branch of the contexts that has messages. Memory holds one conversation.

    What the shape has no place for (reasoning, data, files, attachments, redacted messages) is left out and
    counted. Raises what queries and ``Folder`` raise.
    """
    exported = Exported(FORMAT, str(folder.path))
    with folder.file(FILE_NAME) as file:
        exported.files = 1
        async for context_id in contexts:
            state = await log.queries.context(context_id)
            for branch in state.branches:
                line = await _conversation(log, state, branch, exported)
                if line is None:
                    exported.leave_out("empty branch")
                    continue
                file.write(_encode(line) + b"\n")
                exported.conversations += 1
            exported.contexts += 1
            progress(exported.contexts)
    return exported


async def _conversation(
    log: Turnlog, state: ContextState, branch: str, exported: Exported
) -> dict[str, Json] | None:
    messages: list[dict[str, Json]] = []
    async for entry in along(log, state, branch):
        if entry.redacted:
            exported.leave_out("redacted message")
            continue
        messages += _messages(await told(log, state, entry), exported)
    if not messages:
        return None
    exported.messages += len(messages)
    prompt, tools = state.config.get("system_prompt"), state.config.get("tools")
    if isinstance(prompt, str) and messages[0]["role"] not in ("system", "developer"):
        messages.insert(0, {"role": "system", "content": prompt})
    known = _tools(tools, exported)
    return {"messages": messages} | ({"tools": known} if known else {})


def _tools(tools: Json, exported: Exported) -> list[dict[str, Json]]:
    """The context's tools in OpenAI's shape; theirs, or Anthropic's, are known."""
    found: list[dict[str, Json]] = []
    for tool in cast("list[Json]", tools) if isinstance(tools, list) else []:
        match tool:
            case {"type": "function", "function": {"name": str()}}:
                found.append(cast("dict[str, Json]", tool))
            case {"name": str(name)}:
                function: dict[str, Json] = {"name": name}
                if (description := tool.get("description")) is not None:
                    function["description"] = description
                function["parameters"] = tool.get("parameters", tool.get("input_schema", {}))
                found.append({"type": "function", "function": function})
            case _:
                exported.leave_out("tool without a definition")
    return found


def _messages(message: Told, exported: Exported) -> Iterator[dict[str, Json]]:
    """A message of ours is one of theirs, and one more for each tool's result."""
    content: list[dict[str, Json]] = []
    calls: list[dict[str, Json]] = []
    results: list[dict[str, Json]] = []
    refusals: list[str] = []
    for part in message.parts:
        match part:
            case ToolCallPart():
                function = {"name": part.name, "arguments": part.arguments}
                calls.append({"id": part.id, "type": "function", "function": function})
            case ToolResultPart():
                results.append({"role": "tool", "tool_call_id": part.call_id, "content": _text(part.content)})
            case RefusalPart():
                refusals.append(part.text)
            case _:
                piece = _piece(part)
                if piece is None:
                    exported.leave_out(f"{part.__struct_config__.tag} part")
                else:
                    content.append(piece)
    yield from results
    role = message.entry.role
    if role == "tool" and results and not content:
        return
    if not (content or calls or refusals):
        if not results:
            exported.leave_out("message without content")
        return
    if role == "tool":  # without a call to answer it is what the program around the model said
        role = "user"
    theirs: dict[str, Json] = {"role": role, "content": _joined(content)}
    if calls:
        theirs["tool_calls"] = calls
    if refusals:
        theirs["refusal"] = "".join(refusals)
    yield theirs


def _piece(part: Part) -> dict[str, Json] | None:
    match part:
        case TextPart():
            return {"type": "text", "text": part.text}
        case ImagePart(url=str(url)):
            return {"type": "image_url", "image_url": {"url": url}}
        case ReasoningPart() | ImagePart() | AudioPart() | FilePart() | DataPart():
            return None
        case RefusalPart() | ToolCallPart() | ToolResultPart():
            return None
        case _:
            assert_never(part)


def _joined(content: Sequence[dict[str, Any]]) -> Json:
    """Plain text as a string; with images, the list."""
    if not content:
        return None
    if all(piece["type"] == "text" for piece in content):
        return "".join(piece["text"] for piece in content)
    return list(content)


def _text(content: Json) -> str:
    return content if isinstance(content, str) else _encode(content).decode()
