"""The report of an import: one JSON object on each line, written as the work goes on, and read for undoing.

A report that ends with a summary is whole; one that was cut is good up to its last whole line.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final, Literal, TypeAlias
from uuid import UUID

import msgspec

from eventstore.errors import Refused, reason_of
from turnlog.importers.conversation import Problem
from turnlog.importers.job.differences import Difference

Status: TypeAlias = Literal["created", "updated", "unchanged", "failed"]
"""What came of a context. ``failed``: nothing of it was written."""

LISTED_MAX: Final = 100
"""Differences and warnings of one context that are told; their number is told whole."""


class Header(msgspec.Struct, frozen=True, tag="import"):
    """The first line: what is imported, from where to where. ``is_file``: the source is one file.

    ``delete``: the files that were verified are to be deleted afterwards. ``report``: where this report
    is, in the backup.
    """

    run: str
    source: str
    is_file: bool
    formats: tuple[str, ...]
    data: str
    store_id: UUID | None
    backup: str | None
    dry_run: bool
    delete: bool
    report: str | None
    started_at: str


class Failure(msgspec.Struct, frozen=True):
    """Why nothing was written."""

    code: str
    message: str


class ContextLine(msgspec.Struct, frozen=True, tag="context"):
    """A context: what was found, what was written, and whether it was verified.

    ``source_id``: its id in the source; it has another where an earlier import of it was undone.
    ``created``: this import made it, now or before it was interrupted. ``conflicts`` are differences that no
    event can bring forward, ``differences`` all others that the verification found.
    """

    context_id: UUID
    source_id: UUID
    origin: str
    format: str
    status: Status
    verified: bool
    created: bool
    messages: int
    chunks: int
    messages_written: int
    chunks_written: int
    before: int
    version: int
    files: tuple[str, ...]
    difference_count: int = 0
    differences: tuple[Difference, ...] = ()
    conflicts: tuple[Difference, ...] = ()
    warning_count: int = 0
    warnings: tuple[Problem, ...] = ()
    error: Failure | None = None

    @property
    def failed(self) -> bool:
        """Whether it is not as its source has it."""
        return self.error is not None or bool(self.difference_count or self.conflicts)


class FileLine(msgspec.Struct, frozen=True, tag="file"):
    """A file of the source that was deleted, or kept although deleting was asked for.

    ``reason``: why it was kept. ``failed``: it should have been deleted, and could not be.
    """

    path: str
    deleted: bool
    reason: str | None = None
    failed: bool = False


class Summary(msgspec.Struct, tag="summary"):
    """The last line: everything in numbers. A context that ``failed`` counts as that, whatever was written.

    ``not_found``: of the problems, contexts that were asked for.
    """

    contexts: int = 0
    created: int = 0
    updated: int = 0
    unchanged: int = 0
    failed: int = 0
    verified: int = 0
    messages: int = 0
    chunks: int = 0
    messages_written: int = 0
    chunks_written: int = 0
    problems: int = 0
    not_found: int = 0
    warnings: int = 0
    files_deleted: int = 0
    files_failed: int = 0
    duration_us: int = 0

    def add(self, line: Line) -> None:
        """Count a line."""
        match line:
            case ContextLine():
                self.contexts += 1
                self.failed += line.failed
                if not line.failed:
                    self.created += line.status == "created"
                    self.updated += line.status == "updated"
                    self.unchanged += line.status == "unchanged"
                self.verified += line.verified
                self.messages += line.messages
                self.chunks += line.chunks
                self.messages_written += line.messages_written
                self.chunks_written += line.chunks_written
                self.warnings += line.warning_count
            case Problem():
                self.problems += not line.warning
                self.not_found += line.code == "context_not_found"
                self.warnings += line.warning
            case FileLine():
                self.files_deleted += line.deleted
                self.files_failed += line.failed
            case Header() | Summary():
                pass

    @property
    def has_failed(self) -> bool:
        """Whether anything was not brought over as it is, or not deleted that should have been."""
        return bool(self.failed or self.problems or self.files_failed)

    @property
    def only_missing(self) -> bool:
        """Whether nothing failed but that contexts that were asked for are not in the source."""
        return not self.failed and not self.files_failed and self.problems == self.not_found


Line: TypeAlias = Header | ContextLine | Problem | FileLine | Summary

Hear: TypeAlias = Callable[[Line], None]
"""Is told of every line of a report as it is written."""

_decoder: Final[msgspec.json.Decoder[Line]] = msgspec.json.Decoder(Line)


class Writer:
    """Writes a report's lines, each whole before the next, and tells of them; without a path, only that."""

    def __init__(self, path: Path | None, hear: Hear) -> None:
        self.summary = Summary()
        self._hear = hear
        self._file = None if path is None else path.open("wb")

    def write(self, line: Line) -> None:
        """Count a line, write it and tell of it."""
        self.summary.add(line)
        if self._file is not None:
            self._file.write(msgspec.json.encode(line) + b"\n")
            self._file.flush()
        self._hear(line)

    def sync(self) -> None:
        """Make durable what is written."""
        if self._file is not None:
            os.fsync(self._file.fileno())

    def close(self) -> None:
        """Idempotent."""
        if self._file is not None:
            self._file.close()


def lines(path: Path) -> Iterator[Line]:
    """The lines of a report. Raises ``Refused`` (``input_unreadable``) for a file that is none."""
    try:
        with path.open("rb") as file:
            for number, line in enumerate(file, 1):
                if line.endswith(b"\n"):
                    yield _decoder.decode(line)
                elif number == 1:
                    raise Refused("input_unreadable", f"{path.name} is no report of an import")
    except OSError as error:
        raise Refused("input_unreadable", f"cannot read {path}: {reason_of(error)}") from error
    except (msgspec.MsgspecError, UnicodeError) as error:
        raise Refused("input_unreadable", f"{path.name} is no report of an import: {error}") from error


def header_of(path: Path) -> Header:
    """A report's first line. Raises ``Refused`` (``input_unreadable``)."""
    first = next(lines(path), None)
    if not isinstance(first, Header):
        raise Refused("input_unreadable", f"{path.name} is no report of an import")
    return first


def is_whole(path: Path) -> bool:
    """Whether a report was written to its end."""
    try:
        return any(isinstance(line, Summary) for line in lines(path))
    except Refused:
        return False
