"""Keys and fixed values: their bytes, and that byte order is numeric order."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eventstore import keys

U64 = st.integers(0, keys.U64_MAX)
ID = st.binary(min_size=16, max_size=16)
A, B = bytes.fromhex("0a" * 16), bytes.fromhex("0b" * 16)
WIDE = bytes.fromhex("cc" * 32)


@pytest.mark.parametrize(
    ("packed", "hexadecimal"),
    [
        (keys.pack_u64(0), "00" * 8),
        (keys.pack_u64(258), "0000000000000102"),
        (keys.pack_u64(keys.U64_MAX), "ff" * 8),
        (keys.context_version(A, 3), "0a" * 16 + "0000000000000003"),
        (keys.message_value(A, 3, False), "0a" * 16 + "0000000000000003" + "00"),
        (keys.message_value(A, 3, True), "0a" * 16 + "0000000000000003" + "01"),
        (keys.commit_id_value(5, WIDE), "0000000000000005" + "cc" * 32),
        (
            keys.head_value(5, -2, WIDE, 4),
            "0000000000000005" + "fffffffffffffffe" + "cc" * 32 + "0000000000000004",
        ),
    ],
)
def test_keys_and_values_are_these_bytes(packed: bytes, hexadecimal: str) -> None:
    assert packed.hex() == hexadecimal


def test_names_never_change() -> None:
    assert keys.DATABASES == (b"commits", b"by_context", b"commit_ids", b"messages", b"write_models")
    assert (keys.HEAD, keys.STORE, keys.MARKS) == (b"head", b"store", b"marks")


def test_sizes_are_those_of_what_is_packed() -> None:
    assert len(keys.pack_u64(1)) == keys.U64_BYTES
    assert len(keys.message_value(A, 1, True)) == keys.MESSAGE_BYTES
    assert len(keys.commit_id_value(1, WIDE)) == keys.COMMIT_ID_BYTES
    assert len(keys.head_value(1, 1, WIDE, 1)) == keys.HEAD_BYTES
    assert len(keys.context_version(A, 1)) == keys.CONTEXT_VERSION_BYTES


@given(st.integers(0, (1 << 56) - 1))
def test_positions_are_told_from_names(position: int) -> None:
    assert keys.is_position(keys.pack_u64(position))
    assert not any(keys.is_position(name) for name in (*keys.DATABASES, keys.HEAD, keys.STORE, keys.MARKS))


@given(U64, U64)
def test_byte_order_is_numeric_order(a: int, b: int) -> None:
    assert (keys.pack_u64(a) < keys.pack_u64(b)) == (a < b)
    assert keys.unpack_u64(keys.pack_u64(a)) == a


@given(ID, U64, ID, U64)
def test_a_contexts_versions_stand_together_and_in_order(a: bytes, x: int, b: bytes, y: int) -> None:
    assert (keys.context_version(a, x) < keys.context_version(b, y)) == ((a, x) < (b, y))
    assert keys.split_context_version(keys.context_version(a, x)) == (a, x)


@given(ID, U64, st.booleans(), st.binary(min_size=32, max_size=32), st.integers(-(1 << 63), (1 << 63) - 1))
def test_values_split_into_what_was_packed(
    context: bytes, number: int, streamed: bool, digest: bytes, at: int
) -> None:
    assert keys.split_message_value(keys.message_value(context, number, streamed)) == (
        context,
        number,
        streamed,
    )
    assert keys.split_commit_id_value(keys.commit_id_value(number, digest)) == (number, digest)
    head = (number, at, digest, number)
    assert keys.split_head_value(keys.head_value(*head)) == head
