"""Every key and fixed value in the log environment, drawn; the only place that packs integers.

All integers are big-endian, so that LMDB's byte order is numeric order.

    commits        position u64                    -> digest 32 | frame
    by_context     context 16 | first version u64  -> position u64
    commit_ids     context 16 | commit id 16       -> position u64 | request digest 32
    messages       message 16                      -> context 16 | version u64 | streamed u8
    write_models   context 16                      -> digest 32 | snapshot
    (unnamed)      position u64                    -> digest 32 | frame: the newest commits
    (unnamed)      "head"                          -> position u64 | recorded at i64 | chain 32 | indexed u64
    (unnamed)      "store"                         -> msgpack: format, store id, created at
    (unnamed)      "marks"                         -> u64, raised at every open and recovery

The unnamed database, which holds the roots of the others, also holds the head and the newest commits: its
page is rewritten by every transaction anyway, so what is kept there costs no further page.
"""

from __future__ import annotations

from struct import Struct
from typing import Final

COMMITS: Final = b"commits"
BY_CONTEXT: Final = b"by_context"
COMMIT_IDS: Final = b"commit_ids"
MESSAGES: Final = b"messages"
WRITE_MODELS: Final = b"write_models"
DATABASES: Final = (COMMITS, BY_CONTEXT, COMMIT_IDS, MESSAGES, WRITE_MODELS)

U64_MAX: Final = (1 << 64) - 1
DIGEST_BYTES: Final = 32

HEAD: Final = b"head"
STORE: Final = b"store"
MARKS: Final = b"marks"

_u64 = Struct(">Q")
_context_version = Struct(">16sQ")
_message = Struct(">16sQB")
_commit_id = Struct(">Q32s")
_head = Struct(">Qq32sQ")

pack_u64 = _u64.pack
"""A position, version or sequence as a key or value."""

context_version = _context_version.pack
"""Key of ``by_context``: (context id, version)."""

split_context_version = _context_version.unpack
"""Back to (context id, version)."""

message_value = _message.pack
"""Value of ``messages``: (context id, version, streamed)."""

split_message_value = _message.unpack

commit_id_value = _commit_id.pack
"""Value of ``commit_ids``: (position, request digest)."""

split_commit_id_value = _commit_id.unpack


def unpack_u64(data: bytes) -> int:
    """The integer that ``pack_u64`` packed."""
    return _u64.unpack(data)[0]


def is_position(key: bytes) -> bool:
    """Whether a key of the unnamed database is a position: names begin with a letter, it with a zero."""
    return len(key) == U64_BYTES and key[0] == 0


U64_BYTES: Final = _u64.size
CONTEXT_VERSION_BYTES: Final = _context_version.size
HEAD_BYTES: Final = _head.size
MESSAGE_BYTES: Final = _message.size
COMMIT_ID_BYTES: Final = _commit_id.size

head_value = _head.pack
"""Value of ``head``: (position, recorded at, chain, indexed)."""

split_head_value = _head.unpack
