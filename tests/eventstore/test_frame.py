"""Commits as bytes: one table drives encoding and decoding, whole, cut off, flipped and with a tail."""

from __future__ import annotations

from hashlib import sha256
from typing import Any, NamedTuple
from uuid import UUID

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st
from samples import EVERY_EVENT, EVERY_EVENT_BARE, START, C, M, chunk, ident, message, run

from eventstore import body, frame
from eventstore.commits import pack
from eventstore.errors import Damaged, Unavailable
from eventstore.events import (
    ALL_BITS,
    ContextCreated,
    CustomRecorded,
    Event,
    Record,
    kinds_of,
)
from eventstore.limits import (
    COMPRESS_BYTES_MIN,
)

COMPRESSOR, DECOMPRESSOR = zstandard.ZstdCompressor(level=1), zstandard.ZstdDecompressor()


class Case(NamedTuple):
    """A commit and the bytes of its frame, header and body."""

    name: str
    events: tuple[Event, ...]
    metadata: dict[str, Any] | None
    first_version: int
    at: int
    commit_id: UUID | None
    header: str
    body: str


CASES = (
    Case(
        "the least",
        (CustomRecorded("c"),),
        None,
        1,
        0,
        None,
        "01 00 00002000 0000000000000000000000000000000c 0000000000000001 00000001 0000000000000000"
        "00000000000000000000000000000000",
        "92 c0 91 82 a474797065 af637573746f6d2e7265636f72646564 a46e616d65 a163",
    ),
    Case(
        "a time before 1970",
        (ContextCreated(),),
        None,
        1,
        -2,
        None,
        "01 00 00000001 0000000000000000000000000000000c 0000000000000001 00000001 fffffffffffffffe"
        "00000000000000000000000000000000",
        "92 c0 91 81 a474797065 af636f6e746578742e63726561746564",
    ),
    Case(
        "every header field",
        (message(M, "Hi é", parent_id=None),),
        {"by": "ann"},
        0x0102030405060708,
        0x1112131415161718,
        ident(0xEE),
        "01 02 00000010 0000000000000000000000000000000c 0102030405060708 00000001 1112131415161718"
        "000000000000000000000000000000ee",
        "92 81 a26279 a3616e6e 91 85 a474797065 b06d6573736167652e617070656e646564"
        "aa6d6573736167655f6964 c410000000000000000000000000000000a1 a4726f6c65 a475736572"
        "a57061727473 91 82 a474797065 a474657874 a474657874 a5486920c3a9 a9706172656e745f6964 c0",
    ),
    Case(
        "a run of chunks",
        (chunk(1, "He", at=START), chunk(2, "llo", at=START + 1_500), chunk(3, "!", at=START + 1_400)),
        None,
        7,
        START,
        None,
        "01 00 00000100 0000000000000000000000000000000c 0000000000000007 00000003 00060a24181e4000"
        "00000000000000000000000000000000",
        "92 c0 91 86 a474797065 ad73747265616d2e6368756e6b73 a16d c41000000000000000000000000000000051"
        "a173 01 a161 cf00060a24181e4000 a164 93 a24865 a36c6c6f a121 a167 93 00 cd05dc d09c",
    ),
    Case(
        "a run with a kind, a part and raw bytes",
        (
            chunk(1, "a", kind="tool_call", part="0", raw=b"\0"),
            chunk(2, "b", kind="tool_call", part="0"),
        ),
        None,
        7,
        START,
        None,
        "01 00 00000100 0000000000000000000000000000000c 0000000000000007 00000002 00060a24181e4000"
        "00000000000000000000000000000000",
        "92 c0 91 89 a474797065 ad73747265616d2e6368756e6b73 a16d c41000000000000000000000000000000051"
        "a173 01 a161 00 a164 92 a161 a162 a167 92 00 00 a16b a9746f6f6c5f63616c6c a170 a130"
        "a172 92 c40100 c0",
    ),
)
"""A change of the format fails here, on purpose: then ``frame.FORMAT`` and FORMAT.md change too."""


def framed(case: Case) -> bytes:
    return bytes.fromhex(case.header + case.body)


def stored(frame_bytes: bytes) -> bytes:
    return sha256(frame_bytes).digest() + frame_bytes


