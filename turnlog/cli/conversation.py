"""A conversation as it grew: a line of messages, and side by side where it was edited or answered anew.

●─ user                                        …5c6d7e8f v2
│  What is the weather in San Francisco?
│
●─ assistant · deepseek-reasoner               …99aabbcc v3
   → weather({"location": "San Francisco"})
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final, NamedTuple
from uuid import UUID

from rich.console import Console
from rich.text import Text

from eventstore.content import ReasoningPart
from projections.answers import MessageBody, Timeline
from turnlog.cli.output import fitted
from turnlog.cli.rendering import identifier, joined, parts_text, stream_line, version
from turnlog.cli.text import count, one_line, styled

_WRAPPER: Final = Console()
# The wrapping of Text asks for a console, and uses nothing of it but the size of tabs.

LINES_SHOWN: Final = 4
"""Of a message's text on a terminal, unless all of it is asked for."""


class Drawn(NamedTuple):
    """What is known of a message that is drawn: its body then, the stream's numbers, chunks if still open."""

    body: MessageBody
    timeline: Timeline | None = None
    progress: int | None = None


class Style(NamedTuple):
    """``width`` in cells, None without bound; ``lines`` of each message's text, None for all."""

    width: int | None = None
    lines: int | None = LINES_SHOWN


class _Node(NamedTuple):
    message: Drawn
    first: str
    """What stands before the message's first line,"""
    rest: str
    """and before its others."""


def conversation(
    messages: Sequence[Drawn], heads: Mapping[str, UUID | None], active: str, style: Style
) -> Iterator[Text]:
    """The messages as a tree, the older first; each message's parents come before it or are left out."""
    for line in _drawn(messages, _labels(heads, active), style):
        line.rstrip()
        yield line


def _drawn(messages: Sequence[Drawn], labels: Mapping[UUID, Text], style: Style) -> Iterator[Text]:
    last = len(messages) - 1
    for index, node in enumerate(_laid_out(messages)):
        guide = styled(node.rest, "faint")
        room = None if style.width is None else max(style.width - len(node.rest), 24)
        head = _message_head(node.message, labels.get(node.message.body.entry.id), room)
        yield styled(node.first, "faint").append_text(head)
        for line in message_lines(node.message, Style(room, style.lines)):
            yield guide + line
        if index != last:
            yield guide


def outline(
    messages: Sequence[Drawn], heads: Mapping[str, UUID | None], active: str, width: int
) -> Iterator[Text]:
    """The tree with one line for each message."""
    labels = _labels(heads, active)
    for node in _laid_out(messages):
        entry = node.message.body.entry
        line = styled(node.first, "faint").append(f"{entry.role:<10}", style=entry.role)
        label = labels.get(entry.id, Text())
        said = _gist(node.message)
        yield line.append_text(fitted(said, width - line.cell_len - label.cell_len)).append_text(label)


def _gist(drawn: Drawn) -> Text:
    """What a message comes to: what it says or does, not what it thought before."""
    parts = drawn.body.parts
    return joined([part for part in parts if not isinstance(part, ReasoningPart)] or parts)


def _labels(heads: Mapping[str, UUID | None], active: str) -> dict[UUID, Text]:
    """For each head the branches that point there."""
    labels: dict[UUID, Text] = {}
    for name, head in heads.items():
        if head is not None:
            label = labels.setdefault(head, Text("  ◂"))
            label.append(f" {one_line(name)}", style="active" if name == active else "branch")
    return labels


def _laid_out(messages: Sequence[Drawn]) -> Iterator[_Node]:
    """The messages in the order of drawing, with the lines that lead to them.

    A message with one child is followed by it at the same depth; further children stand beside each other.
    """
    known = {drawn.body.entry.id for drawn in messages}
    children: dict[UUID | None, list[Drawn]] = {}
    for drawn in messages:
        parent = drawn.body.entry.parent_id
        children.setdefault(parent if parent in known else None, []).append(drawn)
    waiting = _siblings(children.get(None, []), "")
    while waiting:
        drawn, first, guide = waiting.pop()
        below = children.get(drawn.body.entry.id, [])
        rest = guide + ("│  " if below else "   ")
        yield _Node(drawn, first, rest)
        waiting += _siblings(below, guide)


def _siblings(below: list[Drawn], guide: str) -> list[tuple[Drawn, str, str]]:
    """Children in reverse, to be taken from the end: (message, before its first line, guide beneath it)."""
    if len(below) == 1:
        return [(below[0], f"{guide}●─ ", guide)]
    laid = [
        (
            child,
            guide + ("╰──●─ " if index == len(below) - 1 else "├──●─ "),
            guide + ("   " if index == len(below) - 1 else "│  "),
        )
        for index, child in enumerate(below)
    ]
    return laid[::-1]


def _message_head(drawn: Drawn, label: Text | None, width: int | None) -> Text:
    entry = drawn.body.entry
    left = styled(entry.role, entry.role)
    if entry.message_type != "message":
        left.append(f" {one_line(entry.message_type)}", style="faint")
    if drawn.timeline is not None and drawn.timeline.model:
        left.append(" · ", style="faint").append(one_line(drawn.timeline.model), style="model")
    if label is not None:
        left.append_text(label)
    right = identifier(entry.id).append("  ").append_text(version(entry.version))
    if width is None:
        return left.append("  ").append_text(right)
    left = fitted(left, width - right.cell_len - 2)
    return left.append(" " * (width - left.cell_len - right.cell_len)).append_text(right)


def message_lines(drawn: Drawn, style: Style) -> Iterator[Text]:
    """What a message says, and how its stream went."""
    body = drawn.body
    if body.redacted:
        yield styled("(redacted)", "faint")
    lines = list(_wrapped(parts_text(body.parts), style.width))
    if style.lines is None or style.width is None or len(lines) <= style.lines + 1:
        yield from lines  # a note that one line is left out would take a line itself
    elif body.complete:
        yield from lines[: style.lines]
        yield styled(f"… {count(len(lines) - style.lines, 'more line')}", "faint")
    else:
        yield styled(f"… {count(len(lines) - style.lines, 'line')} before", "faint")
        yield from lines[-style.lines :]
    yield from _wrapped(_how_it_went(drawn), style.width)


def _how_it_went(drawn: Drawn) -> Iterator[Text]:
    """How the stream of a message went, if it has one."""
    if drawn.progress is not None:
        yield styled(f"▌ still streaming: {count(drawn.progress, 'chunk')} so far", "changed")
    elif not drawn.body.complete:
        yield styled("▌ cut here: it was still streaming when the context was forked", "changed")
    elif drawn.timeline is not None:
        yield stream_line(drawn.timeline)


def _wrapped(parts: Iterable[Text], width: int | None) -> Iterator[Text]:
    for part in parts:
        for line in part.split("\n", allow_blank=True):
            if width is None or line.cell_len <= width:
                yield line
            else:
                yield from line.wrap(_WRAPPER, width)
