"""The envelope of Taskerino's files: a version, a checksum, and JSON as a text, compressed or not."""

from __future__ import annotations

import base64
import sys
from array import array
from collections.abc import Iterator
from io import BytesIO
from operator import mul
from typing import Any, Final

import msgspec

from turnlog.importers.source.arrays import elements
from turnlog.importers.source.files import Source, Unreadable
from turnlog.importers.source.json_text import BYTE_ORDER_MARK, decode, gunzip
from turnlog.importers.source.notes import Notes
from turnlog.importers.source.shapes import Shape, shape, shape_of

UNPACKED_BYTES_MAX: Final = 128 * 1024 * 1024
"""Of what was compressed: twenty of the longest sessions that the program speaks of."""

_GZIP: Final = "GZIP_V1:"
_LAYERS_MAX: Final = 3
"""A compressed twin is an envelope whose text is compressed once more."""

_BLOCK: Final = 4_096
_POWERS: Final = [pow(31, _BLOCK - 1 - index, 1 << 32) for index in range(_BLOCK)]
_DIGITS: Final = "0123456789abcdefghijklmnopqrstuvwxyz"


class _Envelope(msgspec.Struct):
    data: str
    version: Any = None
    checksum: Any = None
    compressed: Any = None


def payload(source: Source, name: str, notes: Notes) -> bytes:
    """The JSON text inside a file, whether it has an envelope or is as old as those without.

    Raises ``Unreadable``.
    """
    text = source.bytes(name).removeprefix(BYTE_ORDER_MARK)
    for _ in range(_LAYERS_MAX):
        if is_envelope(shape_of(text)):
            text = _opened(text, name, notes)
        elif text.startswith(f'"{_GZIP}'.encode()):
            text = _unpacked(decode(name, text), name)
        else:
            return text
    raise Unreadable(name, "bad_envelope", f"it has more than {_LAYERS_MAX} envelopes, one in the other")


def is_envelope(seen: Shape) -> bool:
    """Whether that is the shape of an envelope."""
    return {"version", "data"} <= seen.keys and bool({"checksum", "compressed"} & seen.keys)


def may_be_envelope(head: bytes) -> bool:
    """Whether it is worth to look at the shape of a file with that beginning."""
    return b'"version"' in head and b'"data"' in head


def value(source: Source, name: str, notes: Notes) -> Any:
    """What a file says. Raises ``Unreadable``."""
    return notes.decode(payload(source, name, notes))


def collection(source: Source, name: str, notes: Notes) -> Iterator[bytes]:
    """The elements of a file's array, not yet decoded. Raises ``Unreadable``."""
    if is_envelope(shape(source, name)):
        yield from elements(BytesIO(payload(source, name, notes)), name)
        return
    with source.open(name) as file:
        yield from elements(file, name)


def _opened(text: bytes, name: str, notes: Notes) -> bytes:
    try:
        envelope = msgspec.json.decode(text, type=_Envelope)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Unreadable(name, "bad_envelope", str(error)) from error
    if envelope.version != 1:
        notes.say("unknown_version", f"its version is {str(envelope.version)[:60]}, not 1", "$.version")
    if envelope.data.startswith(_GZIP):
        return _unpacked(envelope.data, name)  # gzip has a checksum of its own
    if envelope.checksum not in checksums(envelope.data):
        notes.say("checksum_mismatch", "it is not that of the text: the file was damaged", "$.checksum")
    return envelope.data.encode()


def _unpacked(text: str, name: str) -> bytes:
    try:
        packed = base64.b64decode(text.removeprefix(_GZIP), validate=True)
    except ValueError as error:
        raise Unreadable(name, "bad_envelope", str(error)) from error
    return gunzip(packed, name, UNPACKED_BYTES_MAX)


def checksums(text: str) -> set[str]:
    """The rolling hash ``(h << 5) - h + code`` over UTF-16, in each way of writing its sign in base 36."""
    units = array("H", text.encode(f"utf-16-{sys.byteorder[0]}e", "surrogatepass"))
    rolled = 0
    for start in range(0, len(units), _BLOCK):
        block = units[start : start + _BLOCK]
        rolled *= pow(31, len(block), 1 << 32)
        rolled = (rolled + sum(map(mul, block, _POWERS[_BLOCK - len(block) :]))) & 0xFFFFFFFF
    signed = rolled - (1 << 32) if rolled >> 31 else rolled
    magnitude = _base_36(abs(signed))
    return {magnitude, _base_36(rolled), f"-{magnitude}" if signed < 0 else magnitude}


def _base_36(number: int) -> str:
    digits = ""
    while number:
        number, digit = divmod(number, 36)
        digits = _DIGITS[digit] + digits
    return digits or "0"
