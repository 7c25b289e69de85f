"""Imports as the tests run them: a source of the tests' own format, backed up, brought over, told."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import UUID

from conversations import Plain

from turnlog.facade import Turnlog
from turnlog.importers.conversation import Conversation, Importer, Problem
from turnlog.importers.job import backup as backups
from turnlog.importers.job import report
from turnlog.importers.job.report import ContextLine, FileLine, Header, Line, Summary
from turnlog.importers.job.running import Order, run_import
from turnlog.importers.job.undoing import plan_undoing, undo
from turnlog.importers.source.files import Source


class Spoken(Plain):
    """Yields what it was given, whatever the source holds."""

    def __init__(self, *items: Conversation | Problem) -> None:
        self.items = items

    def read(self, source: Source) -> Iterator[Conversation | Problem]:
        yield from self.items


class Imported:
    """An import and its report."""

    def __init__(self, lines: list[Line], backup: backups.Backup) -> None:
        self.contexts = [line for line in lines if isinstance(line, ContextLine)]
        self.problems = [line for line in lines if isinstance(line, Problem)]
        self.files = {line.path: line for line in lines if isinstance(line, FileLine)}
        self.backup = backup
        self.path = sorted(backup.path.glob("report-*.ndjson"))[-1]
        (self.summary,) = [line for line in lines if isinstance(line, Summary)]
        (self.header,) = [line for line in lines if isinstance(line, Header)]


async def run(
    log: Turnlog, source: Path, importer: Importer | tuple[Importer, ...] = (), **ordered: Any
) -> Imported:
    """Import a source, with the tests' own importer unless given; its report is what was heard."""
    read = Source(source)
    backup = backups.back_up(read, source.parent / "backups")
    lines: list[Line] = []
    importers = importer if isinstance(importer, tuple) else (importer,)
    order = Order(read, importers or (Plain(),), **ordered)
    await run_import(log, order, backup, lines.append)
    imported = Imported(lines, backup)
    assert list(report.lines(imported.path)) == lines
    return imported


def contents(source: Path) -> dict[str, bytes]:
    """The files of a folder."""
    return {path.name: path.read_bytes() for path in source.iterdir()}


async def undone(log: Turnlog, path: Path) -> dict[UUID | str, str]:
    """Undo an import by its report; what came of each file and context."""
    return {name: outcome async for name, outcome in undo(log, await plan_undoing(log, path))}
