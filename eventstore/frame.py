"""Commit <-> bytes: the only place that knows the record format.

    offset  size  field
         0     1  format, 1
         1     1  flags: 1 body is zstd, 2 commit id is given
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

import re
from functools import lru_cache
from hashlib import sha256
from struct import Struct
from typing import Any, Final
from uuid import UUID

import msgspec
import zstandard

from eventstore.commits import Commit
from eventstore.content import Json
from eventstore.errors import Damaged, Refused, TurnlogError, Unavailable
from eventstore.events import ALL_BITS, BITS, NUMBER_MAX, ChunkRun, Record, kinds_of
from eventstore.keys import DIGEST_BYTES
from eventstore.limits import (
    COMMIT_BYTES_MAX,
    COMMIT_EVENTS_MAX,
    COMPRESS_BYTES_MIN,
    EVENT_BYTES_MAX,
    METADATA_BYTES_MAX,
)
from eventstore.upcasters import UPCASTERS, Chain

FORMAT: Final = 1
COMPRESSED: Final = 1
HAS_COMMIT_ID: Final = 2
NO_COMMIT_ID: Final = bytes(16)

HEADER: Final = Struct(">BBI16sQIq16s")
CONTEXT_VERSION: Final = slice(DIGEST_BYTES + 6, DIGEST_BYTES + 30)
"""Context id and first version in a stored commit: together the key of ``by_context`` that leads to it."""
KINDS_AT: Final = DIGEST_BYTES + 2
_KINDS: Final = Struct(">I")
_RECORDED_AT: Final = Struct(">q")
_VERSIONS: Final = Struct(">QI")


class _Body(msgspec.Struct, array_like=True, frozen=True):
    metadata: dict[str, Json] | None
    records: tuple[Record, ...]


class Prepared(msgspec.Struct, frozen=True, gc=False):
    """The part of a frame that does not depend on where in the log it will stand."""

    records: tuple[Record, ...]
    body: bytes
    kinds: int
    event_count: int


_encoder: Final = msgspec.msgpack.Encoder(uuid_format="bytes")
_canonical: Final = msgspec.msgpack.Encoder(uuid_format="bytes", order="deterministic")
_decoder: Final = msgspec.msgpack.Decoder(_Body)
_raw_decoder: Final = msgspec.msgpack.Decoder(list[Any])


_TEXT_DEFAULTS: Final = {
    kind: [
        (field.name, field.default)
        for field in msgspec.structs.fields(kind)
        if isinstance(field.default, str)
    ]
    for kind in BITS
}


def prepare(records: tuple[Record, ...], metadata: dict[str, Json] | None) -> Prepared:
    """Encode the body, and read it back: what is written can be read, in today's types.

    ``records`` have their chunks packed (``commits.pack``) and free-form values checked
    (``validation.check``). Raises ``Refused`` for what does not fit the vocabulary or the limits.
    """
    try:
        body = _encoder.encode(_Body(metadata, records))
        records = _decoder.decode(body).records
    except (msgspec.MsgspecError, UnicodeError, OverflowError, TypeError, ValueError) as error:
        raise Refused("invalid_event", _explain(error)) from None
    except RecursionError:
        raise Refused("nested_too_deeply", "a value is nested too deeply") from None
    event_count = 0
    for record in records:
        event_count += _chunk_count(record) if type(record) is ChunkRun else 1
    if event_count > COMMIT_EVENTS_MAX:
        raise Refused(
            "commit_too_large",
            f"a commit takes at most {COMMIT_EVENTS_MAX} events, not {event_count}",
            limit=COMMIT_EVENTS_MAX,
            actual=event_count,
        )
    if len(body) > METADATA_BYTES_MAX:
        _check_sizes(records, metadata, len(body))
    return Prepared(records, body, kinds_of(records), event_count)


def _chunk_count(run: ChunkRun) -> int:
    count = len(run.deltas)
    if count == 0 or len(run.gaps) != count or run.gaps[0] != 0:
        raise Refused("invalid_event", "a run needs as many gaps as deltas, the first of them 0")
    if run.raws is not None and len(run.raws) != count:
        raise Refused("invalid_event", "a run needs as many raws as deltas, or none")
    if run.last_sequence > NUMBER_MAX or (any(run.gaps) and not _are_moments(run.times())):
        raise Refused("invalid_event", "a run leads to a sequence or time out of range")
    return count


def _are_moments(times: list[int]) -> bool:
    return min(times) >= -NUMBER_MAX and max(times) <= NUMBER_MAX


def _check_sizes(records: tuple[Record, ...], metadata: dict[str, Json] | None, body_bytes: int) -> None:
    metadata_bytes = len(_encoder.encode(metadata))
    if metadata_bytes > METADATA_BYTES_MAX:
        raise Refused(
            "metadata_too_large",
            f"metadata of {metadata_bytes} bytes; the limit is {METADATA_BYTES_MAX}",
            limit=METADATA_BYTES_MAX,
            actual=metadata_bytes,
        )
    if body_bytes > EVENT_BYTES_MAX:
        for record in records:
            rows = record.chunks() if type(record) is ChunkRun else (record,)
            event_bytes = max(len(_encoder.encode(row)) for row in rows)
            if event_bytes > EVENT_BYTES_MAX:
                raise Refused(
                    "event_too_large",
                    f"an event of {event_bytes} bytes; the limit is {EVENT_BYTES_MAX}",
                    limit=EVENT_BYTES_MAX,
                    actual=event_bytes,
                )
    if body_bytes > COMMIT_BYTES_MAX:
        raise Refused(
            "commit_too_large",
            f"a commit of {body_bytes} bytes; the limit is {COMMIT_BYTES_MAX}",
            limit=COMMIT_BYTES_MAX,
            actual=body_bytes,
        )


def _explain(error: Exception) -> str:
    """msgspec's message with its path in our words; it names fields and types, never values."""
    text = re.sub(r"^(Invalid (?:enum )?value) .* - at `", r"\1 - at `", str(error), flags=re.DOTALL)
    return re.sub(r"`\$\[1\]\[(\d+)\]([^`]*)`", r"record \1 of the commit, field `\2`", text)


