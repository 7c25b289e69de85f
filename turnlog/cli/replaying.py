"""``turnlog import`` of our own lines: they are replayed, not converted."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager, nullcontext
from pathlib import Path
from typing import Final

from turnlog.cli.access import writing
from turnlog.cli.options import Options
from turnlog.cli.output import Output
from turnlog.cli.text import count
from turnlog.cli.waiting import progress
from turnlog.facade import Turnlog
from turnlog.importers.job.running import Hear
from turnlog.importers.source.files import Source
from turnlog.replaying.ndjson import TurnlogNdjson
from turnlog.replaying.transforming import load_transform
from turnlog.replaying.writing import replay_lines
from turnlog.shapes import plain

_LINES: Final = TurnlogNdjson()


def is_ours(source: Path, insist: str | None) -> bool:
    """Whether a source that is there holds our own lines, or is said to."""
    if not source.exists():
        return False
    return insist == _LINES.format or (insist is None and _LINES.recognises(Source(source)))


async def replay(
    source: Path, transform: str | None, options: Options, output: Output, hear: Hear, *, dry: bool
) -> int:
    """Replay a source into the store, or only see what there is; 1 if something of it was not replayed."""
    function = None if transform is None else load_transform(transform)

    opened: AbstractAsyncContextManager[Turnlog | None] = nullcontext()
    if not dry:
        opened = writing(options, output, create=True)
    async with opened as log:
        with progress(output, "replaying commits", None) as tell:
            store = None if log is None else log.store
            done = await replay_lines(store, Source(source), function, hear, tell)
    if output.json:
        output.emit(plain(done))
    else:
        figures = "" if dry else f"{done.written:,} written, {done.unchanged:,} unchanged, "
        figures += f"{done.dropped:,} dropped, {done.failed:,} failed"
        output.line((count(done.commits, "commit"), "heading"), f": {figures}")
        output.line(count(done.problems, "problem"))
    return 1 if done.has_failed else 0
