"""What we do not model, kept so that the log can hold it: bounded in depth, numbers and bytes."""

from __future__ import annotations

from collections.abc import Iterator
from math import isfinite
from typing import Any, Final, NamedTuple, cast

import msgspec

from eventstore.content import Json
from turnlog.importers.conversation import Kept

DEPTH_MAX: Final = 40
"""Levels of a kept value. With what it lies in they stay below ``limits.JSON_DEPTH_MAX``."""

ATTRIBUTES_BYTES_MAX: Final = 160 * 1024
"""Encoded bytes of a context's attributes: they leave a third of its metadata's bound to title, config and
tags, and to what is added to it later."""

LONG_CHARACTERS: Final = 1_024
"""Texts below this stay where they are while larger ones can go."""

MEMBER_BYTES_MIN: Final = 512
"""Members below this stay: what would stand in their place is hardly smaller."""

PIECE_CHARACTERS: Final = 1024 * 1024
"""Of a kept text in one event: at most 4 MiB, half of what an event can have."""

KEPT: Final = "import.kept"
"""The name of the custom events that hold what attributes cannot."""


def plain(value: Json, depth: int = DEPTH_MAX) -> Json:
    """A decoded value as the log takes it.

    What is nested deeper than ``depth`` becomes ``{"json": text}``, and so does a number of more than 64
    bits; one that is not finite becomes its name.
    """
    if isinstance(value, dict):
        members = cast("dict[str, Json]", value)
        if depth == 0:
            return _as_text(members)
        return {name: plain(member, depth - 1) for name, member in members.items()}
    if isinstance(value, (list, tuple)):
        items = cast("list[Json]", value)
        return _as_text(items) if depth == 0 else [plain(item, depth - 1) for item in items]
    if isinstance(value, float) and not isfinite(value):
        return str(value)
    if isinstance(value, int) and not -(1 << 63) <= value < 1 << 64:
        return {"json": str(value)}
    return value


def _as_text(value: Json) -> Json:
    return {"json": msgspec.json.encode(value).decode()}


def fit(attributes: dict[str, Json], bytes_max: int = ATTRIBUTES_BYTES_MAX) -> tuple[Any, tuple[Kept, ...]]:
    """Attributes within ``bytes_max``, and what had to leave them.

    The longest texts go first, then lists and members of members, then members but ``import``, each time
    the largest first. In their place stands ``{"kept": place, "bytes": n}``.
    """
    size = _size(attributes)
    if size <= bytes_max:
        return attributes, ()
    kept: list[Kept] = []
    attributes = plain(attributes)  # a copy that can be cut
    for find in (_long_texts, _inner_members, _members):
        for found in sorted(find(attributes, "$"), key=lambda found: -found.bytes_):
            if size <= bytes_max:
                return attributes, tuple(kept)
            kept += _pieces(found.place, found.holder[found.key])
            found.holder[found.key] = {"kept": found.place, "bytes": found.bytes_}
            size += _size(found.holder[found.key]) - found.bytes_
        size = _size(attributes)
    return attributes, tuple(kept)


class _Found(NamedTuple):
    bytes_: int
    holder: Any
    key: str | int
    place: str


def _size(value: Json) -> int:
    return len(msgspec.msgpack.encode(value))


def _long_texts(value: Json, place: str) -> Iterator[_Found]:
    if isinstance(value, dict):
        for name, member in cast("dict[str, Json]", value).items():
            yield from _long_text(value, name, member, f"{place}.{name}")
    elif isinstance(value, list):
        for index, item in enumerate(cast("list[Json]", value)):
            yield from _long_text(value, index, item, f"{place}[{index}]")


def _long_text(holder: Any, key: str | int, value: Json, place: str) -> Iterator[_Found]:
    if not isinstance(value, str):
        yield from _long_texts(value, place)
    elif len(value) >= LONG_CHARACTERS:
        yield _Found(_size(value), holder, key, place)


def _inner_members(value: dict[str, Json], place: str) -> Iterator[_Found]:
    for name, member in value.items():
        if isinstance(member, dict):
            yield from _members(cast("dict[str, Json]", member), f"{place}.{name}")
        elif (size := _size(member)) >= MEMBER_BYTES_MIN:
            yield _Found(size, value, name, f"{place}.{name}")


def _members(value: dict[str, Json], place: str) -> Iterator[_Found]:
    for name, member in value.items():
        if name != "import" and (size := _size(member)) >= MEMBER_BYTES_MIN:
            yield _Found(size, value, name, f"{place}.{name}")


def _pieces(place: str, value: Json) -> Iterator[Kept]:
    form = "text" if isinstance(value, str) else "json"
    text = value if isinstance(value, str) else msgspec.json.encode(value).decode()
    count = -(-len(text) // PIECE_CHARACTERS)
    for index in range(count):
        cut = text[index * PIECE_CHARACTERS : (index + 1) * PIECE_CHARACTERS]
        data = {"place": place, "form": form, "piece": index + 1, "pieces": count, "text": cut}
        yield Kept(KEPT, data)
