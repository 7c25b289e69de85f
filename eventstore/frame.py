"""Commit <-> bytes: the only place that knows the record format.

    offset  size  field
         0     1  format, 1
         1     1  flags: 1 body is zstd, 2 commit id is given, 4 together with the commit before
         2     4  kinds: which events are inside (``events.BITS``)
         6    16  context id
        22     8  version of the first event
        30     4  event count
        34     8  recorded at, microseconds since the epoch
        42    16  commit id, zeros when none was given
        58     n  body: msgpack of [metadata or nil, [record, ...]]

All integers big-endian. A stored commit is SHA-256(frame), 32 bytes, then the frame.
"""

from __future__ import annotations

from functools import lru_cache
from hashlib import sha256
from struct import Struct
from typing import Final
from uuid import UUID

import zstandard

from eventstore.body import Prepared, decode_body, upcast_body
from eventstore.commits import Commit
from eventstore.errors import Damaged, TurnlogError, Unavailable
from eventstore.events import ALL_BITS
from eventstore.keys import DIGEST_BYTES
from eventstore.limits import COMMIT_BYTES_MAX, COMPRESS_BYTES_MIN
from eventstore.upcasters import UPCASTERS, Chain

FORMAT: Final = 1
COMPRESSED: Final = 1
HAS_COMMIT_ID: Final = 2
TOGETHER: Final = 4
"""It became visible together with the commit before it."""
NO_COMMIT_ID: Final = bytes(16)

HEADER: Final = Struct(">BBI16sQIq16s")
STORED_BYTES_MIN: Final = DIGEST_BYTES + HEADER.size
CONTEXT: Final = slice(DIGEST_BYTES + 6, DIGEST_BYTES + 22)
"""Context id in a stored commit."""
FRAME_CONTEXT_VERSION: Final = slice(6, 30)
"""Context id and first version in a frame: together the key of ``by_context`` that leads to it."""
CONTEXT_VERSION: Final = slice(DIGEST_BYTES + 6, DIGEST_BYTES + 30)
"""The same in a stored commit."""
KINDS_AT: Final = DIGEST_BYTES + 2
_header: Final = HEADER.unpack_from
_summary: Final = Struct(">I16xQI").unpack_from
_ZSTD_HEADER_BYTES: Final = 18
_RECORDED_AT: Final = Struct(">q")
_VERSIONS: Final = Struct(">QI")


def encode(
    prepared: Prepared,
    context_id: bytes,
    first_version: int,
    at: int,
    commit_id: bytes | None,
    compressor: zstandard.ZstdCompressor,
    together: bool = False,
) -> bytes:
    """The frame of one commit recorded ``at``. ``compressor`` belongs to the calling thread."""
    body, flags = prepared.body, TOGETHER if together else 0
    if len(body) >= COMPRESS_BYTES_MIN:
        compressed = compressor.compress(body)
        if len(compressed) < len(body):
            body, flags = compressed, flags | COMPRESSED
    if commit_id is None:
        commit_id = NO_COMMIT_ID
    else:
        flags |= HAS_COMMIT_ID
    header = HEADER.pack(
        FORMAT,
        flags,
        prepared.kinds,
        context_id,
        first_version,
        prepared.event_count,
        at,
        commit_id,
    )
    return header + body


def check(position: int, stored: bytes) -> None:
    """Hold a stored commit against its digest. Raises ``Damaged``."""
    if stored[:DIGEST_BYTES] != sha256(stored[DIGEST_BYTES:]).digest():
        raise damaged(position, "its digest does not match")
    if len(stored) < STORED_BYTES_MIN:
        raise damaged(position, "it is too short")


def summary(stored: bytes) -> tuple[int, int, int]:
    """Kinds, first version and event count of a stored commit, whose digest is not checked here."""
    return _summary(stored, KINDS_AT)


def recorded_at(stored: bytes) -> int:
    """When a stored commit was recorded, in microseconds since the epoch; its digest is not checked here."""
    return _RECORDED_AT.unpack_from(stored, DIGEST_BYTES + 34)[0]


