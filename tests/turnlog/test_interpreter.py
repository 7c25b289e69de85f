"""From what a provider sends to pieces: every form, any slicing, and its own bytes where they are kept."""

from __future__ import annotations

import json
from functools import partial
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from wires import DONE, RECORDINGS, chunk, final
from wires import understood as understood_in

from eventstore.errors import Refused
from turnlog.dialects import dialect
from turnlog.dialects.interpreter import Interpreter

understood = partial(understood_in, "openai_chat")


def test_mappings_and_library_objects_are_read_like_their_json() -> None:
    class Model:
        def __init__(self, event: dict[str, Any]) -> None:
            self.event = event

        def model_dump(self, mode: str) -> dict[str, Any]:
            assert mode == "json"
            return self.event

    class Older(Model):
        model_dump = None  # pyright: ignore[reportAssignmentType] -- an older library has to_dict alone

        def to_dict(self) -> dict[str, Any]:
            return self.event

    lines = RECORDINGS["openai_chat/deepseek-tool-call.chunks.txt"].splitlines()
    expected = understood(b"\n".join(lines))
    for kind in (dict[str, Any], Model, Older):
        assert understood(*(kind(json.loads(line)) for line in lines)) == expected
    with pytest.raises(Refused, match="not a float"):
        understood(1.5)
    raws = [piece.raw for piece in understood({"id": "a", "choices": []}, keep_raw=True)[0]]
    assert raws == [b'{"id":"a","choices":[]}']


def test_an_event_passes_through_as_it_was_sent() -> None:
    events: list[dict[str, Any]] = [{"choices": []}, {"choices": [{"index": 0, "delta": {"content": "a"}}]}]
    interpreter = Interpreter(dialect("openai_chat"))
    assert [heard.sent for event in events for heard in interpreter.read(event)] == events
    text = ": ping\n\ndata: {}\n\ndata: [DONE]\n\n"
    interpreter = Interpreter(dialect("openai_chat"))
    heard = [event for letter in text for event in interpreter.read(letter)]
    assert [event.sent for event in heard] == [": ping\n\n", "data: {}\n\n", "data: [DONE]\n\n"]


@pytest.mark.parametrize("name", RECORDINGS)
@pytest.mark.parametrize("line_end", [b"\n", b"\r\n", b"\r"])
def test_with_raw_events_a_recording_can_be_given_back_byte_for_byte(name: str, line_end: bytes) -> None:
    dialect_name = name.partition("/")[0]
    recording = RECORDINGS[name]
    if not recording.startswith(b"event:"):
        framed = b"".join(b"data: " + line + b"\n\n" for line in recording.splitlines())
        recording = b": ping\n\n" + framed + DONE + b": bye\n"
    for data in (RECORDINGS[name], recording.replace(b"\n", line_end)):
        pieces, ended, opened = understood_in(dialect_name, data, keep_raw=True)
        assert b"".join(piece.raw or b"" for piece in pieces) == data
        without, *rest = understood_in(dialect_name, data)
        assert rest == [ended, opened]
        said = [(piece.kind, piece.part, piece.delta) for piece in pieces if piece.delta]
        assert said == [(piece.kind, piece.part, piece.delta) for piece in without]
        assert final(pieces, ended) == final(without, ended)


def test_an_event_of_several_deltas_keeps_its_bytes_on_the_first() -> None:
    event = chunk({"content": "a", "refusal": "b"})
    pieces, _, _ = understood(event, keep_raw=True)
    assert [(piece.kind, piece.raw) for piece in pieces] == [("text", event), ("refusal", None)]


@pytest.mark.parametrize("name", RECORDINGS)
@given(cuts=st.lists(st.integers(0, 100_000), max_size=20))
def test_any_slicing_says_the_same(name: str, cuts: list[int]) -> None:
    dialect_name, data = name.partition("/")[0], RECORDINGS[name]
    places = sorted({0, len(data), *(cut % len(data) for cut in cuts)})
    slices = [data[a:b] for a, b in pairwise(places)]
    assert understood_in(dialect_name, *slices) == understood_in(dialect_name, data)
