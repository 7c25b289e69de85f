"""Undoing an import by its report: put back what was deleted of the source, delete what came of it."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing
from pathlib import Path
from typing import NamedTuple
from uuid import UUID

from eventstore.errors import Refused
from eventstore.events import ContextDeleted
from projections.pages import PAGE_ITEMS_MAX
from turnlog.facade import Turnlog
from turnlog.importers.job import report
from turnlog.importers.job.backup import PUT_BACK, restore
from turnlog.importers.job.recording import copies_in
from turnlog.importers.job.renaming import UNDONE
from turnlog.importers.job.report import ContextLine, FileLine, Header


class Undoing(NamedTuple):
    """What a report says is to be undone.

    ``standing``: how many of the contexts are there and not deleted; ``written_since``: how many of those
    were written to afterwards; ``updated``: contexts that it only added to, and that are left as they are.
    """

    report: Path
    header: Header
    context_ids: list[UUID]
    files: list[str]
    standing: int
    written_since: int
    updated: int


async def plan_undoing(log: Turnlog, path: Path) -> Undoing:
    """What is to be undone by a report. Raises ``Refused`` for one of another store, or of a dry run.

    Where the report was cut, the contexts themselves are asked which import made them, and whatever may have
    been deleted untold is put back, unless it is there.
    """
    header = report.header_of(path)
    if header.dry_run:
        raise Refused("invalid_argument", "this is the report of a dry run: nothing was written")
    if header.store_id != log.store.statistics().store_id:
        raise Refused(
            "invalid_argument", f"this is the report of an import into another store, {header.store_id}"
        )
    is_whole = report.is_whole(path)
    made: dict[UUID, int | None] = {}
    files: list[str] = []
    updated = 0
    for line in report.lines(path):
        if isinstance(line, ContextLine):
            if line.created:
                made[line.context_id] = line.version
            updated += line.status == "updated" and not line.created
            if header.delete and not is_whole:
                files += line.files
        elif isinstance(line, FileLine) and line.deleted:
            files.append(line.path)
    if not is_whole:
        async for context_id in _made_by(log, header.run):
            made.setdefault(context_id, None)
    standing = [context_id for context_id in made if await _outcome_before(log, context_id) is None]
    since = sum(
        version is not None and log.store.version_of(context_id) > version
        for context_id, version in ((each, made[each]) for each in standing)
    )
    return Undoing(path, header, list(made), list(dict.fromkeys(files)), len(standing), since, updated)


async def _outcome_before(log: Turnlog, context_id: UUID) -> str | None:
    """What is to be said of a context that needs no deleting."""
    if log.store.version_of(context_id) == 0:
        return "not_found"
    return "deleted_before" if (await log.queries.context(context_id)).deleted else None


async def _made_by(log: Turnlog, run: str) -> AsyncGenerator[UUID]:
    cursor: str | None = None
    while True:
        page = await log.queries.contexts(limit=PAGE_ITEMS_MAX, cursor=cursor)
        for summary in page.items:
            copies = copies_in((await log.queries.context(summary.id)).attributes)
            if copies and copies[0].run == run:
                yield summary.id
        cursor = page.next_cursor
        if cursor is None:
            return


async def undo(log: Turnlog, undoing: Undoing) -> AsyncGenerator[tuple[UUID | str, str]]:
    """Put deleted files back, then tombstone the contexts. Tells what came of each file and context.

    A context of a file that could not be put back stays, or it would be nowhere.
    """
    header = undoing.header
    lost = set[str]()
    for name, outcome in _restored(header, undoing.files):
        if outcome not in PUT_BACK:
            lost.add(name)
        yield name, outcome
    staying = _contexts_in(undoing.report, lost) if lost else set[UUID]()
    for context_id in staying.intersection(undoing.context_ids):
        yield context_id, "its file could not be put back: it stays"
    leaving = [each for each in undoing.context_ids if each not in staying]
    async with aclosing(_tombstoned(log, leaving, header.run)) as outcomes:
        async for outcome in outcomes:
            yield outcome


def _contexts_in(path: Path, files: set[str]) -> set[UUID]:
    """The contexts that were read from any of these files."""
    contexts = (line for line in report.lines(path) if isinstance(line, ContextLine))
    return {line.context_id for line in contexts if not files.isdisjoint(line.files)}


async def _tombstoned(log: Turnlog, context_ids: list[UUID], run: str) -> AsyncGenerator[tuple[UUID, str]]:
    for context_id in context_ids:
        outcome = await _outcome_before(log, context_id)
        if outcome is None:
            await log.store.append(context_id, [ContextDeleted(f"{UNDONE} {run}")])
        yield context_id, outcome or "deleted"


def _restored(header: Header, files: list[str]) -> Iterator[tuple[str, str]]:
    if files:
        assert header.backup is not None, "only what was backed up is ever deleted"
        yield from restore(Path(header.backup), Path(header.source), iter(files), is_file=header.is_file)
