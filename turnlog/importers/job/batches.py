"""The job: read -> plan -> append -> verify, a batch of contexts at a time.

It can be stopped at any moment and started again: what is there is recognised by what it says, and the note
of each copy in its context says which import brought it.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Iterable, Iterator
from typing import Final
from uuid import UUID

import msgspec

from eventstore.errors import Refused, TurnlogError
from eventstore.store import EventStore
from turnlog.facade import Turnlog
from turnlog.importers.conversation import Conversation, Importer, Problem
from turnlog.importers.detecting import unclaimed
from turnlog.importers.job.differences import Difference
from turnlog.importers.job.planning import Plan, plan_later, plan_new
from turnlog.importers.job.recording import bytes_of, copies_in, digest_of
from turnlog.importers.job.renaming import not_undone
from turnlog.importers.job.report import (
    LISTED_MAX,
    ContextLine,
    Failure,
    Status,
)
from turnlog.importers.job.verifying import Compared, compare
from turnlog.importers.source.files import Source
from turnlog.importers.source.notes import problem_of

BATCH_CONTEXTS: Final = 256
"""Contexts that share a sync of the disk and a wait for the views."""

BATCH_BYTES: Final = 8 * 1024 * 1024
"""What the conversations of a batch take in memory, roughly; a larger one is a batch by itself."""

NOT_A_CONVERSATION: Final = "not_a_conversation"
"""The code of what an importer says of a file that has the kind of its own, and not their shape."""

CHUNK_BYTES: Final = 150
"""What a chunk takes in memory beside what it takes encoded."""


class Settings(msgspec.Struct, frozen=True):
    """``run`` names the import in every context that it brings. ``only``: these contexts, or all.

    ``dry``: nothing is written.
    """

    run: str
    workspace: str | None = None
    only: frozenset[UUID] | None = None
    dry: bool = False


class _Work(msgspec.Struct):
    """One conversation on its way; ``source_id`` is its id in the source.

    ``compared``: with all that was there, when nothing is new in it.
    """

    conversation: Conversation
    source_id: UUID
    plan: Plan | None = None
    compared: Compared | None = None
    created: bool = False
    before: int = 0
    version: int = 0
    error: Failure | None = None
    differences: list[Difference] = []

    @property
    def status(self) -> Status:
        if self.error is not None:
            return "failed"
        if self.plan is None:
            return "unchanged"
        return "updated" if self.plan.before else "created"


async def bring_over(
    log: Turnlog | None,
    source: Source,
    importers: Iterable[Importer],
    settings: Settings,
    not_asked_for: set[str],
) -> AsyncGenerator[ContextLine | Problem]:
    """Import everything in a source, and tell of each context and each problem.

    In a dry run ``log`` may be None: then everything is new. The files of what ``only`` leaves out are added
    to ``not_asked_for``.
    """
    batch: list[Conversation] = []
    ids: set[UUID] = set()
    size = 0
    for item in _read(source, importers, settings.only, not_asked_for):
        if isinstance(item, Problem):
            yield item
            continue
        item_bytes = _bytes_of(item)
        if batch and (item.id in ids or len(batch) == BATCH_CONTEXTS or size + item_bytes > BATCH_BYTES):
            for line in await _bring_batch(log, batch, settings):
                yield line
            batch, size = [], 0
            ids.clear()
        batch.append(item)
        ids.add(item.id)
        size += item_bytes
    for line in await _bring_batch(log, batch, settings):
        yield line


def _read(
    source: Source, importers: Iterable[Importer], only: frozenset[UUID] | None, not_asked_for: set[str]
) -> Iterator[Conversation | Problem]:
    importers, found = list(importers), set[UUID]()
    for item in _read_all(source, importers):
        is_context = isinstance(item, Conversation)
        context_id = item.id if is_context else item.context_id
        if only is None or context_id in only:
            if is_context:
                found.add(item.id)
            yield item
        else:
            not_asked_for.update(_files_of(item) if is_context else (item.path,))
    if only is None:
        yield from map(problem_of, source.left_out())
        yield from unclaimed(source, importers)
    for missing in sorted((only or frozenset()) - found):
        yield Problem("", "context_not_found", f"the source has no context {missing}", context_id=missing)


def _read_all(source: Source, importers: list[Importer]) -> Iterator[Conversation | Problem]:
    """What all importers say; of a file that several take for theirs, one tells what is wrong with it."""
    told: dict[str, Importer] = {}
    for importer in importers:
        others = [other for other in importers if other is not importer]
        for item in importer.read(source):
            if (
                isinstance(item, Conversation)
                or not any(other.claims(source, item.path) for other in others)
                or (item.code != NOT_A_CONVERSATION and told.setdefault(item.path, importer) is importer)
            ):
                yield item


def _files_of(conversation: Conversation) -> tuple[str, ...]:
    return conversation.files or (conversation.origin,)


def _bytes_of(conversation: Conversation) -> int:
    """What a conversation takes in memory, roughly. What cannot be stored is a batch by itself."""
    chunks = sum(len(message.streamed.chunks) for message in conversation.messages if message.streamed)
    try:
        return bytes_of(conversation) + CHUNK_BYTES * chunks
    except (UnicodeError, OverflowError, RecursionError, msgspec.MsgspecError):
        return BATCH_BYTES


async def _bring_batch(
    log: Turnlog | None, batch: list[Conversation], settings: Settings
) -> list[ContextLine]:
    works = [await _prepare(log, conversation, settings) for conversation in batch]
    if log is not None and not settings.dry:
        planned = [work for work in works if work.plan is not None]
        await asyncio.gather(*[_append(log.store, work) for work in planned])
        for work in works:
            if work.error is None:
                await _verify(log, work, settings)
    return [_line_of(work, dry=settings.dry) for work in works]


async def _prepare(log: Turnlog | None, conversation: Conversation, settings: Settings) -> _Work:
    work = _Work(conversation, conversation.id)
    try:
        if log is not None:
            work.conversation = conversation = not_undone(log, conversation)
        version = 0 if log is None else log.store.version_of(conversation.id)
        if log is None or version == 0:
            work.plan = plan_new(conversation, settings.workspace, settings.run)
            work.created = True
        else:
            await _prepare_later(log, work, version, settings)
    except TurnlogError as error:
        work.error = Failure(error.code, error.message)
    except (UnicodeError, OverflowError, RecursionError, msgspec.MsgspecError) as error:
        work.error = Failure("invalid_event", f"a value cannot be stored: {error}")
    if work.plan is not None:
        work.before, work.version = work.plan.before, work.plan.version
    return work


async def _prepare_later(log: Turnlog, work: _Work, version: int, settings: Settings) -> None:
    conversation = work.conversation
    state = await log.queries.context(conversation.id)
    if state.deleted:
        raise Refused(
            "context_deleted",
            f"context {conversation.id} was deleted here, and that is for ever: import it into another store",
        )
    copies = copies_in(state.attributes)
    work.created = bool(copies) and copies[0].run == settings.run
    digest = digest_of(conversation)
    for copy in copies:
        if copy.digest == digest:
            work.before, work.version = copy.before, copy.version
    if work.version:
        return
    compared = await compare(log, conversation, workspace=settings.workspace, before=version)
    work.plan = plan_later(conversation, compared, settings.run)
    work.compared = compared
    work.before, work.version = version, version


async def _append(store: EventStore, work: _Work) -> None:
    assert work.plan is not None, "only what is planned is appended"
    try:
        await store.append_together(work.plan.appends)
    except TurnlogError as error:
        work.error = Failure(error.code, error.message)
        work.created &= not isinstance(error, Refused)  # otherwise it may have been written


async def _verify(log: Turnlog, work: _Work, settings: Settings) -> None:
    if work.plan is None and work.compared is not None:
        # An older copy, or the same: of the context there is a newer word, of its messages there is none.
        work.differences = [d for d in work.compared.differences if d.message_id is not None]
        return
    try:
        compared = await compare(
            log,
            work.conversation,
            workspace=settings.workspace,
            before=work.before,
            version=work.version,
        )
    except TurnlogError as error:
        work.error = Failure(error.code, error.message)
        return
    work.differences = compared.differences


def _line_of(work: _Work, *, dry: bool) -> ContextLine:
    conversation, plan, failed = work.conversation, work.plan, work.error is not None
    conflicts = () if plan is None else plan.conflicts
    places = {(d.message_id, d.field) for d in conflicts}
    differences = [d for d in work.differences if (d.message_id, d.field) not in places]
    writes = plan is not None and not failed
    warnings = conversation.warnings
    return ContextLine(
        conversation.id,
        work.source_id,
        conversation.origin,
        conversation.format,
        work.status,
        verified=not (dry or failed or differences or conflicts),
        created=work.created and not dry,
        messages=len(conversation.messages),
        chunks=sum(len(m.streamed.chunks) for m in conversation.messages if m.streamed is not None),
        messages_written=plan.messages if plan is not None and writes else 0,
        chunks_written=plan.chunks if plan is not None and writes else 0,
        before=work.before,
        version=work.version,
        files=_files_of(conversation),
        difference_count=len(differences),
        differences=tuple(differences[:LISTED_MAX]),
        conflicts=conflicts[:LISTED_MAX],
        warning_count=len(warnings) + _interrupted(conversation),
        warnings=tuple(_warnings(conversation))[:LISTED_MAX],
        error=work.error,
    )


def _interrupted(conversation: Conversation) -> int:
    streams = (message.streamed for message in conversation.messages)
    return sum(streamed is not None and streamed.outcome is None for streamed in streams)


def _warnings(conversation: Conversation) -> Iterator[Problem]:
    yield from conversation.warnings
    for message in conversation.messages:
        if message.streamed is not None and message.streamed.outcome is None:
            reason = f"the stream of message {message.id} was never finished: it is interrupted"
            yield Problem(conversation.origin, "stream_interrupted", reason, warning=True)
