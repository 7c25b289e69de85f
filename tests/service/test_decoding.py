"""Long bodies are decoded in pieces: the same comes of it as of them whole, and the same is refused."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from eventstore.errors import Refused
from turnlog.service import decoding
from turnlog.service.decoding import decode

FAULTS = (msgspec.MsgspecError, ValueError, Refused)
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(1 << 63), (1 << 64) - 1)
    | st.text()
    | st.floats(allow_nan=False),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=30,
)


@pytest.fixture(autouse=True)
def in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decoding, "LONG_BYTES", 4)
    monkeypatch.setattr(decoding, "_PIECE_BYTES", 12)


async def whole(body: bytes, most: int, *, packed: bool) -> Any:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(decoding, "LONG_BYTES", 1 << 30)
        return await decode(body, most, packed=packed)


async def outcome(decoded: Any) -> tuple[str, Any]:
    """A value, or what is wrong with it."""
    try:
        return "value", await decoded
    except FAULTS as error:
        return type(error).__name__, str(error)


@given(value=VALUES, packed=st.booleans(), most=st.integers(1, 6), indent=st.sampled_from([None, 2]))
async def test_in_pieces_as_whole(value: Any, packed: bool, most: int, indent: int | None) -> None:
    body = (
        msgspec.msgpack.encode(value) if packed else b" " + json.dumps(value, indent=indent).encode() + b"\n"
    )
    expected = await outcome(whole(body, most, packed=packed))
    assert await outcome(decode(body, most, packed=packed)) == expected
    if expected[0] == "value":
        assert expected[1] == value


@given(value=VALUES, packed=st.booleans(), data=st.data())
async def test_a_fault_is_told_as_of_the_whole(value: Any, packed: bool, data: st.DataObject) -> None:
    body = bytearray(msgspec.msgpack.encode(value) if packed else json.dumps(value).encode())
    at = data.draw(st.integers(0, len(body) - 1))
    body[at] = data.draw(st.integers(0, 255))
    expected = await outcome(whole(bytes(body), 8, packed=packed))
    assert await outcome(decode(bytes(body), 8, packed=packed)) == expected


@pytest.mark.parametrize("blank", [b"\x0b", b"\x0c"])
async def test_what_only_python_takes_for_blank_is_none(blank: bytes) -> None:
    body = blank + b'[1, "and so it goes on", 3]'
    assert (await outcome(decode(body, 8, packed=False)))[0] == "DecodeError"


async def test_names_that_are_no_text() -> None:
    body = msgspec.msgpack.encode({1: ["a long enough text", 2], 3: None})
    assert await decode(body, 8, packed=True) == {1: ["a long enough text", 2], 3: None}


async def test_of_two_members_of_one_name_the_last_counts() -> None:
    assert await decode(b'{"a": [1, 2, 3, 4], "a": "and so it goes on"}', 8, packed=False) == {
        "a": "and so it goes on"
    }


@pytest.mark.parametrize("packed", [False, True])
async def test_what_nests_as_deep_as_the_stack(packed: bool) -> None:
    body = b"\x91" * 100_000 + b"\xc0" if packed else b"[" * 100_000 + b"]" * 100_000
    with pytest.raises((Refused, RecursionError)):
        await decode(body, 72, packed=packed)
