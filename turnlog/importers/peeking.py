"""What a JSON file is, by its first bytes; and JSON text as values, with what had to be mended in it."""

from __future__ import annotations

import json
import re
from math import isfinite
from typing import Any, Final, NamedTuple, cast

import msgspec

from eventstore.content import Json
from turnlog.importers.reading import Source, Unreadable

HEAD_BYTES: Final = 64 * 1024
"""What is read of a file to see its shape."""

_BOM: Final = b"\xef\xbb\xbf"
_TOKEN: Final = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"|["\[\]{}:]', re.DOTALL)
_SURROGATE: Final = re.compile("[\ud800-\udfff]")


class Shape(NamedTuple):
    """``opening``: the first byte, none of a blank file. ``keys``: the object's, or its objects'."""

    opening: bytes
    keys: frozenset[str]


def head(source: Source, name: str, length: int = HEAD_BYTES) -> bytes:
    """The first bytes of a file; none of one that cannot be read, which is for reading it to say."""
    try:
        with source.path(name).open("rb") as file:
            return file.read(length)
    except OSError:
        return b""


def shape_of(text: bytes) -> Shape:
    """The shape that the beginning of a JSON text shows, whether or not the rest of it is sound."""
    text = text.removeprefix(_BOM).lstrip()
    opening, depth, keys, last = text[:1], 0, set[str](), b""
    wanted = {b"[": 2, b"{": 1}.get(opening)
    if wanted is None:
        return Shape(opening, frozenset())
    for match in _TOKEN.finditer(text):
        token = match[0]
        if token == b'"':
            break  # the text is cut inside a string
        if token in (b"{", b"["):
            depth += 1
        elif token in (b"}", b"]"):
            depth -= 1
        elif token != b":":
            last = token[1:-1]
        elif depth == wanted:
            keys.add(last.decode("utf-8", "replace"))
    return Shape(opening, frozenset(keys))


def decoded(text: bytes | bytearray | memoryview, path: str, place: str | None = None) -> tuple[Json, int]:
    """The value of a JSON text, and how many lone surrogates in it became U+FFFD: no UTF-8 holds them.

    Raises ``Unreadable``.
    """
    try:
        return msgspec.json.decode(text), 0
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        first = error
    try:  # JavaScript writes the halves of a cut pair as escapes, which msgspec calls truncated
        mended = _Mended()
        value = json.loads(bytes(text), parse_float=_finite, parse_constant=_finite)
        return mended.value(value), mended.count
    except (ValueError, RecursionError):
        raise Unreadable(path, "not_json", str(first), place) from first


def _finite(text: str) -> float:
    number = float(text)
    if not isfinite(number):
        raise ValueError(text)
    return number


class _Mended:
    def __init__(self) -> None:
        self.count: int = 0

    def value(self, value: Any) -> Json:
        if isinstance(value, str):
            mended, count = _SURROGATE.subn("\ufffd", value)
            self.count += count
            return mended
        if isinstance(value, list):
            return [self.value(item) for item in cast("list[Json]", value)]
        if isinstance(value, dict):
            members = cast("dict[str, Json]", value)
            return {self.value(name): self.value(member) for name, member in members.items()}
        return value


def elements(text: bytes, path: str) -> list[msgspec.Raw]:
    """The elements of a JSON array, not yet decoded: one that is broken inside leaves the others whole.

    Raises ``Unreadable``; a blank text is an empty array.
    """
    text = text.removeprefix(_BOM)
    if not text.strip():
        return []
    try:
        return msgspec.json.decode(text, type=list[msgspec.Raw])
    except msgspec.ValidationError as error:
        raise Unreadable(path, "wrong_type", f"it is no array: {error}", "$") from error
    except (msgspec.DecodeError, RecursionError) as error:
        raise Unreadable(path, "not_json", str(error)) from error
