"""The demo's view of answers while they are recorded: a line for each, alive on a terminal."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Final

import anyio
from rich.text import Text

from turnlog.cli.demo_scenes import RECORDINGS, Recording
from turnlog.cli.output import Output, padded
from turnlog.cli.player import tool_named
from turnlog.cli.text import count, duration, one_line, styled
from turnlog.dialects.wire import Piece

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.live import Live

REFRESHES_PER_SECOND: Final = 15

_SPINNER: Final = "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏"
_TURNS_PER_SECOND: Final = 10
_TAIL_CHARACTERS: Final = 400
"""Of what was said last: more than any line shows."""


class Row:
    """One answer: how far it is, and the end of what it said."""

    def __init__(self, recording: Recording) -> None:
        self.recording = recording
        self.started_at: float | None = None
        self.seconds: float | None = None
        self.chunks = 0
        self.kind = "text"
        self.said = ""

    def hear(self, pieces: Sequence[Piece]) -> None:
        """Take what an event said."""
        for piece in pieces:
            self.chunks += 1
            if piece.kind == "other":
                name = tool_named(piece.delta)
                if name is not None:
                    self.kind, self.said = "tool_call", f"→ {name} "
                continue
            if piece.kind != self.kind:
                self.kind, self.said = piece.kind, ""
            self.said = (self.said + piece.delta)[-_TAIL_CHARACTERS:]

    def line(self, now: float, width: int) -> Text:
        """The row as it stands."""
        if self.started_at is None:
            return styled(f"   · {padded(self.recording.topic, 9)} {self.recording.model}", "faint")
        if self.seconds is None:
            turn = int((now - self.started_at) * _TURNS_PER_SECOND) % len(_SPINNER)
            mark, seconds = (_SPINNER[turn], "changed"), now - self.started_at
        else:
            mark, seconds = ("✓", "good"), self.seconds
        line = Text.assemble(
            "   ",
            mark,
            f" {padded(self.recording.topic, 9)} ",
            (padded(self.recording.model, 18), "model"),
            (f"{count(self.chunks, 'chunk'):>11}{duration(seconds * 1e6):>9}  ", "faint"),
        )
        style = "reasoning" if self.kind == "reasoning" else "faint" if self.seconds is not None else ""
        return line.append_text(_tail(self.said, width - line.cell_len, style))


def _tail(said: str, width: int, style: str) -> Text:
    """The end of what was said, in at most ``width`` cells."""
    text = Text(one_line(said))
    while text.cell_len > width:
        text = text[max(text.cell_len - width, 1) + 1 :]
        text = Text("…") + text
    text.stylize(style)
    return text


class Board:
    """All rows. A context manager: on a terminal they are alive, elsewhere each is printed when done."""

    def __init__(self, output: Output, width: int, clock: Callable[[], float]) -> None:
        self.rows: dict[Recording, Row] = {recording: Row(recording) for recording in RECORDINGS}
        self._output = output
        self._width = width
        self._clock = clock
        self._live: Live | None = None

    def __enter__(self) -> Board:
        if self._output.console.is_terminal and not self._output.json:
            from rich.live import Live

            self._live = Live(
                console=self._output.console,
                get_renderable=self._render,
                auto_refresh=False,  # its thread would look at rows while they change
                redirect_stdout=False,
                redirect_stderr=False,
            )
            self._live.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        if self._live is not None:
            self._live.__exit__(None, None, None)

    def _render(self) -> RenderableType:
        now = self._clock()
        return Text("\n").join(row.line(now, self._width) for row in self.rows.values())

    async def refresh(self) -> None:
        """Show the rows as they are, again and again, until cancelled."""
        while True:
            if self._live is not None:
                self._live.refresh()
            await anyio.sleep(1 / REFRESHES_PER_SECOND)

    def begin(self, recording: Recording) -> Row:
        """An answer was asked for."""
        row = self.rows[recording]
        row.started_at = self._clock()
        return row

    def end(self, row: Row) -> None:
        """It is complete."""
        assert row.started_at is not None, "what ends has begun"
        row.seconds = self._clock() - row.started_at
        if self._live is None and not self._output.json:
            self._output.line(row.line(self._clock(), self._width))
            self._output.flush()
