"""``turnlog export``: contexts as files that other programs, or another store, can read."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, TypeAlias
from uuid import UUID

from cyclopts import Parameter

from eventstore.errors import Refused
from eventstore.log import Log
from eventstore.store import EventStore
from turnlog.cli.access import reading
from turnlog.cli.identify import find_context
from turnlog.cli.options import DEFAULTS, Flag, Options
from turnlog.cli.output import Output
from turnlog.cli.text import count, one_line
from turnlog.cli.waiting import progress
from turnlog.exporters import copilot_chat, ndjson, openai_jsonl
from turnlog.exporters.exported import Exported
from turnlog.exporters.folder import Folder
from turnlog.exporters.messages import states
from turnlog.shapes import plain

Format: TypeAlias = Literal["ndjson", "copilot_chat", "openai_jsonl"]


async def export(
    *contexts: str,
    to: Annotated[Format, Parameter(name="--format")],
    out: Path,
    every: Annotated[bool, Parameter(name="--all", negative="", show_default=False)] = False,
    force: Flag = False,
    options: Options = DEFAULTS,
) -> None:
    """Write contexts to files.

    ndjson holds every event exactly, what was redacted or deleted too, for another Turnlog; with a fork comes
    what it shares of its source. copilot_chat and openai_jsonl hold the conversations as they are now.

    Args:
        contexts: their ids, the start or the end of one, or @latest.
        to: ndjson, one file of events; copilot_chat, its folders of contexts and messages; openai_jsonl, one
            file with a line for each branch, as for fine-tuning.
        out: the directory to write into, made if need be. Nothing is written elsewhere.
        every: all contexts.
        force: replace files that are there.
    """
    output = Output(options.json)
    if every == bool(contexts):
        raise Refused("invalid_argument", "name the contexts to export, or give --all")
    with Folder(out, force=force) as folder:
        if to == "ndjson":
            exported = await _events(contexts, folder, options, output)
        else:
            exported = await _conversations(contexts, to, folder, options, output)
    if options.json:
        output.emit(plain(exported))
        return
    told = [("context", exported.contexts), ("message", exported.messages), ("event", exported.events)]
    figures = ", ".join(count(number, noun) for noun, number in told if number)
    output.line(f"{figures or 'nothing'} in {count(exported.files, 'file')}: {one_line(exported.out)}")
    for what, number in exported.left_out.items():
        output.say((f"the format has no place for: {what} ({number:,})", "changed"))


async def _events(contexts: tuple[str, ...], folder: Folder, options: Options, output: Output) -> Exported:
    """The log is enough: no view is waited for."""
    store = await EventStore.open(
        options.data, read_only=True, allow_unsafe_file_system=options.allow_unsafe_file_system
    )
    async with store:
        ids = _ids(store.log, contexts)
        wanted = ndjson.with_sources(store, ids) if ids else None
        total = store.head().position if wanted is None else None
        with progress(output, "exporting commits", total) as tell:
            return ndjson.export(store, wanted, folder, tell)


async def _conversations(
    contexts: tuple[str, ...], to: Format, folder: Folder, options: Options, output: Output
) -> Exported:
    exporter = copilot_chat.export if to == "copilot_chat" else openai_jsonl.export
    async with reading(options, output) as log:
        ids = _ids(log.store.log, contexts) or _all_ids(log.store.log)
        wanted = states(log, ids, deleted=bool(contexts))
        with progress(output, "exporting contexts", len(ids)) as tell:
            return await exporter(log, wanted, folder, tell)


def _ids(log: Log, contexts: tuple[str, ...]) -> list[UUID]:
    """Each once, in the order in which they were named."""
    return list(dict.fromkeys(find_context(log, context) for context in contexts))


def _all_ids(log: Log) -> list[UUID]:
    """Of every context, in the order of the ids: what is made or written meanwhile makes none be missed."""
    with log.reading() as txn:
        return sorted(UUID(bytes=key) for key in log.context_keys(txn))
