"""What a gzip holds, from files that nobody vouches for: bounded, and piece by piece where it is read so."""

from __future__ import annotations

import gzip
import zlib
from io import BytesIO
from typing import Final

from turnlog.importers.source.json_text import JSON_BYTES_MAX, Unreadable

_PIECE_BYTES: Final = 1024 * 1024


class Unpacking:
    """Reads the content of a gzip, of which ``name`` is the file's, up to so many bytes.

    ``read`` raises ``Unreadable`` (``gzip_damaged``, ``gzip_too_large``).
    """

    def __init__(self, packed: bytes, name: str = "", bytes_max: int = JSON_BYTES_MAX) -> None:
        if not packed:
            raise Unreadable(name, "gzip_damaged", "it is empty, and no gzip is")
        self._file = gzip.GzipFile(fileobj=BytesIO(packed))
        self._name = name
        self._bytes_max = self._room = bytes_max

    def read(self, size: int) -> bytes:
        """Up to so many of the next bytes; none at the end."""
        try:
            piece = self._file.read(min(size, self._room + 1))
        except (OSError, EOFError, zlib.error) as error:
            raise Unreadable(self._name, "gzip_damaged", f"it is no sound gzip: {error}") from None
        self._room -= len(piece)
        if self._room < 0:
            reason = f"unpacked it has more than {self._bytes_max:,} bytes"
            raise Unreadable(self._name, "gzip_too_large", reason)
        return piece


def gunzip(packed: bytes, name: str = "", bytes_max: int = JSON_BYTES_MAX) -> bytes:
    """The content of a gzip, whole. Raises ``Unreadable``."""
    content = bytearray()
    unpacking = Unpacking(packed, name, bytes_max)
    while piece := unpacking.read(_PIECE_BYTES):
        content += piece
    return bytes(content)
