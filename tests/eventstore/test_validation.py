"""What is no event, or would not come back as it was given, is refused before anything is written."""

from __future__ import annotations

from typing import Any, Final
from uuid import UUID

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace
from samples import EVERY_EVENT, EVERY_EVENT_BARE, C, M, chunk, ident, message, run
from sending import refusal, sent

from eventstore import body, validation
from eventstore.commits import ANY, EXISTS, NO_CONTEXT, Append, pack
from eventstore.content import KINDS, TextPart
from eventstore.errors import Refused
from eventstore.events import (
    NUMBER_MAX,
    ChunkReceived,
    ChunkRun,
    ContextCreated,
    ContextUpdated,
    CustomRecorded,
    Event,
    ForkedFrom,
    StateChanged,
    tag_of,
)
from eventstore.limits import COMMIT_EVENTS_MAX, NAME_CHARACTERS_MAX


@pytest.mark.parametrize("event", EVERY_EVENT + EVERY_EVENT_BARE, ids=tag_of)
def test_every_event_of_the_vocabulary_passes(event: Event) -> None:
    assert sent(Append(C, (event,))).prepared.event_count == 1


# -- Not events ---------------------------------------------------------------------------------------------


class Impostor(ContextCreated, frozen=True, tag="context.created"):
    """Looks like an event."""


@pytest.mark.parametrize(
    "thing",
    [None, 5, "context.created", {"type": "context.created"}, ContextCreated, TextPart("x"), Impostor()],
)
def test_what_is_no_event_is_refused_by_its_index(thing: object) -> None:
    code, text = refusal(ContextCreated(), thing)
    assert code == "invalid_event"
    assert text.startswith("event 1 is a ")


def test_an_append_holds_at_least_one_event_and_at_most_so_many() -> None:
    assert refusal()[0] == "empty_commit"
    assert refusal(*[chunk(1)] * (COMMIT_EVENTS_MAX + 1))[0] == "commit_too_large"


def test_events_are_a_tuple_and_not_something_that_runs_dry() -> None:
    with pytest.raises(Refused, match="events is a generator"):
        sent(Append(C, (event for event in EVERY_EVENT)))  # pyright: ignore[reportArgumentType] -- is the test


# -- Wrong types in every field -----------------------------------------------------------------------------


WRONG: Final[tuple[Any, ...]] = (object(), 1.5, b"bytes", {1: 2}, {"x"}, ["x"], -1, "\ud800", float("nan"))
ACCEPTED: Final = {  # what a wrong-looking value may still be
    "detail": (1.5, ["x"], -1),
    "data": (1.5, ["x"], -1),
    "at": (-1,),
    "occurred_at": (-1,),
    "raw": (b"bytes",),
}


@pytest.mark.parametrize("event", EVERY_EVENT, ids=tag_of)
def test_a_value_of_the_wrong_type_is_refused_in_every_field(event: Event) -> None:
    for field in event.__struct_fields__:
        for wrong in WRONG:
            if wrong in ACCEPTED.get(field, ()):
                assert sent(Append(C, (replace(event, **{field: wrong}),)))
            else:
                code, _ = refusal(replace(event, **{field: wrong}))
                assert code == "invalid_event", (field, wrong)


@pytest.mark.parametrize("field", ["sequence", "at", "message_id", "delta", "kind", "part"])
@pytest.mark.parametrize("wrong", [None, "1", 1.0, True, [], object(), 10**400, float("inf")])
def test_chunks_of_the_wrong_types_are_refused_also_where_packing_computes_with_them(
    field: str, wrong: object
) -> None:
    if (field, wrong) in (("part", None), ("part", "1"), ("delta", "1")):
        return
    one, two = chunk(1), replace(chunk(2), **{field: wrong})
    for events in ((one, two), (two, one), (two, two), (two,)):
        assert refusal(*events)[0] == "invalid_event"


def test_ids_are_uuids_and_not_their_text_or_bytes() -> None:
    for wrong in (str(M), M.bytes, M.int, "x"):
        events = (
            replace(message(), message_id=wrong),
            replace(message(), parent_id=wrong),
            replace(chunk(1), message_id=wrong),
            replace(run(1, "x"), message_id=wrong),
            ContextCreated(forked_from=ForkedFrom(wrong, 1)),  # pyright: ignore[reportArgumentType] -- is the test
            ContextCreated(forked_from={"context_id": wrong, "version": 1}),  # pyright: ignore[reportArgumentType] -- is the test
        )
        for event in events:
            assert refusal(event)[0] == "invalid_event"


def test_raw_bytes_are_bytes() -> None:
    for wrong in (M, bytearray(b"x"), memoryview(b"x"), "x", 5):
        assert refusal(replace(chunk(1), raw=wrong))[0] == "invalid_event"
        assert refusal(replace(run(1, "x"), raws=(wrong,)))[0] == "invalid_event"


def test_changes_are_a_patch_over_what_a_context_has() -> None:
    whole = {"title": "t", "config": {"a": None}, "attributes": {"b": [1]}, "tags": ["x"]}
    for changes in ({}, whole, dict.fromkeys(whole)):
        assert sent(Append(C, (ContextUpdated(changes),)))
    for name, value in (
        ("name", "x"),
        ("type", "x"),
        ("title", 5),
        ("config", []),
        ("attributes", "x"),
        ("tags", "x"),
        ("tags", {"x": 1}),
        ("tags", [1]),
        ("tags", [None]),
    ):
        assert refusal(ContextUpdated({"title": "t", name: value}))[0] == "invalid_event", (name, value)