def encoded(events: tuple[Record, ...], metadata: dict[str, Any] | None = None) -> bytes:
    prepared = body.prepare(pack(events), metadata)
    return frame.encode(prepared, C.bytes, 1, START, None, COMPRESSOR)


def by_name(case: Case) -> str:
    return case.name


@pytest.mark.parametrize("case", CASES, ids=by_name)
def test_a_commit_is_written_as_the_table_says(case: Case) -> None:
    prepared = body.prepare(pack(case.events), case.metadata)
    commit_id = case.commit_id.bytes if case.commit_id else None
    written = frame.encode(prepared, C.bytes, case.first_version, case.at, commit_id, COMPRESSOR)
    assert written.hex() == framed(case).hex()


@pytest.mark.parametrize("case", CASES, ids=by_name)
def test_a_commit_is_read_as_the_table_says(case: Case) -> None:
    commit = frame.decode(9, stored(framed(case)), DECOMPRESSOR)
    assert (commit.position, commit.context_id, commit.first_version) == (9, C, case.first_version)
    assert (commit.metadata, commit.recorded_at, commit.commit_id) == (case.metadata, case.at, case.commit_id)
    assert tuple(commit.events()) == case.events
    assert commit.event_count == len(case.events)
    assert commit.kinds == kinds_of(commit.records)
    assert commit.digest == sha256(framed(case)).digest()


@pytest.mark.parametrize("case", CASES, ids=by_name)
def test_a_commit_cut_off_at_any_byte_is_damaged(case: Case) -> None:
    whole = stored(framed(case))
    for length in range(len(whole)):
        with pytest.raises(Damaged) as damaged:
            frame.decode(9, whole[:length], DECOMPRESSOR)
        assert (damaged.value.code, damaged.value.fields) == ("commit_damaged", {"position": 9})


