"""The pieces that importers share: times, shapes, mended text, and what attributes can hold."""

from __future__ import annotations

import json
import re
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from turnlog.importers.conversation import Kept
from turnlog.importers.source.files import Unreadable
from turnlog.importers.source.json_text import decode, rounded
from turnlog.importers.source.keeping import fit, plain
from turnlog.importers.source.shapes import shape_of
from turnlog.importers.source.times import read_milliseconds, read_time

MOMENT = 1_762_682_400_000_000


@pytest.mark.parametrize(
    ("text", "after", "assumed"),
    [
        ("2025-11-09T10:00:00Z", 0, False),
        ("2025-11-09T10:00:00.123Z", 123_000, False),
        ("2025-11-09t10:00:00.5z", 500_000, False),
        ("2025-11-09T10:00:00.123456789+00:00", 123_456, False),
        ("2025-11-09T19:00:00+09:00", 0, False),
        ("2025-11-09 10:00:00.25 UTC", 250_000, False),
        ("2025-11-09 10:00:00", 0, True),
        (" 2025-11-09T10:00:00\n", 0, True),
    ],
)
def test_times_of_every_form(text: str, after: int, assumed: bool) -> None:
    assert read_time(text) == (MOMENT + after, assumed)


@pytest.mark.parametrize(
    "text", ["", "now", "2025-13-01", "9999-01-01", "0001-01-01", "2025-11-09T25:00:00Z"]
)
def test_what_is_no_time(text: str) -> None:
    assert read_time(text) is None


def test_milliseconds() -> None:
    assert read_milliseconds(MOMENT / 1000) == (MOMENT, False)
    assert read_milliseconds(1e300) is None
    assert read_milliseconds(-1e14) is None


@pytest.mark.parametrize(
    ("text", "opening", "keys"),
    [
        (b"", b"", set[str]()),
        (b'\xef\xbb\xbf [ {"a": {"b": 1}, "c": "d:", "e": [{"f": 1}]}, {"g": 1', b"[", {"a", "c", "e", "g"}),
        (b'{"a": "x\\": {", "b": [{"c": 1}], "d"', b"{", {"a", "b"}),
        (b'{"a": "cut {"', b"{", {"a"}),
        (b'["a", "b"]', b"[", set[str]()),
        (b"nonsense", b"n", set[str]()),
        (b'{"a": {"b": [1, {"c": "]}"}], "d": 2}, "e": 1}', b"{", {"a", "e"}),
        (b'[{"a": {"b": "}", "c": [["d"]]}, "e": 1}, ["f", {"g": 1}]]', b"[", {"a", "e"}),
        (b'{"a": [1, "b": "cut', b"{", {"a"}),
    ],
)
def test_shapes(text: bytes, opening: bytes, keys: set[str]) -> None:
    assert shape_of(text) == (opening, keys)


def mended(text: bytes) -> tuple[Any, list[tuple[str, str]]]:
    """The value of a text, and what was mended in it."""
    told = list[tuple[str, str]]()
    return decode("x", text, lambda code, reason: told.append((code, reason))), told


@given(words=st.lists(st.text(st.sampled_from(["a", '"', "\\", "u", "\ud83d", "\ude00", "é"]), max_size=6)))
def test_any_lone_surrogate_is_mended_and_counted(words: list[str]) -> None:
    text = json.dumps(words)
    whole = json.loads(text)  # pairs of halves are one character to a reader
    lone = sum("\ud800" <= letter <= "\udfff" for word in whole for letter in word)
    wanted = [re.sub("[\ud800-\udfff]", "\ufffd", word) for word in whole]
    told = [("lone_surrogate", f"{lone} halves of characters became U+FFFD")] if lone else []
    assert mended(text.encode()) == (wanted, told)
    if lone:
        with pytest.raises(Unreadable) as refused:
            decode("x", text.encode())
        assert refused.value.code == "lone_surrogate"


def test_pairs_and_escaped_backslashes_are_left_alone() -> None:
    text = rb'["\ud83d\ude00", "\ud83d", "\\ud83d", "\ude00\ud83d", "\uFFFD"]'
    found, told = mended(text)
    assert found == ["\U0001f600", "\ufffd", "\\ud83d", "\ufffd\ufffd", "\ufffd"]
    assert told == [("lone_surrogate", "3 halves of characters became U+FFFD")]


