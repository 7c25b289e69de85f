"""``turnlog branch`` and ``turnlog fork``: go on from any moment."""

from __future__ import annotations

from rich.text import Text

from turnlog.cli.access import writing
from turnlog.cli.identify import find_context
from turnlog.cli.moments import PRESENT, AsOf
from turnlog.cli.options import DEFAULTS, Options
from turnlog.cli.output import Output
from turnlog.cli.rendering import identifier, version
from turnlog.cli.text import one_line, styled
from turnlog.shapes import plain


async def branch(
    context: str,
    name: str,
    /,
    *,
    as_of: AsOf = PRESENT,
    of: str | None = None,
    options: Options = DEFAULTS,
) -> None:
    """Point a branch at where another one stood at a moment.

    Args:
        context: its id, the start or the end of it, or @latest.
        name: the branch.
        of: the branch whose head it gets; the one that was active then unless named.
    """
    output = Output(options.json)
    async with writing(options, output) as log:
        context_id = find_context(log.store.log, context)
        moment = await as_of.moment(log, context_id)
        committed = await log.context(context_id).branch(name, moment, of=of)
        state = await log.queries.context(context_id)
    head = state.branches[name]
    if options.json:
        output.emit({"context_id": context_id, "branch": name, "head": head} | plain(committed))
        return
    output.line(
        Text("branch "),
        (one_line(name), "branch"),
        " → ",
        identifier(head) if head else styled("empty", "faint"),
        ("  in ", "faint"),
        identifier(context_id),
        (" at ", "faint"),
        version(committed.version),
    )


async def fork(
    context: str,
    /,
    *,
    as_of: AsOf = PRESENT,
    title: str | None = None,
    options: Options = DEFAULTS,
) -> None:
    """Make a context that shares another's history up to a moment.

    Args:
        context: its id, the start or the end of it, or @latest.
        title: the new context's title; the other's unless given.
    """
    output = Output(options.json)
    async with writing(options, output) as log:
        context_id = find_context(log.store.log, context)
        moment = await as_of.moment(log, context_id)
        forked = await log.context(context_id).fork(moment, title=title)
        state = await log.queries.context(forked.id)
    if options.json:
        output.emit(plain(state))
        return
    assert state.forked_from is not None, "a fork knows where it comes from"
    output.line(
        Text("context "),
        (str(forked.id), "id"),
        ("  from ", "faint"),
        identifier(context_id),
        (" at ", "faint"),
        version(state.forked_from.version),
    )
