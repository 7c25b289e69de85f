"""Free-form values: what JSON cannot say, or says too deeply, is refused wherever it stands."""

from __future__ import annotations

import dataclasses
import datetime
import decimal
import enum
from typing import Any, Final

import msgspec
import pytest
from msgspec.structs import replace
from samples import C, M, chunk, message, run
from sending import refusal, sent

from eventstore.commits import Append
from eventstore.content import DataPart, TextPart, ToolResultPart
from eventstore.events import (
    ContextCreated,
    ContextUpdated,
    CustomRecorded,
    Event,
    MessageAppended,
    StateChanged,
    StreamFinalized,
    StreamStarted,
)
from eventstore.limits import JSON_DEPTH_MAX


@dataclasses.dataclass
class Record:
    """Something that an encoder would write as an object."""

    a: int = 1


class Text(str):
    """A text with a class of its own."""

    __slots__ = ()


class Colour(enum.Enum):
    """Something that an encoder would write as its value."""

    RED = "red"


NOT_JSON: Final[tuple[Any, ...]] = (
    float("nan"),
    float("inf"),
    float("-inf"),
    b"bytes",
    bytearray(b"x"),
    datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC),
    datetime.timedelta(1),
    decimal.Decimal(1),
    M,
    {"x"},
    frozenset("x"),
    object(),
    Record(),
    Colour.RED,
    Text("x"),
    TextPart("x"),
    msgspec.UNSET,
    {1: "x"},
    {None: "x"},
    {("a",): "x"},
    "lone \ud800 surrogate",
    {"\udfff": 1},
    1 << 64,
    -(1 << 63) - 1,
    10**400,
)


def in_every_place(value: Any) -> list[Event]:
    """Events that carry a free-form value."""
    return [
        CustomRecorded("c", value),
        CustomRecorded("c", [{"deep": (value,)}]),
        StateChanged("s", value),
        ContextCreated(config={"x": value}),
        ContextCreated(attributes={"x": [value]}),
        ContextUpdated({"config": {"x": value}}),
        MessageAppended(M, "user", (TextPart("t"), DataPart(value))),
        MessageAppended(M, "tool", (ToolResultPart("id", value),)),
        MessageAppended(M, "user", metadata={"x": value}),
        StreamStarted(M, metadata={"x": value}),
        StreamFinalized(M, "failed", usage={"x": value}),
        StreamFinalized(M, "failed", error={"x": value}),
        StreamFinalized(M, "failed", parts=(DataPart({"x": value}),)),
    ]


@pytest.mark.parametrize("value", NOT_JSON, ids=lambda value: f"{type(value).__name__}")
def test_what_json_cannot_say_is_refused_in_every_place(value: Any) -> None:
    for event in in_every_place(value):
        assert refusal(event)[0] == "invalid_event"
    assert refusal(message(), metadata={"x": value})[0] == "invalid_event"


def test_metadata_is_an_object() -> None:
    wrongs: tuple[object, ...] = ([], "text", 5, {1: 2})
    for wrong in wrongs:
        assert refusal(message(), metadata=wrong)[0] == "invalid_event"


def nested(depth: int, *, of: str) -> Any:
    value: Any = 1
    for _ in range(depth):
        value = [value] if of == "lists" else {"x": value}
    return value


@pytest.mark.parametrize("of", ["lists", "dicts"])
def test_depth_is_bounded_in_every_place(of: str) -> None:
    assert sent(Append(C, (CustomRecorded("c", nested(JSON_DEPTH_MAX, of=of)),)))
    assert refusal(CustomRecorded("c", nested(JSON_DEPTH_MAX + 1, of=of)))[0] == "nested_too_deeply"
    for event in in_every_place(nested(100_000, of=of)):
        assert refusal(event)[0] == "nested_too_deeply"
    assert refusal(message(), metadata={"x": nested(100_000, of=of)})[0] == "nested_too_deeply"


def test_depth_is_bounded_also_where_no_free_form_value_belongs() -> None:
    bomb = nested(100_000, of="lists")
    for event in (
        ContextCreated(title=bomb),
        ContextCreated(config=bomb),
        replace(message(), parts=bomb),
        replace(chunk(1), delta=bomb),
        replace(run(1, "x"), deltas=bomb),
    ):
        assert refusal(event)[0] in ("nested_too_deeply", "invalid_event")


def test_a_value_that_contains_itself_is_nested_too_deeply() -> None:
    loop: list[Any] = []
    loop.append(loop)
    assert refusal(CustomRecorded("c", loop))[0] == "nested_too_deeply"


def test_a_part_written_as_an_object_is_read_as_that_part() -> None:
    event = MessageAppended(M, "user", [{"type": "text", "text": "x"}])  # pyright: ignore[reportArgumentType] -- is the test
    assert sent(Append(C, (event,))).prepared.records == (message(text="x"),)
    for wrong in (
        {"type": "nonsense"},
        {"text": "x"},
        {"type": "text"},
        {"type": "data", "data": b"x"},
        "x",
        None,
    ):
        assert refusal(replace(message(), parts=(wrong,)))[0] == "invalid_event"


WRONG: Final[Any] = Record()


@pytest.mark.parametrize(
    "event",
    [
        ContextCreated(config=WRONG),
        MessageAppended(M, "user", metadata=WRONG),
        MessageAppended(M, "user", WRONG),
        StreamFinalized(M, "completed", usage=WRONG),
        ContextUpdated(WRONG),
    ],
)
def test_what_would_be_encoded_as_an_object_but_is_none_is_refused(event: Event) -> None:
    assert refusal(event)[0] == "invalid_event"
