"""The job: read -> plan -> append -> verify, a batch of contexts at a time.

It can be stopped at any moment and started again: what is there is recognised by what it says, and the note
of each copy in its context says which import brought it.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterable, Iterator
from contextlib import nullcontext
from functools import partial
from typing import Final, TypeVar
from uuid import UUID

import anyio.to_thread
import msgspec

from eventstore.errors import Refused, TurnlogError
from eventstore.store import EventStore
from turnlog.facade import Turnlog
from turnlog.importers.conversation import Conversation, Importer, Problem
from turnlog.importers.job.apart import reading_apart
from turnlog.importers.job.differences import Difference
from turnlog.importers.job.growing import as_grown, grown_in
from turnlog.importers.job.own_exports import Place, explained
from turnlog.importers.job.planning import Plan, plan_later, plan_new
from turnlog.importers.job.reading import Batch, Only, Read, batches, files_of, read
from turnlog.importers.job.recording import Figures, copies_in, digest_and_bytes, figures_of
from turnlog.importers.job.renaming import not_undone
from turnlog.importers.job.report import (
    LISTED_MAX,
    ContextLine,
    Failure,
    Status,
)
from turnlog.importers.job.verifying import Compared, compare
from turnlog.importers.source.files import Source

AT_ONCE_BYTES: Final = 256 * 1024
"""Of a conversation that is planned and encoded on the event loop, which takes a millisecond or two.
Waking a thread for each would take a fifth of what a short conversation takes altogether."""

_T = TypeVar("_T")


class Settings(msgspec.Struct, frozen=True):
    """``run`` names the import in every context that it brings. ``only``: these contexts, or all.

    ``dry``: nothing is written. ``apart``: another process reads.
    """

    run: str
    workspace: str | None = None
    only: Only | None = None
    dry: bool = False
    apart: bool = False


class _Work(msgspec.Struct):
    """One conversation on its way; ``source_id`` is its id in the source, ``bytes`` what it takes, roughly.

    ``figures`` are of its messages. ``compared``: with all that was there, when nothing is new in it.
    ``explained``: what differs only because it is an export of the context.
    """

    conversation: Conversation
    source_id: UUID
    figures: Figures
    bytes: int
    plan: Plan | None = None
    compared: Compared | None = None
    created: bool = False
    before: int = 0
    version: int = 0
    error: Failure | None = None
    differences: list[Difference] = []
    explained: frozenset[Place] = frozenset()

    def unexplained(self, compared: Compared) -> list[Difference]:
        """The differences that exporting the context does not account for."""
        return [d for d in compared.differences if (d.message_id, d.field) not in self.explained]

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
    to ``not_asked_for``. With ``settings.apart`` another process reads.
    """
    importers = tuple(importers)
    if settings.apart:
        opened = reading_apart(source, importers, settings.only, not_asked_for)
    else:
        opened = nullcontext(batches(read(source, importers, settings.only, not_asked_for)))
    with opened as pieces:
        while batch := await anyio.to_thread.run_sync(next, pieces, None):
            for problem in batch.problems:
                yield problem
            for line in await _bring_batch(log, batch, settings):
                yield line
            del batch  # before the next one is read


async def _bring_batch(log: Turnlog | None, batch: Batch, settings: Settings) -> list[ContextLine]:
    works = [await _prepare(log, each, settings) for each in batch.conversations.values()]
    if log is not None and not settings.dry:
        planned = [work for work in works if work.plan is not None]
        await asyncio.gather(*[_append(log.store, work) for work in planned])
    for work in works:
        if log is not None and work.error is None and (work.plan is None or not settings.dry):
            await _verify(log, work, settings)
    return [_line_of(work, dry=settings.dry) for work in works]


