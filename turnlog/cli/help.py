"""How ``--help`` looks: headings and two columns, like the verbs' own tables."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from rich.table import Table
from rich.text import Text

from turnlog.cli.text import styled

if TYPE_CHECKING:
    from cyclopts.help import HelpEntry, HelpPanel
    from rich.console import Console, ConsoleOptions

_INDENT: Final = 2
_LABEL_CELLS: Final = {"command": 13, "parameter": 26}


class HelpPanels:
    """Prints the parts of a help page; cyclopts calls it."""

    def render_usage(self, console: Console, options: ConsoleOptions, usage: Any) -> None:
        """The first line."""
        console.print(Text.assemble(("Usage: ", "bold"), _plain(usage, console)))
        console.print()

    def render_description(self, console: Console, options: ConsoleOptions, description: Any) -> None:
        """What the verb does: its docstring's paragraphs, filled anew."""
        for paragraph in _raw(description, console).split("\n\n"):
            if paragraph.strip():
                console.print(Text(" ".join(paragraph.split())))
                console.print()

    def __call__(self, console: Console, options: ConsoleOptions, panel: HelpPanel) -> None:
        """One panel: what belongs under one heading."""
        if not panel.entries:
            return
        console.print(Text.assemble((str(panel.title), "bold")))
        table = Table.grid(padding=(0, 2, 0, 0), pad_edge=False)
        table.add_column(width=_INDENT - 1)
        table.add_column(width=_LABEL_CELLS[panel.format], overflow="fold")
        table.add_column(ratio=1)
        for entry in panel.entries:
            label = styled(_label(entry, panel.format), "cyan")
            table.add_row("", label, _description(entry, console))
        console.print(table)
        console.print()


def _label(entry: HelpEntry, kind: str) -> str:
    if kind == "command":
        return ", ".join((*entry.positive_names, *entry.positive_shorts))
    return ", ".join(entry.display_labels_with_metavar)


def _description(entry: HelpEntry, console: Console) -> Text:
    said = _plain(entry.description, console)
    text = Text(said[:1].upper() + said[1:])
    notes: list[str] = []
    if entry.required and not entry.positional_label:
        notes.append("required")
    if entry.choices:
        notes.append(", ".join(entry.choices))
    if entry.default is not None:
        notes.append(f"default: {entry.default}")
    if entry.env_var:
        notes.append("or " + ", ".join(entry.env_var))
    return text.append(f" [{'; '.join(notes)}]" if notes else "", style="dim")


def _plain(description: Any, console: Console) -> str:
    return " ".join(_raw(description, console).split())


def _raw(description: Any, console: Console) -> str:
    if description is None:
        return ""
    with console.capture() as capture:
        console.print(description, end="", soft_wrap=True)
    return "\n".join(line.rstrip() for line in Text.from_ansi(capture.get()).plain.split("\n"))
