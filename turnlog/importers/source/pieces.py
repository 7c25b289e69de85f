"""A large JSON text decoded piece by piece, and parts of it left as text until they are asked for.

Decoded, a text takes four times its bytes, and the decoder holds the interpreter's lock from its beginning to
its end. Here it gets some of it at a time: what lies between two brackets, with ``null`` in place of what is
beside, so that it is the decoder that judges every byte. Of what is odd in any way nothing is said here: then
the text is decoded whole, and what is wrong with it is told as it is of any other.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import suppress
from itertools import pairwise
from typing import Any, Final, cast

import msgspec

from turnlog.importers.source import json_text, rows
from turnlog.importers.source.arrays import NEXT_BRACKET, TEXT
from turnlog.importers.source.json_text import BLANKS, BYTE_ORDER_MARK, JSON_BYTES_MAX, NESTING_MAX
from turnlog.importers.source.rows import Place, Rowed, Rows

WHOLE_BYTES_MAX: Final = 1024 * 1024
"""A text up to this is decoded at once."""

PIECE_BYTES: Final = 128 * 1024
"""What is decoded at a time, but for a longer single value: a millisecond."""

_FLAT: Final = re.compile(rb'(?:\s*,?\s*\{(?:[^"\[\]{}]++|' + TEXT + rb")*+\}){1,200}+", re.DOTALL)
"""Objects that hold no other, one after the other: to pass over many at once."""

_KEY: Final = re.compile(rb'(?<!\\)"(\w{1,40})"\s*:\s*\Z')
_KEY_BYTES: Final = 60


class Left:
    """An object or array that is still text, but known to be sound."""

    def __init__(self, text: bytes, begin: int, end: int, cuts: list[int]) -> None:
        self._text, self._begin, self._end, self._cuts = text, begin, end, cuts

    @property
    def is_array(self) -> bool:
        """Whether it is an array."""
        return self._text.startswith(b"[", self._begin)

    def value(self, left: Place = (), rowed: Rowed | None = None) -> Any:
        """It, decoded; if it is large, but for what is ``left``, else with ``Rows`` where it is ``rowed``."""
        if self._end - self._begin <= WHOLE_BYTES_MAX:
            text = self._text[self._begin : self._end]
            return msgspec.json.decode(text) if rowed is None else rows.decode("", text, rowed)
        return _decode(self._text, self._begin, self._end, left)

    def items(self) -> Iterator[list[Any]]:
        """An array's items, some at a time."""
        begin = self._begin + 1
        for start, end in pairwise((begin, *self._cuts, self._end - 1)):
            before = b"" if start == begin else b"null"
            some = msgspec.json.decode(b"".join((b"[", before, self._text[start:end], b"]")), type=list[Any])
            yield some[bool(before) :]


def opened(value: Any) -> Any:
    """A value that may have been left, or decoded as rows, as any JSON is decoded."""
    return value.value() if isinstance(value, (Left, Rows)) else value


def opened_at(value: Any, place: Place) -> Any:
    """A value of which what is at a place may have been left, decoded."""
    holder = value
    for name in place[:-1]:
        holder = cast("dict[str, Any]", holder).get(name or "") if isinstance(holder, dict) else None
    if isinstance(holder, dict) and place[-1] in holder:
        holder[place[-1]] = opened(holder[place[-1]])
    return value


def decode(name: str, text: bytes, left: Place = (), rowed: Rowed | None = None) -> Any:
    """The value of a JSON text, of which ``name`` is the file's; in a large one the values at ``left`` are
    ``Left``, in another there are ``Rows`` where it is ``rowed``.

    Raises ``Unreadable`` as ``json_text.decode`` does.
    """
    text = text.removeprefix(BYTE_ORDER_MARK)
    value = decode_large(text, left)
    if value is not msgspec.UNSET:
        return value
    return json_text.decode(name, text) if rowed is None else rows.decode(name, text, rowed)


def decode_large(text: bytes, left: Place) -> Any:
    """The value of a large JSON text, with ``Left`` at ``left``; unset of a small one, and of an odd one."""
    if WHOLE_BYTES_MAX < len(text) <= JSON_BYTES_MAX:
        with suppress(_OddError):
            return _decode(text, 0, len(text), left)
    return msgspec.UNSET


class _OddError(Exception):
    """The text is to be decoded whole."""


