"""JSON and gzip from files that nobody vouches for: strict, bounded, and exact about what is wrong where.

The decoder is msgspec's, which is fast and refuses what is no JSON, but nests as deep as the stack and keeps
the last of two members of one name. A walk finds the one. For the other the value is written out again, which
costs a tenth of a second pass over the text: where a member was dropped, quotes are missing.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from contextlib import suppress
from decimal import Decimal
from itertools import chain
from typing import Any, Final, TypeAlias, cast

import msgspec

JSON_BYTES_MAX: Final = 64 * 1024 * 1024
"""A file that is decoded whole, or a gzip's content. Decoded it takes three times as much; a conversation of
1,000 long streamed replies has as much."""

NESTING_MAX: Final = 60
"""The log takes 64 levels of a free-form value; what is kept verbatim stands up to four deeper there."""

BYTE_ORDER_MARK: Final = b"\xef\xbb\xbf"
"""Some editors put it first. RFC 8259 lets a reader pass over it."""

BLANKS: Final = b" \t\n\r"
"""What JSON takes for blank: less than Python does."""

_DIGITS_TO_ZERO: Final = bytes.maketrans(b"123456789", b"0" * 9)
_MANY_DIGITS: Final = b"0" * 19
_SOME_DIGITS: Final = b"0" * 9
_DECIMAL: Final = re.compile(rb"0+\.0+")
_DOUBLE_DIGITS: Final = 17
"""As many tell any double from every other: programs write no more."""

_NO_NUMBER: Final = re.compile(rb"-?(NaN|Infinity)")
_AT_BYTE: Final = re.compile(r" \(byte ([0-9]+)\)$")
_AT_PATH: Final = re.compile(r" - at `(.*)`$")
_LONE_SURROGATE: Final = re.compile(
    rb"(?<!\\)(?:\\\\)*(?:\\u[dD][89abAB][0-9a-fA-F]{2}(?!\\u[dD][c-fC-F])"
    rb"|(?<!\\u[dD][89abAB][0-9a-fA-F]{2})\\u[dD][c-fC-F][0-9a-fA-F]{2})"
)
_ESCAPE: Final = re.compile(
    rb"\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|(\\u[dD][89a-fA-F][0-9a-fA-F]{2})|\\.",
    re.DOTALL,
)
"""An escape in a JSON text; the group is half of a pair, without the other."""

_ENCODER: Final = msgspec.json.Encoder()
_INTEGER_MIN: Final = -(1 << 63)
_INTEGER_MAX: Final = (1 << 64) - 1


Mend: TypeAlias = Callable[[str, str], None]
"""Told, by code and reason, of what was put right in a text."""


class Unreadable(Exception):
    """A file that cannot be taken: ``code``, ``reason`` and, inside it, ``place``."""

    def __init__(self, path: str, code: str, reason: str, place: str | None = None) -> None:
        super().__init__(reason)
        self.path = path
        self.code = code
        self.reason = reason
        self.place = place


def decode(name: str, text: bytes, mend: Mend | None = None, place: str | None = None) -> Any:
    """The value of a JSON text, of which ``name`` is the file's; ``place`` where it stands in that.

    With ``mend``, which is told of it, half of a surrogate pair, as JavaScript writes it where it cuts one,
    becomes U+FFFD, of members with one name the last one counts, and a number of more digits than a double
    holds becomes the nearest; nesting and integers are as they are. Without it all of these are refused.
    Raises ``Unreadable``.
    """
    text = text.removeprefix(BYTE_ORDER_MARK)
    if len(text) > JSON_BYTES_MAX:
        reason = f"it has {len(text):,} bytes, of at most {JSON_BYTES_MAX:,}"
        raise Unreadable(name, "file_too_large", reason, place)
    try:
        value = msgspec.json.decode(text)
    except RecursionError:
        raise _too_deep(name, place) from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        mended, halves = _mended(text) if mend is not None else (text, 0)
        if mend is None or not halves:
            raise _undecodable(name, text, error, place) from None
        mend("lone_surrogate", f"{halves} halves of characters became U+FFFD")
        return decode(name, mended, mend, place)
    if mend is None:
        _refuse_nesting(name, value)
    if has_long_number(text):
        if mend is None:
            _refuse_large_integers(name, value)
        for number in rounded(text):
            if mend is None:
                reason = f"{number:.60} has more digits than a double holds"
                raise Unreadable(name, "number_too_precise", reason, place)
            mend("number_rounded", f"{number:.60} became {float(number)!r}, as no double holds more digits")
    if may_repeat(text, value):
        for key in _repeated(text):
            if mend is None:
                raise Unreadable(name, "duplicate_key", f"an object has the member {key} twice", key)
            mend("repeated_key", f"an object in it has the member {key} more than once")
    return value


def _refuse_nesting(name: str, value: Any) -> None:
    """Level by level, so that a bomb costs no stack."""
    level: list[Any] = [value]
    for _ in range(NESTING_MAX + 1):
        objects: list[dict[str, Any]] = [one for one in level if type(one) is dict]
        arrays: list[list[Any]] = [one for one in level if type(one) is list]
        if not objects and not arrays:
            return
        level = list(chain.from_iterable([*[one.values() for one in objects], *arrays]))
    raise _too_deep(name)


def _too_deep(name: str, place: str | None = None) -> Unreadable:
    return Unreadable(name, "nested_too_deeply", f"it is nested deeper than {NESTING_MAX} levels", place)


def _strings(text: bytes) -> int:
    """A count of quotes to which every string adds at least one, whatever is in it.

    Escaped quotes add nothing, but so does the end of a string whose last character is an escaped backslash.
    A backslash is always written so in what we encode and may be written otherwise in what we read: the count
    of a text is that of its value or more, and more for certain where a string was dropped.
    """
    return text.count(b'"') - (text.count(b'\\"') if b"\\" in text else 0)


def has_long_number(text: bytes) -> bool:
    """Whether there may be a number in a text of more digits than 64 bits hold, or a double."""
    digits = text.translate(_DIGITS_TO_ZERO)
    return _MANY_DIGITS in digits or (
        _SOME_DIGITS in digits
        and any(len(found[0]) > _DOUBLE_DIGITS + 1 for found in _DECIMAL.finditer(digits))
    )


def rounded(text: bytes) -> list[str]:
    """The numbers in a sound text, each once, of which a double holds a part: decoded they are others."""
    found: dict[str, None] = {}

    def look(number: str) -> None:
        digits = number.lower().partition("e")[0].lstrip("-0.").replace(".", "").rstrip("0")
        if len(digits) > _DOUBLE_DIGITS and Decimal(number) != Decimal(repr(float(number))):
            found[number] = None

    with suppress(RecursionError):  # nothing nested so deeply is of interest
        json.loads(text, parse_float=look, parse_int=str)
    return list(found)


def may_repeat(text: bytes, value: Any) -> bool:
    """Whether an object may have two members of one name; mostly it is certain that none has."""
    try:
        return _strings(_ENCODER.encode(value)) != _strings(text)
    except (OverflowError, RecursionError):  # what is only mended may hold any integer, at any depth
        return True


def _repeated(text: bytes) -> list[str]:
    """The names that an object has twice, as JSON: by a second pass over the text that keeps nothing."""
    found: dict[str, None] = {}

    def look(pairs: list[tuple[str, Any]]) -> None:
        if len(dict(pairs)) != len(pairs):
            seen = set[str]()
            found.update((key, None) for key, _ in pairs if key in seen or seen.add(key))

    with suppress(RecursionError):  # where that happens, nothing nested so deeply is of interest
        json.loads(text, object_pairs_hook=look)
    return [json.dumps(key[:60], ensure_ascii=False) for key in found]


def _mended(text: bytes) -> tuple[bytes, int]:
    """The text with ``\\ufffd`` for every escape of half a pair, and how many there were."""
    count = 0

    def mend(escape: re.Match[bytes]) -> bytes:
        nonlocal count
        count += escape[1] is not None
        return escape[0] if escape[1] is None else b"\\ufffd"

    return _ESCAPE.sub(mend, text), count


def _refuse_large_integers(name: str, value: Any) -> None:
    """An integer that no 64 bits hold would come back as another number from nearly every reader."""
    rest: list[tuple[str, Any]] = [("$", value)]
    while rest:
        place, item = rest.pop()
        if isinstance(item, dict):
            rest += [(f"{place}.{key}", one) for key, one in cast("dict[str, Any]", item).items()]
        elif isinstance(item, list):
            rest += [(f"{place}[{index}]", one) for index, one in enumerate(cast("list[Any]", item))]
        elif isinstance(item, int) and not _INTEGER_MIN <= item <= _INTEGER_MAX:
            raise Unreadable(name, "number_too_large", "an integer does not fit 64 bits", place)


def _undecodable(name: str, text: bytes, error: Exception, place: str | None) -> Unreadable:
    """Which of the ways of not being JSON it is; msgspec names a byte at or just behind the fault."""
    try:
        text.decode()
    except UnicodeDecodeError as fault:
        return Unreadable(
            name, "invalid_utf8", f"it is not UTF-8: {fault.reason}", place or _line(text, fault.start)
        )
    said = str(error)
    if at_path := _AT_PATH.search(said):
        return Unreadable(name, "number_too_large", said[: at_path.start()], place or at_path[1])
    if "truncated" in said or "surrogate" in said:
        if lone := _LONE_SURROGATE.search(text):
            reason = "a string has half of a surrogate pair"
            return Unreadable(name, "lone_surrogate", reason, place or _line(text, lone.start()))
        return Unreadable(
            name, "truncated", "it ends in the middle of a value", place or _line(text, len(text))
        )
    at_byte = _AT_BYTE.search(said)
    at = int(at_byte[1]) if at_byte else 0
    if _NO_NUMBER.match(text, max(at - 1, 0)) or _NO_NUMBER.match(text, at):
        return Unreadable(name, "not_a_number", "NaN and Infinity are no JSON", place or _line(text, at))
    return Unreadable(
        name, "not_json", said[: at_byte.start()] if at_byte else said, place or _line(text, at)
    )


def _line(text: bytes, at: int) -> str:
    lines = text.count(b"\n", 0, at) + 1
    column = at - text.rfind(b"\n", 0, at)
    return f"line {lines}, byte {column}"
