"""How a conversation stands in the log: the records of a message, and what is noted beside them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from hashlib import sha256
from itertools import groupby, pairwise
from operator import attrgetter
from typing import Final, cast
from uuid import UUID

import msgspec

from eventstore.content import Json, Kind, Part, fold
from eventstore.events import ChunkRun, MessageAppended, Record, StreamFinalized, StreamStarted
from eventstore.limits import COMMIT_EVENTS_MAX
from turnlog.importers.conversation import Chunk, Conversation, Message, Streamed

IMPORT: Final = "import"
"""The member of attributes and of metadata that holds what an import notes."""

COPIES: Final = "copies"
"""Under ``IMPORT`` in a context's attributes: every copy of it that was brought in, the last one last."""

COMMIT_BYTES: Final = 2 * 1024 * 1024
"""Encoded bytes of a commit at most, but for a single larger record; a chunk is reckoned generously."""

COMMIT_RECORDS: Final = 500
"""Records of a commit at most, but for runs of chunks: whoever reads one message decodes all of them."""

CHUNK_BYTES: Final = 16
"""What a chunk takes in a run beside its text, at most."""

PIECE_CHUNKS: Final = 1_000
"""Chunks that are encoded at once: a fraction of a millisecond."""

UTF8_BYTES_MAX: Final = 4
"""Of a character."""

_KIND_AND_PART: Final = attrgetter("kind", "part")

_encoder: Final = msgspec.msgpack.Encoder(order="deterministic", uuid_format="bytes")


class Copy(msgspec.Struct, frozen=True, omit_defaults=True):
    """One copy of a context that was brought in, by the import ``run``.

    It changed the context's version from ``before`` to ``version``. ``updated_at``: when its source did.
    ``grown``: the messages of it that have another id here (``growing.py``).
    """

    digest: str
    run: str
    before: int
    version: int
    updated_at: int | None = None
    grown: dict[UUID, UUID] = {}


class Figures(msgspec.Struct, frozen=True):
    """Counted of messages. ``heads``: the last of each branch. ``interrupted``: whose streams never ended."""

    chunks: int
    events: int
    heads: dict[str, UUID | None]
    interrupted: tuple[UUID, ...]


def figures_of(messages: Iterable[Message]) -> Figures:
    """Count them. It looks at each, and of a long conversation that reads it."""
    chunks = events = 0
    heads: dict[str, UUID | None] = {}
    interrupted: list[UUID] = []
    for message in messages:
        heads[message.branch] = message.id
        events += 1
        if message.streamed is not None:
            chunks += len(message.streamed.chunks)
            events += 1 + len(message.streamed.chunks)
            if message.streamed.outcome is None:
                interrupted.append(message.id)
    return Figures(chunks, events, heads, tuple(interrupted))


def digest_and_bytes(conversation: Conversation) -> tuple[str, int]:
    """A digest of what makes two copies the same: all that they say, and not where they were found.

    And how many bytes that takes. Raises as ``sized`` does.
    """
    digest, size = sha256(), 0
    for piece in _encoded(msgspec.structs.replace(conversation, origin="", warnings=(), files=())):
        digest.update(piece)
        size += len(piece)
    return digest.hexdigest()[:32], size


def _encoded(conversation: Conversation) -> Iterator[bytes]:
    """A conversation in pieces: whole it would be in memory twice, and hold the interpreter's lock."""
    yield _encoder.encode(msgspec.structs.replace(conversation, messages=(), kept=()))
    yield from map(_encoder.encode, conversation.kept)
    for message in conversation.messages:
        streamed = message.streamed
        if streamed is None:
            yield _encoder.encode(message)
            continue
        rest = msgspec.structs.replace(streamed, chunks=())
        yield _encoder.encode(msgspec.structs.replace(message, streamed=rest))
        yield from _pieces(streamed.chunks)


def _pieces(chunks: tuple[Chunk, ...]) -> Iterator[bytes]:
    for start in range(0, len(chunks), PIECE_CHUNKS):
        yield _encoder.encode(chunks[start : start + PIECE_CHUNKS])


def digest_of(streamed: Streamed) -> str:
    """A digest of all that a stream says."""
    digest = sha256(_encoder.encode(msgspec.structs.replace(streamed, chunks=())))
    for piece in _pieces(streamed.chunks):
        digest.update(piece)
    return digest.hexdigest()


def copies_in(attributes: dict[str, Json]) -> list[Copy]:
    """The copies that a context's attributes tell of; none if an application wrote something else there."""
    noted = attributes.get(IMPORT)
    if not isinstance(noted, dict):
        return []
    try:
        return msgspec.convert(cast("dict[str, Json]", noted).get(COPIES, []), list[Copy])
    except msgspec.ValidationError:
        return []


def with_copies(attributes: dict[str, Json], copies: list[Copy]) -> dict[str, Json]:
    """A conversation's attributes, and in them the copies."""
    noted = attributes.get(IMPORT)
    kept = cast("dict[str, Json]", noted) if isinstance(noted, dict) else {}
    return attributes | {IMPORT: kept | {COPIES: msgspec.to_builtins(copies)}}


