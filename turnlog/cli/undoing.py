"""``turnlog import undo``: take an import back."""

from __future__ import annotations

from pathlib import Path
from typing import Final
from uuid import UUID

from eventstore.errors import Refused
from turnlog.cli.access import writing
from turnlog.cli.importing import confirmed
from turnlog.cli.options import DEFAULTS, Flag, Options
from turnlog.cli.output import Output
from turnlog.cli.text import count, one_line
from turnlog.importers.job.backup import PUT_BACK
from turnlog.importers.job.undoing import plan_undoing
from turnlog.importers.job.undoing import undo as undo_all

_UNDONE: Final = (*PUT_BACK, "deleted", "deleted_before", "not_found")
"""What may come of a file or a context that is as it was before the import."""


async def undo(report: Path, /, *, yes: Flag = False, options: Options = DEFAULTS) -> int:
    """Undo an import by its report: delete the contexts that it made, put deleted source files back.

    A deleted context takes no more events; its history stays readable. What was added to a context that was
    there before stays, and so does a context whose file could not be put back; then it ends with 1.

    Args:
        report: the report, as the import named it.
        yes: do not ask.
    """
    output = Output(options.json)
    async with writing(options, output) as log:
        undoing = await plan_undoing(log, report)
        since = f" ({undoing.written_since:,} of them written to since)" if undoing.written_since else ""
        outcomes = {"contexts": 0, "files": 0, "failed": 0, "updates_left": undoing.updated}
        what = f"Delete {count(undoing.standing, 'context')}{since} and put back "
        what += f"{count(len(undoing.files), 'file')}? Type yes: "
        if not yes and not confirmed(output, what):
            raise Refused("not_confirmed", "not confirmed; nothing was undone")
        async for name, outcome in undo_all(log, undoing):
            outcomes["contexts"] += outcome == "deleted"
            outcomes["files"] += outcome == "restored"
            outcomes["failed"] += outcome not in _UNDONE
            if output.json:
                output.emit({"context_id" if isinstance(name, UUID) else "path": name, "outcome": outcome})
            elif outcome not in _UNDONE:
                output.say(("failed", "bad"), f" {one_line(str(name))}: {one_line(outcome)}")
    if output.json:
        output.emit(dict(outcomes))
    else:
        done = f"{count(outcomes['contexts'], 'context')}, {count(outcomes['files'], 'file')}"
        output.line(f"undone: {done}, {outcomes['failed']:,} failed")
        if undoing.updated:
            left = count(
                undoing.updated, "updated context is left as it is", "updated contexts are left as they are"
            )
            output.line(f"{left}: what an import adds to a context stays")
    return 1 if outcomes["failed"] else 0