def test_names_have_a_length() -> None:
    longest = "ü" * NAME_CHARACTERS_MAX
    assert sent(Append(C, (StateChanged(longest),)))
    for name in ("", longest + "u"):
        for event in (
            StateChanged(name),
            ContextCreated(workspace=name),
            message(branch=name),
            message(message_type=name),
            chunk(1, part=name),
            CustomRecorded(name),
        ):
            assert refusal(event)[0] == "invalid_event"


def test_numbers_stay_within_what_every_json_reader_holds() -> None:
    last = 1 << 53
    assert sent(Append(C, (chunk(last, at=last), chunk(last - 1, at=-last))))
    for event in (chunk(last + 1), chunk(0), chunk(1, at=last + 1), chunk(1, at=-last - 1)):
        assert refusal(event)[0] == "invalid_event"
    assert refusal(message(occurred_at=last + 1))[0] == "invalid_event"


def test_the_message_names_the_record_and_the_field_but_no_value() -> None:
    _, text = refusal(message(), replace(message(ident(2)), role="SECRET"))
    assert "SECRET" not in text
    assert text == "event 1, field role is none of system, developer, user, assistant, tool"
    _, text = refusal(message(), replace(message(ident(2)), occurred_at="SECRET"))
    assert "SECRET" not in text
    assert "record 1 of the commit, field `.occurred_at`" in text


# -- Arguments ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "fields",
    [
        {"context_id": str(C)},
        {"context_id": C.bytes},
        {"commit_id": "x"},
        {"commit_id": C.int},
        *({"expected_version": wrong} for wrong in (-1, 1.0, True, "any", None, (1 << 53) + 1, 1 << 64)),
        *({"epoch": wrong} for wrong in (0, -1, 1.5, True, None, "1", 1 << 64)),
        *({"request_digest": wrong} for wrong in (b"", bytes(31), "0" * 32, 1)),
    ],
)
def test_arguments_of_the_wrong_type_are_refused(fields: dict[str, Any]) -> None:
    append = replace(Append(C, (message(),)), **fields)
    with pytest.raises(Refused, match=next(iter(fields))) as refused:
        sent(append)
    assert refused.value.code == "invalid_argument"


def test_every_form_of_expectation_passes() -> None:
    for expected in (ANY, EXISTS, NO_CONTEXT, 5, 1 << 53):
        assert sent(Append(C, (message(),), expected))


SCALARS = st.one_of(st.none(), st.booleans(), st.floats(), st.integers(), st.text(), st.binary(), st.uuids())
ANYTHING = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(SCALARS, inner, max_size=3),
    max_leaves=5,
)


@given(st.sampled_from(EVERY_EVENT), st.data())
def test_whatever_stands_in_a_field_it_is_refused_or_comes_back_as_given(
    event: Event, data: st.DataObject
) -> None:
    field = data.draw(st.sampled_from(event.__struct_fields__))
    changed = replace(event, **{field: data.draw(ANYTHING)})
    try:
        request = sent(Append(C, (changed,)))
    except Refused:
        return
    (record,) = request.prepared.records
    stored = next(record.chunks()) if isinstance(record, ChunkRun) else record
    assert msgspec.json.encode(getattr(stored, field)) == msgspec.json.encode(getattr(changed, field))


def test_ids_of_other_libraries_are_refused_before_they_can_be_misread() -> None:
    class Other(UUID):
        """A UUID of a class of its own still is one."""

    assert sent(Append(C, (message(Other(int=7)),))).prepared.records == (message(ident(7)),)


# -- A chunk that comes alone -------------------------------------------------------------------------------


NUMBERS: Final = st.integers(-3, 3) | st.sampled_from(
    [NUMBER_MAX, NUMBER_MAX + 1, -NUMBER_MAX, -NUMBER_MAX - 1]
)
WHATEVER: Final = st.none() | st.booleans() | st.floats() | st.binary(max_size=3) | st.just(["text"])
CHUNK_FIELDS: Final[dict[str, st.SearchStrategy[Any]]] = {
    "message_id": st.just(M) | WHATEVER | st.just(str(M)),
    "sequence": NUMBERS | WHATEVER,
    "delta": st.text(max_size=5) | st.just("\ud800") | st.just("x" * 70_000) | WHATEVER,
    "kind": st.sampled_from([*KINDS, "song"]) | WHATEVER,
    "at": NUMBERS | WHATEVER,
    "part": st.none() | st.text(max_size=2) | st.sampled_from(["p" * 100, "p" * 101, "\ud800"]) | WHATEVER,
    "raw": st.none() | st.binary(max_size=3) | st.just("raw"),
}


@given(st.data())
def test_a_chunk_alone_is_prepared_as_any_append_is(data: st.DataObject) -> None:
    odd = data.draw(st.sets(st.sampled_from(sorted(CHUNK_FIELDS)), max_size=2))
    fields = {name: data.draw(CHUNK_FIELDS[name], label=name) for name in odd}
    plain: dict[str, Any] = {"message_id": M, "sequence": 1, "delta": "x"}
    event = ChunkReceived(**(plain | fields))
    alone = body.prepare_chunk(event)
    if alone is not None:
        validation.check(Append(C, (event,)))
        assert body.prepare(pack((event,)), None) == alone
    else:
        assert fields, "a plain chunk needs no second look"


def test_a_plain_chunk_takes_the_short_way() -> None:
    for event in (chunk(1), chunk(2, "é", kind="reasoning", part="p", at=-5), chunk(3, "")):
        assert body.prepare_chunk(event) is not None
