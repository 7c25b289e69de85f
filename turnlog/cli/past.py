"""``turnlog history`` and ``turnlog diff``: how a context came to be what it is."""

from __future__ import annotations

from typing import Final

from rich.text import Text

from eventstore.units import format_time
from projections.answers import HistoryEntry
from projections.timetravel import AtVersion
from turnlog.cli.access import reading
from turnlog.cli.bodies import with_bodies
from turnlog.cli.differences import difference
from turnlog.cli.identify import find_context
from turnlog.cli.moments import written_moment
from turnlog.cli.options import DEFAULTS, Natural, Options, Positive
from turnlog.cli.output import Output
from turnlog.cli.rendering import OUTCOME_STYLES, event_type, identifier, run_of
from turnlog.cli.text import one_line, styled
from turnlog.shapes import plain

PAGE_ENTRIES: Final = 500
"""Entries asked for at a time."""

MESSAGES_COMPARED_MAX: Final = 1_000
"""Messages that a diff lists; it counts all."""


async def history(
    context: str,
    /,
    *,
    after: Natural = 0,
    limit: Positive | None = None,
    options: Options = DEFAULTS,
) -> None:
    """List every event of a context, the chunks between two others in one line.

    Args:
        context: its id, the start or the end of it, or @latest.
        after: only events after this version.
        limit: at most so many lines; all unless given.
    """
    output = Output(options.json)
    rows: list[list[Text]] = []
    async with reading(options, output) as log:
        context_id = find_context(log.store.log, context)
        left = limit
        while left is None or left > 0:
            page = await log.queries.history(
                context_id, after=after, limit=PAGE_ENTRIES if left is None else min(left, PAGE_ENTRIES)
            )
            for entry in page.items:
                if options.json:
                    output.emit(plain(entry))
                else:
                    rows.append(_row(entry, timed=output.is_roomy))
            left = None if left is None else left - len(page.items)
            if page.next_cursor is None:
                break
            after = page.items[-1].last_version
    if not options.json:
        recorded = ("recorded",) if output.is_roomy else ()
        output.table(("version", "position", *recorded, "event", "about"), rows, right="position")


def _row(entry: HistoryEntry, *, timed: bool) -> list[Text]:
    span = f"v{entry.version}"
    if entry.last_version != entry.version:
        span += f"-v{entry.last_version}"
    return [
        styled(span, "version"),
        styled(f"p{entry.position}", "faint"),
        *([styled(format_time(entry.recorded_at), "faint")] if timed else []),
        event_type(entry.type),
        _about(entry),
    ]


def _about(entry: HistoryEntry) -> Text:
    if entry.streams:
        return Text(", ").join(
            identifier(stream.message_id) + run_of(stream.count, stream.first_sequence, stream.last_sequence)
            for stream in entry.streams
        )
    about = identifier(entry.message_id) if entry.message_id else Text()
    if entry.branch is not None:
        about.append(" " if about else "").append(one_line(entry.branch), style="branch")
    if entry.name is not None:
        about.append(" " if about else "").append(one_line(entry.name))
    if entry.outcome is not None:
        about.append(" ").append(entry.outcome, style=OUTCOME_STYLES[entry.outcome])
    return about


async def diff(context: str, a: str, b: str = "now", /, *, options: Options = DEFAULTS) -> None:
    """Show what differs between two moments of a context.

    Args:
        context: its id, the start or the end of it, or @latest.
        a: a moment: v12, p90, now~3, a time, m and a message's id.
        b: another one.
    """
    output = Output(options.json)
    async with reading(options, output) as log:
        context_id = find_context(log.store.log, context)
        before, after = await written_moment(log, context_id, a), await written_moment(log, context_id, b)
        answer = await log.queries.diff(context_id, before, after, limit=MESSAGES_COMPARED_MAX)
        if options.json:
            output.emit(plain(answer))
            return
        newer = await log.queries.context(context_id, AtVersion(max(answer.from_version, answer.to_version)))
        entries = [*answer.messages_added, *answer.messages_gone]
        bodies = {drawn.body.entry.id: drawn for drawn in await with_bodies(log, newer, entries)}
    for line in difference(answer, bodies, output.width):
        output.line(line)
