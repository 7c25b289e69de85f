"""Conversations in the shape of OpenAI's chat fine-tuning: a line for each branch, with its tools."""

from __future__ import annotations

from collections.abc import AsyncIterable, Sequence
from typing import Any, Final, assert_never, cast

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
from turnlog.exporters.messages import Contents, Told
from turnlog.facade import Turnlog

FORMAT: Final = "openai_jsonl"

FILE_NAME: Final = "conversations.jsonl"

_encode: Final = msgspec.json.Encoder().encode


async def export(
    log: Turnlog, contexts: AsyncIterable[ContextState], folder: Folder, progress: Progress
) -> Exported:
    """Write a line for each branch of the contexts that has messages. Memory holds one conversation.

    What the shape has no place for (reasoning, data, files, attachments, redacted messages) is left out and
    counted. Raises what queries and ``Folder`` raise.
    """
    exported = Exported(FORMAT, str(folder.path))
    with folder.file(FILE_NAME) as file:
        exported.files = 1
        async for state in contexts:
            contents = Contents(log, state)
            for branch in state.branches:
                line = await _conversation(contents, branch, exported)
                if line is None:
                    exported.leave_out("empty branch")
                    continue
                file.write(_encode(line) + b"\n")
                exported.conversations += 1
            exported.contexts += 1
            progress(exported.contexts)
    return exported


async def _conversation(contents: Contents, branch: str, exported: Exported) -> dict[str, Json] | None:
    messages: list[dict[str, Json]] = []
    async for page in contents.pages(branch):
        async for message in contents.told(page):
            if message.entry.redacted:
                exported.leave_out("redacted message")
            else:
                messages += _messages(message, exported)
    if not messages:
        return None
    exported.messages += len(messages)
    config = contents.state.config
    prompt, tools = config.get("system_prompt"), config.get("tools")
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


def _messages(message: Told, exported: Exported) -> list[dict[str, Json]]:
    """A message of ours is one of theirs, and one more for each tool's result.

    A result stands after its call. Where the message itself holds the call, what it says then is another
    message; else the call is in a message before, and nothing may come between.
    """
    ahead: list[dict[str, Json]] = []
    told: list[dict[str, Json]] = []
    said: list[Part] = []
    called: set[str] = set()
    for part in message.parts:
        if not isinstance(part, ToolResultPart):
            said.append(part)
            if isinstance(part, ToolCallPart):
                called.add(part.id)
            continue
        if part.is_error:
            exported.leave_out("tool error mark")
        result: dict[str, Json] = {
            "role": "tool",
            "tool_call_id": part.call_id,
            "content": _text(part.content),
        }
        if part.call_id in called:
            told += _said(message, said, exported)
            told.append(result)
            said.clear()
        else:
            ahead.append(result)
    told = [*ahead, *told, *_said(message, said, exported)]
    if not told:
        exported.leave_out("message without content")
    return told


def _said(message: Told, parts: Sequence[Part], exported: Exported) -> list[dict[str, Json]]:
    """The message that says these parts, if the shape has a place for any of them."""
    content: list[dict[str, Json]] = []
    calls: list[dict[str, Json]] = []
    refusals: list[str] = []
    for part in parts:
        match part:
            case ToolCallPart():
                function = {"name": part.name, "arguments": part.arguments}
                calls.append({"id": part.id, "type": "function", "function": function})
            case RefusalPart():
                refusals.append(part.text)
            case _:
                piece = _piece(part)
                if piece is None:
                    exported.leave_out(f"{part.__struct_config__.tag} part")
                else:
                    content.append(piece)
    if not (content or calls or refusals):
        return []
    # Of a tool, without a call to answer, it is what the program around the model said.
    role = "user" if message.entry.role == "tool" else message.entry.role
    theirs: dict[str, Json] = {"role": role, "content": _joined(content)}
    if calls:
        theirs["tool_calls"] = calls
    if refusals:
        theirs["refusal"] = "".join(refusals)
    return [theirs]


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
