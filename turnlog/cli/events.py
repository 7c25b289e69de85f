"""``turnlog events``: the log itself, from any position, and then live."""

from __future__ import annotations

from typing import Annotated, assert_never
from uuid import UUID

from cyclopts import Parameter
from rich.text import Text

from eventstore.commits import Commit, pack
from eventstore.events import (
    BranchDeleted,
    BranchMoved,
    BranchSwitched,
    ChunkReceived,
    ChunkRun,
    ContextCreated,
    ContextDeleted,
    ContextUpdated,
    CustomRecorded,
    MessageAppended,
    MessageRedacted,
    Record,
    StateChanged,
    StreamFinalized,
    StreamResumed,
    StreamStarted,
    tag_of,
)
from eventstore.store import EventStore
from eventstore.units import format_time
from turnlog.cli.identify import find_context
from turnlog.cli.options import DEFAULTS, Natural, Options, Positive
from turnlog.cli.output import Output
from turnlog.cli.rendering import OUTCOME_STYLES, event_type, identifier, joined, json_text, run_of
from turnlog.cli.text import one_line, styled
from turnlog.shapes import event_lines


async def events(
    *,
    after: Natural = 0,
    context: str | None = None,
    follow: Annotated[bool, Parameter(negative="", show_default=False)] = False,
    limit: Positive | None = None,
    options: Options = DEFAULTS,
) -> None:
    """List the events of the whole log, in their order, or follow it live.

    The chunks of one commit and stream stand on one line. Reads the log alone and never waits for views.

    Args:
        after: only events after this position.
        context: only events of this context.
        follow: go on with each new event as it is committed, until interrupted.
        limit: end after so many commits.
    """
    output = Output(options.json)
    store = await EventStore.open(
        options.data, read_only=True, allow_unsafe_file_system=options.allow_unsafe_file_system
    )
    async with store:
        context_id = None if context is None else find_context(store.log, context)
        left = limit
        async for commit in store.subscribe(after, contexts=context_id and (context_id,), live=follow):
            _print(output, commit)
            if follow:
                output.flush()
            left = None if left is None else left - 1
            if left == 0:
                break


def _print(output: Output, commit: Commit) -> None:
    if output.json:
        for line in event_lines(commit):
            output.emit(line)
        return
    for version, record in commit.versioned():
        output.fitted_line(_line(commit, version, record, timed=output.is_roomy))


def _line(commit: Commit, version: int, record: Record, *, timed: bool) -> Text:
    last = version + (len(record.deltas) - 1 if isinstance(record, ChunkRun) else 0)
    span = f"v{version}" if last == version else f"v{version}-v{last}"
    line = Text.assemble(
        (f"p{commit.position:<7}", "faint"),
        (f"{format_time(commit.recorded_at)}  " if timed else "", "faint"),
        identifier(commit.context_id),
        "  ",
        (f"{span:<11}", "version"),
        " ",
    )
    name = tag_of(record) if not isinstance(record, ChunkRun) else ChunkReceived.__struct_config__.tag
    line.append_text(event_type(str(name)))
    line.append(" " * max(24 - len(str(name)), 1))
    return line.append_text(_about(record))


def _about(record: Record) -> Text:
    """What happened, in short."""
    match record:
        case ContextCreated():
            about = Text(one_line(record.title or "(untitled)"))
            if record.forked_from is not None:
                about.append(" from ").append_text(identifier(record.forked_from.context_id))
            return about
        case ContextUpdated():
            return Text(json_text(record.changes))
        case StateChanged():
            return Text(one_line(record.state))
        case ContextDeleted() | MessageRedacted():
            about = identifier(record.message_id) if isinstance(record, MessageRedacted) else Text()
            return about.append(one_line(f" {record.reason}" if record.reason else ""))
        case MessageAppended():
            about = _message(record.message_id, record.branch).append(f" {record.role}", style=record.role)
            return about.append("  ").append_text(joined(record.parts))
        case StreamStarted():
            about = _message(record.message_id, record.branch)
            return about.append(f" {one_line(record.model)}" if record.model else "", style="model")
        case StreamResumed():
            return identifier(record.message_id).append(f" epoch {record.epoch}")
        case ChunkRun():
            about = identifier(record.message_id)
            about.append_text(run_of(len(record.deltas), record.first_sequence, record.last_sequence))
            said = one_line("".join(record.deltas))
            return about.append(f"  {said}", style="reasoning" if record.kind == "reasoning" else "")
        case StreamFinalized():
            about = identifier(record.message_id)
            return about.append(" ").append(record.outcome, style=OUTCOME_STYLES[record.outcome])
        case BranchMoved():
            about = styled(one_line(record.branch), "branch").append(" → ", style="")
            return about + (identifier(record.head) if record.head else styled("empty", "faint"))
        case BranchSwitched() | BranchDeleted():
            return styled(one_line(record.branch), "branch")
        case CustomRecorded():
            return Text.assemble(one_line(record.name), " ", (json_text(record.data), "faint"))
        case ChunkReceived():
            return _about(pack([record])[0])
        case _:
            assert_never(record)


def _message(message_id: UUID, branch: str) -> Text:
    return identifier(message_id).append(f" {one_line(branch)}", style="branch")
