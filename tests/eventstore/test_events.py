"""The event vocabulary: names and bits for ever, and the evolution law."""

from __future__ import annotations

import typing
from uuid import UUID

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from samples import EVERY_EVENT, EVERY_EVENT_BARE, EVERY_PART, START, S, chunk, ident

from eventstore import content, events
from eventstore.commits import pack
from eventstore.content import Part, Shape
from eventstore.events import (
    ALL_BITS,
    BIT_OF_TAG,
    BITS,
    CHUNK_BIT,
    ChunkReceived,
    ChunkRun,
    Event,
    MessageAppended,
    Record,
    kinds_of,
    tag_of,
)

TAGS = {
    "context.created": 1,
    "context.updated": 2,
    "context.state_changed": 4,
    "context.deleted": 8,
    "message.appended": 16,
    "message.redacted": 32,
    "stream.started": 64,
    "stream.resumed": 128,
    "stream.chunk_received": 256,
    "stream.finalized": 512,
    "branch.moved": 1024,
    "branch.switched": 2048,
    "branch.deleted": 4096,
    "custom.recorded": 8192,
}
"""For ever: a line may be added, none may change."""

FIELDS = {
    "context.created": "title workspace config attributes forked_from",
    "context.updated": "changes",
    "context.state_changed": "state detail",
    "context.deleted": "reason",
    "message.appended": "message_id role parts branch parent_id message_type metadata occurred_at",
    "message.redacted": "message_id reason",
    "stream.started": "message_id role branch parent_id model metadata occurred_at",
    "stream.resumed": "message_id epoch",
    "stream.chunk_received": "message_id sequence delta kind at part raw",
    "stream.finalized": "message_id outcome finish_reason usage error parts occurred_at",
    "branch.moved": "branch head previous",
    "branch.switched": "branch",
    "branch.deleted": "branch",
    "custom.recorded": "name data",
    "stream.chunks": "m s a d g k p r",
    "text": "text",
    "reasoning": "text signature",
    "refusal": "text",
    "image": "url attachment media_type",
    "audio": "url attachment media_type",
    "file": "url attachment media_type name",
    "tool_call": "id name arguments",
    "tool_result": "call_id content is_error",
    "data": "data",
}
"""As they are written. For ever: a name may be added at a line's end, none may change."""

RECORDS: tuple[type[Shape], ...] = typing.get_args(Record)
PARTS: tuple[type[Shape], ...] = typing.get_args(Part)


def test_tags_and_bits_never_change() -> None:
    assert BIT_OF_TAG == TAGS
    assert CHUNK_BIT == BITS[ChunkRun] == BITS[ChunkReceived] == 256
    assert sum(TAGS.values()) == ALL_BITS


def test_fields_never_change() -> None:
    written = {
        str(kind.__struct_config__.tag): " ".join(kind.__struct_encode_fields__) for kind in RECORDS + PARTS
    }
    assert written == FIELDS


def test_the_examples_cover_the_whole_vocabulary() -> None:
    for examples in (EVERY_EVENT, EVERY_EVENT_BARE):
        assert [type(event) for event in examples] == list(typing.get_args(Event))
    assert [type(part) for part in EVERY_PART] == list(PARTS)
    for event in EVERY_EVENT:
        defaults = dict(
            zip(reversed(event.__struct_fields__), reversed(event.__struct_defaults__), strict=False)
        )
        assert all(getattr(event, field) != default for field, default in defaults.items()), tag_of(event)


@pytest.mark.parametrize("event", EVERY_EVENT + EVERY_EVENT_BARE, ids=tag_of)
def test_every_event_survives_msgpack_and_json(event: Event) -> None:
    packed = msgspec.msgpack.Encoder(uuid_format="bytes").encode(event)
    assert msgspec.msgpack.decode(packed, type=Record) == event
    assert msgspec.json.decode(msgspec.json.encode(event), type=Event) == event


@pytest.mark.parametrize("event", EVERY_EVENT_BARE, ids=tag_of)
def test_defaults_are_not_written(event: Event) -> None:
    written = msgspec.to_builtins(event)
    assert set(written) == {
        "type",
        *event.__struct_encode_fields__[: -len(event.__struct_defaults__) or None],
    }


