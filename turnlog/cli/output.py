"""Where a verb's answer goes: JSON or readable lines on stdout, everything else on stderr.

On a terminal lines are coloured and fit its width. Elsewhere they have neither colour nor a width: one row is
one line, and text is whole.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

import msgspec
from rich.cells import cell_len, set_cell_size
from rich.console import Console
from rich.text import Text
from rich.theme import Theme

from turnlog.cli.text import styled

THEME: Final = Theme(
    {
        "id": "cyan",
        "version": "yellow",
        "branch": "green",
        "active": "bold green",
        "user": "bold blue",
        "assistant": "bold magenta",
        "tool": "bold yellow",
        "system": "bold",
        "developer": "bold",
        "model": "magenta",
        "faint": "dim",
        "reasoning": "dim italic",
        "heading": "bold",
        "added": "green",
        "removed": "red",
        "changed": "yellow",
        "good": "green",
        "bad": "bold red",
        "command": "bold cyan",
    }
)
"""One meaning, one style, in every verb; the terminal's own sixteen colours, so that any background works."""

WIDTH_MAX: Final = 100
"""Cells of a line of prose: longer ones are hard to read."""

UNBOUNDED: Final = 1 << 20
"""A width that no line reaches, for what is not a terminal."""

_GAP: Final = 2
_LAST_COLUMN_MIN: Final = 16


class _Pipe(Console):
    """A console that lets a broken pipe be what it is: the end of the work, not an error of its own."""

    def on_broken_pipe(self) -> None:
        raise BrokenPipeError


class Output:
    """The two streams of one run. ``json``: what stdout gets; ``width`` is None where it is no terminal."""

    def __init__(self, json: bool) -> None:
        self.json: bool = json
        self.console: Console = _console(stderr=False)
        self.errors: Console = _console(stderr=True)
        self.width: int | None = None
        if self.console.is_terminal:
            self.width = max(min(self.console.width, WIDTH_MAX), 40)

    @property
    def is_roomy(self) -> bool:
        """Whether tables have room for times: a narrow terminal keeps the text instead."""
        return not self.console.is_terminal or self.console.width >= WIDTH_MAX

    def emit(self, shape: Mapping[str, object]) -> None:
        """One JSON object on a line of its own, in UTF-8 whatever the locale says."""
        left = msgspec.json.encode(shape) + b"\n"
        while left:  # unbuffered, as one may ask Python for, a write may end early
            left = left[sys.stdout.buffer.write(left) :]
        if self.console.is_terminal:
            sys.stdout.flush()

    def flush(self) -> None:
        """Hand over what is written: for whoever reads along."""
        sys.stdout.flush()

    def line(self, *pieces: Text | str | tuple[str, str]) -> None:
        """One line, of strings and (string, style) pairs. It is cut nowhere; a terminal may wrap it."""
        _print(self.console, Text.assemble(*pieces))

    def fitted_line(self, line: Text) -> None:
        """One line that a terminal cuts at its width."""
        _print(self.console, fitted(line, self.console.width) if self.console.is_terminal else line)

    def write(self, text: Text) -> None:
        """A piece of a line, seen at once."""
        if self.console.is_terminal:
            self.console.print(text, end="", soft_wrap=True)
        else:
            self.console.file.write(text.plain)
        self.console.file.flush()

    def say(self, *pieces: Text | str | tuple[str, str]) -> None:
        """One line on stderr: about the work, not its result; after all that stdout was told before."""
        self.flush()
        _print(self.errors, Text.assemble(*pieces))

    def table(
        self, headers: Sequence[str], rows: Iterable[Sequence[Text]], *, right: str = "", indent: str = ""
    ) -> None:
        """Rows in columns, the last as wide as there is room. ``right`` names headers set to the right."""
        rows = list(rows)
        if not rows:
            return
        cells = [[styled(header, "faint") for header in headers], *rows]
        widths = [max(row[i].cell_len for row in cells) for i in range(len(headers) - 1)]
        room = UNBOUNDED
        if self.console.is_terminal:
            room = max(self.console.width - len(indent) - sum(widths) - _GAP * len(widths), _LAST_COLUMN_MIN)
        to_right = [header in right.split() for header in headers]
        for row in cells:
            line = Text(indent)
            for cell, width, is_right in zip(row, widths, to_right, strict=False):
                padding = " " * (width - cell.cell_len)
                line.append_text(Text(padding) + cell if is_right else cell + Text(padding))
                line.append(" " * _GAP)
            line.append_text(fitted(row[-1], room))
            line.rstrip()
            _print(self.console, line)


def fitted(text: Text, width: int) -> Text:
    """The text, cut at ``width`` cells with an ellipsis where it is longer."""
    if text.cell_len <= width:
        return text
    cut = text.copy()
    cut.truncate(width, overflow="ellipsis")
    return cut


def padded(text: str, width: int) -> str:
    """The text in exactly ``width`` cells."""
    return text if cell_len(text) == width else set_cell_size(text, width)


def _print(console: Console, line: Text) -> None:
    if console.is_terminal:
        console.print(line, soft_wrap=True)
    else:
        console.file.write(line.plain + "\n")


def _console(*, stderr: bool) -> Console:
    return _Pipe(stderr=stderr, theme=THEME, markup=False, highlight=False, emoji=False)
