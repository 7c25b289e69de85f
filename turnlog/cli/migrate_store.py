"""``turnlog migrate-store``: replay a whole store into a new one, and let it take the old one's place."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from turnlog.cli.options import DEFAULTS, Options
from turnlog.cli.output import Output
from turnlog.cli.text import count, one_line, styled
from turnlog.cli.waiting import Tell, progress
from turnlog.migrating import Migrated, migrate
from turnlog.replaying.transforming import load_transform
from turnlog.shapes import plain
from turnlog.swapping import check_kept, finish_swap, kept_at, swap


async def migrate_store(
    old: Path,
    new: Path,
    /,
    *,
    transform: str | None = None,
    exchange: Annotated[bool, Parameter(name="--swap", negative="", show_default=False)] = False,
    options: Options = DEFAULTS,
) -> None:
    """Replay a whole store into a new one, and verify that it says the same.

    Ids, versions, times, positions and keys stay; a repeat of an append is known by its commit id. Without a
    transform an import can be undone in the new one too. Nobody may write the old one meanwhile. What was
    interrupted goes on when the same command is given again.

    Args:
        old: the directory of the store as it is. Its log is not changed.
        new: the directory of the new one, made if need be.
        transform: a function of yours as MODULE:FUNCTION: it is given each event, and returns the event to
            write, a list of them, or None to drop it.
        exchange: then give the new directory the old one's name; the old one is kept beside it.
    """
    output = Output(options.json)
    old, new = _real(old), _real(new)
    if exchange and (migrated := finish_swap(old, new)) is not None:
        _tell(output, migrated, old, kept_at(old))
        return
    if exchange:
        check_kept(old)
    function = None if transform is None else load_transform(transform)
    with ExitStack() as stack:
        bars: dict[str, Tell] = {}

        def tell(doing: str, done: int, total: int) -> None:
            if doing not in bars:
                stack.close()
                bars.clear()
                bars[doing] = stack.enter_context(progress(output, doing, total))
            bars[doing](done)

        migrated = await migrate(
            old,
            new,
            function,
            allow_unsafe_file_system=options.allow_unsafe_file_system,
            progress=tell,
        )
    if exchange:
        _tell(output, migrated, old, swap(old, new, migrated))
    else:
        _tell(output, migrated, new, None)


def _tell(output: Output, migrated: Migrated, store: Path, kept: Path | None) -> None:
    if output.json:
        output.emit(plain(migrated, store=str(store), kept=None if kept is None else str(kept)))
        return
    if migrated.resumed_position:
        output.say((f"went on after position {migrated.resumed_position:,}", "faint"))
    figures = ", ".join(
        (
            count(migrated.commits, "commit"),
            count(migrated.events, "event"),
            count(migrated.contexts, "context"),
            count(migrated.messages, "message"),
        )
    )
    output.line(styled("verified", "good"), f": {figures}")
    if migrated.dropped_commits:
        output.line(f"{count(migrated.dropped_commits, 'commit')} dropped by the transform")
    output.line((f"events {migrated.events_chain}", "faint"))
    if kept is not None:
        output.line(f"{one_line(str(store))} is the new store; the old one is {one_line(str(kept))}")


def _real(path: Path) -> Path:
    """Where it is: a link to a directory stays what it is, whatever takes the directory's place."""
    return path.resolve()
