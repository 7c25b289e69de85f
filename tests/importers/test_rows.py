"""Arrays of rows in a JSON text: the same value as without, and the same word about what is wrong."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Final, TypeAlias, cast

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from turnlog.importers.copilot_chat.layouts import MESSAGES_ROWED
from turnlog.importers.source import json_text
from turnlog.importers.source.json_text import Unreadable
from turnlog.importers.source.rows import Rowed, Rows, decode

RECORDED: Final = Path(__file__).parents[1] / "fixtures" / "copilot_chat" / "conversations"


Bounded: TypeAlias = Annotated[int, msgspec.Meta(ge=-9, le=1 << 60)]


class Row(msgspec.Struct, forbid_unknown_fields=True):
    """A number and a text."""

    n: Bounded
    t: str
    gap: Bounded | msgspec.UnsetType = msgspec.UNSET


ROWED: Final = Rowed(("pool", None, "rows"), msgspec.json.Decoder(list[Row]))

ROW: Final = st.fixed_dictionaries(
    {"n": st.integers(0, 9), "t": st.text(alphabet='a"\\]}[{:,\né', max_size=6)},
    optional={"gap": st.integers(-3, 3)},
)
ARRAYS: Final = st.lists(ROW, max_size=4) | st.lists(st.integers(0, 3), max_size=2) | st.text(max_size=3)
HOLDERS: Final = st.dictionaries(st.sampled_from(["rows", 'x"rows', "other"]), ARRAYS, max_size=3)
VALUES: Final = st.fixed_dictionaries(
    {"pool": st.lists(HOLDERS, max_size=4) | st.dictionaries(st.text(max_size=2), HOLDERS, max_size=4)},
    optional={"rows": ARRAYS, "a": HOLDERS},
)


def whole(value: Any) -> Any:
    """A value without rows."""
    match value:
        case Rows():
            return value.value()
        case dict():
            return {key: whole(inner) for key, inner in cast("dict[str, Any]", value).items()}
        case list():
            return [whole(inner) for inner in cast("list[Any]", value)]
        case _:
            return value


def count(value: Any) -> int:
    """How many arrays of rows are in a value."""
    match value:
        case Rows():
            return 1
        case dict():
            return sum(map(count, cast("dict[str, Any]", value).values()))
        case list():
            return sum(map(count, cast("list[Any]", value)))
        case _:
            return 0


def said(text: bytes) -> object:
    """The value, or what is said of the text."""
    try:
        return whole(decode("f", text, ROWED))
    except Unreadable as error:
        return error.code, error.reason, error.place


def said_of_any(text: bytes) -> object:
    """The same by the decoder that knows no rows."""
    try:
        return json_text.decode("f", text)
    except Unreadable as error:
        return error.code, error.reason, error.place


@given(VALUES, st.booleans())
def test_the_value_is_the_same(value: Any, is_pretty: bool) -> None:
    text = msgspec.json.encode(value)
    assert said(msgspec.json.format(text, indent=2) if is_pretty else text) == value


@pytest.mark.parametrize(
    "rows",
    [
        '[{"n":1,"t":"a"},{"n":2,"t":"b","gap":0}]',
        '[\n  {"t": "\\u0061\\/", "n": 1}\n]',
        '[{"n":1,"t":"}]"},{"n":2,"t":"} ]"}]',
    ],
)
@pytest.mark.parametrize("around", ['{{"one":{{"rows":{}}}}}', '[{{}},{{"rows" :\n{}}}]'])
def test_rows_are_found_where_they_should_be(around: str, rows: str) -> None:
    text = f'{{"a":[1],"pool":{around.format(rows)},"b":2}}'.encode()
    assert count(decode("f", text, ROWED)) == 1
    assert said(text) == said_of_any(text)


@pytest.mark.parametrize(
    "rows",
    [
        '[{"n":1,"t":"a","n":1}]',
        '[{"n":1,"t":"a","t":"b"}]',
        '[{"n":1,"t":"a","\\u0074":"\\""}]',
        '[{"n":123456789012345678901234567890,"t":"a"}]',
        '[{"n":1,"t":"a","gap":123456789012345678901234567890}]',
        '[{"n":1,"t":"\\ud800"}]',
        '[{"n":1,"t":"\xff"}]',
        '[{"n":1,"t":"a"},]',
        '[{"n":1,"t":"a"}',
        '[{"n":1,"t":"a]}',
        '[{"n":1.0,"t":"a"}]',
        '[{"n":1,"t":"a","gap":null}]',
        '[{"n":1,"t":"a","more":[{"x":1}]}]',
        '[{"n":1,"t":"a"}]]',
        '"the rows that stand here"',
        '[{"n":1,"t":"a"}],"other":"the rows that stand here"',
        '[{"n":1,"t":"a"}],"other":"the rows that stand h\\u0065re"',
        '[{"n":1,"t":"a"}],"rows":[{"n":1,"t":"a"}]',
        '[{"n":1,"t":"a"}],"other":{"rows":[{"n":1,"t":"a"}]}',
        '[{"n":1,"t":"a"}],"x":"\\"rows":[{"n":1,"t":"a"}]',
        '[{"n":1,"t":"a"}],"x\\"rows":[{"n":1,"t":"a"}]',
        '[{"n":1,"t":"a"}],"other":NaN',
    ],
)
def test_what_is_odd_is_told_as_of_any_other_text(rows: str) -> None:
    text = f'{{"pool":[{{"rows":{rows}}}]}}'.encode("latin-1")
    assert said(text) == said_of_any(text)


def test_the_chunks_that_the_program_wrote_are_rows() -> None:
    path = next(RECORDED.glob("3142b167-*.json"))
    found = decode(path.name, path.read_bytes(), MESSAGES_ROWED)
    assert count(found) == 2
    assert whole(found) == msgspec.json.decode(path.read_bytes())
