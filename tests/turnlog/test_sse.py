"""Framing: the same events from the same bytes, however they were sliced."""

from __future__ import annotations

import time
from collections.abc import Iterable
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eventstore.errors import Refused
from turnlog.dialects.sse import FRAME_BYTES_MAX, QUIET_BYTES, Decoder, Frame

RECORDINGS = sorted((Path(__file__).parent.parent / "fixtures" / "wire").glob("*/*.txt"))


def frames_of(*slices: bytes, limit: int = FRAME_BYTES_MAX) -> tuple[list[Frame], Refused | None]:
    """The frames of a whole input, and the error after them."""
    decoder = Decoder(limit)
    frames: list[Frame] = []
    try:
        for data in slices:
            frames.extend(decoder.feed(data))
        frames.extend(decoder.close())
    except Refused as refused:
        return frames, refused
    return frames, None


def spoken(*slices: bytes) -> list[tuple[str | None, str | None]]:
    """Event name and data of the frames that have data."""
    frames, error = frames_of(*slices)
    assert error is None
    return [(frame.event, frame.data) for frame in frames if frame.data is not None]


def one_by_one(data: bytes) -> Iterable[bytes]:
    """Slices of one byte."""
    return (data[i : i + 1] for i in range(len(data)))


CASES: dict[str, tuple[bytes, list[tuple[str | None, str | None]]]] = {
    "an event ends at its blank line": (b"data: a\n\ndata: b\n\n", [(None, "a"), (None, "b")]),
    "the space after the colon may be missing": (b"data:a\n\n", [(None, "a")]),
    "only one space after the colon goes": (b"data:  a\n\n", [(None, " a")]),
    "lines may end with CRLF": (b"event: x\r\ndata: a\r\n\r\ndata: b\r\n\r\n", [("x", "a"), (None, "b")]),
    "lines may end with CR": (b"event: x\rdata: a\r\rdata: b\r\r", [("x", "a"), (None, "b")]),
    "line ends may be mixed": (b"data: a\r\ndata: b\ndata: c\r\rdata: d\r\n\n", [
        (None, "a\nb\nc"), (None, "d")]),
    "CRLF is one line end even after CR alone was": (b"data: a\r\rdata: b\r\ndata: c\r\n\r\n", [
        (None, "a"), (None, "b\nc")]),
    "data lines join with a line feed": (b'data: {"a":\ndata: 1}\n\n', [(None, '{"a":\n1}')]),
    "a field without a colon has an empty value": (b"data\ndata\n\n", [(None, "\n")]),
    "comments are not data": (b": hi\n\ndata: a\n: there\ndata: b\n\n:\n\n", [(None, "a\nb")]),
    "a byte order mark is not data": (b"\xef\xbb\xbfdata: a\n\n", [(None, "a")]),
    "the last event needs no blank line": (b"data: a\n\ndata: b\n", [(None, "a"), (None, "b")]),
    "the last event needs no line end": (b"data: a\n\ndata: b", [(None, "a"), (None, "b")]),
    "an event name does not outlive its event": (b"event: x\ndata: a\n\ndata: b\n\n", [
        ("x", "a"), (None, "b")]),
    "an event without data is none": (b"event: ping\n\ndata: a\n\n", [(None, "a")]),
    "unknown fields and retry are ignored": (b"retry: 10\nfoo: bar\ndata: a\n\n", [(None, "a")]),
    "the end marker is an event": (b"data: [DONE]\n\n", [(None, "[DONE]")]),
    "one JSON value on each line": (b'{"a":1}\n\n{"b":2}\r\n[DONE]\n{"c":3}', [
        (None, '{"a":1}'), (None, '{"b":2}'), (None, "[DONE]"), (None, '{"c":3}')]),
    "blank lines and a mark before JSON lines": (b'\xef\xbb\xbf\n  \n {"a":1} \n', [(None, '{"a":1}')]),
    "other line separators of Unicode are text": ("data: a\u2028b\x85c\x0bd\n\n".encode(), [
        (None, "a\u2028b\x85c\x0bd")]),
    "bytes that are not UTF-8 are replaced": (b"data: a\xffb\n\n", [(None, "a\ufffdb")]),
    "nothing": (b"", []),
    "blank lines alone": (b"\n\r\n\r", []),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_bytes_give_their_events(name: str) -> None:
    data, expected = CASES[name]
    assert spoken(data) == expected
    assert spoken(*one_by_one(data)) == expected


def sliced(data: bytes, cuts: Iterable[int]) -> list[bytes]:
    """The data in slices that end at the cuts."""
    places = sorted({0, len(data), *(cut % (len(data) + 1) for cut in cuts)})
    return [data[start:stop] for start, stop in pairwise(places)]


ALPHABET = [
    b"data: ", b"data:", b"event: e\n", b"id: 7\n", b"retry: 1\n", b": note", b"\n", b"\r\n", b"\r", b"x",
    b"{", b"}", b"\xef\xbb\xbf", "é".encode(), "😀".encode(), b"\xff", b"[DONE]", b"\n\n", b"\r\n\r\n",
]  # fmt: skip


@given(
    data=st.lists(st.sampled_from(ALPHABET), max_size=30).map(b"".join),
    cuts=st.lists(st.integers(0, 200), max_size=20),
    limit=st.sampled_from([4, 16, 64, FRAME_BYTES_MAX]),
)
def test_any_slicing_gives_the_same_frames_and_the_same_error(
    data: bytes, cuts: list[int], limit: int
) -> None:
    whole, error = frames_of(data, limit=limit)
    for slices in (sliced(data, cuts), list(one_by_one(data))):
        frames, other = frames_of(*slices, limit=limit)
        assert frames == whole
        assert str(other) == str(error)
    if error is None or error.fields.get("limit") is None:
        assert b"".join(frame.raw for frame in whole) == data


@pytest.mark.parametrize("path", RECORDINGS, ids=lambda path: path.name)
def test_recordings_come_back_byte_for_byte_in_any_slicing(path: Path) -> None:
    data = path.read_bytes()
    whole, error = frames_of(data)
    assert error is None
    assert b"".join(frame.raw for frame in whole) == data
    assert frames_of(*sliced(data, range(0, len(data), 7)))[0] == whole
    assert frames_of(*one_by_one(data))[0] == whole


def test_a_frame_names_the_line_of_its_first_data_and_the_last_id() -> None:
    frames, _ = frames_of(b": hi\nid: 1\nevent: x\ndata: a\ndata: b\n\ndata: c\n\n")
    assert [(frame.line, frame.id, frame.data) for frame in frames] == [(4, "1", "a\nb"), (7, "1", "c")]


def test_only_an_event_that_was_cut_is_not_terminated() -> None:
    assert [frame.terminated for frame in frames_of(b"data: a\n\ndata: b\n")[0]] == [True, False]
    assert [frame.terminated for frame in frames_of(b'{"a":1}\n{"b"')[0]] == [True, False]
    assert [frame.terminated for frame in frames_of(b"data: a\r\rdata: b\r\r")[0]] == [True, True]


def test_an_event_is_given_as_soon_as_its_last_byte_is_there() -> None:
    for data in (b"data: a\n\n", b"data: a\r\n\r\n", b'{"a":1}\n'):
        decoder = Decoder()
        counts = [len(list(decoder.feed(byte))) for byte in one_by_one(data)]
        assert counts == [0] * (len(data) - 1) + [1]


def test_a_stream_that_ends_its_lines_with_cr_alone_does_not_lag_by_an_event() -> None:
    decoder = Decoder()
    counts = [len(list(decoder.feed(byte))) for byte in one_by_one(b"data: a\r\rdata: b\r\r")]
    assert counts[8] + counts[9] == 1
    assert counts[-1] == 1


def test_heartbeats_come_at_once_and_do_not_gather() -> None:
    decoder = Decoder()
    for _ in range(3):
        assert [frame.raw for frame in decoder.feed(b": ping\n\n")] == [b": ping\n\n"]
    given = [frame for _ in range(QUIET_BYTES) for frame in decoder.feed(b": ping\n")]
    assert {frame.data for frame in given} == {None}
    assert max(len(frame.raw) for frame in given) <= QUIET_BYTES + 7


def test_an_event_may_be_as_large_as_the_limit_and_no_larger() -> None:
    fits = b"data: " + b"x" * 92 + b"\n\n"
    frames, error = frames_of(fits, b"data: next\n\n", limit=len(fits))
    assert error is None
    assert [len(frame.raw) for frame in frames] == [100, 12]
    for slices in ([b"data: a\n\n" + fits], [b"data: a\n\n", *one_by_one(fits)]):
        frames, error = frames_of(*slices, limit=len(fits) - 1)
        assert [frame.data for frame in frames] == ["a"]
        assert error is not None
        assert (error.code, error.fields["limit"]) == ("malformed_stream", 99)


@pytest.mark.parametrize("line", [b"x" * 101, b"data: a\n" * 20, b": c" + b"\ndata: x" * 30])
def test_neither_a_line_nor_an_event_grows_without_bound(line: bytes) -> None:
    decoder = Decoder(100)
    with pytest.raises(Refused, match="larger than 100 bytes") as caught:
        _ = [frame for byte in one_by_one(line) for frame in decoder.feed(byte)]
    assert caught.value.code == "malformed_stream"


NO_EVENTS = [
    b"hello world\nhow are you\n",
    b"<html>\n<body>\n",
    b"a,b,c\n1,2,3",
    b"<html>502</html>",
    b"database",
]
"""Of which the last three end without a line end."""


@pytest.mark.parametrize("text", NO_EVENTS)
def test_an_input_without_any_event_is_refused(text: bytes) -> None:
    frames, error = frames_of(text)
    assert error is not None
    assert error.code == "malformed_stream"
    assert b"".join(frame.raw for frame in frames) == text


@pytest.mark.parametrize("text", [b"", b"d", b"data", b"eve", b"\xef\xbb", b"\xef\xbb\xbfda", b": c\nret"])
def test_an_input_that_was_cut_within_the_name_of_a_field_is_not(text: bytes) -> None:
    frames, error = frames_of(text)
    assert error is None
    assert b"".join(frame.raw for frame in frames) == text


def test_a_line_fed_byte_by_byte_is_searched_once() -> None:
    decoder = Decoder()
    assert not list(decoder.feed(b"data: " + b"x" * 2_900_000))
    began = time.perf_counter()
    for _ in range(10_000):
        assert not list(decoder.feed(b"x"))
    assert time.perf_counter() - began < 5  # from its beginning each time it would take half a minute
    assert len(list(decoder.feed(b"\n\n"))) == 1
