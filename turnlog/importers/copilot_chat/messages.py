"""A message of copilot_chat, of any generation, read without knowing where it stands in its context."""

from __future__ import annotations

from typing import Any, Final
from uuid import UUID

import msgspec

from eventstore.content import DataPart, ImagePart, Json, Part, Role, TextPart, ToolResultPart
from turnlog.importers.conversation import Streamed
from turnlog.importers.copilot_chat.notes import list_of, name_of, object_of, rest_of, squashed, text_of
from turnlog.importers.copilot_chat.rich_types import read_rich, tool_call
from turnlog.importers.copilot_chat.streams import read_stream
from turnlog.importers.source.notes import Where
from turnlog.importers.source.pieces import opened
from turnlog.importers.source.times import read_moment

_ROLES: Final[dict[str, Role]] = {
    "system": "system",
    "developer": "developer",
    "user": "user",
    "assistant": "assistant",
    "tool": "tool",
}
_MODELLED: Final = (
    "role",
    "content",
    "tool_calls",
    "tool_result",
    "metadata",
    "message_type",
    "rich_type",
)


class Said(msgspec.Struct, frozen=True):
    """What a draft says, apart from it: all that may be large."""

    parts: tuple[Part, ...]
    source: dict[str, Json]
    streamed: Streamed | None


class Draft(msgspec.Struct):
    """A message before its parent, branch and time are settled. ``source``: what we do not model.

    ``parent`` is as the source says it, and unset where it says nothing, not even that there is none.
    ``timeless``: the chunks have no times either, and get that of the message. ``said``: the number of what
    was taken out of it.
    """

    id: UUID
    parent: Json
    role: Role
    parts: tuple[Part, ...]
    message_type: str
    source: dict[str, Json]
    at: int | None
    ends_at: int | None
    streamed: Streamed | None
    where: Where
    timeless: bool = False
    said: int = -1

    def taken_out(self, number: int) -> Said:
        """What it says, which it does not hold any more."""
        said = Said(self.parts, self.source, self.streamed)
        self.parts, self.source, self.streamed, self.said = (), {}, None, number
        return said


def read_message(node: dict[str, Any], message_id: UUID, where: Where) -> Draft:
    """A MessageNode; or a message with its id beside its role, as the designed layout may have it.

    Raises ``Unreadable`` for what cannot be a message at all.
    """
    message = object_of(node.get("message"))
    if message is None:
        if "role" not in node:
            raise where.unreadable("message_unreadable", "it holds no message")
        message = rest_of(node, "id", "message_id", "parent_id")
        node = {key: node[key] for key in ("id", "message_id", "parent_id") if key in node}
    role = text_of(message.get("role"))
    known = _ROLES.get(squashed(role)) if role is not None else None
    if known is None:
        raise where.unreadable("role_unknown", "its role is none of System, User, Assistant and Tool")
    source = rest_of(message, *_MODELLED)
    if more := rest_of(node, "id", "message_id", "message", "parent_id"):
        source["node"] = more
    if role not in (known, known.capitalize()):
        source["role"] = role
    metadata = message.get("metadata")
    if metadata not in (None, {}):
        source["metadata"] = metadata
    created_at = _created_at(message, where)
    parts, plain = _content(message.get("content"), where)
    call_id = text_of(message.get("tool_call_id"))
    if call_id is not None and len(parts) == 1 and isinstance(parts[0], TextPart):
        parts[0] = ToolResultPart(call_id, parts[0].text)
    if not plain:
        source["content"] = message["content"]
    tools = [*_calls(message, where, source), *_result(message, where, source)]
    rich = object_of(message.get("rich_type"))
    if rich is None and message.get("rich_type") is not None:
        source["rich_type"] = message["rich_type"]
        where.inside(".rich_type").warn("rich_type_unknown", "it is no object of kind and data")
    data = object_of(rich.get("data")) if rich is not None else None
    streams = rich is not None and squashed(str(rich.get("kind"))) == "streamingresponse"
    if data is not None and not streams and "chunks" in data:
        data["chunks"] = opened(data["chunks"])
    draft = Draft(
        message_id,
        node.get("parent_id", msgspec.UNSET),
        known,
        (),
        "message",
        source,
        created_at,
        created_at,
        None,
        where,
    )
    if rich is not None and data is not None and streams:
        _stream(draft, rich, data, message, parts, tools)
    elif rich is not None:
        found = read_rich(rich, message.get("content"), parts, tools, where, source)
        draft.parts = found.parts
        if draft.at is None:
            draft.at = draft.ends_at = found.at
    else:
        draft.parts = (*parts, *tools)
    _message_type(message.get("message_type"), draft)
    return draft


def _created_at(message: dict[str, Any], where: Where) -> int | None:
    metadata = object_of(message.get("metadata")) or {}
    found = metadata.get("created_at", message.get("created_at"))
    at = read_moment(found)
    if found is not None and at is None:
        where.inside(".created_at").warn("time_unreadable", "it is no RFC 3339 time of this age")
    return at


