"""``turnlog migrate``: the import in the words of copilot_chat's own migration tool."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated
from uuid import UUID

from cyclopts import Parameter

from turnlog.cli.importing import (
    BACKUPS,
    bring,
    check_data,
    check_places,
    confirmed,
    emitter,
    look_at,
    order_of,
    tell_undo,
)
from turnlog.cli.options import DEFAULTS, Flag, Options
from turnlog.cli.output import Output
from turnlog.cli.text import one_line
from turnlog.importers.conversation import Problem
from turnlog.importers.job.report import ContextLine, Line
from turnlog.importers.source.files import Source


async def migrate(
    *,
    legacy_dir: Annotated[Path, Parameter(alias="-l")] = Path("conversations"),
    storage_dir: Annotated[Path | None, Parameter(alias="-s")] = None,
    backup_dir: Annotated[Path, Parameter(alias="-b")] = BACKUPS,
    dry_run: Flag = False,
    delete_legacy: Annotated[bool, Parameter(alias="-d", negative="", show_default=False)] = False,
    options: Options = DEFAULTS,
) -> int:
    """Migrate copilot_chat's contexts, as its own tool did: the same as import, in its words.

    It asks for yes on standard input, and ends with 1 if any context failed.

    Args:
        legacy_dir: the legacy conversations.
        storage_dir: the data directory that they go to; that of --data unless given.
        backup_dir: where the copy of the source goes, and the report.
        dry_run: list what was found; write nothing.
        delete_legacy: delete the files whose contexts are all verified.
    """
    output = Output(options.json)
    options = replace(options, data=storage_dir or options.data)
    check_places(legacy_dir, options.data, backup_dir)
    words = _Words(output)
    words.say("=== Storage Migration Tool ===")
    if legacy_dir.is_dir() and next(Source(legacy_dir).files(), None) is None:
        words.say("No legacy contexts found.")
        return 0
    order = order_of(legacy_dir, None, delete=delete_legacy)
    if not dry_run:
        await check_data(options, output)
    found = await look_at(order, options, output, emitter(output) if dry_run and output.json else words.found)
    words.say(f"Found {found.contexts} legacy contexts:")
    for number, context_id in enumerate(words.context_ids, 1):
        words.say(f"  {number}. {context_id}")
    if dry_run:
        words.tell_failures()
        words.say("✓ Dry run mode - no changes made.")
        return 1 if found.has_failed else 0
    if not confirmed(output, "Do you want to proceed with the migration? (yes/no): "):
        words.say("Migration cancelled.")
        return 0
    words = _Words(output)
    hear = emitter(output) if output.json else words.found
    summary, report = await bring(order, backup_dir, options, output, hear, found.contexts)
    words.tell_summary()
    tell_undo(output, report, options.data)
    return 1 if summary.has_failed else 0


class _Words:
    """What copilot_chat's tool says of contexts; nothing where JSON is asked for."""

    def __init__(self, output: Output) -> None:
        self._output = output
        self.context_ids: list[UUID] = []
        self._failures: list[str] = []
        self._failed: set[UUID] = set()
        self._unread: set[str] = set()

    def say(self, line: str) -> None:
        if not self._output.json:
            self._output.line(line)

    def found(self, line: Line) -> None:
        """Remember a context, and what failed."""
        if isinstance(line, ContextLine):
            self.context_ids.append(line.context_id)
            if line.failed:
                self._failed.add(line.context_id)
                self._failures.append(f"{line.context_id}: {_reason(line)}")
        elif isinstance(line, Problem) and not line.warning:
            if line.context_id is None:
                self._unread.add(line.path)
            else:
                self._failed.add(line.context_id)
            self._failures.append(f"{one_line(line.path)}: Load failed: {one_line(line.reason)}")

    def tell_summary(self) -> None:
        """Each context counts once, and each file that is none, however much is wrong with it."""
        total = len(self._failed.union(self.context_ids)) + len(self._unread)
        failed = len(self._failed) + len(self._unread)
        rate = 100.0 * (total - failed) / total if total else 100.0
        self.say("=== Migration Summary ===")
        self.say(f"Total contexts: {total}")
        self.say(f"Successful: {total - failed}")
        self.say(f"Failed: {failed}")
        self.say(f"Success rate: {rate:.1f}%")
        self.tell_failures()

    def tell_failures(self) -> None:
        if self._failures:
            self.say("Failed migrations:")
        for failure in self._failures:
            self.say(f"  - {failure}")


def _reason(line: ContextLine) -> str:
    """Why a context counts as failed, with the prefix that the tool gives it."""
    if line.error is not None:
        return f"Save failed: {one_line(line.error.message)}"
    first = (*line.differences, *line.conflicts)[0]
    return one_line(f"Validation failed: {first.field}: {first.expected}, not {first.found}")