@pytest.mark.parametrize(
    ("text", "names"),
    [
        (b'{"a": 1, "a": 2}', ['"a"']),
        (b'[{"b" : {"c" : 1, "d": 2, "c" : 3}}, {"b": 1, "b": 2, "b": 3}]', ['"c"', '"b"']),
        (b'{"a": "\\":", "b": "x\\\\", "c" : 1}', list[str]()),
        (rb'{"a\\": 1, "b": 2}', list[str]()),
        (b'{"a": [1' + b"0" * 30 + b'], "a": 2}', ['"a"']),
    ],
)
def test_names_that_an_object_has_twice_are_told(text: bytes, names: list[str]) -> None:
    _, told = mended(text)
    wanted = [("repeated_key", f"an object in it has the member {name} more than once") for name in names]
    assert told == wanted


def test_a_name_twice_beside_a_lone_surrogate_is_told() -> None:
    found, told = mended(rb'{"a": "\ud800", "a": 1}')
    assert found == {"a": 1}
    assert [code for code, _ in told] == ["lone_surrogate", "repeated_key"]


def test_a_number_of_more_digits_than_a_double_holds_is_told_where_it_is_mended() -> None:
    found, told = mended(b'{"a": [0.1000000000000000000001, 0.1000000000000000000001, 2.5]}')
    assert found == {"a": [0.1, 0.1, 2.5]}
    said = "0.1000000000000000000001 became 0.1, as no double holds more digits"
    assert told == [("number_rounded", said)]


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_what_programs_write_of_a_double_is_never_rounded(number: float) -> None:
    for text in (repr(number), f"{number:.17g}", f"{number:.16e}"):
        assert rounded(f"[{text}]".encode()) == []


def test_only_strict_reading_refuses_nesting_and_large_integers() -> None:
    for text in (b"[" * 61 + b"]" * 61, b"[18446744073709551616]"):
        assert mended(text) == (json.loads(text), [])
        with pytest.raises(Unreadable):
            decode("x", text)


@pytest.mark.parametrize(
    ("text", "code"),
    [
        (b"[1", "truncated"),
        (b"NaN", "not_a_number"),
        (b"[1e999]", "number_too_large"),
        (b'"\xff"', "invalid_utf8"),
        (b"[" * 5_000, "nested_too_deeply"),
        (b"", "truncated"),
        (b"1 2", "not_json"),
        (rb'"\ud800', "truncated"),
    ],
)
def test_what_cannot_be_mended_is_refused_where_it_stands(text: bytes, code: str) -> None:
    with pytest.raises(Unreadable) as refused:
        decode("x", text, lambda code, reason: None, "$[3]")
    assert (refused.value.code, refused.value.place) == (code, "$[3]")


def test_plain_values() -> None:
    assert plain({"a": [1, 1 << 70, float("inf"), None]}) == {"a": [1, {"json": str(1 << 70)}, "inf", None]}
    assert plain([[[1]]], 2) == [[{"json": "[1]"}]]


def restored(attributes: dict[str, Any], kept: tuple[Kept, ...]) -> Any:
    """Attributes with everything back in its place."""
    texts: dict[str, str] = {}
    forms: dict[str, str] = {}
    for one in kept:
        texts[one.data["place"]] = texts.get(one.data["place"], "") + one.data["text"]
        forms[one.data["place"]] = one.data["form"]

    def back(value: Any) -> Any:
        if isinstance(value, dict):
            if value.keys() == {"kept", "bytes"}:  # pyright: ignore[reportUnknownMemberType] -- decoded JSON
                text = texts[value["kept"]]
                return text if forms[value["kept"]] == "text" else back(json.loads(text))
            return {name: back(member) for name, member in value.items()}  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType] -- decoded JSON
        return [back(item) for item in value] if isinstance(value, list) else value  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType] -- decoded JSON

    return back(attributes)


TEXTS = st.integers(0, 3_000).map(lambda length: "é" * length)
MEMBERS = st.dictionaries(st.text(max_size=3), TEXTS | st.lists(TEXTS | st.integers(0, 9)), max_size=5)


@given(value=st.dictionaries(st.text(max_size=3), MEMBERS, max_size=5), most=st.integers(20_000, 40_000))
def test_attributes_fit_and_nothing_of_them_is_lost(value: dict[str, Any], most: int) -> None:
    fitting, kept = fit(value, most)
    assert len(msgspec.msgpack.encode(fitting)) <= most
    assert restored(fitting, kept) == value
    if len(msgspec.msgpack.encode(value)) <= most:
        assert (fitting, kept) == (value, ())