async def _prepare(log: Turnlog | None, read: Read, settings: Settings) -> _Work:
    conversation, digest = read.conversation, read.digest
    work = _Work(conversation, conversation.id, read.figures, read.bytes)
    try:
        if log is not None:
            work.conversation = conversation = not_undone(log, conversation)
        if digest is None or conversation is not read.conversation:
            digest, _ = await _found(work, partial(digest_and_bytes, conversation))
            work.figures = await _found(work, partial(figures_of, conversation.messages))
        version = 0 if log is None else log.store.version_of(conversation.id)
        if log is None or version == 0:
            work.plan = plan_new(conversation, work.figures, digest, settings.workspace, settings.run)
            work.created = True
        else:
            await _prepare_later(log, work, digest, version, settings)
    except TurnlogError as error:
        work.error = Failure(error.code, error.message)
    except (UnicodeError, OverflowError, RecursionError, msgspec.MsgspecError) as error:
        work.error = Failure("invalid_event", f"a value cannot be stored: {error}")
    if work.plan is not None:
        work.before, work.version = work.plan.before, work.plan.version
    return work


async def _prepare_later(log: Turnlog, work: _Work, digest: str, version: int, settings: Settings) -> None:
    conversation = work.conversation
    state = await log.queries.context(conversation.id)
    if state.deleted:
        raise Refused(
            "context_deleted",
            f"context {conversation.id} was deleted here, and that is for ever: import it into another store",
        )
    copies = copies_in(state.attributes)
    work.created = bool(copies) and copies[0].run == settings.run
    known = next((copy for copy in reversed(copies) if copy.digest == digest), None)
    if known is not None:
        work.before, work.version = known.before, known.version
        work.conversation = as_grown(conversation, known.grown)
        return
    compared = await compare(log, conversation, workspace=settings.workspace, before=version)
    grown = await grown_in(log, conversation, compared, copies)
    if grown.ids:
        work.conversation = conversation = as_grown(conversation, grown.ids)
        work.figures = await _found(work, partial(figures_of, conversation.messages))
        compared = await compare(log, conversation, workspace=settings.workspace, before=version)
    work.explained = await explained(log, conversation, compared)
    compared = compared._replace(differences=work.unexplained(compared))
    work.plan = await _found(work, partial(plan_later, conversation, digest, compared, settings.run, grown))
    if work.plan is None:  # else all is compared again, and a long one need not be known twice
        work.compared = compared
    work.before, work.version = version, version


async def _found(work: _Work, find: Callable[[], _T]) -> _T:
    """What follows from a conversation; of a large one another thread finds it."""
    return await anyio.to_thread.run_sync(find) if work.bytes > AT_ONCE_BYTES else find()


async def _append(store: EventStore, work: _Work) -> None:
    assert work.plan is not None, "only what is planned is appended"
    try:
        appends = work.plan.appends if work.bytes > AT_ONCE_BYTES else list(work.plan.appends)
        if isinstance(appends, list) and len(appends) == 1:
            (one,) = appends
            expected, commit_id = one.expected_version, one.commit_id
            await store.append(one.context_id, one.events, expected_version=expected, commit_id=commit_id)
        else:
            await store.append_together(appends)
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
    work.differences = work.unexplained(compared)


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
        chunks=work.figures.chunks,
        messages_written=len(plan.brought) if plan is not None and writes else 0,
        chunks_written=plan.figures.chunks if plan is not None and writes else 0,
        before=work.before,
        version=work.version,
        files=files_of(conversation),
        difference_count=len(differences),
        differences=tuple(differences[:LISTED_MAX]),
        conflicts=conflicts[:LISTED_MAX],
        warning_count=len(warnings) + len(work.figures.interrupted),
        warnings=tuple(_warnings(work))[:LISTED_MAX],
        error=work.error,
    )


def _warnings(work: _Work) -> Iterator[Problem]:
    yield from work.conversation.warnings
    for message_id in work.figures.interrupted:
        reason = f"the stream of message {message_id} was never finished: it is interrupted"
        yield Problem(work.conversation.origin, "stream_interrupted", reason, warning=True)
