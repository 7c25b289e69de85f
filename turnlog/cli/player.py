"""Printing an answer as it is replayed: voices apart, words whole, totals at the end."""

from __future__ import annotations

import re
from typing import Final

import msgspec
from rich.cells import cell_len
from rich.text import Text

from projections.answers import ReplayChunk, ReplayDone, Timeline
from turnlog.cli.output import Output
from turnlog.cli.rendering import OUTCOME_STYLES
from turnlog.cli.text import clean, count, duration, one_line, styled

_STYLES: Final = {"reasoning": "reasoning", "tool_call": "tool", "refusal": "changed"}
_PIECES: Final = re.compile(r"\n|[^\S\n]+|\S+")
_RAGGED_CELLS: Final = 10
"""A line ends at the first space in so many cells before its end: the next token may go on with the word."""


class Player:
    """Prints chunks as they come. Each kind and part begins on a line of its own.

    With a ``width`` lines are wrapped and indented. ``reasoning``: whether what the model thought is shown.
    """

    def __init__(self, output: Output, *, reasoning: bool, indent: int = 0, width: int | None = None) -> None:
        self._output = output
        self._reasoning = reasoning
        self._indent = indent
        self._width = width
        self._voice: tuple[str, str | None] | None = None
        self._column = 0

    def play(self, chunk: ReplayChunk) -> None:
        """Print one chunk at once."""
        if chunk.kind == "reasoning" and not self._reasoning:
            return
        if chunk.kind == "other":
            name = tool_named(chunk.delta)
            if name is not None:
                self.end()
                self._voice = ("tool_call", chunk.part)
                self._say(f"→ {name} ", "tool")
            return
        voice = (chunk.kind, chunk.part)
        if voice != self._voice:
            self.end()
            self._voice = voice
        self._say(clean(chunk.delta), _STYLES.get(chunk.kind, ""))

    def end(self) -> None:
        """Finish the line under way."""
        if self._column:
            self._say("\n", "")

    def _say(self, text: str, style: str) -> None:
        if self._width is None:
            self._column = 0 if text.endswith("\n") else self._column + len(text)
            self._output.write(styled(text, style))
            return
        line = Text(style=style)
        for piece in _PIECES.findall(text):
            self._place(line, piece, self._width)
        self._output.write(line)

    def _place(self, line: Text, piece: str, width: int) -> None:
        cells = cell_len(piece)
        if piece == "\n":
            line.append(piece)
            self._column = 0
            return
        full = self._column + cells > width or (piece.isspace() and self._column > width - _RAGGED_CELLS)
        if full and self._column:
            line.append("\n")
            self._column = 0
            if piece.isspace():
                return
        if self._column == 0:
            line.append(" " * self._indent)
            self._column = self._indent
        line.append(piece)
        self._column += cells


def tool_named(note: str) -> str | None:
    """The tool that a chunk of kind ``other`` announces."""
    try:
        announced = msgspec.json.decode(note, type=dict[str, object])
    except msgspec.DecodeError:
        return None
    return one_line(str(announced.get("name", ""))) if announced.get("type") == "tool_call" else None


def totals(timeline: Timeline, done: ReplayDone) -> Text:
    """The line at the end of a replay."""
    facts = [f"{count(done.chunks, 'chunk')} in {duration(done.recorded_us)}"]
    if timeline.first_chunk_us is not None:
        facts.append(f"first after {duration(timeline.first_chunk_us)}")
    if done.recorded_us > 0 and done.chunks > 1:
        facts.append(f"{(done.chunks - 1) / done.recorded_us * 1e6:,.0f}/s")
    line = styled(" · ".join(facts) + " · ", "faint")
    line.append(done.outcome or "still open", style=OUTCOME_STYLES[done.outcome])
    if timeline.finish_reason:
        line.append(f" ({one_line(timeline.finish_reason, 40)})", style="faint")
    return line
