"""Running an import from its backup to its report, and undoing it by that report."""

from __future__ import annotations

import shutil
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import aclosing
from pathlib import Path
from typing import Final, NamedTuple, TypeAlias
from uuid import UUID

import anyio
import msgspec

from eventstore.errors import Refused
from eventstore.events import ContextDeleted
from eventstore.units import format_time, wall_clock_us
from projections.pages import PAGE_ITEMS_MAX
from turnlog.facade import Turnlog
from turnlog.importers.detecting import Claiming
from turnlog.importers.job import report
from turnlog.importers.job.backup import Backup, restore
from turnlog.importers.job.batches import Settings, bring_over
from turnlog.importers.job.deleting import delete_verified
from turnlog.importers.job.recording import copies_in
from turnlog.importers.job.report import ContextLine, FileLine, Header, Line, Summary
from turnlog.importers.source.files import Source

Hear: TypeAlias = Callable[[Line], None]
"""Is told of every line of a report as it is written."""

REPORT: Final = "report-{}.ndjson"
"""In a backup, the report of the first, second ... import of that source."""


class Order(msgspec.Struct, frozen=True):
    """What is asked for."""

    source: Source
    importers: tuple[Claiming, ...]
    workspace: str | None = None
    only: frozenset[UUID] | None = None
    delete: bool = False
    report: Path | None = None


class Undoing(NamedTuple):
    """What a report says is to be undone. ``written_since``: contexts that were written to afterwards."""

    header: Header
    context_ids: list[UUID]
    files: list[str]
    written_since: int


async def run_import(log: Turnlog, order: Order, backup: Backup, hear: Hear) -> Summary:
    """Import a source that is backed up; the report stands in the backup, and where it was ordered.

    Interrupted, it leaves a report that ends early; the same order again goes on with the same run.
    """
    run, path = _next_run(backup)
    written = report.Writer(path)

    def tell(line: Line) -> None:
        written.write(line)
        hear(line)

    try:
        tell(_header(log, order, run, backup))
        began = anyio.current_time()
        settings = Settings(run, order.workspace, order.only)
        async with aclosing(bring_over(log, order.source, order.importers, settings)) as lines:
            async for line in lines:
                tell(line)
        if order.delete:
            for line in delete_verified(order.source, backup.path, path):
                tell(line)
        written.summary.duration_us = round((anyio.current_time() - began) * 1_000_000)
        tell(written.summary)
    finally:
        written.close()
        if order.report is not None:
            shutil.copyfile(path, order.report)
    return written.summary


async def look(log: Turnlog | None, order: Order, hear: Hear) -> Summary:
    """What an import would do: the same lines, and nothing is written but the report that was ordered."""
    written = report.Writer(order.report)

    def tell(line: Line) -> None:
        written.write(line)
        hear(line)

    try:
        tell(_header(log, order, "dry", None))
        began = anyio.current_time()
        settings = Settings("dry", order.workspace, order.only)
        async with aclosing(bring_over(log, order.source, order.importers, settings, dry=True)) as lines:
            async for line in lines:
                tell(line)
        written.summary.duration_us = round((anyio.current_time() - began) * 1_000_000)
        tell(written.summary)
    finally:
        written.close()
    return written.summary


async def plan_undoing(log: Turnlog, path: Path) -> Undoing:
    """What is to be undone by a report. Raises ``Refused`` for one of another store, or of a dry run.

    Where the report was cut, the contexts themselves are asked which import made them.
    """
    header = report.header_of(path)
    if header.dry_run:
        raise Refused("invalid_argument", "this is the report of a dry run: nothing was written")
    if header.store_id != log.store.statistics().store_id:
        raise Refused(
            "invalid_argument", f"this is the report of an import into another store, {header.store_id}"
        )
    context_ids: list[UUID] = []
    files: list[str] = []
    since = 0
    for line in report.lines(path):
        if isinstance(line, ContextLine) and line.created:
            context_ids.append(line.context_id)
            since += log.store.version_of(line.context_id) > line.version
        elif isinstance(line, FileLine) and line.deleted:
            files.append(line.path)
    if not report.is_whole(path):
        context_ids += [context_id async for context_id in _made_by(log, header.run)]
    return Undoing(header, list(dict.fromkeys(context_ids)), files, since)


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
        await log.store.append(context_id, [ContextDeleted(f"import {run} undone")])
        yield context_id, "deleted"


def _restored(header: Header, files: list[str]) -> Iterator[tuple[str, str]]:
    if files:
        assert header.backup is not None, "only what was backed up is ever deleted"
        yield from restore(Path(header.backup), Path(header.source), iter(files), is_file=header.is_file)


def _next_run(backup: Backup) -> tuple[str, Path]:
    """The name of a run, and its report. One that was not finished is gone on with."""
    number = 1
    while report.is_whole(path := backup.path / REPORT.format(number)):
        number += 1
    return f"{backup.digest[:16]}.{number}", path


def _header(log: Turnlog | None, order: Order, run: str, backup: Backup | None) -> Header:
    return Header(
        run,
        str(order.source.root.resolve()),
        order.source.root.is_file(),
        tuple(importer.format for importer in order.importers),
        "" if log is None else str(log.store.path),
        None if log is None else log.store.statistics().store_id,
        None if backup is None else str(backup.path.resolve()),
        backup is None,
        format_time(wall_clock_us()),
    )
