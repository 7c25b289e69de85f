"""Events framed for the wire: what any decoder gives back, and where a reader that was cut off goes on."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from turnlog.dialects.rendering import Event
from turnlog.dialects.sse import Decoder, Frame
from turnlog.dialects.sse_out import KEEP_ALIVE, frame, frames, retry

names = st.none() | st.sampled_from(["message", "content_block_delta"])


def decoded(body: bytes) -> list[Frame]:
    decoder = Decoder()
    given_back = [*decoder.feed(body), *decoder.close()]
    return [frame for frame in given_back if frame.data is not None]


@pytest.mark.parametrize(
    ("event", "sequence", "expected"),
    [
        (Event(b"{}"), None, b"data: {}\n\n"),
        (Event(b"{}"), 12, b"id: 12\ndata: {}\n\n"),
        (Event(b"{}", "ping"), 12, b"id: 12\nevent: ping\ndata: {}\n\n"),
        (Event(b"a\nb"), 1, b"id: 1\ndata: a\ndata: b\n\n"),
        (Event(b"\n"), 1, b"id: 1\ndata: \ndata: \n\n"),
        (Event(b""), 1, b"id: 1\ndata: \n\n"),
        (Event(b" a"), None, b"data:  a\n\n"),
        (Event(b": as it came\n\n", framed=True), 12, b": as it came\n\n"),
    ],
)
def test_an_event_is_framed(event: Event, sequence: int | None, expected: bytes) -> None:
    assert frame(event, sequence) == expected


@given(data=st.text(), name=names, sequence=st.none() | st.integers(0, 1 << 53))
def test_any_data_comes_back_as_it_was_but_for_carriage_returns(
    data: str, name: str | None, sequence: int | None
) -> None:
    (found,) = decoded(frame(Event(data.encode(), name), sequence))
    assert found.data == data.replace("\r\n", "\n").replace("\r", "\n")
    assert found.event == name
    assert found.id == (None if sequence is None else str(sequence))


@given(st.lists(st.tuples(st.text(), names), min_size=1))
def test_events_after_one_another_stay_apart(said: list[tuple[str, str | None]]) -> None:
    body = KEEP_ALIVE.join(frame(Event(data.encode(), name)) for data, name in said)
    assert [(found.data, found.event) for found in decoded(body)] == [
        (data.replace("\r\n", "\n").replace("\r", "\n"), name) for data, name in said
    ]


def test_only_the_last_event_of_a_chunk_says_that_the_chunk_was_seen() -> None:
    body = frames([Event(b"start"), Event(b"delta"), Event(b"stop")], 12)
    assert [(found.id, found.data) for found in decoded(body)] == [
        ("11", "start"),
        ("11", "delta"),
        ("12", "stop"),
    ]
    assert frames([], 12) == b""


def test_the_delay_to_come_back_is_part_of_an_event() -> None:
    assert retry(3_000) + frame(Event(b"{}"), 0) == b"retry: 3000\nid: 0\ndata: {}\n\n"
