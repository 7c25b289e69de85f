"""How two moments of a context differ, as lines: + came, - went, ~ changed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final
from uuid import UUID

from msgspec import UNSET
from rich.text import Text

from projections.answers import Diff, StreamChange
from projections.metadata import FieldChange
from turnlog.cli.conversation import Drawn
from turnlog.cli.output import fitted, padded
from turnlog.cli.rendering import OUTCOME_STYLES, identifier, joined, json_text, version
from turnlog.cli.text import count, one_line, styled

_LABEL_CELLS: Final = 16
_CAME, _WENT, _CHANGED = ("+ ", "added"), ("- ", "removed"), ("~ ", "changed")


def difference(diff: Diff, bodies: Mapping[UUID, Drawn], width: int | None) -> Iterator[Text]:
    """The whole of it; ``bodies`` holds what the messages that came or went say."""
    yield Text.assemble(
        version(diff.from_version),
        " → ",
        version(diff.to_version),
        (f"  position {diff.from_position} → {diff.to_position}", "faint"),
    )
    nothing = True
    for line in _lines(diff, bodies):
        nothing = False
        yield line if width is None else fitted(line, width)
    if nothing:
        yield styled("no difference", "faint")


def _lines(diff: Diff, bodies: Mapping[UUID, Drawn]) -> Iterator[Text]:
    for change in diff.metadata:
        yield _field(change)
    if diff.state is not None:
        yield _line(_CHANGED, "state", Text(f"{_name(diff.state.before)} → {_name(diff.state.after)}"))
    if diff.deleted is not None:
        yield _line(_CHANGED, "context", Text("deleted" if diff.deleted else "not deleted"))
    if diff.active_branch is not None:
        before, after = map(one_line, diff.active_branch)
        arrow = Text.assemble((before, "branch"), " → ", (after, "active"))
        yield _line(_CHANGED, "active branch", arrow)
    yield from _branches(diff)
    for mark, entries in ((_CAME, diff.messages_added), (_WENT, diff.messages_gone)):
        for entry in entries:
            what = Text.assemble(identifier(entry.id), " ", (entry.role, entry.role), " ")
            if entry.id in bodies:
                what.append_text(joined(bodies[entry.id].body.parts))
            yield _line(mark, "message", what)
    for stream in diff.streams:
        yield _line(_CHANGED, "stream", _stream(stream))
    for message_id in diff.redacted:
        yield _line(_WENT, "redacted", identifier(message_id))
    if diff.truncated:
        yield styled(f"… of {count(abs(diff.message_count_change), 'message')} in all", "faint")


def _branches(diff: Diff) -> Iterator[Text]:
    for mark, some in ((_CAME, diff.branches_added), (_WENT, diff.branches_removed)):
        for name, head in some.items():
            yield _line(mark, "branch", Text.assemble((one_line(name), "branch"), " ", _head(head)))
    for name, move in diff.branches_moved.items():
        moved = Text.assemble((one_line(name), "branch"), " ", _head(move.before), " → ", _head(move.after))
        yield _line(_CHANGED, "branch", moved)


def _line(mark: tuple[str, str], label: str, what: Text) -> Text:
    return Text.assemble(mark, (padded(label, _LABEL_CELLS), "faint"), what)


def _field(change: FieldChange) -> Text:
    label = one_line(change.path.removeprefix("/"))
    if change.before is UNSET or change.before is None:
        return _line(_CAME, label, Text(json_text(change.after)))
    if change.after is UNSET or change.after is None:
        return _line(_WENT, label, Text(json_text(change.before)))
    return _line(_CHANGED, label, Text(f"{json_text(change.before)} → {json_text(change.after)}"))


def _name(text: str | None) -> str:
    return "none" if text is None else one_line(text)


def _head(head: UUID | None) -> Text:
    return identifier(head) if head else styled("empty", "faint")


def _stream(change: StreamChange) -> Text:
    text = identifier(change.message_id)
    text.append(f" {change.chunks_before:,} → {count(change.chunks_after, 'chunk')}")
    if change.outcome_before != change.outcome_after:
        text.append(", ").append(change.outcome_after or "open", style=OUTCOME_STYLES[change.outcome_after])
    return text
