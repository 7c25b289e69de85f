"""What we do not model, kept so that the log can hold it: bounded in depth, numbers and bytes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import accumulate, chain
from math import isfinite
from operator import attrgetter
from typing import Any, Final, NamedTuple, cast

import msgspec

from eventstore.content import DataPart, Json, Part, TextPart
from eventstore.limits import JSON_DEPTH_MAX
from eventstore.spool import Spool
from turnlog.importers.conversation import Chunk, Conversation, Kept, Message, Streamed
from turnlog.importers.source.kept import (
    PIECE_CHARACTERS,
    TAGS_PLACE,
    cuts_place,
    facts_of,
    inside,
    message_place,
    stand_in,
)

DEPTH_MAX: Final = 40
"""Levels of a kept value. With what it lies in they stay below ``limits.JSON_DEPTH_MAX``."""

_ATTRIBUTES_BYTES_MAX: Final = 160 * 1024
"""Encoded bytes of a context's attributes: they leave a third of its metadata's bound to title, config and
tags, and to what is added to it later."""

_CONFIG_BYTES_MAX: Final = 48 * 1024
_TAGS_BYTES_MAX: Final = 8 * 1024
TITLE_CHARACTERS_MAX: Final = 1_000
"""Of a longer text that becomes a title; the attributes hold it whole."""

_EVENT_BYTES_MAX: Final = 7 * 1024 * 1024
"""Of a message's parts and metadata in one event: ``limits.EVENT_BYTES_MAX`` less what stands with them."""

_PARTS_BYTES_MAX: Final = 4 * 1024 * 1024
_MEMBER_BYTES_MAX: Final = 256 * 1024
"""Of a state's detail, of what a stream used and of why it failed."""

CHUNK_BYTES: Final = 150
"""What a chunk takes in memory beside its text."""

_LONG_CHARACTERS: Final = 1_024
"""Texts below this stay where they are while larger ones can go."""

_MEMBER_BYTES_MIN: Final = 512
"""Members below this stay: what would stand in their place is hardly smaller."""

_DELTA: Final = attrgetter("delta")


def plain(value: Json, depth: int = DEPTH_MAX) -> Json:
    """A decoded value as the log takes it.

    What is nested deeper than ``depth`` becomes ``{"json": text}``, and so does a number of more than 64
    bits; one that is not finite becomes its name.
    """
    if isinstance(value, dict):
        members = cast("dict[str, Json]", value)
        if depth == 0:
            return _as_text(members)
        return {name: plain(member, depth - 1) for name, member in members.items()}
    if isinstance(value, (list, tuple)):
        items = cast("list[Json]", value)
        return _as_text(items) if depth == 0 else [plain(item, depth - 1) for item in items]
    if isinstance(value, float) and not isfinite(value):
        return str(value)
    if isinstance(value, int) and not -(1 << 63) <= value < 1 << 64:
        return {"json": str(value)}
    return value


def _as_text(value: Json) -> Json:
    return {"json": msgspec.json.encode(value).decode()}


def fitted(conversation: Conversation) -> Conversation:
    """A conversation whose every event the log takes: what is too large is in ``kept``."""
    kept = Spool[Kept]()
    attributes, more = fit(conversation.attributes)
    keep(chain(more, conversation.kept), kept)
    tags = _fit_tags(conversation.tags, kept)
    detail = _fit_member("state_detail", conversation.state_detail, _MEMBER_BYTES_MAX, "$", kept)
    config = _fit_member("config", conversation.config, _CONFIG_BYTES_MAX, "$", kept)
    messages = settled(_fit_message(message, kept) for message in conversation.messages)
    return msgspec.structs.replace(
        conversation,
        messages=messages,
        config=config,
        attributes=attributes,
        tags=tags,
        state_detail=detail,
        kept=kept.settled(),
    )


def keep(facts: Iterable[Kept], kept: Spool[Kept]) -> None:
    """Add facts to those that are kept."""
    kept.extend((fact, size_of(fact.data)) for fact in facts)


def _fit_tags(tags: tuple[str, ...], kept: Spool[Kept]) -> tuple[str, ...]:
    """The first tags, as many as there is room for; then all of them are kept beside."""
    fitting = fit_tags(tags)
    if fitting is not tags:
        keep(facts_of(TAGS_PLACE, list(tags)), kept)
    return fitting


def fit_tags(tags: tuple[str, ...]) -> tuple[str, ...]:
    """All tags, or if there is no room for them the first ones."""
    if size_of(tags) <= _TAGS_BYTES_MAX:
        return tags
    sizes = accumulate(size_of(tag) for tag in tags)
    return tags[: sum(size <= _TAGS_BYTES_MAX - _MEMBER_BYTES_MIN for size in sizes)]


def settled(messages: Iterable[Message]) -> Sequence[Message]:
    """Messages in memory, or in a file if they are many: none is made anew when it is asked for."""
    spool = Spool[Message]()
    spool.extend((message, _weight_of(message)) for message in messages)
    return spool.settled()


def _weight_of(message: Message) -> int:
    """What a message takes in memory, roughly."""
    size = size_of(message.parts) + (size_of(message.metadata) if message.metadata else 0)
    chunks = message.streamed.chunks if message.streamed is not None else ()
    return size + CHUNK_BYTES * len(chunks) + sum(map(len, map(_DELTA, chunks)))


