"""What a JSON file is, by its first bytes; and JSON text as values, with what had to be mended in it."""

from __future__ import annotations

import json
import re
from contextlib import suppress
from typing import Any, Final, NamedTuple, cast

import msgspec

from eventstore.content import Json
from turnlog.importers.source.arrays import NEXT_BRACKET, TEXT
from turnlog.importers.source.files import Source, Unreadable

HEAD_BYTES: Final = 64 * 1024
"""What is read of a file to see its shape."""

LONG_HEAD_BYTES: Final = 4 * 1024 * 1024
"""What is read of one whose head is taken up by a long text, so that few of its members are seen."""

LONG_TEXT_BYTES: Final = 4 * 1024
"""From here on a text in a head is a long one."""

_KEYS_MIN: Final = 8
_TOKENS_MAX: Final = 20_000
"""Some 10 ms of looking."""

_BOM: Final = b"\xef\xbb\xbf"
_TOKEN: Final = re.compile(TEXT + rb'|["\[\]{}:]', re.DOTALL)
_NAMED: Final = re.compile(rb'(?<!\\)"[ \t\r\n]*+:')
_ESCAPE: Final = re.compile(
    rb"\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|(\\u[dD][89a-fA-F][0-9a-fA-F]{2})|\\.",
    re.DOTALL,
)
"""An escape in a JSON text; the group is half of a pair, without the other."""


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
    return shape_of(head(source, name, LONG_HEAD_BYTES))


def shape_of(text: bytes) -> Shape:
    """The shape that the beginning of a JSON text shows, whether or not the rest of it is sound."""
    return _seen(text[:LONG_HEAD_BYTES])[0]


def _seen(text: bytes, wanted: bytes = b"[{") -> tuple[Shape, bool]:
    """The shape, and whether the text is cut inside a long string. What lies deeper is passed over."""
    text = text.removeprefix(_BOM).lstrip()
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
            return Shape(opening, frozenset(keys)), len(text) - at >= LONG_TEXT_BYTES
        if token in (b"{", b"["):
            depth += 1
        elif token in (b"}", b"]"):
            depth -= 1
        elif token != b":":
            last = token[1:-1]
        elif depth == level:
            keys.add(last.decode("utf-8", "replace"))
    return Shape(opening, frozenset(keys)), False


def contents(source: Source, name: str) -> bytes:
    """A file, without the mark that some editors begin it with. Raises ``Unreadable``."""
    return source.bytes(name).removeprefix(_BOM)


class Remark(NamedTuple):
    """What a text says that its value does not."""

    code: str
    reason: str


def decoded(text: bytes, path: str, place: str | None = None) -> tuple[Json, tuple[Remark, ...]]:
    """The value of a JSON text, and what was lost on the way to it.

    JavaScript writes the halves of a cut pair of surrogates as escapes, which no UTF-8 holds: they become
    U+FFFD. Of members with one name the last one counts. Raises ``Unreadable``.
    """
    try:
        value = msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        mended, count = _mended(text)
        if not count:
            raise Unreadable(path, "not_json", str(error), place) from error
    else:
        return value, _repeated(text, value)
    value, remarks = decoded(mended, path, place)
    return value, (Remark("lone_surrogate", f"{count} halves of characters became U+FFFD"), *remarks)


def _repeated(text: bytes, value: Json) -> tuple[Remark, ...]:
    """The names that an object has twice. Counting tells in most cases that there are none."""
    members, values = 0, [value]
    while values:
        one: Any = values.pop()
        if isinstance(one, dict):
            found = cast("dict[str, Json]", one)
            members += len(found)
            values += found.values()
        elif isinstance(one, list):
            values += cast("list[Json]", one)
    if sum(1 for _ in _NAMED.finditer(text)) == members:
        return ()
    names: dict[str, None] = {}

    def remember(pairs: list[tuple[str, Json]]) -> dict[str, Json]:
        members = dict(pairs)
        if len(members) < len(pairs):
            seen = set[str]()
            names.update((name, None) for name, _ in pairs if name in seen or seen.add(name))
        return members

    with suppress(RecursionError):  # where that happens, nothing nested so deeply is of interest
        json.loads(text, object_pairs_hook=remember)
    return tuple(
        Remark("repeated_key", f"an object in it has {name[:60]!r} more than once") for name in names
    )


def _mended(text: bytes) -> tuple[bytes, int]:
    """The text with ``\\ufffd`` for every escape of half a pair, and how many there were."""
    count = 0

    def mend(escape: re.Match[bytes]) -> bytes:
        nonlocal count
        count += escape[1] is not None
        return escape[0] if escape[1] is None else b"\\ufffd"

    return _ESCAPE.sub(mend, text), count
