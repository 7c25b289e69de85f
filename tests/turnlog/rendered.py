"""Stored streams to render: written by hand, from the recordings, and at random."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any
from uuid import UUID

from hypothesis import strategies as st
from wires import RECORDINGS, understood

from eventstore.content import Json, Kind, Part, fold
from eventstore.events import ChunkReceived, Outcome, StreamFinalized
from turnlog.dialects import renderer
from turnlog.dialects.rendering import Event, Renderer, Said, StreamFacts
from turnlog.dialects.sse_out import KEEP_ALIVE, frame, frames, retry

MESSAGE = UUID("0198d1e2-0000-7000-8000-000000000001")
CONTEXT = UUID("0198d1e2-0000-7000-8000-000000000002")
STARTED_AT = 1_767_225_600_250_000
FACTS = StreamFacts(MESSAGE, CONTEXT, "assistant", "model-1", STARTED_AT)

COMPLETED = StreamFinalized(MESSAGE, "completed", "stop")
ABORTED = StreamFinalized(MESSAGE, "aborted")
INTERRUPTED = StreamFinalized(MESSAGE, "interrupted")
FAILED = StreamFinalized(
    MESSAGE, "failed", error={"type": "overloaded_error", "message": "Overloaded", "code": 529}
)
ENDS = (COMPLETED, ABORTED, INTERRUPTED, FAILED, None)


def chunks_of(*said: Said) -> list[ChunkReceived]:
    """Stored chunks, a quarter of a second apart."""
    return [
        ChunkReceived(MESSAGE, number, delta, kind, STARTED_AT + number * 250_000, part)
        for number, (kind, part, delta) in enumerate(said, 1)
    ]


def note(part: str | None, **content: Json) -> Said:
    """A chunk of kind ``other``."""
    return "other", part, json.dumps(content)


def call(part: str | None, call_id: str, name: str) -> Said:
    """The chunk that opens a tool call."""
    return note(part, type="tool_call", id=call_id, name=name)


def recorded(name: str) -> tuple[list[ChunkReceived], StreamFinalized]:
    """A recording as it is stored."""
    pieces, ended, _ = understood(name.partition("/")[0], RECORDINGS[name])
    said: list[Said] = [(piece.kind, piece.part, piece.delta) for piece in pieces]
    return chunks_of(*said), StreamFinalized(
        MESSAGE, ended.outcome, ended.finish_reason, ended.usage, ended.error, ended.parts
    )


def ended(outcome: Outcome = "completed", **fields: Any) -> StreamFinalized:
    """The end of a stream."""
    return StreamFinalized(MESSAGE, outcome, **fields)


def rendered(
    name: str, chunks: Iterable[ChunkReceived], end: StreamFinalized | None = COMPLETED
) -> list[Event]:
    """The whole stream's events."""
    reader = renderer(name, FACTS)
    return [*reader.begin(), *told(reader, chunks), *reader.end(end)]


def told(reader: Renderer, chunks: Iterable[ChunkReceived]) -> list[Event]:
    """The events of some chunks."""
    return [event for chunk in chunks for event in reader.chunk(chunk)]


def wire(events: Iterable[Event]) -> bytes:
    """Events with all that a service adds: ids, heartbeats between them, and a delay to come back."""
    return KEEP_ALIVE.join(retry(3_000) + frame(event, number) for number, event in enumerate(events))


def response(name: str, chunks: Iterable[ChunkReceived], end: StreamFinalized | None = COMPLETED) -> bytes:
    """The body of a response, as a service would write it."""
    reader = renderer(name, FACTS)
    body, sequence = [frames(reader.begin(), 0)], 0
    for chunk in chunks:
        sequence = chunk.sequence
        body += [frames(reader.chunk(chunk), sequence), KEEP_ALIVE]
    return b"".join([*body, frames(reader.end(end), sequence)])


def objects(events: Iterable[Event]) -> list[dict[str, Any]]:
    """The JSON of events that hold any."""
    return [json.loads(event.data) for event in events if event.data.startswith(b"{")]


def folded(chunks: Iterable[ChunkReceived]) -> tuple[Part, ...]:
    """The content."""
    return fold((chunk.kind, chunk.part, chunk.delta) for chunk in chunks)


PARTS = (None, "0", "1", "tool:0", "choice:1", "choice:1/tool:0", 'a "b" %d')
SPOKEN: tuple[Kind, ...] = ("text", "reasoning", "refusal")

_deltas = st.text(min_size=1, max_size=6) | st.sampled_from(
    ["\n", "\r\n", "a\u2028b", "\u2029", "\x85", "\x00", "é", "😀", '"', "\\", "data: x\n\n", "%d", " a"]
)
_parts = st.sampled_from(PARTS)
_kinds: st.SearchStrategy[Kind] = st.sampled_from((*SPOKEN, "tool_call", "other"))
_spoken: st.SearchStrategy[Kind] = st.sampled_from((*SPOKEN, "tool_call"))


@st.composite
def well_formed(draw: st.DrawFn) -> list[ChunkReceived]:
    """Streams as the dialects read them: anything interleaved, each call's note before its arguments."""
    said: list[Said] = []
    called: set[str | None] = set()
    for kind, part, delta in draw(
        st.lists(st.tuples(st.sampled_from((*SPOKEN, "tool_call")), _parts, _deltas))
    ):
        if kind == "tool_call" and part not in called:
            called.add(part)
            said.append(call(part, f"call {len(called)}", draw(_deltas)))
            if draw(st.booleans()):
                continue  # a call without arguments
        said.append((kind, part, delta))
        if kind == "reasoning" and draw(st.booleans()):
            said.append(note(part, type="signature", signature=delta))
    return chunks_of(*said)


_loose = st.recursive(
    st.none() | st.booleans() | st.integers(0, 9) | _deltas,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(_deltas, inner, max_size=2),
    max_leaves=4,
)
_note_kinds = st.sampled_from(
    ["tool_call", "signature", "delta", "block", "stop_sequence", "finish", "attempt", "new", None]
)
_members = st.sampled_from(["id", "name", "signature", "delta", "fields", "block", "finish_reason", "choice"])


@st.composite
def any_notes(draw: st.DrawFn) -> str:
    """A note of any shape."""
    return json.dumps({"type": draw(_note_kinds), **draw(st.dictionaries(_members, _loose, max_size=4))})


@st.composite
def any_chunks(draw: st.DrawFn) -> list[ChunkReceived]:
    """Any stream that the log takes: arguments without a call, notes of any shape, empty deltas."""
    said: list[Said] = []
    for kind in draw(st.lists(_kinds, max_size=20)):
        deltas = _deltas | st.just("") | any_notes() if kind == "other" else _deltas | st.just("")
        said.append((kind, draw(_parts), draw(deltas)))
    return chunks_of(*said)


ends = st.sampled_from(ENDS)
