"""A large JSON text decoded in pieces: the same value as whole, and the same word about what is wrong."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from turnlog.importers.source import json_text, pieces
from turnlog.importers.source.json_text import Unreadable
from turnlog.importers.source.pieces import Left, Place, decode, opened

SCALARS = st.none() | st.booleans() | st.integers(-(1 << 63), (1 << 64) - 1) | st.text(max_size=12)
VALUES = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=6) | st.dictionaries(st.sampled_from(["a", "b", "", "]", '"{']), inner)
    ),
    max_leaves=40,
)


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every text is large, and every bracket ends a piece."""
    set_small(monkeypatch)


def set_small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pieces, "WHOLE_BYTES_MAX", 0)
    monkeypatch.setattr(pieces, "PIECE_BYTES", 4)


def whole(value: Any) -> Any:
    """A value with nothing left in it."""
    match opened(value):
        case dict() as members:  # pyright: ignore[reportUnknownVariableType] -- any JSON
            return {key: whole(member) for key, member in members.items()}  # pyright: ignore[reportUnknownVariableType] -- any JSON
        case list() as items:  # pyright: ignore[reportUnknownVariableType] -- any JSON
            return [whole(item) for item in items]  # pyright: ignore[reportUnknownVariableType] -- any JSON
        case scalar:
            return scalar


def said(text: bytes, left: Place = ()) -> object:
    """The value, or what is said of the text."""
    try:
        return whole(decode("f", text, left))
    except Unreadable as error:
        return error.code, error.reason, error.place


def said_of_whole(text: bytes) -> object:
    """The same by the decoder of small texts."""
    try:
        return json_text.decode("f", text)
    except Unreadable as error:
        return error.code, error.reason, error.place


@given(VALUES, st.booleans(), st.sampled_from([(), ("a",), ("a", None), ("a", "b"), (None, None, None)]))
def test_the_value_is_the_same_whatever_is_left(value: Any, is_pretty: bool, left: Place) -> None:
    text = msgspec.json.encode(value)
    if is_pretty:
        text = msgspec.json.format(text, indent=1)
    with pytest.MonkeyPatch.context() as monkeypatch:
        set_small(monkeypatch)
        assert said(text, left) == value


@pytest.mark.parametrize(
    "text",
    [
        b'[{"a":1},{"a":2}',
        b'[{"a":1},,{"a":2}]',
        b'[{"a":1} {"a":2}]',
        b'[{"a":1},{"a":2},]',
        b'{"a":{"b":1},"a":[1,2,3]}',
        b'{"a":{"b":1},"c":[1,2],"a":[1,2,3]}',
        b'{"a":[{"b":1,"b":2}]}',
        b'{"a":[1,2,3],"":{"b":[1]},"":[]}',
        b'{"a":[1,2,3],[]:{"b":[1]}}',
        b'{"a":[1,2,3]]',
        b"[[1,2,3]]]",
        b'[["\xff"]]',
        b'[["\\ud800"]]',
        b"[[123456789012345678901234567890]]",
        b"[" * 61 + b"]" * 61,
        b"[" * 60 + b"]" * 60,
        b'{"a":"no end}',
        b"12",
        b"",
        b" [[ ]] x",
        b"x [[ ]]",
        b"\x0b[[ ]]",
        b"[[ ]]\x0c",
    ],
)
def test_what_is_odd_is_told_as_of_any_other_text(text: bytes) -> None:
    for left in ((), ("a",), (None,), ("a", None)):
        assert said(text, left) == said_of_whole(text)


def test_what_is_left_is_decoded_when_it_is_asked_for_an_array_some_items_at_a_time() -> None:
    rows = [{"n": n, "text": "a ] of } it"} for n in range(1_000)]
    value = decode("f", msgspec.json.encode({"x": 1, "a": {"rows": rows}, "rows": rows}), ("a", "rows"))
    left = value["a"]["rows"]
    assert isinstance(left, Left)
    assert (left.value(), value["rows"], value["x"]) == (rows, rows, 1)
    portions = list(left.items())
    assert [row for portion in portions for row in portion] == rows
    assert max(map(len, portions)) <= 200


def test_a_key_is_told_from_the_end_of_another() -> None:
    value = decode("f", b'{"x\\"a":[1,2,3],"b" : {"a" :\n[1,2]}}', ("a",))
    assert value == {'x"a': [1, 2, 3], "b": {"a": [1, 2]}}
