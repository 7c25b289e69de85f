"""The body of a frame: what was asked for -> bytes that can be read, and back.

A body is msgpack of [metadata or nil, [record, ...]]. What is encoded is decoded before it is accepted.
"""

from __future__ import annotations

import re
from hashlib import sha256
from typing import Any, Final
from uuid import UUID

import msgspec

from eventstore.content import KINDS, Json
from eventstore.errors import Refused
from eventstore.events import BITS, CHUNK_BIT, NUMBER_MAX, ChunkReceived, ChunkRun, Record, kinds_of
from eventstore.limits import (
    COMMIT_BYTES_MAX,
    COMMIT_EVENTS_MAX,
    EVENT_BYTES_MAX,
    METADATA_BYTES_MAX,
    NAME_CHARACTERS_MAX,
)
from eventstore.upcasters import Chain

_NO_GAP: Final = (0,)
"""The gaps of a run of one chunk."""


class Body(msgspec.Struct, array_like=True, frozen=True):
    """What the bytes say."""

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
_decoder: Final = msgspec.msgpack.Decoder(Body)
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
        body = _encoder.encode(Body(metadata, records))
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


def prepare_chunk(chunk: ChunkReceived) -> Prepared | None:
    """What ``prepare`` gives for a chunk that comes alone, in a third of the time; None: ask ``prepare``.

    Each field is looked at here, so nothing need be read back; what is wrong with it is ``prepare``'s to say.
    """
    sequence, at, delta, part = chunk.sequence, chunk.at, chunk.delta, chunk.part
    if not (
        type(chunk.message_id) is UUID
        and type(sequence) is type(at) is int
        and 1 <= sequence <= NUMBER_MAX
        and -NUMBER_MAX <= at <= NUMBER_MAX
        and type(delta) is str
        and len(delta) <= METADATA_BYTES_MAX
        and chunk.kind in KINDS
        and (part is None or (type(part) is str and 1 <= len(part) <= NAME_CHARACTERS_MAX))
        and chunk.raw is None
    ):
        return None
    run = ChunkRun(chunk.message_id, sequence, at, (delta,), _NO_GAP, chunk.kind, part)
    records = (run,)
    try:
        body = _encoder.encode(Body(None, records))
    except (msgspec.MsgspecError, UnicodeError, TypeError):
        return None
    return Prepared(records, body, CHUNK_BIT, 1)


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
    return sha256(_canonical.encode(Body(metadata, same))).digest()


def _without_defaults(record: Record) -> Record:
    """The record as if texts equal to their default had been left out: msgspec leaves out the same object."""
    given: dict[str, Any] = {
        field: default
        for field, default in _TEXT_DEFAULTS[type(record)]
        if getattr(record, field) == default and getattr(record, field) is not default
    }
    return msgspec.structs.replace(record, **given) if given else record


decode_body: Final = _decoder.decode
"""Back from ``Prepared.body`` to a ``Body``. Raises ``msgspec.MsgspecError`` and what else msgspec does."""


def upcast_body(body: bytes, upcasters: Chain) -> tuple[bytes, int]:
    """An old body in today's events, and their kinds."""
    metadata, records = _raw_decoder.decode(body)
    body = _encoder.encode([metadata, [upcasters.upcast(record) for record in records]])
    return body, kinds_of(decode_body(body).records)
