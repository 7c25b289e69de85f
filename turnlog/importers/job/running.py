"""Running an import, from its backup to its report; or only looking at what it would do."""

from __future__ import annotations

import shutil
from contextlib import aclosing, closing
from pathlib import Path
from typing import Final

import anyio
import msgspec

from eventstore.environment import sync_directory
from eventstore.units import format_time, wall_clock_us
from turnlog.facade import Turnlog
from turnlog.importers.conversation import Importer
from turnlog.importers.job import report
from turnlog.importers.job.apart import is_worth_it
from turnlog.importers.job.backup import Backup
from turnlog.importers.job.batches import Settings, bring_over
from turnlog.importers.job.deleting import delete_verified
from turnlog.importers.job.reading import Only
from turnlog.importers.job.report import Header, Hear, Summary
from turnlog.importers.source.files import Source

REPORT: Final = "report-{}.ndjson"
"""In a backup, the report of the first, second ... import of that source."""


class Order(msgspec.Struct, frozen=True):
    """What is asked for."""

    source: Source
    importers: tuple[Importer, ...]
    workspace: str | None = None
    only: Only | None = None
    delete: bool = False
    report: Path | None = None


async def run_import(log: Turnlog, order: Order, backup: Backup, hear: Hear) -> Summary:
    """Import a source that is backed up; the report stands in the backup, and where it was ordered.

    Interrupted, it leaves a report that ends early; the same order again goes on with the same run.
    """
    number = 1
    while report.is_whole(path := backup.path / REPORT.format(number)):
        number += 1
    run = f"{backup.digest[:16]}.{number}"
    try:
        with closing(report.Writer(path, hear)) as written:
            began = anyio.current_time()
            not_asked_for = await _bring(
                log, order, _header(log, order, run, backup, path), written, backup.bytes
            )
            if order.delete:
                written.sync()
                sync_directory(backup.path)
                for line in delete_verified(order.source, backup.path, path, not_asked_for):
                    written.write(line)
            return _ended(written, began)
    finally:
        if order.report is not None:
            shutil.copyfile(path, order.report)


async def look(log: Turnlog | None, order: Order, hear: Hear) -> Summary:
    """What an import would do: the same lines, and nothing is written but the report that was ordered."""
    with closing(report.Writer(order.report, hear)) as written:
        began = anyio.current_time()
        await _bring(log, order, _header(log, order, "dry", None), written)
        return _ended(written, began)


async def _bring(
    log: Turnlog | None, order: Order, header: Header, written: report.Writer, size: int = 0
) -> set[str]:
    """Bring a source of so many bytes over. Returns the files that hold more than was asked for."""
    written.write(header)
    apart = is_worth_it(order.importers, size)
    settings = Settings(header.run, order.workspace, order.only, header.dry_run, apart)
    not_asked_for = set[str]()
    async with aclosing(bring_over(log, order.source, order.importers, settings, not_asked_for)) as lines:
        async for line in lines:
            written.write(line)
    return not_asked_for


def _ended(written: report.Writer, began: float) -> Summary:
    written.summary.duration_us = round((anyio.current_time() - began) * 1_000_000)
    written.write(written.summary)
    return written.summary


def _header(
    log: Turnlog | None, order: Order, run: str, backup: Backup | None, path: Path | None = None
) -> Header:
    return Header(
        run,
        str(order.source.root.resolve()),
        order.source.root.is_file(),
        tuple(importer.format for importer in order.importers),
        "" if log is None else str(log.store.path),
        None if log is None else log.store.statistics().store_id,
        None if backup is None else str(backup.path.resolve()),
        backup is None,
        order.delete and backup is not None,
        None if path is None else str(path.resolve()),
        format_time(wall_clock_us()),
    )
