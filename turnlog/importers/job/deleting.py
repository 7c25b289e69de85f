"""Deleting the files of a source that were verified, and only those."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from uuid import UUID

from eventstore.errors import TurnlogError
from turnlog.importers.job import report
from turnlog.importers.job.backup import same_file
from turnlog.importers.job.report import ContextLine, FileLine, ProblemLine
from turnlog.importers.source.files import Source


def delete_verified(source: Source, backup: Path, written: Path) -> Iterator[FileLine]:
    """Delete the files of a source whose contexts are all verified, as the report that was ``written`` says.

    A file that any problem names, or a context with a problem, is kept; so is one that was changed since it
    was backed up. Each line is yielded before its file goes, so that no deletion is untold.
    """
    kept: dict[str, str] = {}
    partly: set[UUID] = set()
    for line in report.lines(written):
        if isinstance(line, ProblemLine):
            kept[line.path] = line.code
            if line.context_id is not None:
                partly.add(line.context_id)
    for line in report.lines(written):
        if isinstance(line, ContextLine) and (not line.verified or line.context_id in partly):
            kept |= dict.fromkeys(line.files, "not_verified")
    told: set[str] = set()
    for line in report.lines(written):
        for name in line.files if isinstance(line, ContextLine) else ():
            if name in told:
                continue
            told.add(name)
            path = source.path(name)
            reason = kept.get(name) or _reason_to_keep(backup, name, path)
            yield FileLine(name, reason is None, reason)
            if reason is None:
                path.unlink()


def _reason_to_keep(backup: Path, name: str, path: Path) -> str | None:
    try:
        return None if same_file(backup, name, path) else "changed"
    except (OSError, TurnlogError):
        return "unreadable"
