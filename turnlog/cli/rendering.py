"""How the pieces look that all verbs show: ids, versions, branches, content, streams. No output."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final, assert_never
from uuid import UUID

import msgspec
from rich.text import Text

from eventstore.content import (
    AudioPart,
    DataPart,
    FilePart,
    ImagePart,
    Json,
    Part,
    ReasoningPart,
    RefusalPart,
    TextPart,
    ToolCallPart,
    ToolResultPart,
)
from eventstore.events import Outcome
from eventstore.units import format_time
from projections.answers import ContextState, Timeline
from turnlog.cli.text import clean, count, duration, one_line, short, styled

_FAMILIES: Final = {
    "context": "heading",
    "message": "user",
    "stream": "model",
    "branch": "branch",
    "custom": "tool",
}

OUTCOME_STYLES: Final[dict[Outcome | None, str]] = {
    "completed": "good",
    "aborted": "changed",
    "interrupted": "changed",
    "failed": "bad",
    None: "changed",
}


def identifier(id_: UUID) -> Text:
    """An id's short form."""
    return styled(f"…{short(id_)}", "id")


def version(number: int) -> Text:
    """A version, as it is written as a moment."""
    return styled(f"v{number}", "version")


def text_of_time(at: int) -> Text:
    """A time, to the microsecond, as it can be given back as a moment."""
    return styled(format_time(at), "faint")


def json_text(value: Json) -> str:
    """A free-form value on one line."""
    return one_line(msgspec.json.encode(value).decode())


def context_header(state: ContextState) -> Iterator[Text]:
    """A context's facts: title, place in the log, branches, config."""
    title = one_line(state.title) if state.title else "(untitled)"
    yield Text.assemble((title, "heading"), ("  deleted", "bad") if state.deleted else "")
    yield Text.assemble(
        _label("context"),
        (str(state.id), "id"),
        (f"  workspace {one_line(state.workspace)}", "faint") if state.workspace != "default" else "",
    )
    yield Text.assemble(
        _label("moment"),
        version(state.version),
        f" at position {state.position}",
    )
    yield Text.assemble(_label("created"), text_of_time(state.created_at))
    yield Text.assemble(_label("changed"), text_of_time(state.updated_at))
    if state.forked_from is not None:
        source = identifier(state.forked_from.context_id)
        yield Text.assemble(_label("forked"), "from ", source, " at ", version(state.forked_from.version))
    yield Text.assemble(_label("branches"), branches(state))
    if state.state is not None:
        detail = f" {json_text(state.state_detail)}" if state.state_detail is not None else ""
        yield Text.assemble(_label("state"), one_line(state.state), (detail, "faint"))
    if state.tags:
        yield Text.assemble(_label("tags"), one_line(", ".join(state.tags)))
    for name, value in (("config", state.config), ("attributes", state.attributes)):
        if value:
            yield Text.assemble(_label(name), (json_text(value), "faint"))


def _label(text: str) -> tuple[str, str]:
    return f"{text:<11}", "faint"


def branches(state: ContextState) -> Text:
    """The branches with their heads; the active one in bold, with a mark."""
    shown: list[Text] = []
    for name, head in state.branches.items():
        active = name == state.active_branch
        text = Text.assemble((one_line(name), "active" if active else "branch"), " ")
        text.append_text(identifier(head) if head else styled("empty", "faint"))
        if active:
            text.append(" (active)", style="faint")
        shown.append(text)
    return Text(", ").join(shown) if shown else styled("none", "faint")


def stream_line(timeline: Timeline) -> Text:
    """A stream in numbers."""
    facts = [count(timeline.chunks, "chunk")]
    if timeline.first_chunk_us is not None:
        facts.append(f"first after {duration(timeline.first_chunk_us)}")
        facts.append(f"then {duration(timeline.duration_us)}")
    line = styled(" · ".join(facts) + " · ", "faint")
    line.append(timeline.outcome or "open", style=OUTCOME_STYLES[timeline.outcome])
    if timeline.finish_reason:
        line.append(f" ({one_line(timeline.finish_reason, 40)})", style="faint")
    return line


def parts_text(parts: Sequence[Part]) -> Iterator[Text]:
    """A message's content, one text for each part."""
    for part in parts:
        match part:
            case TextPart():
                yield Text(clean(part.text).strip("\n"))
            case ReasoningPart():
                yield styled(clean(part.text).strip("\n"), "reasoning")
            case RefusalPart():
                yield styled(clean(part.text).strip("\n"), "changed")
            case ToolCallPart():
                yield Text.assemble(
                    ("→ ", "faint"), (one_line(part.name), "tool"), f"({one_line(part.arguments)})"
                )
            case ToolResultPart():
                content = part.content if isinstance(part.content, str) else json_text(part.content)
                failed = ("error ", "bad") if part.is_error else ""
                yield Text.assemble(("← ", "faint"), failed, clean(content))
            case ImagePart() | AudioPart() | FilePart():
                kind = type(part).__name__.removesuffix("Part").lower()
                yield styled(f"[{kind}] {one_line(part.url or part.attachment or '')}", "faint")
            case DataPart():
                yield styled(json_text(part.data), "faint")
            case _:
                assert_never(part)


def joined(parts: Sequence[Part]) -> Text:
    """A message's content on one line."""
    said = Text(" ").join(parts_text(parts))
    return Text(" ").join(line for line in said.split("\n") if line.plain.strip())


def run_of(number: int, first_sequence: int, last_sequence: int) -> Text:
    """How many chunks, and which."""
    span = f"#{first_sequence}" if number == 1 else f"#{first_sequence}-{last_sequence}"
    return styled(f" {span}", "faint")


def event_type(tag: str) -> Text:
    """An event's tag, coloured by what it is about."""
    return styled(tag, _FAMILIES.get(tag.partition(".")[0], ""))
