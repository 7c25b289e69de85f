"""A JSON array of any length, cut into its elements without reading it whole."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final, Protocol

from turnlog.importers.source.json_text import BLANKS, BYTE_ORDER_MARK, Unreadable

ELEMENT_BYTES_MAX: Final = 64 * 1024 * 1024
"""Of one element, which is read whole: a session of hundreds of long outputs."""

_BLOCK_BYTES: Final = 1024 * 1024
TEXT: Final = rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"'
_NEXT: Final = re.compile(rb'(?:[^"\[\]{},]++|' + TEXT + rb')*+(["\[\]{},])', re.DOTALL)
NEXT_BRACKET: Final = re.compile(rb'(?:[^"\[\]{}]++|' + TEXT + rb')*+(["\[\]{}])', re.DOTALL)
"""Passes over what lies deeper than the members of interest: to a bracket, or a text without an end."""


class Readable(Protocol):
    """What bytes are read from, one after the other."""

    def read(self, size: int, /) -> bytes:
        """Up to so many; none at the end."""
        ...


def elements(file: Readable, path: str) -> Iterator[bytes]:
    """The texts of the elements, which may be no JSON; a blank file has none.

    Raises ``Unreadable`` where the array itself is broken, after the elements before that place.
    """
    buffer, begun, scanned, depth, index = _beginning(file, path), 0, 0, 0, 0
    while buffer:
        while mark := (_NEXT if depth < 2 else NEXT_BRACKET).match(buffer, scanned):
            scanned = mark.start(1)
            character = mark[1]
            if character == b'"':
                break  # a text that goes on in what is not read yet
            end, scanned = scanned, mark.end()
            if character in (b"[", b"{"):
                depth += 1
                begun = scanned if depth == 1 else begun
            elif character == b"," and depth == 1:
                element, index = buffer[begun:end], index + 1
                begun = scanned
                if len(element) > _BLOCK_BYTES:  # not in memory twice while it is read
                    buffer, begun, scanned = buffer[scanned:], 0, 0
                    del mark
                yield element
                del element
            elif character in (b"]", b"}"):
                depth -= 1
                if depth == 0:
                    element, buffer = buffer[begun:end], buffer[scanned:]
                    del mark
                    if index or element.strip(BLANKS):
                        yield element
                    if buffer.strip(BLANKS) or file.read(_BLOCK_BYTES).strip(BLANKS):
                        raise Unreadable(path, "not_json", "there is more after the array's end")
                    return
        else:
            scanned = len(buffer)
        waiting = len(buffer) - begun
        if waiting > ELEMENT_BYTES_MAX:
            reason = f"it has more than {ELEMENT_BYTES_MAX:,} bytes"
            raise Unreadable(path, "element_too_large", reason, f"$[{index}]")
        # The more is waiting the more is read, so that a long text is not scanned anew for every block.
        block = file.read(max(_BLOCK_BYTES, min(waiting, ELEMENT_BYTES_MAX + 1 - waiting)))
        if not block:
            raise Unreadable(path, "truncated", "the array has no end", f"$[{index}]")
        buffer, begun, scanned = buffer[begun:] + block, 0, scanned - begun
        del block


def _beginning(file: Readable, path: str) -> bytes:
    """The first block, from the array's bracket on; nothing of a blank file."""
    first = file.read(_BLOCK_BYTES).removeprefix(BYTE_ORDER_MARK)
    while not (text := first.lstrip(BLANKS)) and first:
        first = file.read(_BLOCK_BYTES)
    if text and text[:1] != b"[":
        code = "wrong_type" if text[:1] in (b"{", b'"') else "not_json"
        raise Unreadable(path, code, "it does not begin as an array", "$")
    return text
