"""``turnlog replay``: an answer once more, as it was timed."""

from __future__ import annotations

from typing import Annotated

from cyclopts import Parameter

from projections.answers import ReplayChunk
from turnlog.cli.access import reading
from turnlog.cli.identify import find_message
from turnlog.cli.options import DEFAULTS, Options
from turnlog.cli.output import Output
from turnlog.cli.player import Player, totals
from turnlog.shapes import plain


async def replay(
    message: str,
    /,
    *,
    speed: float = 1.0,
    from_: Annotated[float | None, Parameter(name="--from")] = None,
    to: float | None = None,
    from_sequence: int | None = None,
    to_sequence: int | None = None,
    max_gap_ms: float | None = None,
    options: Options = DEFAULTS,
) -> None:
    """Play an answer once more, at the intervals in which it came.

    Text goes to stdout as it was timed, what the model thought dimmed and only on a terminal; the totals go
    to stderr. With --json: one line for each chunk when it is due, and a last one with the totals.

    Args:
        message: its id, or the start or the end of it.
        speed: 1 keeps the recorded intervals, 2 halves them, 0 is everything at once.
        from_: begin so many milliseconds after the first chunk.
        to: end so many milliseconds after the first chunk.
        from_sequence: begin with this chunk.
        to_sequence: end with this chunk.
        max_gap_ms: cut longer pauses to this.
    """
    output = Output(options.json)
    async with reading(options, output) as log:
        message_id = find_message(log.store.log, message)
        timeline = await log.queries.timeline(message_id)
        player = Player(output, reasoning=output.console.is_terminal, width=output.width)
        items = log.queries.replay(
            message_id,
            speed=speed,
            from_ms=from_,
            to_ms=to,
            from_sequence=from_sequence,
            to_sequence=to_sequence,
            max_gap_ms=max_gap_ms,
        )
        try:
            async for item in items:
                if options.json:
                    kind = "chunk" if isinstance(item, ReplayChunk) else "done"
                    output.emit({"type": kind} | plain(item))
                    output.flush()
                elif isinstance(item, ReplayChunk):
                    player.play(item)
                else:
                    player.end()
                    output.say(totals(timeline, item))
        finally:
            player.end()  # interrupted, what comes next on the terminal begins on a line of its own
