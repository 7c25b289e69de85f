"""What holds for every dialect that a stored stream is read in."""

from __future__ import annotations

import json
from uuid import UUID

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rendered import COMPLETED, CONTEXT, FACTS, any_chunks, call, chunks_of, ends, rendered, told

from eventstore.errors import Refused
from eventstore.events import ChunkReceived, StreamFinalized
from projections.answers import ReplayChunk
from turnlog.dialects import RENDERERS, renderer
from turnlog.dialects.rendering import StreamFacts, text_in_json
from turnlog.dialects.sse import Decoder
from turnlog.dialects.sse_out import frames

SAYING = sorted(set(RENDERERS) - {"raw"})
"""Those that need nothing but the chunks."""


def test_an_unknown_dialect_is_refused_with_the_known_ones() -> None:
    with pytest.raises(Refused, match="ai_sdk, anthropic, openai_chat, raw, text, turnlog") as caught:
        renderer("smoke signals", FACTS)
    assert caught.value.code == "unknown_dialect"
    assert caught.value.fields["known"] == sorted(RENDERERS)


@pytest.mark.parametrize("name", SAYING)
@given(chunks=any_chunks(), end=ends)
def test_a_reader_that_resumes_anywhere_gets_exactly_the_rest(
    name: str, chunks: list[ChunkReceived], end: StreamFinalized | None
) -> None:
    whole = rendered(name, chunks, end)
    for cut in range(len(chunks) + 1):
        before, after = renderer(name, FACTS), renderer(name, FACTS)
        events = before.begin() + told(before, chunks[:cut])
        if not after.resumes_anywhere:
            for chunk in chunks[:cut]:
                after.skip(chunk)
        assert events + told(after, chunks[cut:]) + after.end(end) == whole


@pytest.mark.parametrize("name", SAYING)
@given(chunks=any_chunks())
def test_a_replayed_chunk_is_rendered_as_a_stored_one(name: str, chunks: list[ChunkReceived]) -> None:
    stored, replayed = renderer(name, FACTS), renderer(name, FACTS)
    for chunk in chunks:
        again = ReplayChunk(chunk.sequence, chunk.delta, chunk.kind, chunk.part, chunk.at, 0)
        assert stored.chunk(chunk) == replayed.chunk(again)


@pytest.mark.parametrize("name", sorted(set(SAYING) - {"text"}))
@given(chunks=any_chunks(), end=ends)
def test_every_event_is_one_line_of_json_wherever_lines_are_cut(
    name: str, chunks: list[ChunkReceived], end: StreamFinalized | None
) -> None:
    for event in rendered(name, chunks, end):
        text = event.data.decode()
        assert len(text.splitlines()) == 1, (
            "some clients cut at every character that Unicode calls a line end"
        )
        assert text == "[DONE]" or isinstance(json.loads(text), dict)


@pytest.mark.parametrize("name", SAYING)
@given(chunks=any_chunks(), end=ends)
def test_what_is_framed_comes_back(
    name: str, chunks: list[ChunkReceived], end: StreamFinalized | None
) -> None:
    events = rendered(name, chunks, end)
    decoder = Decoder()
    frames_back = [*decoder.feed(frames(events, 1)), *decoder.close()]
    assert [(frame.data, frame.event) for frame in frames_back] == [
        (event.data.decode(), event.name) for event in events
    ]


@pytest.mark.parametrize("name", SAYING)
def test_an_empty_stream_has_a_beginning_and_an_end(name: str) -> None:
    reader = renderer(name, FACTS)
    assert rendered(name, []) == reader.begin() + reader.end(COMPLETED)
    assert reader.snapshot([]) == [] or name == "turnlog"


@pytest.mark.parametrize("name", sorted(set(SAYING) - {"text", "anthropic"}))
def test_every_beginning_names_the_message(name: str) -> None:
    first = json.loads(renderer(name, FACTS).begin()[0].data)
    assert str(FACTS.message_id) in (first.get("id"), first.get("messageId"), first.get("message_id"))


def test_only_the_ai_sdk_asks_for_a_header() -> None:
    asked = {name: dict(renderer(name, FACTS).headers) for name in RENDERERS}
    assert asked.pop("ai_sdk") == {"x-vercel-ai-ui-message-stream": "v1"}
    assert not any(asked.values())


@pytest.mark.parametrize("name", SAYING)
def test_two_readers_share_nothing(name: str) -> None:
    one, other = renderer(name, FACTS), renderer(name, FACTS)
    for chunk in chunks_of(("text", None, "a"), call("t", "c", "n"), ("tool_call", "t", "{}")):
        assert one.chunk(chunk) == other.chunk(chunk)


@given(st.text())
def test_a_string_in_json_is_the_string(text: str) -> None:
    assert json.loads(text_in_json(text)) == text == msgspec.json.decode(text_in_json(text))


@pytest.mark.parametrize("name", SAYING)
def test_a_stream_may_be_of_no_known_model(name: str) -> None:
    facts = StreamFacts(UUID(int=1), CONTEXT, "assistant", None, 0)
    for event in renderer(name, facts).begin():
        assert json.loads(event.data)
