"""What differs between a source and the log, gathered context by context and told in a few words."""

from __future__ import annotations

from typing import Final, cast
from uuid import UUID

import msgspec

from eventstore.content import Json
from projections.metadata import same_json

SHOWN_CHARACTERS: Final = 60
"""Of a value in a difference: enough to recognise it; it is cut around the first character that differs."""

MISSING: Final = "message"
"""The field of a difference that says: the message is not there, or should not be."""

_MISSING: Final = ('"a message"', '"no such message"')
"""What is expected and what is found, as JSON."""


class Difference(msgspec.Struct, frozen=True, gc=False):
    """What is not as the source has it. ``field``: a name, or a path such as ``chunks/17/delta``."""

    context_id: UUID
    message_id: UUID | None
    field: str
    expected: str
    found: str


class Findings:
    """Gathers the differences of one context."""

    def __init__(self, context_id: UUID) -> None:
        self.context_id = context_id
        self.differences: list[Difference] = []

    def add(self, message_id: UUID | None, field: str, expected: object, found: object) -> None:
        """Note a difference."""
        shown = (_shown(expected, found), _shown(found, expected))
        self.differences.append(Difference(self.context_id, message_id, field, *shown))

    def missing(self, message_id: UUID) -> None:
        """Note that a message is not there. A later copy may bring many: the words are the same objects."""
        self.differences.append(Difference(self.context_id, message_id, MISSING, *_MISSING))

    def check(self, message_id: UUID | None, field: str, expected: Json, found: Json) -> None:
        """Note a difference, unless both are one JSON value."""
        if not same_json(expected, found):
            self.add(message_id, field, expected, found)


def lacks(expected: Json, found: Json) -> bool:
    """Whether anything in one JSON value is not in the other; null and absent are one here, as in a patch."""
    if isinstance(expected, dict) and isinstance(found, dict):
        members, there = cast("dict[str, Json]", expected), cast("dict[str, Json]", found)
        return any(lacks(value, there.get(name)) for name, value in members.items())
    return not same_json(expected, found)


def _shown(value: object, other: object) -> str:
    """A value as JSON, cut around where it begins to differ from another."""
    text, against = (msgspec.json.encode(each).decode() for each in (value, other))
    if len(text) <= SHOWN_CHARACTERS:
        return text
    pairs = enumerate(zip(text, against, strict=False))
    first = next((at for at, (a, b) in pairs if a != b), min(len(text), len(against)))
    start = max(0, min(first - SHOWN_CHARACTERS // 2, len(text) - SHOWN_CHARACTERS))
    end = start + SHOWN_CHARACTERS
    return ("..." if start else "") + text[start:end] + ("..." if end < len(text) else "")
