"""``turnlog import``: bring a store of another program over."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable, Generator
from contextlib import AbstractAsyncContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Annotated, Final
from uuid import UUID

import anyio
import anyio.to_thread
from cyclopts import Parameter
from rich.text import Text

from eventstore.directory import make_directory
from eventstore.errors import CODES, Refused
from turnlog.cli.access import reading, writing
from turnlog.cli.options import DEFAULTS, Flag, Options
from turnlog.cli.output import Output
from turnlog.cli.rendering import identifier
from turnlog.cli.replaying import is_ours, replay
from turnlog.cli.text import count, duration, one_line, styled
from turnlog.cli.waiting import progress
from turnlog.facade import Turnlog
from turnlog.importers.conversation import Problem
from turnlog.importers.detecting import detect
from turnlog.importers.job.backup import Backup, back_up
from turnlog.importers.job.differences import Difference
from turnlog.importers.job.report import ContextLine, FileLine, Header, Hear, Line, Summary
from turnlog.importers.job.running import Order, look, run_import
from turnlog.importers.source.files import Source, own_id
from turnlog.shapes import plain

BACKUPS: Final = Path("backups")

_WOULD: Final = {"created": "create", "updated": "update", "unchanged": "leave ", "failed": "fail  "}


async def import_(
    source: Path,
    /,
    *,
    format_: Annotated[str | None, Parameter(name="--format")] = None,
    dry_run: Flag = False,
    backup_dir: Path = BACKUPS,
    delete_source: Flag = False,
    only: Annotated[tuple[str, ...], Parameter(negative="", consume_multiple=True, show_default=False)] = (),
    workspace: str | None = None,
    report: Path | None = None,
    transform: str | None = None,
    yes: Flag = False,
    options: Options = DEFAULTS,
) -> int:
    """Bring another program's conversations over, and verify each by its content; end with 1 if any failed.

    The source is copied first. What is there already is recognised and not doubled, so an import that was
    interrupted is just run again. A real one asks for yes. What turnlog export wrote as ndjson is replayed
    instead, event by event: with the ids that it had, without backup or report.

    Args:
        source: a directory or a file.
        format_: insist on a format (turnlog: our own ndjson); what the source holds is detected unless given.
        dry_run: say what was found and what would happen; write nothing.
        backup_dir: where the copy of the source goes, and the report.
        delete_source: delete the files whose contexts are all verified.
        only: the whole ids of the contexts to import, as the source says them or a dry run does; all unless
            given. Ends with 3 if one is not there and nothing else failed.
        workspace: where the contexts go; where the source has them unless given.
        report: a file for the report, beside the one in the backup.
        transform: for our own ndjson, a function of yours as MODULE:FUNCTION: it is given each event, and
            returns the event to write, a list of them, or None to drop it.
        yes: do not ask.
    """
    output = Output(options.json)
    if is_ours(source, format_):
        if delete_source or only or workspace is not None or report is not None:
            raise Refused("invalid_argument", "what is replayed is replayed whole and leaves no report")
        check_places(source, options.data)
        if not dry_run:
            await check_data(options, output)
        if not (dry_run or yes) and not confirmed(output, f"Replay {one_line(str(source))}? Type yes: "):
            raise Refused("not_confirmed", "not confirmed; nothing was replayed")
        return await replay(source, transform, options, output, emitter(output), dry=dry_run)
    if transform is not None:
        raise Refused("invalid_argument", "a transform is for what turnlog export wrote as ndjson")
    check_places(source, options.data, backup_dir)
    order = order_of(source, format_, only, workspace, report, delete=delete_source)
    hear = emitter(output, dry=dry_run)
    if dry_run:
        return answer(output, await look_at(order, options, output, hear), dry=True)
    await check_data(options, output)
    total = None
    if not yes:
        found = await look_at(order, options, output, _nothing)
        what = f"{count(found.contexts, 'context')}, {count(found.messages, 'message')} and "
        what += f"{count(found.chunks, 'chunk')} from {one_line(str(source))}"
        if found.problems:
            what += f", all but {count(found.problems, 'problem')},"
        what += f" into {one_line(str(options.data))}"
        what += ", and delete the files that are verified" if delete_source else ""
        if not confirmed(output, f"Import {what}? Type yes: "):
            raise Refused("not_confirmed", "not confirmed; nothing was imported")
        total = found.contexts
    summary, report_path = await bring(order, backup_dir, options, output, hear, total)
    code = answer(output, summary)
    tell_undo(output, report_path, options.data)
    return code


def order_of(
    source: Path,
    insist: str | None,
    only: tuple[str, ...] = (),
    workspace: str | None = None,
    report: Path | None = None,
    *,
    delete: bool = False,
) -> Order:
    """What is asked for. Raises ``Refused`` for a source that is not there or in no known format."""
    if not source.exists():
        raise Refused("input_unreadable", f"there is no {one_line(str(source))}")
    if delete and source.is_symlink():
        what = f"{one_line(str(source))} is a symbolic link, and nothing is deleted through one"
        raise Refused("invalid_argument", what)
    if report is not None and not report.absolute().parent.is_dir():
        raise Refused("invalid_argument", f"there is no directory for {one_line(str(report))}")
    read = Source(source)
    importers = tuple(detect(read, insist))
    names = {_named(text, one.format): text for text in only for one in importers}
    return Order(read, importers, workspace, names or None, delete, report)


def _named(text: str, format_: str) -> UUID:
    try:
        return UUID(text)
    except ValueError:
        return own_id(format_, text)


def check_places(source: Path, *others: Path) -> None:
    """Refuse places that a report cannot name, and data or backups in the source: they would be copied."""
    root = source.resolve()
    for place in (source, *others):
        try:
            str(place.resolve()).encode()
        except UnicodeEncodeError:
            what = f"the name of {one_line(str(place))} is not UTF-8: rename it"
            raise Refused("invalid_argument", what) from None
    for other in others:
        if other.resolve().is_relative_to(root):
            raise Refused("invalid_argument", f"{one_line(str(other))} is inside the source")


async def check_data(options: Options, output: Output) -> None:
    """Refuse, before anything is asked or copied, a data directory that cannot be written."""
    if (options.data / "log").exists():
        async with writing(options, output):
            pass
    elif options.data.exists():
        make_directory(options.data, allow_unsafe_file_system=options.allow_unsafe_file_system)


async def look_at(order: Order, options: Options, output: Output, hear: Hear) -> Summary:
    """What an import would do, told line by line; it needs no log, and makes none."""
    opened: AbstractAsyncContextManager[Turnlog | None] = nullcontext()
    if (options.data / "log").exists():
        opened = reading(options, output)
    async with opened as log:
        with _shown(output, "reading", hear, None) as heard:
            return await look(log, order, heard)


async def bring(
    order: Order, backup_dir: Path, options: Options, output: Output, hear: Hear, total: int | None
) -> tuple[Summary, str]:
    """Back the source up, then import it. Returns where the report is, too."""
    headers: list[Header] = []

    def heard(line: Line) -> None:
        if isinstance(line, Header):
            headers.append(line)
        hear(line)

    backup: Backup = await anyio.to_thread.run_sync(back_up, order.source, backup_dir)
    if not output.json:
        copied = f"{count(backup.files, 'file')} in {one_line(str(backup.path))}"
        output.say(("backed up ", "faint"), copied)
    try:
        async with writing(options, output, create=True) as log:
            with _shown(output, "importing", heard, total) as shown:
                summary = await run_import(log, order, backup, shown)
    except anyio.get_cancelled_exc_class():
        if not output.json:
            output.say(("interrupted: ", "changed"), "run the same again, and it goes on where it was")
        raise
    return summary, str(headers[0].report)


def confirmed(output: Output, question: str) -> bool:
    """Whether standard input says yes."""
    output.flush()  # the question is about what was told before it
    output.errors.print(question, end="", soft_wrap=True)
    return sys.stdin.readline().strip().lower() == "yes"


def answer(output: Output, summary: Summary, *, dry: bool = False) -> int:
    """The last word, and the exit code."""
    if not output.json:
        would = "would be " if dry else ""
        output.line(
            (count(summary.contexts, "context"), "heading"),
            f": {summary.created:,} {would}created, {summary.updated:,} {would}updated, ",
            f"{summary.unchanged:,} unchanged, {summary.failed:,} failed",
        )
        wrote = f"{would}written: {count(summary.messages_written, 'message')}, "
        output.line(
            wrote,
            f"{count(summary.chunks_written, 'chunk')} of {summary.messages:,} and {summary.chunks:,} found",
        )
        if not dry:
            output.line(f"verified: {count(summary.verified, 'context')}")
        if summary.files_deleted:
            output.line(f"deleted: {count(summary.files_deleted, 'source file')}")
        output.line(f"{count(summary.problems, 'problem')}, {count(summary.warnings, 'warning')}")
        output.say((f"in {duration(summary.duration_us)}", "faint"))
    if summary.has_failed and summary.only_missing:
        return CODES["context_not_found"].exit
    return 1 if summary.has_failed else 0


def tell_undo(output: Output, report: str, data: Path) -> None:
    """How to go back."""
    if not output.json:
        undoing = shlex.join(("turnlog", "import", "undo", report, "--data", str(data)))
        output.say(("undo: ", "faint"), one_line(undoing))


def tell_line(output: Output, line: Line) -> None:
    """What a reader should know of a line: failures, problems, warnings."""
    match line:
        case ContextLine():
            what = Text.assemble(identifier(line.context_id), (f" {one_line(line.origin)}", "faint"))
            if line.error is not None:
                output.say(("failed ", "bad"), what, f": {one_line(line.error.message)} ({line.error.code})")
            for difference in line.conflicts:
                output.say(("conflict ", "changed"), what, _difference(difference))
            for difference in line.differences:
                output.say(("differs ", "bad"), what, _difference(difference))
            for warning in line.warnings:
                output.say(("warning ", "changed"), _problem(warning))
        case Problem():
            style = ("warning ", "changed") if line.warning else ("problem ", "bad")
            output.say(style, f"{_problem(line)} ({line.code})")
        case FileLine():
            if not line.deleted:
                style = ("not deleted ", "bad") if line.failed else ("kept ", "changed")
                output.say(style, f"{one_line(line.path)}: {one_line(line.reason or '')}")
        case Header() | Summary():
            pass


def _difference(difference: Difference) -> Text:
    where = "" if difference.message_id is None else f" message {difference.message_id}"
    expected, found = one_line(difference.expected), one_line(difference.found)
    if difference.field == "workspace":  # it may be asked for, whatever the source says
        return styled(f" workspace: it stays in {found} and is not moved to {expected}", "")
    return styled(f"{where} {one_line(difference.field)}: {expected} in the source, {found} here", "")


def _problem(problem: Problem) -> str:
    place = " ".join(filter(None, (problem.path, problem.place)))
    return one_line(f"{place}: {problem.reason}" if place else problem.reason)


def emitter(output: Output, *, dry: bool = False) -> Hear:
    """Tells each line of a report: as it is where JSON is asked for, else what a reader should know of it.

    Of a ``dry`` run that is every context.
    """

    def hear(line: Line) -> None:
        if output.json:
            output.emit(plain(line))
            return
        if dry and isinstance(line, ContextLine):
            size = f"{count(line.messages, 'message')}, {count(line.chunks, 'chunk')}"
            output.line(
                f"{_WOULD[line.status]} {line.context_id}", (f" {one_line(line.origin)}", "faint"), f" {size}"
            )
        tell_line(output, line)

    return hear


def _nothing(line: Line) -> None:
    """Nobody is told: it is only counted."""


@contextmanager
def _shown(
    output: Output, doing: str, hear: Hear, total: int | None
) -> Generator[Callable[[Line], None], None, None]:
    """Show how far an import is, with contexts, messages, chunks and rate; ``hear`` is told each line too."""
    counted = Summary()
    began = anyio.current_time()
    with progress(output, doing, total) as tell:

        def heard(line: Line) -> None:
            hear(line)
            counted.add(line)
            seconds = max(anyio.current_time() - began, 0.001)
            rate = f"{counted.contexts / seconds:,.0f} contexts/s"
            done = f"{count(counted.messages, 'message')}, {count(counted.chunks, 'chunk')}, {rate}"
            tell(counted.contexts, f"{doing} {done}")

        yield heard
