"""Turnlog's own NDJSON: one line for each event, with everything that replays it exactly.

    {"turnlog":"events","format":1}
    {"commit":1,"context_id":..,"version":1,"recorded_at":..,"events":2,"event":{..}}
    {"commit":1,"version":2,"event":{..}}
    ...
    {"end":{"commits":1,"events":2,"sha256":".."}}

``commit`` counts from 1. The first line of a commit has what is true of the commit: its context, when it was
recorded, how many events it has, and, where it has them, ``commit_id``, ``request_digest``, ``metadata``, and
``together``: it became visible together with the commit before it, of the same context.
``version`` is the event's own. Events are as they are stored: defaults left out, times in microseconds since
the epoch, chunks as rows, raw bytes and digests in base64. The last line has the SHA-256 of all lines before
it, so that a file cut short is noticed.

A commit that is replayed into another store keeps what it was in its metadata (``Replayed``); exporting it
again gives that, so a log comes back byte for byte through however many stores it went.
"""

from __future__ import annotations

from typing import Annotated, Any, Final, TypeAlias, cast
from uuid import UUID, uuid5

import msgspec

from eventstore.content import Json
from eventstore.events import Event, Moment, Number
from eventstore.keys import DIGEST_BYTES
from eventstore.limits import METADATA_BYTES_MAX

FORMAT: Final = 1

FILE_NAME: Final = "turnlog.ndjson"
"""What an export is called."""

REPLAYED: Final = "turnlog.replayed"
"""The member of a commit's metadata that holds ``Replayed``."""


Digest: TypeAlias = Annotated[bytes, msgspec.Meta(min_length=DIGEST_BYTES, max_length=DIGEST_BYTES)]
"""A SHA-256."""


class Header(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The first line."""

    turnlog: str
    format: int


class Line(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """An event. What is true of the whole commit stands on its first line alone.

    ``request_digest`` is that of the request which made a commit with an id; without it, that of the events.
    """

    commit: Number
    context_id: UUID | None = None
    version: Number
    recorded_at: Moment | None = None
    events: Number | None = None
    commit_id: UUID | None = None
    request_digest: Digest | None = None
    metadata: dict[str, Json] | None = None
    together: bool = False
    event: Event


class Totals(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the lines before the last add up to."""

    commits: int
    events: int
    sha256: str


class End(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The last line."""

    end: Totals


class Replayed(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """What a replayed commit was: when it was recorded, and whether it had an id and metadata of its own."""

    recorded_at: Moment
    has_commit_id: bool = False
    has_metadata: bool = False


encode: Final = msgspec.json.Encoder().encode
"""A line without its end."""

HEADER: Final = encode(Header("events", FORMAT))


class Facts(msgspec.Struct, frozen=True):
    """What is told of a commit besides its events."""

    recorded_at: int
    commit_id: UUID | None
    request_digest: bytes | None
    metadata: dict[str, Json] | None


def marked(context_id: UUID, first_version: int, facts: Facts) -> Facts:
    """The id and the metadata with which a commit is replayed.

    One that had no id gets one that follows from its place: replaying it twice writes it once. Metadata that
    has no room for the mark, or a member of its name, stays as it is.
    """
    had = Replayed(facts.recorded_at, facts.commit_id is not None, facts.metadata is not None)
    commit_id = facts.commit_id or uuid5(context_id, f"replayed {first_version}")
    metadata = {REPLAYED: msgspec.to_builtins(had), **(facts.metadata or {})}
    if len(msgspec.msgpack.encode(metadata)) > METADATA_BYTES_MAX:
        metadata = facts.metadata
    return Facts(facts.recorded_at, commit_id, facts.request_digest, metadata)


def unmarked(facts: Facts) -> Facts:
    """What a commit was before it was replayed; itself, if it was not."""
    if facts.metadata is None or REPLAYED not in facts.metadata:
        return facts
    try:
        had = msgspec.convert(facts.metadata[REPLAYED], Replayed)
    except msgspec.ValidationError:
        return facts  # somebody else's member of that name
    rest: dict[str, Any] = {name: value for name, value in facts.metadata.items() if name != REPLAYED}
    return Facts(
        had.recorded_at,
        facts.commit_id if had.has_commit_id else None,
        facts.request_digest if had.has_commit_id else None,
        rest if had.has_metadata or rest else None,
    )


def unknown_members(raw: object, value: object, place: str) -> list[str]:
    """Members of decoded JSON that the struct made of it has no field for: reading would drop them."""
    found: list[str] = []
    if isinstance(value, msgspec.Struct) and isinstance(raw, dict):
        fields = dict(zip(value.__struct_encode_fields__, value.__struct_fields__, strict=True))
        for name, member in cast("dict[str, object]", raw).items():
            if name in fields:
                found += unknown_members(member, getattr(value, fields[name]), f"{place}.{name}")
            elif name != value.__struct_config__.tag_field:
                found.append(f"{place}.{name}")
    elif isinstance(value, tuple) and isinstance(raw, list):
        pairs = zip(cast("list[object]", raw), cast("tuple[object, ...]", value), strict=True)
        for index, (item, made) in enumerate(pairs):
            found += unknown_members(item, made, f"{place}[{index}]")
    return found
