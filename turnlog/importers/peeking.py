"""What a JSON file is, by its first bytes; and JSON text as values, with what had to be mended in it."""

from __future__ import annotations

import re
from itertools import islice
from typing import Final, NamedTuple

import msgspec

from eventstore.content import Json
from turnlog.importers.reading import Source, Unreadable

HEAD_BYTES: Final = 64 * 1024
"""What is read of a file to see its shape."""

LONG_HEAD_BYTES: Final = 4 * 1024 * 1024
"""What is read of one whose head is taken up by a long text, so that few of its members are seen."""

_KEYS_MIN: Final = 8
_TOKENS_MAX: Final = 20_000
"""Some 10 ms of looking."""

_BOM: Final = b"\xef\xbb\xbf"
_TOKEN: Final = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"|["\[\]{}:]', re.DOTALL)
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
        with source.path(name).open("rb") as file:
            return file.read(length)
    except OSError:
        return b""


def shape(source: Source, name: str) -> Shape:
    """The shape of a file."""
    text = head(source, name)
    seen = shape_of(text)
    if len(text) < HEAD_BYTES or len(seen.keys) >= _KEYS_MIN or not seen.opening:
        return seen
    return shape_of(head(source, name, LONG_HEAD_BYTES))


def shape_of(text: bytes) -> Shape:
    """The shape that the beginning of a JSON text shows, whether or not the rest of it is sound."""
    text = text[:LONG_HEAD_BYTES].removeprefix(_BOM).lstrip()
    opening, depth, keys, last = text[:1], 0, set[str](), b""
    wanted = {b"[": 2, b"{": 1}.get(opening)
    if wanted is None:
        return Shape(opening, frozenset())
    for match in islice(_TOKEN.finditer(text), _TOKENS_MAX):
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


def contents(source: Source, name: str) -> bytes:
    """A file, without the mark that some editors begin it with. Raises ``Unreadable``."""
    return source.bytes(name).removeprefix(_BOM)


def decoded(text: bytes, path: str, place: str | None = None) -> tuple[Json, int]:
    """The value of a JSON text, and how many lone surrogates in it became U+FFFD: no UTF-8 holds them.

    JavaScript writes the halves of a cut pair as escapes. Raises ``Unreadable``.
    """
    try:
        return msgspec.json.decode(text), 0
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        mended, count = _mended(text)
        if not count:
            raise Unreadable(path, "not_json", str(error), place) from error
    return decoded(mended, path, place)[0], count


def _mended(text: bytes) -> tuple[bytes, int]:
    """The text with ``\\ufffd`` for every escape of half a pair, and how many there were."""
    count = 0

    def mend(escape: re.Match[bytes]) -> bytes:
        nonlocal count
        count += escape[1] is not None
        return escape[0] if escape[1] is None else b"\\ufffd"

    return _ESCAPE.sub(mend, text), count
