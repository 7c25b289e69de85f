"""The rich types of copilot_chat that are not streams: parts where we have them, else the original."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from eventstore.content import DataPart, ImagePart, Json, Part, TextPart, ToolCallPart, ToolResultPart
from turnlog.importers.copilot_chat.notes import as_text, list_of, object_of, rest_of, squashed, text_of
from turnlog.importers.source.notes import Where
from turnlog.importers.source.times import read_moment

_TIMES: Final = ("started_at", "requested_at", "executed_at", "generated_at", "retrieved_at", "recognized_at")
"""When it happened, by the kinds that say it."""

_KEPT_AS_DATA: Final = frozenset(
    ("filereference", "projectstructure", "mcpresource", "workflowexecution", "systemcontrol", "processing")
)


class Rich(msgspec.Struct, frozen=True):
    """The parts of the whole message, and when its payload says that it happened."""

    parts: tuple[Part, ...]
    at: int | None


def tool_call(found: object) -> ToolCallPart | None:
    """A call, as any generation writes one; None if it has no id and name."""
    call = object_of(found) or {}
    function = object_of(call.get("function")) or {}
    name = call.get("tool_name", call.get("name", function.get("name")))
    call_id = call.get("id", call.get("request_id"))
    if not isinstance(call_id, str) or not isinstance(name, str):
        return None
    arguments = call.get("arguments", function.get("arguments", ""))
    return ToolCallPart(call_id, name, arguments if isinstance(arguments, str) else as_text(arguments))


def read_rich(
    rich: dict[str, Any],
    content: Json,
    parts: list[Part],
    tools: list[Part],
    where: Where,
    source: dict[str, Any],
) -> Rich:
    """It takes precedence over ``content``, whose parts are ``parts``, and adds to ``tools``.

    What has no part of its own stands in a ``data`` part, whole; of the rest the original is in ``source``.
    """
    kind, data = squashed(str(rich.get("kind"))), object_of(rich.get("data"))
    where = where.inside(".rich_type")
    at = next((at for at in (read_moment((data or {}).get(name)) for name in _TIMES) if at is not None), None)
    known = {
        "text": _text,
        "image": _image,
        "toolrequest": _request,
        "mcptoolrequest": _request,
        "toolresult": _result,
        "mcptoolresult": _result,
    }.get(kind)
    found = known(data) if known is not None and data is not None else None
    if found is None:
        if kind not in _KEPT_AS_DATA:
            where.warn("rich_type_unknown", "its kind is unknown, or its data not as that kind has it")
        return Rich((*parts, DataPart(rich), *tools), at)
    if kind == "text":
        (text,) = found
        if rest_of(rich, "kind", "data") or set(data or {}) != {"content"}:
            source["rich_type"] = rich
        said = isinstance(parts[0], TextPart) if parts else False
        if said and text != parts[0]:
            source["content"] = content
            where.warn("texts_differ", "content[0].text is not the text of the rich type")
        return Rich((text, *parts[1 if said else 0 :], *tools), at)
    source["rich_type"] = _without_bytes(rich)
    if kind == "image":
        return Rich((*parts, *(part for part in found if part not in parts), *tools), at)
    there = {_call_of(part) for part in tools}
    return Rich((*parts, *tools, *(part for part in found if _call_of(part) not in there)), at)


def _call_of(part: Part) -> tuple[type, str]:
    match part:
        case ToolCallPart(id=call_id):
            return ToolCallPart, call_id
        case ToolResultPart(call_id=call_id):
            return ToolResultPart, call_id
        case _:
            return type(part), ""


def _text(data: dict[str, Any]) -> list[Part] | None:
    text = text_of(data.get("content"))
    return None if text is None else [TextPart(text)]


def _image(data: dict[str, Any]) -> list[Part] | None:
    match data.get("image_data"):
        case {"url": str(url)} | {"file_path": str(url)}:
            return [ImagePart(url=url)]
        case {"base64": {"data": str(encoded), "mime_type": str(media_type)}}:
            return [ImagePart(url=f"data:{media_type};base64,{encoded}", media_type=media_type)]
        case _:
            return None


def _without_bytes(rich: dict[str, Any]) -> dict[str, Any]:
    """An image's bytes are in its part, and are not kept a second time."""
    match rich:
        case {"data": {"image_data": {"base64": {"data": str(), **more}}, **rest}, **outer}:
            return {**outer, "data": {**rest, "image_data": {"base64": more}}}
        case _:
            return rich


def _request(data: dict[str, Any]) -> list[Part] | None:
    calls = list_of(data.get("calls"))
    found = [tool_call(call) for call in ([data] if calls is None else calls)]
    parts: list[Part] = [part for part in found if part is not None]
    return parts if len(parts) == len(found) else None


def _result(data: dict[str, Any]) -> list[Part] | None:
    call_id = text_of(data.get("request_id"))
    if call_id is None:
        return None
    failed = squashed(str(data.get("status", "success"))) != "success"
    return [ToolResultPart(call_id, data.get("result"), failed)]
