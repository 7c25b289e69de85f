"""The envelope of Taskerino's files: a version, a checksum, and JSON as a text, compressed or not."""

from __future__ import annotations

import base64
import binascii
import sys
from array import array
from collections.abc import Iterator
from contextlib import suppress
from io import BytesIO
from operator import mul
from typing import Any, Final, NamedTuple

import msgspec

from turnlog.importers.source.arrays import elements
from turnlog.importers.source.files import Source, Unreadable
from turnlog.importers.source.json_text import BYTE_ORDER_MARK, JSON_BYTES_MAX
from turnlog.importers.source.notes import Notes
from turnlog.importers.source.shapes import Shape, shape, shape_of
from turnlog.importers.source.unpacking import Unpacking, gunzip

COLLECTION_BYTES_MAX: Final = 512 * 1024 * 1024
"""Of all sessions together, unpacked: what is read of a gzip that only pretends to be so much."""

_HEAD_BYTES: Final = 4 * 1024 * 1024
"""What is unpacked to see what it is."""

_GZIP: Final = b'"GZIP_V1:'
_LAYERS_MAX: Final = 3
"""A compressed twin is an envelope whose text is compressed once more."""

_BLOCK: Final = 4_096
_POWERS: Final = [pow(31, _BLOCK - 1 - index, 1 << 32) for index in range(_BLOCK)]
_DIGITS: Final = "0123456789abcdefghijklmnopqrstuvwxyz"


class _Packed(NamedTuple):
    """A text that is compressed."""

    packed: bytes

    def head(self, name: str) -> bytes:
        """How it begins."""
        return Unpacking(self.packed, name).read(_HEAD_BYTES)


class _Envelope(msgspec.Struct):
    data: msgspec.Raw
    version: Any = None
    checksum: Any = None
    compressed: Any = None


def payload(source: Source, name: str, notes: Notes) -> bytes:
    """The JSON text inside a file, whether it has an envelope or is as old as those without.

    Raises ``Unreadable``, also for what is too long to be one value (``gzip_too_large``).
    """
    inside = _inside(source, name, notes)
    return gunzip(inside.packed, name, JSON_BYTES_MAX) if isinstance(inside, _Packed) else inside


def shape_inside(source: Source, name: str) -> Shape:
    """The shape of that text. Raises ``Unreadable``."""
    inside = _inside(source, name, Notes(name))
    return shape_of(inside.head(name) if isinstance(inside, _Packed) else inside)


def _inside(source: Source, name: str, notes: Notes) -> bytes | _Packed:
    text = source.bytes(name).removeprefix(BYTE_ORDER_MARK)
    for _ in range(_LAYERS_MAX):
        if is_envelope(shape_of(text)):
            inside = _opened(text, name, notes)
        elif text.startswith(_GZIP):
            inside = _Packed(_unwrapped(text, name))
        else:
            return text
        text = b""  # it is as long as what is in it
        if isinstance(inside, bytes):
            text = inside
            continue
        head = inside.head(name)
        if not (is_envelope(shape_of(head)) or head.startswith(_GZIP)):
            return inside
        text = gunzip(inside.packed, name, JSON_BYTES_MAX)
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
    if not is_envelope(shape(source, name)):
        with source.open(name) as file:
            yield from elements(file, name)
        return
    inside = _inside(source, name, notes)
    if isinstance(inside, _Packed):
        yield from elements(Unpacking(inside.packed, name, COLLECTION_BYTES_MAX), name)
    else:
        yield from elements(BytesIO(inside), name)


def _opened(text: bytes, name: str, notes: Notes) -> bytes | _Packed:
    try:
        envelope = msgspec.json.decode(text, type=_Envelope)
        is_packed = bytes(memoryview(envelope.data)[: len(_GZIP)]) == _GZIP
        data = "" if is_packed else msgspec.json.decode(envelope.data, type=str)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Unreadable(name, "bad_envelope", str(error)) from error
    if envelope.version != 1:
        notes.say("unknown_version", f"its version is {str(envelope.version)[:60]}, not 1", "$.version")
    if is_packed:  # gzip has a checksum of its own
        return _Packed(_unwrapped(envelope.data, name))
    if envelope.checksum not in checksums(data):
        notes.say("checksum_mismatch", "it is not that of the text: the file was damaged", "$.checksum")
    return data.encode()


def _unwrapped(text: bytes | msgspec.Raw, name: str) -> bytes:
    """The gzip in a text of JSON, which may be long: it is copied only where it has escapes."""
    try:
        with suppress(binascii.Error):
            return binascii.a2b_base64(memoryview(text)[len(_GZIP) : -1], strict_mode=True)
        return base64.b64decode(msgspec.json.decode(text, type=str)[len(_GZIP) - 1 :], validate=True)
    except (ValueError, msgspec.MsgspecError) as error:
        raise Unreadable(name, "bad_envelope", str(error)) from error


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