def without_copies(attributes: dict[str, Json]) -> dict[str, Json]:
    """A context's attributes as they were in its source."""
    noted = attributes.get(IMPORT)
    if not isinstance(noted, dict) or COPIES not in noted:
        return attributes
    kept = {name: value for name, value in cast("dict[str, Json]", noted).items() if name != COPIES}
    return attributes | {IMPORT: kept}


def metadata_of(message: Message) -> dict[str, Json] | None:
    """A message's metadata; what its event has no place for is noted in it."""
    noted: dict[str, Json] = {}
    if message.time_source != "source":
        noted["time_source"] = message.time_source
    if message.streamed is not None:
        if message.message_type != "message":
            noted["message_type"] = message.message_type
        if message.occurred_at not in (None, message.streamed.started_at):
            noted["occurred_at"] = message.occurred_at
    return message.metadata | {IMPORT: noted} if noted else message.metadata or None


def branches_of(conversation: Conversation) -> dict[str, UUID | None]:
    """The heads; the active branch is there even where the source does not list it."""
    return {conversation.active_branch: None} | conversation.branches


def tags_of(conversation: Conversation) -> list[str]:
    """The tags as the log keeps them."""
    return list(conversation.tags)


def folded(chunks: tuple[Chunk, ...]) -> tuple[Part, ...]:
    """What chunks add up to; those alike are joined first, but for notes, which are objects."""
    pieces: list[tuple[Kind, str | None, str]] = []
    for alike in _alike(chunks):
        first, deltas = alike[0], [chunk.delta for chunk in alike]
        for text in deltas if first.kind == "other" else ["".join(deltas)]:
            pieces.append((first.kind, first.part, text))  # noqa: PERF401 -- a comprehension loses the type
    return fold(pieces)


def sized(record: Record) -> tuple[Record, int]:
    """A record with the bytes that it takes in a commit.

    Raises ``UnicodeEncodeError`` for a lone surrogate, ``OverflowError`` for an integer out of range.
    """
    return record, len(_encoder.encode(record))


def records_of(message: Message) -> Iterator[tuple[Record, int]]:
    """The records of a message, each with the bytes that it takes in a commit, or more."""
    metadata, streamed = metadata_of(message), message.streamed
    if streamed is None:
        appended = MessageAppended(
            message.id,
            message.role,
            message.parts,
            message.branch,
            message.parent_id,
            message.message_type,
            metadata,
            message.occurred_at,
        )
        yield sized(appended)
        return
    started = StreamStarted(
        message.id,
        message.role,
        message.branch,
        message.parent_id,
        streamed.model,
        metadata,
        streamed.started_at,
    )
    yield sized(started)
    yield from _runs(message.id, streamed.chunks)
    yield sized(_end(message, streamed))


def _end(message: Message, streamed: Streamed) -> StreamFinalized:
    return StreamFinalized(
        message.id,
        streamed.outcome or "interrupted",
        streamed.finish_reason,
        streamed.usage,
        streamed.error,
        message.parts or None,
        streamed.completed_at,
    )


def _runs(message_id: UUID, chunks: tuple[Chunk, ...]) -> Iterator[tuple[ChunkRun, int]]:
    """Chunks as runs: a new one where kind or part changes, or a commit would be full."""
    sequence = 1
    for alike in _alike(chunks):
        for run, size in _halved(alike):
            yield _run(message_id, sequence, run), size
            sequence += len(run)


def _alike(chunks: tuple[Chunk, ...]) -> Iterator[list[Chunk]]:
    """Chunks that follow each other and are of one kind and part, as many as fit into a commit."""
    for start in range(0, len(chunks), COMMIT_EVENTS_MAX):
        for _, alike in groupby(chunks[start : start + COMMIT_EVENTS_MAX], _KIND_AND_PART):
            yield list(alike)


def _halved(chunks: list[Chunk]) -> Iterator[tuple[list[Chunk], int]]:
    """Chunks in halves of halves until each fits into a commit, with its bytes at most."""
    characters = sum([len(chunk.delta) for chunk in chunks])
    size = CHUNK_BYTES * len(chunks) + UTF8_BYTES_MAX * characters
    if len(chunks) > 1 and size > COMMIT_BYTES:
        middle = len(chunks) // 2
        yield from _halved(chunks[:middle])
        yield from _halved(chunks[middle:])
    else:
        yield chunks, size


def _run(message_id: UUID, sequence: int, chunks: list[Chunk]) -> ChunkRun:
    first = chunks[0]
    times = [chunk.at for chunk in chunks]
    gaps = (0, *[after - before for before, after in pairwise(times)])
    deltas = tuple([chunk.delta for chunk in chunks])
    return ChunkRun(message_id, sequence, first.at, deltas, gaps, first.kind, first.part)