@pytest.mark.parametrize("case", CASES, ids=by_name)
def test_a_commit_with_any_bit_flipped_is_damaged(case: Case) -> None:
    whole = stored(framed(case))
    for bit in range(8 * len(whole)):
        flipped = bytearray(whole)
        flipped[bit // 8] ^= 1 << bit % 8
        with pytest.raises(Damaged, match="position 9"):
            frame.decode(9, bytes(flipped), DECOMPRESSOR)


@pytest.mark.parametrize("case", CASES, ids=by_name)
def test_a_commit_with_a_tail_is_damaged_even_if_its_digest_covers_it(case: Case) -> None:
    for tail in (b"\0", b"\xc0", framed(case)):
        for damaged in (stored(framed(case)) + tail, stored(framed(case) + tail)):
            with pytest.raises(Damaged):
                frame.decode(9, damaged, DECOMPRESSOR)


@pytest.mark.parametrize("case", CASES, ids=by_name)
def test_a_body_cut_off_is_damaged_even_if_its_digest_covers_it(case: Case) -> None:
    for length in range(len(framed(case))):
        with pytest.raises(Damaged):
            frame.decode(9, stored(framed(case)[:length]), DECOMPRESSOR)


COMPRESSED = bytes.fromhex(
    "01 01 00002000 0000000000000000000000000000000c 0000000000000001 00000001 0000000000000000"
    "00000000000000000000000000000000"
    "28b52ffd60f8068d0100940292c09183a474797065af637573746f6d2e7265636f72646564a46e616d65a163a464617461"
    "da07d078010061fe0765"
)
LONG = CustomRecorded("c", "x" * 2_000)
NOISE = b"".join(sha256(bytes([n])).digest() for n in range(60))
"""Bytes that do not compress."""


def test_a_compressed_body_reads_as_it_was() -> None:
    assert frame.decode(1, stored(COMPRESSED), DECOMPRESSOR).records == (LONG,)
    for tail in (b"\0", COMPRESSED[58:]):
        with pytest.raises(Damaged):
            frame.decode(1, stored(COMPRESSED + tail), DECOMPRESSOR)


def test_long_bodies_are_compressed_when_that_makes_them_shorter() -> None:
    long, noise = encoded((LONG,)), encoded((chunk(1, raw=NOISE),))
    assert (long[1], len(long) < 200) == (frame.COMPRESSED, True)
    assert frame.decode(1, stored(long), DECOMPRESSOR).records == (LONG,)
    assert noise[1] == 0
    assert frame.decode(1, stored(noise), DECOMPRESSOR).event_count == 1


def test_short_bodies_are_never_compressed() -> None:
    room = COMPRESS_BYTES_MIN - len(body.prepare((CustomRecorded("c", "x" * 400),), None).body) + 400
    assert encoded((CustomRecorded("c", "x" * (room - 1)),))[1] == 0
    assert encoded((CustomRecorded("c", "x" * room),))[1] == frame.COMPRESSED


def test_another_format_is_damage_not_a_guess() -> None:
    other = b"\2" + framed(CASES[0])[1:]
    with pytest.raises(Damaged, match="its format is 2, not 1"):
        frame.decode(9, stored(other), DECOMPRESSOR)


@pytest.mark.parametrize(
    "body",
    [
        b"\xc0",
        b"\x90",
        b"\x92\xc0\xc0",
        b"\x92\xc0\x91\x81\xa4type\xa1x",
        b"\x92\x90\x90",
    ],
)
def test_a_body_of_another_shape_is_damage(body: bytes) -> None:
    with pytest.raises(Damaged, match="cannot be decoded"):
        frame.decode(9, stored(framed(CASES[0])[:58] + body), DECOMPRESSOR)


def test_what_a_later_body_may_add_at_its_end_is_skipped() -> None:
    body = bytes.fromhex(CASES[0].body)
    grown = framed(CASES[0])[:58] + b"\x93" + body[1:] + b"\x81\xa1x\x01"
    assert frame.decode(9, stored(grown), DECOMPRESSOR).records == CASES[0].events


def test_every_event_survives_the_frame() -> None:
    for events in (EVERY_EVENT, EVERY_EVENT_BARE):
        commit = frame.decode(1, stored(encoded(events)), DECOMPRESSOR)
        assert tuple(commit.events()) == events
        assert commit.kinds == ALL_BITS
        assert [version for version, _ in commit.versioned()] == list(range(1, 15))


def test_versions_count_the_chunks_of_a_run() -> None:
    commit = frame.decode(1, stored(encoded((ContextCreated(), run(1, "a", "b", "c"), LONG))), DECOMPRESSOR)
    assert [version for version, _ in commit.versioned()] == [1, 2, 5]
    assert commit.last_version == commit.event_count == 5


def test_the_kinds_and_the_time_of_a_stored_commit_are_read_without_its_body() -> None:
    case = CASES[2]
    assert frame.summary(stored(framed(case))) == (16, case.first_version, 1)
    assert frame.recorded_at(stored(framed(case))) == case.at
    assert frame.versions(stored(framed(case)))[1] == case.first_version
    with pytest.raises(Damaged):
        frame.check(9, b"")


TEXT = st.text(max_size=8)
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(1 << 63), (1 << 64) - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=8,
)


@given(
    st.lists(st.builds(CustomRecorded, st.text(min_size=1, max_size=5), JSON), min_size=1, max_size=5), JSON
)
def test_any_json_survives_the_frame(events: list[CustomRecorded], metadata: Any) -> None:
    wrapped = {"given": metadata}
    commit = frame.decode(1, stored(encoded(tuple(events), wrapped)), DECOMPRESSOR)
    assert commit.records == tuple(events)
    assert commit.metadata == wrapped


@given(st.binary(max_size=200))
def test_any_bytes_are_damage_and_nothing_worse(data: bytes) -> None:
    for value in (data, stored(data), stored(framed(CASES[0])[:58] + data), stored(COMPRESSED[:58] + data)):
        with pytest.raises(Damaged):
            frame.decode(1, value, DECOMPRESSOR)


def test_events_of_a_newer_release_are_told_from_damage() -> None:
    newer = bytearray(framed(CASES[0]))
    newer[2] |= 0x80
    with pytest.raises(Unavailable, match="newer") as refused:
        frame.decode(7, stored(bytes(newer)), DECOMPRESSOR)
    assert (refused.value.code, refused.value.fields) == ("directory_newer", {"position": 7})
