"""What importers say of a source, what of it was asked for, and that in batches that memory can hold."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from functools import partial
from typing import Final, TypeAlias
from uuid import UUID

import msgspec

from turnlog.importers.conversation import Conversation, Importer, Problem
from turnlog.importers.detecting import unclaimed
from turnlog.importers.job.recording import Figures, digest_and_bytes, figures_of
from turnlog.importers.source.files import Source, uuid_of
from turnlog.importers.source.keeping import CHUNK_BYTES
from turnlog.importers.source.notes import problem_of

BATCH_CONTEXTS: Final = 256
"""Contexts that share a sync of the disk and a wait for the views."""

BATCH_BYTES: Final = 8 * 1024 * 1024
"""What the conversations of a batch take in memory, roughly; a larger one is a batch by itself."""

NOT_A_CONVERSATION: Final = "not_a_conversation"
"""The code of what an importer says of a file that has the kind of its own, and not their shape."""


Only: TypeAlias = Mapping[UUID, str]
"""The contexts that are asked for, each with the name that it is asked for by; one may stand for several."""


class Read(msgspec.Struct, frozen=True):
    """A conversation that was read, with what it would take in memory, roughly, and the digest of the copy.

    There is no digest of what cannot be stored.
    """

    conversation: Conversation
    figures: Figures
    bytes: int
    digest: str | None


class Batch(msgspec.Struct):
    """What was read, by and by, and ``bytes`` of all conversations."""

    problems: list[Problem] = []
    conversations: dict[UUID, Read] = {}
    bytes: int = 0

    def is_full(self) -> bool:
        """Whether it is to be brought over before anything more is read."""
        return self.bytes >= BATCH_BYTES or len(self.problems) + len(self.conversations) >= BATCH_CONTEXTS


def batches(items: Iterable[Conversation | Problem]) -> Iterator[Batch]:
    """What is read, batch by batch; of one that it gave away it holds nothing when it reads on."""
    batch = Batch()
    for item in items:
        if isinstance(item, Problem):
            batch.problems.append(item)
        else:
            one = _measured(item)
            if item.id in batch.conversations or batch.bytes + one.bytes > BATCH_BYTES:
                yield batch
                batch = Batch()
            batch.conversations[item.id] = one
            batch.bytes += one.bytes
            del one
        del item
        if batch.is_full():
            yield batch
            batch = Batch()
    yield batch


def read(
    source: Source, importers: Iterable[Importer], only: Only | None, not_asked_for: set[str]
) -> Iterator[Conversation | Problem]:
    """What is asked for; nothing of what was read before is held when it reads on."""
    importers, missing = list(importers), set((only or {}).values())

    def is_wanted(item: Conversation | Problem) -> bool:
        is_context = isinstance(item, Conversation)
        context_id = item.id if is_context else item.context_id
        if only is not None and context_id not in only:
            not_asked_for.update(files_of(item) if is_context else (item.path,))
            return False
        if is_context:
            missing.discard((only or {}).get(item.id, ""))
        return True

    yield from filter(is_wanted, _read_all(source, importers))
    if only is None:
        yield from map(problem_of, source.left_out())
        yield from unclaimed(source, importers)
    for name in sorted(missing):
        reason = f"the source has no context {name}"
        yield Problem("", "context_not_found", reason, context_id=uuid_of(name))


def _read_all(source: Source, importers: list[Importer]) -> Iterator[Conversation | Problem]:
    """What all importers say; of a file that several take for theirs, one tells what is wrong with it."""
    told: dict[str, Importer] = {}

    def is_said(importer: Importer, item: Conversation | Problem) -> bool:
        return (
            isinstance(item, Conversation)
            or not any(other.claims(source, item.path) for other in importers if other is not importer)
            or (item.code != NOT_A_CONVERSATION and told.setdefault(item.path, importer) is importer)
        )

    for importer in importers:
        yield from filter(partial(is_said, importer), importer.read(source))


def files_of(conversation: Conversation) -> tuple[str, ...]:
    """All that it was read from."""
    return conversation.files or (conversation.origin,)


def _measured(conversation: Conversation) -> Read:
    """A conversation with what it takes. What cannot be stored is a batch by itself."""
    figures = figures_of(conversation.messages)
    try:
        digest, size = digest_and_bytes(conversation)
    except (UnicodeError, OverflowError, RecursionError, msgspec.MsgspecError):
        return Read(conversation, figures, BATCH_BYTES, None)
    return Read(conversation, figures, size + CHUNK_BYTES * figures.chunks, digest)