def request_digest(records: tuple[Record, ...], metadata: dict[str, Json] | None) -> bytes:
    """What makes two appends with one commit id the same: events and metadata, dicts in any order."""
    same = tuple([_without_defaults(record) for record in records])
    return sha256(_canonical.encode(_Body(metadata, same))).digest()


def _without_defaults(record: Record) -> Record:
    """The record as if texts equal to their default had been left out: msgspec leaves out the same object."""
    given: dict[str, Any] = {
        field: default
        for field, default in _TEXT_DEFAULTS[type(record)]
        if getattr(record, field) == default and getattr(record, field) is not default
    }
    return msgspec.structs.replace(record, **given) if given else record


def encode(
    prepared: Prepared,
    context_id: bytes,
    first_version: int,
    at: int,
    commit_id: bytes | None,
    compressor: zstandard.ZstdCompressor,
) -> bytes:
    """The frame of one commit recorded ``at``. ``compressor`` belongs to the calling thread."""
    body, flags = prepared.body, 0
    if len(body) >= COMPRESS_BYTES_MIN:
        compressed = compressor.compress(body)
        if len(compressed) < len(body):
            body, flags = compressed, COMPRESSED
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


def checked_kinds(position: int, stored: bytes) -> int:
    """The kinds of a stored commit, without decoding its body, after checking its digest."""
    if len(stored) < DIGEST_BYTES + HEADER.size:
        raise damaged(position, "it is too short")
    if not stored.startswith(sha256(stored[DIGEST_BYTES:]).digest()):
        raise damaged(position, "its digest does not match")
    return _KINDS.unpack_from(stored, KINDS_AT)[0]


def recorded_at(stored: bytes) -> int:
    """When a stored commit was recorded, in microseconds since the epoch; its digest is not checked here."""
    return _RECORDED_AT.unpack_from(stored, DIGEST_BYTES + 34)[0]


def last_version(stored: bytes) -> int:
    """A context's version right after a stored commit, whose digest is not checked here."""
    first_version, event_count = _VERSIONS.unpack_from(stored, DIGEST_BYTES + 22)
    return first_version + event_count - 1


def holds_multiple(stored: bytes, number: int) -> bool:
    """Whether ``number`` divides a version of a stored commit, whose digest is not checked here."""
    first_version, event_count = _VERSIONS.unpack_from(stored, DIGEST_BYTES + 22)
    return -first_version % number < event_count


def decode(
    position: int,
    stored: bytes,
    decompressor: zstandard.ZstdDecompressor,
    *,
    check: bool = True,
    upcasters: Chain = UPCASTERS,
) -> Commit:
    """The commit that is stored at ``position``.

    ``check=False`` is for bytes whose digest the caller has just checked. Raises ``Damaged`` with code
    ``commit_damaged`` and the position when the bytes are not what was written, and ``Unavailable`` with code
    ``directory_newer`` when a newer Turnlog wrote events that this one does not know.
    """
    if check:
        checked_kinds(position, stored)
    try:
        form, flags, kinds, context_id, first_version, count, at, commit_id = HEADER.unpack_from(
            stored, DIGEST_BYTES
        )
        if form != FORMAT:
            raise damaged(position, f"its format is {form}, not {FORMAT}")
        if kinds & ~(ALL_BITS | upcasters.retired_kinds):
            raise Unavailable(
                "directory_newer", f"position {position} holds events of a newer Turnlog", position=position
            )
        body = stored[DIGEST_BYTES + HEADER.size :]
        if flags & COMPRESSED:
            body = decompressor.decompress(body, max_output_size=COMMIT_BYTES_MAX, allow_extra_data=False)
        if kinds & upcasters.retired_kinds:
            body, kinds = _upcast(body, upcasters)
        decoded = _decoder.decode(body)
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
    )


def header(position: int, stored: bytes) -> Commit:
    """A stored commit without what is in its body, and without its id; its digest is not checked here."""
    _, _, kinds, context_id, first_version, count, at, _ = HEADER.unpack_from(stored, DIGEST_BYTES)
    context_uuid, digest = _context_uuid(context_id), stored[:DIGEST_BYTES]
    return Commit(position, context_uuid, first_version, count, kinds, at, None, None, (), digest)


@lru_cache(maxsize=4_096)
def _context_uuid(context_id: bytes) -> UUID:
    """Readers meet the same contexts again, and making a UUID costs more than decoding a chunk."""
    return UUID(bytes=context_id)


def _upcast(body: bytes, upcasters: Chain) -> tuple[bytes, int]:
    metadata, records = _raw_decoder.decode(body)
    body = _encoder.encode([metadata, [upcasters.upcast(record) for record in records]])
    return body, kinds_of(_decoder.decode(body).records)


def damaged(position: int, why: str) -> Damaged:
    """The error for the commit at ``position``."""
    return Damaged(
        "commit_damaged", f"the commit at position {position} is damaged: {why}", position=position
    )