def _fit_message(message: Message, kept: Spool[Kept]) -> Message:
    place, streamed = message_place(message.id), message.streamed
    parts = _fit_parts(message.parts, f"{place}.parts", kept)
    room = _EVENT_BYTES_MAX - size_of(parts)
    metadata = _fit_member("metadata", message.metadata, room, place, kept)
    if streamed is not None:
        streamed = _fit_stream(streamed, place, kept)
    if parts is message.parts and metadata is message.metadata and streamed is message.streamed:
        return message
    return msgspec.structs.replace(message, parts=parts, metadata=metadata, streamed=streamed)


def _fit_stream(streamed: Streamed, place: str, kept: Spool[Kept]) -> Streamed:
    """A chunk that no event can hold becomes several of the same time; which those are is kept."""
    usage = _fit_member("usage", streamed.usage, _MEMBER_BYTES_MAX, place, kept)
    error = _fit_member("error", streamed.error, _MEMBER_BYTES_MAX, place, kept)
    chunks = streamed.chunks
    if max(map(len, map(_DELTA, chunks)), default=0) > PIECE_CHARACTERS:
        cut = [list(_cut(chunk)) for chunk in chunks]
        keep(facts_of(cuts_place(place), list(map(len, cut))), kept)
        chunks = tuple([piece for pieces in cut for piece in pieces])
    elif usage is streamed.usage and error is streamed.error:
        return streamed
    return msgspec.structs.replace(streamed, chunks=chunks, usage=usage, error=error)


def _cut(chunk: Chunk) -> Iterator[Chunk]:
    for start in range(0, max(len(chunk.delta), 1), PIECE_CHARACTERS):
        yield msgspec.structs.replace(chunk, delta=chunk.delta[start : start + PIECE_CHARACTERS])


def _fit_parts(parts: tuple[Part, ...], place: str, kept: Spool[Kept]) -> tuple[Part, ...]:
    """The largest parts go, each whole; a ``data`` part says where it is."""
    size = size_of(parts)
    if size <= _PARTS_BYTES_MAX:
        return parts
    fitting, sizes = list(parts), [size_of(part) for part in parts]
    for index in sorted(range(len(parts)), key=lambda index: -sizes[index]):
        if size <= _PARTS_BYTES_MAX:
            break
        part, where = parts[index], inside(place, index)
        keep(facts_of(where, part.text if isinstance(part, TextPart) else msgspec.to_builtins(part)), kept)
        fitting[index] = DataPart(stand_in(where, sizes[index]))
        size += size_of(fitting[index]) - sizes[index]
    return tuple(fitting)


def _fit_member(name: str, value: Any, bytes_max: int, place: str, kept: Spool[Kept]) -> Any:
    holder, more = fit({name: value}, bytes_max, place)
    keep(more, kept)
    return holder[name]


def fit(
    attributes: dict[str, Json], bytes_max: int = _ATTRIBUTES_BYTES_MAX, place: str = "$"
) -> tuple[Any, tuple[Kept, ...]]:
    """Attributes within ``bytes_max``, and what had to leave them.

    The longest texts go first, then lists and members of members, then members but ``import``, each time
    the largest first. In their place stands ``{"kept": place, "bytes": n}``.
    """
    size = size_of(attributes)
    if size <= bytes_max:
        return attributes, ()
    kept: list[Kept] = []
    attributes = plain(attributes, JSON_DEPTH_MAX)  # a copy that can be cut
    for find in (_long_texts, _inner_members, _members):
        for found in sorted(find(attributes, place), key=lambda found: -found.bytes_):
            if size <= bytes_max:
                return attributes, tuple(kept)
            kept += facts_of(found.place, found.holder[found.key])
            found.holder[found.key] = stand_in(found.place, found.bytes_)
            size += size_of(found.holder[found.key]) - found.bytes_
        size = size_of(attributes)
    return attributes, tuple(kept)


class _Found(NamedTuple):
    bytes_: int
    holder: Any
    key: str | int
    place: str


def size_of(value: object) -> int:
    """The bytes of a value when it is encoded."""
    return len(msgspec.msgpack.encode(value))


def _long_texts(value: Json, place: str) -> Iterator[_Found]:
    if isinstance(value, dict):
        for name, member in cast("dict[str, Json]", value).items():
            yield from _long_text(value, name, member, inside(place, name))
    elif isinstance(value, list):
        for index, item in enumerate(cast("list[Json]", value)):
            yield from _long_text(value, index, item, inside(place, index))


def _long_text(holder: Any, key: str | int, value: Json, place: str) -> Iterator[_Found]:
    if not isinstance(value, str):
        yield from _long_texts(value, place)
    elif len(value) >= _LONG_CHARACTERS:
        yield _Found(size_of(value), holder, key, place)


def _inner_members(value: dict[str, Json], place: str) -> Iterator[_Found]:
    for name, member in value.items():
        if isinstance(member, dict):
            yield from _members(cast("dict[str, Json]", member), inside(place, name))
        elif (size := size_of(member)) >= _MEMBER_BYTES_MIN:
            yield _Found(size, value, name, inside(place, name))


def _members(value: dict[str, Json], place: str) -> Iterator[_Found]:
    for name, member in value.items():
        if name != "import" and (size := size_of(member)) >= _MEMBER_BYTES_MIN:
            yield _Found(size, value, name, inside(place, name))