def is_together(stored: bytes) -> bool:
    """Whether a stored commit became visible together with the one before it; its digest is not checked."""
    return bool(stored[DIGEST_BYTES + 1] & TOGETHER)


def unpacked_bytes(stored: bytes) -> int:
    """What a stored commit takes once it is decompressed, as it says of itself; at least what is stored."""
    if not stored[DIGEST_BYTES + 1] & COMPRESSED:
        return len(stored)
    try:
        said = zstandard.frame_content_size(stored[STORED_BYTES_MIN : STORED_BYTES_MIN + _ZSTD_HEADER_BYTES])
    except zstandard.ZstdError:
        said = 0  # it cannot be decoded, which whoever tries will say
    return max(STORED_BYTES_MIN + said, len(stored))


def versions(stored: bytes) -> tuple[int, int]:
    """The first and the last version in a stored commit, whose digest is not checked here."""
    first_version, event_count = _VERSIONS.unpack_from(stored, DIGEST_BYTES + 22)
    return first_version, first_version + event_count - 1


def decode(
    position: int,
    stored: bytes,
    decompressor: zstandard.ZstdDecompressor,
    upcasters: Chain = UPCASTERS,
) -> Commit:
    """The commit that is stored at ``position``.

    Raises ``Damaged`` with code ``commit_damaged`` and the position when the bytes are none that were ever
    written, and ``Unavailable`` with code ``directory_newer`` when a newer Turnlog wrote events that this one
    does not know.
    """
    check(position, stored)
    return decode_checked(position, stored, decompressor, upcasters)


def decode_checked(
    position: int, stored: bytes, decompressor: zstandard.ZstdDecompressor, upcasters: Chain = UPCASTERS
) -> Commit:
    """As ``decode``, of bytes that were held against their digest just now."""
    try:
        form, flags, kinds, context_id, first_version, count, at, commit_id = _header(stored, DIGEST_BYTES)
        if form != FORMAT:
            raise damaged(position, f"its format is {form}, not {FORMAT}")
        body = stored[STORED_BYTES_MIN:]
        if flags & COMPRESSED:
            body = decompressor.decompress(body, max_output_size=COMMIT_BYTES_MAX, allow_extra_data=False)
        if kinds & ~ALL_BITS:
            if kinds & ~(ALL_BITS | upcasters.retired_kinds):
                raise Unavailable(
                    "directory_newer",
                    f"position {position} holds events of a newer Turnlog",
                    position=position,
                )
            body, kinds = upcast_body(body, upcasters)
        decoded = decode_body(body)
    except TurnlogError:
        raise
    except Exception as error:
        raise damaged(position, f"it cannot be decoded: {type(error).__name__}") from error
    return Commit(
        position,
        _context_uuid(context_id),
        first_version,
        count,
        kinds,
        at,
        UUID(bytes=commit_id) if flags & HAS_COMMIT_ID else None,
        decoded.metadata,
        decoded.records,
        stored[:DIGEST_BYTES],
        len(stored),
        bool(flags & TOGETHER),
    )


def header(position: int, stored: bytes) -> Commit:
    """A stored commit without what is in its body, and without its id; its digest is not checked here."""
    _, _, kinds, context_id, first_version, count, at, _ = _header(stored, DIGEST_BYTES)
    context_uuid, digest = _context_uuid(context_id), stored[:DIGEST_BYTES]
    return Commit(
        position, context_uuid, first_version, count, kinds, at, None, None, (), digest, len(stored)
    )


@lru_cache(maxsize=4_096)
def _context_uuid(context_id: bytes) -> UUID:
    """Readers meet the same contexts again, and making a UUID costs more than decoding a chunk."""
    return UUID(bytes=context_id)


def damaged(position: int, why: str) -> Damaged:
    """The error for the commit at ``position``."""
    return Damaged(
        "commit_damaged", f"the commit at position {position} is damaged: {why}", position=position
    )
