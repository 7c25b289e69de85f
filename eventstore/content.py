"""What a message can hold: parts, and how streamed chunks fold into them.

The evolution law of ``events.py`` binds these types too.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Any, Final, Literal, TypeAlias, assert_never, cast, get_args

import msgspec

from eventstore.limits import NAME_CHARACTERS_MAX

Json: TypeAlias = Any
"""A free-form value: anything JSON can say. What JSON cannot say (NaN, bytes, dates) is refused."""

Name: TypeAlias = Annotated[str, msgspec.Meta(min_length=1, max_length=NAME_CHARACTERS_MAX)]
"""A branch, workspace, part, message type, state or custom event name."""

Role: TypeAlias = Literal["system", "developer", "user", "assistant", "tool"]

Kind: TypeAlias = Literal["text", "reasoning", "tool_call", "refusal", "other"]
"""What a chunk's delta is a piece of. ``other`` is a JSON object that says something about its part:
``{"type": "tool_call", "id": ..., "name": ...}`` opens a tool call's part and
``{"type": "signature", "signature": ...}`` signs a reasoning part; the fold ignores any other."""

KINDS: Final[tuple[str, ...]] = get_args(Kind)


class Shape(msgspec.Struct, frozen=True, omit_defaults=True, tag_field="type", gc=False):
    """What is stored: immutable, and silent about defaults, so that a field added later costs nothing.

    No value holds itself, so the garbage collector need not look at it: a pass over ten thousand events would
    hold up everybody for as long as writing them takes.
    """


class TextPart(Shape, frozen=True, tag="text"):
    """What was said."""

    text: str


class ReasoningPart(Shape, frozen=True, tag="reasoning"):
    """What the model thought; ``signature`` is the provider's proof, to be sent back unchanged."""

    text: str
    signature: str | None = None


class RefusalPart(Shape, frozen=True, tag="refusal"):
    """Why the model declined."""

    text: str


class ImagePart(Shape, frozen=True, tag="image"):
    """By ``url`` or by ``attachment``, the reference of stored bytes."""

    url: str | None = None
    attachment: str | None = None
    media_type: str | None = None


class AudioPart(Shape, frozen=True, tag="audio"):
    """By ``url`` or by ``attachment``, the reference of stored bytes."""

    url: str | None = None
    attachment: str | None = None
    media_type: str | None = None


class FilePart(Shape, frozen=True, tag="file"):
    """By ``url`` or by ``attachment``, the reference of stored bytes."""

    url: str | None = None
    attachment: str | None = None
    media_type: str | None = None
    name: str | None = None


class ToolCallPart(Shape, frozen=True, tag="tool_call"):
    """``arguments`` is the text that the model wrote: JSON when the model finished it."""

    id: str
    name: str
    arguments: str = ""


class ToolResultPart(Shape, frozen=True, tag="tool_result"):
    """What the tool answered to the call of that id."""

    call_id: str
    content: Json = None
    is_error: bool = False


class DataPart(Shape, frozen=True, tag="data"):
    """Anything that the other parts do not model, verbatim."""

    data: Json = None


Part: TypeAlias = (
    TextPart
    | ReasoningPart
    | RefusalPart
    | ImagePart
    | AudioPart
    | FilePart
    | ToolCallPart
    | ToolResultPart
    | DataPart
)


def fold(pieces: Iterable[tuple[Kind, str | None, str]]) -> tuple[Part, ...]:
    """The content that a stream's chunks add up to, as (kind, part, delta) in sequence order.

    Parts stand in the order in which their first piece arrived; pieces of one kind and part join.
    """
    texts: dict[tuple[Kind, str | None], list[str]] = {}
    notes: dict[str | None, dict[str, Json]] = {}
    for kind, part, delta in pieces:
        if kind == "other":
            note = read_note(delta)
            if note.get("type") == "tool_call":
                texts.setdefault(("tool_call", part), [])
            if note.get("type") in ("tool_call", "signature"):
                notes.setdefault(part, {}).update(note)
        else:
            texts.setdefault((kind, part), []).append(delta)
    return tuple(_part(kind, "".join(deltas), notes.get(part, {})) for (kind, part), deltas in texts.items())


def read_note(delta: str) -> dict[str, Json]:
    """What a chunk of kind ``other`` says; nothing if it is no JSON object."""
    try:
        note = msgspec.json.decode(delta)
    except (msgspec.DecodeError, ValueError, RecursionError):
        return {}
    return cast("dict[str, Json]", note) if isinstance(note, dict) else {}


def _part(kind: Kind, text: str, note: dict[str, Json]) -> Part:
    match kind:
        case "text" | "other":
            return TextPart(text)
        case "refusal":
            return RefusalPart(text)
        case "reasoning":
            signature = note.get("signature")
            return ReasoningPart(text, signature if isinstance(signature, str) else None)
        case "tool_call":
            return ToolCallPart(str(note.get("id", "")), str(note.get("name", "")), text)
        case _:
            assert_never(kind)
