"""What a JSON file is, by its first bytes."""

from __future__ import annotations

import re
from typing import Final, NamedTuple

from turnlog.importers.source.arrays import NEXT_BRACKET, TEXT
from turnlog.importers.source.files import Source, Unreadable
from turnlog.importers.source.json_text import BYTE_ORDER_MARK

HEAD_BYTES: Final = 64 * 1024
"""What is read of a file to see its shape."""

_LONG_HEAD_BYTES: Final = 4 * 1024 * 1024
"""What is read of one whose head is taken up by a long text, so that few of its members are seen."""

_LONG_TEXT_BYTES: Final = 4 * 1024
"""From here on a text in a head is a long one."""

_KEYS_MIN: Final = 8
_TOKENS_MAX: Final = 20_000
"""Some 10 ms of looking."""

_TOKEN: Final = re.compile(TEXT + rb'|["\[\]{}:]', re.DOTALL)


class Shape(NamedTuple):
    """``opening``: the first byte, none of a blank file. ``keys``: the object's, or its objects'."""

    opening: bytes
    keys: frozenset[str]


def head(source: Source, name: str, length: int = HEAD_BYTES) -> bytes:
    """The first bytes of a file; none of one that cannot be read, which is for reading it to say."""
    try:
        return source.head(name, length)
    except Unreadable:
        return b""


def shape(source: Source, name: str, opening: bytes = b"[{") -> Shape:
    """The shape of a file; without keys if it begins otherwise than with one of ``opening``."""
    text = head(source, name)
    seen, in_long_text = _seen(text, opening)
    if len(text) < HEAD_BYTES or len(seen.keys) >= _KEYS_MIN or seen.opening not in (b"[", b"{"):
        return seen
    if seen.opening not in opening or (seen.opening == b"{" and not in_long_text):
        return seen  # an object has its own members first, unless one of them is long
    return shape_of(head(source, name, _LONG_HEAD_BYTES))


def shape_of(text: bytes) -> Shape:
    """The shape that the beginning of a JSON text shows, whether or not the rest of it is sound."""
    return _seen(text[:_LONG_HEAD_BYTES])[0]


def _seen(text: bytes, wanted: bytes = b"[{") -> tuple[Shape, bool]:
    """The shape, and whether the text is cut inside a long string. What lies deeper is passed over."""
    text = text.removeprefix(BYTE_ORDER_MARK).lstrip()
    opening, depth, keys, last, at = text[:1], 0, set[str](), b"", 0
    level = {b"[": 2, b"{": 1}.get(opening, 0)
    if not level or opening not in wanted:
        return Shape(opening, frozenset()), False
    for _ in range(_TOKENS_MAX):
        match = _TOKEN.search(text, at) if depth <= level else NEXT_BRACKET.match(text, at)
        if match is None:
            break
        token, at = match[match.lastindex or 0], match.end()
        if token == b'"':
            return Shape(opening, frozenset(keys)), len(text) - at >= _LONG_TEXT_BYTES
        if token in (b"{", b"["):
            depth += 1
        elif token in (b"}", b"]"):
            depth -= 1
        elif token != b":":
            last = token[1:-1]
        elif depth == level:
            keys.add(last.decode("utf-8", "replace"))
    return Shape(opening, frozenset(keys)), False
