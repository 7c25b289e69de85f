"""``turnlog contexts``, ``show`` and ``messages``: what there is, now or as it was."""

from __future__ import annotations

from typing import Annotated, Final, TypeAlias

from cyclopts import Parameter, validators
from rich.text import Text

from eventstore.content import Role
from eventstore.units import format_time, wall_clock_us
from projections.answers import ContextSummary
from projections.pages import PAGE_ITEMS_MAX
from turnlog.cli.access import reading
from turnlog.cli.bodies import collect, listed, with_bodies
from turnlog.cli.conversation import LINES_SHOWN, Drawn, Style, conversation
from turnlog.cli.identify import find_context
from turnlog.cli.moments import PRESENT, AsOf
from turnlog.cli.options import DEFAULTS, Options, Positive
from turnlog.cli.output import Output
from turnlog.cli.rendering import context_header, identifier, joined, version
from turnlog.cli.text import ago, count, one_line, styled
from turnlog.shapes import message_line, plain

PAGE_CONTEXTS: Final = 100
"""Contexts asked for at a time."""

Newest: TypeAlias = Annotated[int, Parameter(validator=validators.Number(gte=1, lte=PAGE_ITEMS_MAX))]
"""How many of the newest: they are read at once."""


async def contexts(
    *,
    workspace: str | None = None,
    limit: Positive | None = None,
    deleted: Annotated[bool, Parameter(negative="", show_default=False)] = False,
    options: Options = DEFAULTS,
) -> None:
    """List the contexts, those that changed last first.

    The messages are those of all branches; of a fork, its own without those that it shares.

    Args:
        workspace: only those of this workspace.
        limit: at most so many; all unless given.
        deleted: the deleted ones too.
    """
    output = Output(options.json)
    rows: list[list[Text]] = []
    async with reading(options, output) as log:
        cursor, left, now = None, limit, wall_clock_us()
        while left is None or left > 0:
            page = await log.queries.contexts(
                workspace=workspace,
                limit=PAGE_CONTEXTS if left is None else min(left, PAGE_CONTEXTS),
                cursor=cursor,
                include_deleted=deleted,
            )
            for context in page.items:
                if options.json:
                    output.emit(plain(context))
                else:
                    rows.append(context_row(context, now))
            left = None if left is None else left - len(page.items)
            cursor = page.next_cursor
            if cursor is None:
                break
    if options.json:
        return
    if rows:
        output.table(("context", "messages", "branch", "changed", "title"), rows, right="messages")
    else:
        output.say(("no contexts yet: try `turnlog demo`", "faint"))


def context_row(context: ContextSummary, now: int) -> list[Text]:
    """A context in a table: id, messages, branch, changed, title."""
    title = Text(one_line(context.title)) if context.title else styled("(untitled)", "faint")
    if context.deleted:
        title.append(" deleted", style="bad")
    elif context.open_streams:
        title.append(f" ▌ {count(context.open_streams, 'open stream')}", style="changed")
    if context.state is not None:
        title.append(f" [{one_line(context.state)}]", style="faint")
    return [
        identifier(context.id),
        Text(f"{context.message_count:,}{'' if context.forked_from is None else ' own'}"),
        styled(one_line(context.active_branch, 24), "branch"),
        styled(ago(context.updated_at, now), "faint"),
        title,
    ]


async def show(
    context: str,
    /,
    *,
    as_of: AsOf = PRESENT,
    last: Newest = 50,
    full: Annotated[bool, Parameter(negative="", show_default=False)] = False,
    options: Options = DEFAULTS,
) -> None:
    """Show a context and its whole conversation, with all branches.

    Args:
        context: its id, the start or the end of it, or @latest.
        last: how many of the newest messages are drawn.
        full: whole texts instead of their first lines.
    """
    output = Output(options.json)
    async with reading(options, output) as log:
        context_id = find_context(log.store.log, context)
        moment = await as_of.moment(log, context_id)
        state = await log.queries.context(context_id, moment)
        if options.json:
            output.emit(plain(state))
            return
        drawn = await collect(log, state, last)
    for line in context_header(state):
        output.line(line)
    output.line("")
    if state.message_count > len(drawn):
        output.line((f"the newest {len(drawn)} of {count(state.message_count, 'message')}:", "faint"))
    style = Style(output.width, None if full else LINES_SHOWN)
    for line in conversation(drawn, state.branches, state.active_branch, style):
        output.line(line)


async def messages(
    context: str,
    /,
    *,
    branch: str | None = None,
    all_branches: Annotated[bool, Parameter(negative="", show_default=False)] = False,
    role: Role | None = None,
    last: Newest | None = None,
    as_of: AsOf = PRESENT,
    options: Options = DEFAULTS,
) -> None:
    """List the messages of a branch, from its root to its head.

    Args:
        context: its id, the start or the end of it, or @latest.
        branch: the branch; the active one unless named.
        all_branches: every message of the context, in the order they came.
        role: only messages of this role.
        last: only so many of the newest.
    """
    output = Output(options.json)
    rows: list[list[Text]] = []
    async with reading(options, output) as log:
        context_id = find_context(log.store.log, context)
        moment = await as_of.moment(log, context_id)
        state = await log.queries.context(context_id, moment)
        pages = listed(log, state, branch=branch, all_branches=all_branches, role=role, last=last)
        async for page in pages:
            for drawn in await with_bodies(log, state, page):
                if options.json:
                    output.emit(message_line(drawn.body))
                else:
                    rows.append(_message_row(drawn, timed=output.is_roomy))
    if not options.json:
        time = ("time",) if output.is_roomy else ()
        if not rows:
            output.say(("no messages", "faint"))
        output.table(("message", "version", *time, "role", "text"), rows, right="version")


def _message_row(drawn: Drawn, *, timed: bool) -> list[Text]:
    entry = drawn.body.entry
    at = entry.recorded_at if entry.occurred_at is None else entry.occurred_at
    text = styled("(redacted)", "faint") if entry.redacted else joined(drawn.body.parts)
    if drawn.progress is not None:
        text.append(f" ▌ {count(drawn.progress, 'chunk')} so far", style="changed")
    return [
        identifier(entry.id),
        version(entry.version),
        *([styled(format_time(at), "faint")] if timed else []),
        styled(entry.role, entry.role),
        text,
    ]