@pytest.mark.parametrize("kind", RECORDS + PARTS, ids=lambda kind: str(kind.__struct_config__.tag))
def test_the_evolution_law_holds_a_field_added_with_a_default_reads_what_was_written_before(
    kind: type[Shape],
) -> None:
    examples = [*EVERY_EVENT, *pack(EVERY_EVENT), *EVERY_PART]
    old = next(example for example in examples if type(example) is kind)
    tag = str(kind.__struct_config__.tag)
    grown = msgspec.defstruct("Grown", [("added", int, 7)], bases=(kind,), tag=tag, frozen=True)
    written = msgspec.msgpack.Encoder(uuid_format="bytes").encode(old)
    read = msgspec.msgpack.decode(written, type=grown)
    assert msgspec.structs.asdict(read)["added"] == 7
    assert {name: getattr(read, name) for name in kind.__struct_fields__} == msgspec.structs.asdict(old)
    # ... and what is written with the new field is read by who does not know it.
    written = msgspec.msgpack.Encoder(uuid_format="bytes").encode(msgspec.structs.replace(read, added=8))
    assert msgspec.msgpack.decode(written, type=kind) == old


def test_no_name_of_a_class_is_written() -> None:
    for value in (*EVERY_EVENT, *pack(EVERY_EVENT), *EVERY_PART):
        written = msgspec.msgpack.Encoder(uuid_format="bytes").encode(value)
        for name, thing in (vars(events) | vars(content)).items():
            assert not isinstance(thing, type) or name.encode() not in written


def test_every_field_after_the_required_ones_has_a_default() -> None:
    for kind in RECORDS + PARTS:
        fields = msgspec.structs.fields(kind)
        assert [field.required for field in fields] == sorted(
            (field.required for field in fields), reverse=True
        )


def test_kinds_are_the_mask_of_what_is_inside() -> None:
    assert kinds_of(()) == 0
    assert kinds_of(pack(EVERY_EVENT)) == ALL_BITS
    assert kinds_of((MessageAppended(ident(1), "user"),)) == events.BITS[MessageAppended]


def test_consecutive_chunks_of_one_stream_part_and_kind_are_packed() -> None:
    one, two = chunk(1, "a", at=START), chunk(2, "b", at=START - 5)
    (packed,) = pack([one, two])
    assert packed == ChunkRun(S, 1, START, ("a", "b"), (0, -5))
    assert isinstance(packed, ChunkRun)
    assert packed.last_sequence == 2
    assert list(packed.chunks()) == [one, two]


@pytest.mark.parametrize(
    "second",
    [
        chunk(3),
        chunk(1),
        chunk(2, message_id=ident(9)),
        chunk(2, kind="reasoning"),
        chunk(2, part="1"),
        chunk(2, at=-(1 << 53)),
    ],
)
def test_a_run_ends_where_anything_but_delta_time_and_raw_changes(second: ChunkReceived) -> None:
    first = chunk(1, at=1 << 53)
    assert [list(run.chunks()) for run in pack([first, second]) if isinstance(run, ChunkRun)] == [
        [first],
        [second],
    ]


def test_events_between_chunks_stay_where_they_are() -> None:
    packed = pack([EVERY_EVENT[0], chunk(1), EVERY_EVENT[1], chunk(2), chunk(3)])
    assert [tag_of(record) for record in packed] == [
        "context.created",
        "stream.chunks",
        "context.updated",
        "stream.chunks",
    ]


CHUNKS = st.builds(
    ChunkReceived,
    st.sampled_from((ident(1), ident(2))),
    st.integers(1, 4),
    st.text(max_size=3),
    st.sampled_from(("text", "tool_call")),
    st.integers(-(1 << 53), 1 << 53),
    st.sampled_from((None, "0")),
    st.sampled_from((None, b"", b"raw")),
)


@given(st.lists(CHUNKS, max_size=12))
def test_packing_and_unpacking_give_the_same_chunks(chunks: list[ChunkReceived]) -> None:
    packed = pack(chunks)
    read = msgspec.msgpack.decode(msgspec.msgpack.encode(packed), type=tuple[ChunkRun, ...])
    assert [chunk for run in read for chunk in run.chunks()] == chunks


def test_ids_are_written_as_sixteen_bytes() -> None:
    written = msgspec.msgpack.Encoder(uuid_format="bytes").encode(MessageAppended(ident(258), "user"))
    assert b"\xc4\x10" + UUID(int=258).bytes in written
