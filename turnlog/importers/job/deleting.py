"""Deleting the files of a source that were verified, and only those."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from pathlib import Path
from uuid import UUID

from eventstore.errors import TurnlogError, reason_of
from turnlog.importers.conversation import Problem
from turnlog.importers.job import report
from turnlog.importers.job.backup import same_file
from turnlog.importers.job.report import ContextLine, FileLine
from turnlog.importers.source.files import Source, Unreadable


def delete_verified(
    source: Source, backup: Path, written: Path, not_asked_for: Collection[str]
) -> Iterator[FileLine]:
    """Delete the files of a source whose contexts are all verified, as the report that was ``written`` says.

    A file that any problem names is kept, with all files of its contexts; so are those of a context that has
    a problem, those that hold something that was not asked for, one that was changed since it was backed
    up, and one that the source names by a link. What cannot be deleted is told, and the others go on.
    """
    kept = dict.fromkeys(not_asked_for, "not_imported")
    partly: set[UUID] = set()
    for line in report.lines(written):
        if isinstance(line, Problem):
            kept[line.path] = line.code
            if line.context_id is not None:
                partly.add(line.context_id)
    named = frozenset(kept)
    for line in report.lines(written):
        if isinstance(line, ContextLine) and not (
            line.verified and line.source_id not in partly and named.isdisjoint(line.files)
        ):
            for name in line.files:
                kept.setdefault(name, "not_verified" if not line.verified else "kept_together")
    told: set[str] = set()
    for line in report.lines(written):
        for name in line.files if isinstance(line, ContextLine) else ():
            if name not in told:
                told.add(name)
                yield FileLine(name, False, kept[name]) if name in kept else _delete(source, backup, name)


def _delete(source: Source, backup: Path, name: str) -> FileLine:
    if source.is_file and source.root.is_symlink():  # what it names is someone else's, and it would dangle
        return FileLine(name, False, "symbolic_link", failed=True)
    try:
        path = source.path(name)
        if not same_file(backup, name, path):
            return FileLine(name, False, "changed", failed=True)
        path.unlink()
    except OSError as error:
        return FileLine(name, False, reason_of(error), failed=True)
    except (TurnlogError, Unreadable) as error:
        return FileLine(name, False, str(error), failed=True)
    return FileLine(name, True)