def _message_type(found: object, draft: Draft) -> None:
    """``text`` says no more than being a message; a stream has no place for another but beside."""
    name = name_of(found)
    if found is None or found == "text":
        return
    if name is None:
        draft.source["message_type"] = found
        draft.where.inside(".message_type").warn("unexpected_value", "it is no name")
    elif draft.streamed is not None:
        draft.source["message_type"] = found
    else:
        draft.message_type = name


def _content(found: object, where: Where) -> tuple[list[Part], bool]:
    """The parts, and whether they say all that the original says."""
    if found is None:
        return [], True
    if isinstance(found, str):
        return [TextPart(found)], True
    items = list_of(found)
    if items is None:
        where.inside(".content").warn("content_unknown", "it is no list of parts")
        return [DataPart(found)], True
    parts: list[Part] = []
    plain = True
    for index, item in enumerate(items):
        match item:
            case {"type": "text", "text": str(text)}:
                parts.append(TextPart(text))
                plain = plain and len(item) == 2
            case {"type": "image", "url": str(url)}:
                parts.append(ImagePart(url=url))
                plain = plain and len(item) == 2
            case _:
                parts.append(DataPart(item))
                where.inside(f".content[{index}]").warn("content_unknown", "it is no part that we know")
    return parts, plain


def _calls(message: dict[str, Any], where: Where, source: dict[str, Any]) -> list[Part]:
    """The calls; the list is kept too, because arguments come in three shapes, and for the approvals."""
    found = message.get("tool_calls")
    if found is None:
        return []
    source["tool_calls"] = found
    calls = list_of(found)
    if calls is None:
        where.inside(".tool_calls").warn("tool_call_unknown", "it is no list of calls")
        return []
    parts: list[Part] = []
    for index, call in enumerate(calls):
        part = tool_call(call)
        parts.append(DataPart(call) if part is None else part)
        if part is None:
            where.inside(f".tool_calls[{index}]").warn("tool_call_unknown", "it has no id and name")
    return parts


def _result(message: dict[str, Any], where: Where, source: dict[str, Any]) -> list[Part]:
    found = message.get("tool_result")
    if found is None:
        return []
    held = object_of(found)
    if held is None or not isinstance(held.get("request_id"), str):
        source["tool_result"] = found
        where.inside(".tool_result").warn("tool_result_unknown", "it names no call")
        return [DataPart(found)]
    if set(held) != {"request_id", "result"}:
        source["tool_result"] = found
    result = held.get("result")
    inner = object_of(result) or {}
    failed = inner.get("is_error") is True or (inner.get("error") and inner.get("is_error") is not False)
    return [ToolResultPart(held["request_id"], result, bool(failed))]


def _stream(
    draft: Draft,
    rich: dict[str, Any],
    data: dict[str, Any],
    message: dict[str, Any],
    parts: list[Part],
    tools: list[Part],
) -> None:
    """The text stands three times: the payload's own counts, then that of the content, then the deltas."""
    where = draft.where.inside(".rich_type.data")
    streamed, kept = read_stream(data, where, draft.at)
    if more := rest_of(rich, "kind", "data"):
        draft.source["rich_type"] = more
    if kept:
        draft.source["streaming_response"] = kept
    _check_count(message, streamed, where)
    added = "".join([chunk.delta for chunk in streamed.chunks])
    first = parts[0] if parts else None
    shown = first.text if isinstance(first, TextPart) else ""
    text = text_of(data.get("content"))
    if text is None:
        where.inside(".content").warn("text_missing", "a stream without its text")
        if data.get("content") is not None:
            kept["content"] = data["content"]
            draft.source["streaming_response"] = kept
        text = shown or added
    if shown != text:
        draft.source["content"] = message.get("content")
        where.warn("texts_differ", "content[0].text is not the text of the stream")
    if added != text:
        where.warn("texts_differ", "the deltas do not add up to the text of the stream")
    others = parts[1:] if isinstance(first, TextPart) else parts
    draft.streamed = streamed
    last = streamed.chunks[-1].at if streamed.chunks else streamed.started_at
    draft.timeless = streamed.completed_at is None and last == 0
    if not draft.timeless:
        draft.at = streamed.started_at
        draft.ends_at = streamed.completed_at if streamed.completed_at is not None else last
    if added != text or others or tools:
        draft.parts = (TextPart(text), *others, *tools)


def _check_count(message: dict[str, Any], streamed: Streamed, where: Where) -> None:
    """The figures about the stream are kept with the metadata; the number of chunks tells of lost ones."""
    figures = object_of((object_of(message.get("metadata")) or {}).get("streaming"))
    if figures is not None and figures.get("chunks_count", len(streamed.chunks)) != len(streamed.chunks):
        where.warn("chunk_count_differs", "metadata.streaming counts other chunks than there are")
