"""Long arrays of like objects in a JSON text, decoded as what they should be, for half of what it costs.

Where such an array may stand is known, and by which name. It is cut out and decoded as rows; the rest of
the text, with a mark in its place, is decoded as any text is. Of what is odd in any way nothing is said
here: then the text is decoded whole.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, Final, NamedTuple, TypeAlias, cast

import msgspec

from turnlog.importers.source import json_text
from turnlog.importers.source.json_text import Unreadable

Place: TypeAlias = tuple[str | None, ...]
"""The members that lead to a value; None: any member, or any item of an array."""

_MARK: Final = "the rows that stand here"
_MARK_TEXT: Final = msgspec.json.encode(_MARK)
_BEGIN: Final = re.compile(rb"\s*:\s*(\[)")

_ENDS_MAX: Final = 8
"""Brackets that are tried as an array's end. Mostly it is the first: in a text they seldom follow a brace."""

_BEFORE_END_BYTES: Final = 64
"""In these the last object's brace stands, and behind it nothing but a line's indentation."""


class Rowed(NamedTuple):
    """Where arrays of rows may stand, the last step being their name, and what decodes one of them.

    A row is flat: its members have names and types of their own, and integers have bounds.
    """

    place: Place
    decoder: msgspec.json.Decoder[list[Any]]


class Rows:
    """An array that was decoded as rows."""

    def __init__(self, rows: list[Any]) -> None:
        self._rows = rows

    def value(self) -> list[dict[str, Any]]:
        """It, as any JSON is decoded."""
        return msgspec.to_builtins(self._rows)

    def items(self) -> Iterator[list[Any]]:
        """The rows, at once."""
        yield self._rows


def decode(name: str, text: bytes, rowed: Rowed) -> Any:
    """The value of a JSON text, of which ``name`` is the file's, with ``Rows`` where it has any.

    Raises ``Unreadable`` as ``json_text.decode`` does.
    """
    rest, found = _cut(text, rowed)
    if found:
        try:
            value = json_text.decode(name, rest)
        except Unreadable:
            return json_text.decode(name, text)  # which says where it is
        if _put(value, rowed.place, found):
            return value
    return json_text.decode(name, text)


def _cut(text: bytes, rowed: Rowed) -> tuple[bytes, list[list[Any]]]:
    """The text without its rows, and those."""
    key = msgspec.json.encode(rowed.place[-1])
    rest: list[bytes] = []
    found: list[list[Any]] = []
    done, at = 0, text.find(key)
    while at >= 0:
        begin = _BEGIN.match(text, at + len(key))
        at += len(key)
        if begin is not None:
            cut = _array(text, begin.start(1), rowed.decoder)
            if cut is not None:
                rest += (text[done : begin.start(1)], _MARK_TEXT)
                done = at = cut[1]
                found.append(cut[0])
        at = text.find(key, at)
    return b"".join((*rest, text[done:])), found


def _array(text: bytes, begin: int, decoder: msgspec.json.Decoder[list[Any]]) -> tuple[list[Any], int] | None:
    """The rows of the array that begins there, and where it ends.

    No array is the beginning of another, so what can be decoded is the whole of it. Mostly the text is that
    of its rows and white space; written otherwise it could have a member twice.
    """
    for end in _ends(text, begin):
        piece = text[begin:end]
        try:
            rows = decoder.decode(piece)
        except msgspec.ValidationError:
            return None
        except (msgspec.DecodeError, UnicodeDecodeError):
            continue
        is_plain = msgspec.json.format(piece, indent=-1) == msgspec.json.encode(rows)
        return (rows, end) if is_plain or not json_text.may_repeat(piece, rows) else None
    return None


def _ends(text: bytes, begin: int) -> Iterator[int]:
    """Where an array of objects may end."""
    tried, at = 0, text.find(b"]", begin)
    while at >= 0 and tried < _ENDS_MAX:
        if text[max(begin, at - _BEFORE_END_BYTES) : at].rstrip().endswith(b"}"):
            tried += 1
            yield at + 1
        at = text.find(b"]", at + 1)


def _put(value: Any, place: Place, found: list[list[Any]]) -> bool:
    """Whether all marks stand at the place: then each has its rows."""
    holders: list[Any] = [value]
    for step in place[:-1]:
        holders = [inner for holder in holders for inner in _inner(holder, step)]
    last = cast("str", place[-1])
    objects = [cast("dict[str, Any]", one) for one in holders if isinstance(one, dict)]
    marked = [one for one in objects if one.get(last) == _MARK]
    if not len(marked) == len(found) == msgspec.json.encode(value).count(_MARK_TEXT[1:-1]):
        return False
    for holder, rows in zip(marked, found, strict=True):
        holder[last] = Rows(rows)
    return True


def _inner(holder: Any, step: str | None) -> Iterator[Any]:
    if isinstance(holder, dict):
        members = cast("dict[str, Any]", holder)
        if step is None:
            yield from members.values()
        elif step in members:
            yield members[step]
    elif isinstance(holder, list) and step is None:
        yield from cast("list[Any]", holder)
