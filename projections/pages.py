"""Bounds and cursors of long answers."""

from __future__ import annotations

import base64
import binascii
from typing import Final

from eventstore.errors import Refused

PAGE_ITEMS_MAX: Final = 1_000
"""Items of one page: built in one short read of the views, about 10 us each."""

SCANNED_MAX: Final = 1_000
"""Rows looked at for one page. When a filter passes few of them the page is short, and its cursor goes on."""

BODIES_AT_ONCE: Final = 32
"""Bodies that are read in one look at the log, a millisecond of short ones."""

BODIES_BYTES: Final = 4 * 1024 * 1024
"""Bytes of bodies that are in memory at once where all of a context is gone through: at least one body."""


def checked_limit(limit: int, name: str = "limit", most: int = PAGE_ITEMS_MAX) -> int:
    """A page's size. Raises ``Refused`` (``invalid_argument``)."""
    if not 1 <= limit <= most:
        raise Refused("invalid_argument", f"{name} is from 1 to {most}, not {limit}", argument=name)
    return limit


def encode_cursor(key: bytes) -> str:
    """A key as an opaque word that fits into a URL."""
    return base64.urlsafe_b64encode(key).rstrip(b"=").decode()


def decode_cursor(cursor: str, key_bytes: int) -> bytes:
    """The key in a cursor. Raises ``Refused`` (``invalid_argument``) for what no such cursor is."""
    try:
        key = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
    except (ValueError, binascii.Error):
        key = b""
    if len(key) != key_bytes:
        raise Refused("invalid_argument", "this is not a cursor of such a page", argument="cursor")
    return key
