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
from turnlog.importers.job.backup import restore
from turnlog.importers.job.recording import copies_in
from turnlog.importers.job.renaming import UNDONE
from turnlog.importers.job.report import ContextLine, FileLine, Header


class Undoing(NamedTuple):
    """What a report says is to be undone. ``written_since``: contexts that were written to afterwards."""

    header: Header
    context_ids: list[UUID]
    files: list[str]
    written_since: int


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
    context_ids: list[UUID] = []
    files: list[str] = []
    since = 0
    for line in report.lines(path):
        if isinstance(line, ContextLine):
            if line.created:
                context_ids.append(line.context_id)
                since += log.store.version_of(line.context_id) > line.version
            if header.delete and not is_whole:
                files += line.files
        elif isinstance(line, FileLine) and line.deleted:
            files.append(line.path)
    if not is_whole:
        context_ids += [context_id async for context_id in _made_by(log, header.run)]
    return Undoing(header, list(dict.fromkeys(context_ids)), list(dict.fromkeys(files)), since)


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
    """Put deleted files back, then tombstone the contexts. Tells what came of each file and context."""
    header = undoing.header
    for outcome in _restored(header, undoing.files):
        yield outcome
    async with aclosing(_tombstoned(log, undoing.context_ids, header.run)) as outcomes:
        async for outcome in outcomes:
            yield outcome


async def _tombstoned(log: Turnlog, context_ids: list[UUID], run: str) -> AsyncGenerator[tuple[UUID, str]]:
    for context_id in context_ids:
        if log.store.version_of(context_id) == 0:
            yield context_id, "not_found"
            continue
        state = await log.queries.context(context_id)
        if state.deleted:
            yield context_id, "deleted_before"
            continue
        await log.store.append(context_id, [ContextDeleted(f"{UNDONE} {run}")])
        yield context_id, "deleted"


def _restored(header: Header, files: list[str]) -> Iterator[tuple[str, str]]:
    if files:
        assert header.backup is not None, "only what was backed up is ever deleted"
        yield from restore(Path(header.backup), Path(header.source), iter(files), is_file=header.is_file)