class _Frame:
    """An object or array that has begun. ``pending``: from where it is not decoded yet.

    ``leads``: it is on the way to what is left, or that; ``is_left``: that; ``drops``: it lies inside.
    """

    __slots__ = ("begin", "cuts", "drops", "is_array", "is_left", "leads", "pending", "value")

    def __init__(self, begin: int, is_array: bool, leads: bool, is_left: bool, drops: bool) -> None:
        self.begin, self.pending = begin, begin + 1
        self.is_array, self.leads, self.is_left, self.drops = is_array, leads, is_left, drops
        self.value: Any = [] if is_array else {}
        self.cuts: list[int] = []

    @property
    def is_whole(self) -> bool:
        """Whether nothing of it is decoded yet."""
        return self.pending == self.begin + 1

    def take(self, text: bytes, end: int, *, follows: bool = False) -> str | None:
        """Decode what is pending up to ``end``; the key of what ``follows`` there in an object."""
        before = b"" if self.is_whole else b"null" if self.is_array else b'"":null'
        around = (b"[", b"]") if self.is_array else (b"{", b"}")
        after = b"null" if follows else b""
        value = _sound(b"".join((around[0], before, text[self.pending : end], after, around[1])))
        if isinstance(value, list):
            items = cast("list[Any]", value)
            if not self.drops:
                self.value += items[bool(before) : len(items) - follows]
            return None
        members = cast("dict[str, Any]", value)
        if before:
            del members[""]
        key = members.popitem()[0] if follows else None
        if self.value.keys() & (members.keys() | {key}):
            raise _OddError
        self.value |= dict.fromkeys(members) if self.drops else members
        return key

    def goes_on(self, at: int) -> None:
        """An item or member ends here, and all up to it is decoded."""
        self.pending = at
        self.cuts.append(at)

    def put(self, key: str | None, value: Any) -> None:
        """Add what was decoded apart."""
        if key is not None:
            self.value[key] = None if self.drops else value
        elif not self.drops:
            self.value.append(value)


def _decode(text: bytes, start: int, end: int, left: Place) -> Any:
    stack: list[_Frame] = []
    at = start
    while mark := NEXT_BRACKET.match(text, at, end):
        bracket, here, at = mark[1], mark.start(1), mark.end()
        if bracket in b"[{":
            if len(stack) == NESTING_MAX or (not stack and text[start:here].strip(BLANKS)):
                raise _OddError
            stack.append(_begun(text, here, bracket == b"[", stack, left))
            at = _passed(text, at, end, stack[-1])
            continue
        if bracket == b'"' or not stack or stack[-1].is_array is not (bracket == b"]"):
            raise _OddError
        frame = stack.pop()
        inner = stack[-1] if stack else None
        if inner is None or frame.is_left or not frame.is_whole or at - frame.begin > PIECE_BYTES:
            frame.take(text, here)
            value = Left(text, frame.begin, at, frame.cuts) if frame.is_left else frame.value
            if inner is None:
                if text[at:end].strip(BLANKS):
                    raise _OddError
                return value
            inner.put(inner.take(text, frame.begin, follows=True), value)
            inner.goes_on(at)
        elif at - inner.pending > PIECE_BYTES:
            inner.take(text, at)
            inner.goes_on(at)
        at = _passed(text, at, end, inner)
    raise _OddError


def _passed(text: bytes, at: int, end: int, frame: _Frame) -> int:
    """Where the objects end that stand next in an array and hold no other."""
    while frame.is_array and (flat := _FLAT.match(text, at, end)):
        at = flat.end()
        if at - frame.pending > PIECE_BYTES:
            frame.take(text, at)
            frame.goes_on(at)
    return at


def _begun(text: bytes, here: int, is_array: bool, stack: list[_Frame], left: Place) -> _Frame:
    depth, outer = len(stack), stack[-1] if stack else None
    leads = outer is None
    if outer is not None and outer.leads and depth <= len(left):
        leads = _leads(text, here, outer, left[depth - 1])
    is_left = leads and depth == len(left) > 0
    drops = is_left or (outer is not None and outer.drops)
    return _Frame(here, is_array, leads, is_left, drops)


def _leads(text: bytes, here: int, outer: _Frame, step: str | None) -> bool:
    """Whether what begins here is what a step names."""
    if step is None:
        return True
    key = None if outer.is_array else _KEY.search(text, max(outer.begin, here - _KEY_BYTES), here)
    return key is not None and key[1] == step.encode()


def _sound(piece: bytes) -> Any:
    """A piece decoded, if there is nothing odd in it."""
    try:
        value = msgspec.json.decode(piece)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise _OddError from None
    if json_text.has_long_number(piece) or json_text.may_repeat(piece, value):
        raise _OddError
    return value
