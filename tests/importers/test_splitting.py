"""Splitting: an array's elements, wherever its blocks end, and where it is broken."""

from __future__ import annotations

import json
import tracemalloc
from io import BytesIO
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from turnlog.importers.source import arrays
from turnlog.importers.source.arrays import elements
from turnlog.importers.source.files import Unreadable

JSON = st.recursive(
    st.none() | st.booleans() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=10,
)


def split(text: bytes) -> tuple[list[bytes], str | None]:
    """The elements, and the code of what ended them."""
    found: list[bytes] = []
    try:
        for element in elements(BytesIO(text), "x"):
            found.append(element)  # noqa: PERF402 -- those before the end count
    except Unreadable as refused:
        return found, refused.code
    return found, None


@given(
    values=st.lists(JSON, max_size=5),
    block=st.integers(1, 40),
    indent=st.none() | st.integers(0, 2),
    escaped=st.booleans(),
)
def test_any_array_is_split_wherever_its_blocks_end(
    values: list[Any], block: int, indent: int | None, escaped: bool
) -> None:
    text = json.dumps(values, indent=indent, ensure_ascii=escaped).encode("utf-8", "surrogatepass")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(arrays, "_BLOCK_BYTES", block)
        found, code = split(b"\xef\xbb\xbf\n " * (block > 4) + text + b" \n")
    assert code is None
    assert [json.loads(element.decode("utf-8", "surrogatepass")) for element in found] == values


@pytest.mark.parametrize(
    ("text", "found", "code"),
    [
        (b"", [], None),
        (b" \n" * 3, [], None),
        (b"[]", [], None),
        (b"[ ]", [], None),
        (b"[1,,2]", [b"1", b"", b"2"], None),  # an element that is no JSON is for its reader to tell
        (b"[nul,2]", [b"nul", b"2"], None),
        (b"[1,2", [b"1"], "truncated"),
        (b'[1,"2]', [b"1"], "truncated"),
        (b"[1,[2}", [b"1"], "truncated"),
        (b"[1] 2", [b"1"], "not_json"),
        (b"[1][2]", [b"1"], "not_json"),
        (b"{}", [], "wrong_type"),
        (b'"[]"', [], "wrong_type"),
        (b"nonsense", [], "not_json"),
        (b"\x0b[1]", [], "not_json"),  # what Python takes for blank, and JSON does not
        (b"[1]\x0c", [b"1"], "not_json"),
        (b"[\x0b]", [b"\x0b"], None),
    ],
)
def test_where_an_array_is_broken(text: bytes, found: list[bytes], code: str | None) -> None:
    assert split(text) == (found, code)


def test_an_element_without_end_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(arrays, "_BLOCK_BYTES", 100)
    monkeypatch.setattr(arrays, "ELEMENT_BYTES_MAX", 1_000)
    assert split(b'[1,"' + b"x" * 5_000 + b'"]') == ([b"1"], "element_too_large")


@pytest.mark.parametrize("end", [b"]", b",1]"])
def test_a_large_element_is_in_memory_once(end: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    size = 8 << 20
    monkeypatch.setattr(arrays, "ELEMENT_BYTES_MAX", size + 10)
    file = BytesIO(b'["' + b"x" * size + b'"' + end)
    tracemalloc.start()
    try:
        for element in elements(file, "x"):
            if len(element) > size:
                now, peak = tracemalloc.get_traced_memory()
                assert now < 1.2 * size
                assert peak < 2.2 * size
    finally:
        tracemalloc.stop()


def test_a_long_array_takes_little_memory() -> None:
    file = BytesIO(b"[" + b",".join([b'{"a": "%s"}' % (b"x" * 10_000)] * 3_000) + b"]")
    tracemalloc.start()
    try:
        assert sum(1 for _ in elements(file, "x")) == 3_000
        assert tracemalloc.get_traced_memory()[1] < 8 << 20
    finally:
        tracemalloc.stop()
