"""A message as copilot_chat keeps it in its pool: what an importer kept verbatim goes back where it was."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Final, cast

import msgspec

from eventstore.content import DataPart, ImagePart, Json, Part, TextPart, ToolCallPart, ToolResultPart
from eventstore.events import ChunkReceived
from eventstore.units import format_time
from turnlog.exporters.messages import Told

_SOURCES: Final = {
    "user": "user_input",
    "assistant": "a_i_generated",
    "tool": "tool_execution",
    "system": "system_control",
    "developer": "system_control",
}
"""Where a message is from, in their words; acronyms are split letter by letter."""

_BACK_IN_PLACE: Final = ("node", "id", "parent_id", "rich_type", "streaming_response")
"""Members of what was kept that have a place of their own; the others are members of the message."""


def node_of(message: Told, chunks: Sequence[ChunkReceived], *, imported: bool) -> dict[str, Json]:
    """The content of ``messages_pool/{id}.json``.

    ``imported``: it came from copilot_chat, and has only what it had there.
    """
    kept = object_of(message.metadata.get("source")) if imported else {}
    rest = list(message.parts)
    role = "system" if message.entry.role == "developer" else message.entry.role
    body: dict[str, Json] = {"role": role.capitalize()}
    rich = _rich(message, chunks, kept, rest)
    body["content"] = _content(rest, kept)
    calls, results = _taken(rest, ToolCallPart), _taken(rest, ToolResultPart)
    kind = "" if rich is None else str(object_of(kept.get("rich_type")).get("kind", ""))
    told_elsewhere = kind.lower()  # older files spell it in PascalCase
    if calls and "tool_calls" not in kept and "request" not in told_elsewhere:
        body["tool_calls"] = [_call(part) for part in calls]
    if results and "tool_result" not in kept and "result" not in told_elsewhere:
        first = results.pop(0)
        body["tool_result"] = {"request_id": first.call_id, "result": first.content}
        rest += results
    own = not imported or message.entry.redacted  # nothing is left of what it had there
    body["metadata"] = _metadata(message, rich, rest) if own else None
    body["message_type"] = _message_type(message, imported=imported)
    if rich is not None:
        body["rich_type"] = rich
    body |= {name: value for name, value in kept.items() if name not in _BACK_IN_PLACE}
    node: dict[str, Json] = {
        "id": kept.get("id", str(message.entry.id)),
        "message": body,
        "parent_id": kept.get("parent_id", _id(message.entry.parent_id)),
    }
    return node | object_of(kept.get("node"))


def time_of(at: int) -> str:
    """A time as they write it: with as many threes of decimals as it needs."""
    second, _, micros = format_time(at).removesuffix("Z").partition(".")
    decimals = micros.removesuffix("000").removesuffix("000")
    return f"{second}.{decimals}Z" if decimals else f"{second}Z"


def object_of(value: Json) -> dict[str, Json]:
    """A JSON object, or an empty one for anything else."""
    return cast("dict[str, Json]", value) if isinstance(value, dict) else {}


def _message_type(message: Told, *, imported: bool) -> str:
    """``text`` says no more there than being a message."""
    noted = object_of(message.metadata.get("import")).get("message_type") if imported else None
    name = noted if isinstance(noted, str) else message.entry.message_type
    return "text" if name == "message" else name


def _content(rest: list[Part], kept: dict[str, Json]) -> list[Json]:
    """The parts that their content can say, taken out of ``rest``."""
    told = [kept.get("tool_result"), *_list(kept.get("tool_calls"))]
    content: list[Json] = []
    for part in list(rest):
        match part:
            case TextPart():
                content.append({"type": "text", "text": part.text})
            case ImagePart(url=str(url)):
                content.append({"type": "image", "url": url})
            case DataPart():  # an item of the content, or of the calls, that the importer did not know
                if part.data not in told:
                    content.append(part.data)
            case _:
                continue
        rest.remove(part)
    return content


def _rich(
    message: Told, chunks: Sequence[ChunkReceived], kept: dict[str, Json], rest: list[Part]
) -> dict[str, Json] | None:
    """The rich type; what it alone says is taken out of ``rest``."""
    if message.entry.streamed and not message.entry.redacted:
        data = _stream(message, chunks) | object_of(kept.get("streaming_response"))
        return {"kind": "streaming_response", "data": data} | object_of(kept.get("rich_type"))
    for part in rest:
        match part:
            case DataPart(data={"kind": str(), "data": _, **_more} as rich) if "rich_type" not in kept:
                rest.remove(part)
                return cast("dict[str, Json]", rich)
            case ImagePart(url=str(url)) if (found := _image(kept.get("rich_type"), url)) is not None:
                rest.remove(part)
                return found
            case _:
                pass
    rich = kept.get("rich_type")
    return cast("dict[str, Json]", rich) if isinstance(rich, dict) else None


def _image(rich: Json, url: str) -> dict[str, Json] | None:
    """The rich type that an image was taken from, with its bytes, if it was."""
    match rich:
        case {"data": {"image_data": {"base64": dict()}}} if url.startswith("data:"):
            data = object_of(object_of(rich)["data"])
            base64 = object_of(data["image_data"]["base64"])
            encoded = url.partition("base64,")[2]
            image = {"base64": {"data": encoded, **base64}}
            return {**object_of(rich), "data": {**data, "image_data": image}}
        case {"data": {"image_data": {"url": str(found)} | {"file_path": str(found)}}} if found == url:
            return cast("dict[str, Json]", rich)
        case _:
            return None


def _stream(message: Told, chunks: Sequence[ChunkReceived]) -> dict[str, Json]:
    started_at = _started_at(message)
    rows: list[Json] = []
    size, before = 0, None
    for sequence, chunk in enumerate(_texts(chunks), 1):
        size += len(chunk.delta.encode())
        row: dict[str, Json] = {
            "sequence": sequence,
            "delta": chunk.delta,
            "timestamp": time_of(chunk.at),
            "accumulated_chars": size,
        }
        milliseconds = chunk.at // 1_000
        if before is not None and milliseconds >= before:
            row["interval_ms"] = milliseconds - before
        rows.append(row)
        before = milliseconds
    final = None if message.end is None else message.end.parts
    if final is None:
        text = "".join(chunk.delta for chunk in _texts(chunks))
    else:  # the chunks do not add up to what the message came to
        text = next((part.text for part in final if isinstance(part, TextPart)), "")
    data: dict[str, Json] = {
        "content": text,
        "chunks": rows,
        "started_at": time_of(started_at),
    }
    end = message.end
    if end is not None and end.outcome == "completed" and end.occurred_at is not None:
        data["completed_at"] = time_of(end.occurred_at)
        data["total_duration_ms"] = end.occurred_at // 1_000 - started_at // 1_000
    model = getattr(message.event, "model", None)
    usage, reason = (None, None) if end is None else (end.usage, end.finish_reason)
    told = {"model": model, "usage": usage, "finish_reason": reason}
    return data | {name: value for name, value in told.items() if value is not None}


def _started_at(message: Told) -> int:
    at = message.event.occurred_at
    return message.entry.recorded_at if at is None else at


def _texts(chunks: Iterable[ChunkReceived]) -> list[ChunkReceived]:
    return [chunk for chunk in chunks if chunk.kind == "text"]


def _metadata(message: Told, rich: dict[str, Json] | None, rest: Sequence[Part]) -> dict[str, Json]:
    """What a message that was never theirs tells of itself; what they have no place for is in ``extra``."""
    at = _started_at(message)
    found: dict[str, Json] = {"created_at": time_of(at), "source": _SOURCES[message.entry.role]}
    ours: dict[str, Json] = {}
    if rest:
        ours["parts"] = [msgspec.to_builtins(part) for part in rest]
    if message.entry.redacted:
        ours["redacted"] = True
    if message.metadata:
        ours["metadata"] = message.metadata
    if message.end is not None and message.end.outcome != "completed":
        ours["outcome"] = message.end.outcome
        if message.end.error is not None and not message.entry.redacted:  # it may quote the text
            ours["error"] = message.end.error
    if ours:
        found["extra"] = {"turnlog": ours}
    if message.entry.streamed and not message.entry.redacted:
        stream = object_of(object_of(rich).get("data"))
        count = len(_list(stream.get("chunks")))
        times = ("started_at", "completed_at", "total_duration_ms")
        found["streaming"] = {"chunks_count": count} | {
            name: stream[name] for name in times if name in stream
        }
    return found


def _call(part: ToolCallPart) -> dict[str, Json]:
    try:
        arguments: Json = msgspec.json.decode(part.arguments)
    except (msgspec.DecodeError, RecursionError):
        arguments = part.arguments
    return {
        "id": part.id,
        "tool_name": part.name,
        "arguments": arguments,
        "approval_status": "Approved",
        "display_preference": "Default",
    }


def _taken(rest: list[Part], kind: type[Any]) -> list[Any]:
    """The parts of a kind, taken out of ``rest``."""
    found = [part for part in rest if type(part) is kind]
    rest[:] = [part for part in rest if type(part) is not kind]
    return found


def _id(message_id: object) -> str | None:
    return None if message_id is None else str(message_id)


def _list(value: Json) -> list[Json]:
    return cast("list[Json]", value) if isinstance(value, list) else []
