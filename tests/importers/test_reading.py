"""Reading a source: what is refused, with which code and place, and what nobody follows."""

from __future__ import annotations

import gzip
import json
import os
import tracemalloc
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from legacy import json_values

from eventstore.limits import JSON_DEPTH_MAX
from turnlog.importers.source import files, json_text
from turnlog.importers.source.arrays import elements
from turnlog.importers.source.files import FILE_BYTES_MAX, Source, Unreadable, stable_id
from turnlog.importers.source.json_text import decode
from turnlog.importers.source.unpacking import gunzip

REFUSED = [
    (b'{"a": 1, "b": {"c": 1, "c": 2}}', "duplicate_key", '"c"'),
    (b'{"a" : 1, "a":2, "b":"x\\":"}', "duplicate_key", '"a"'),
    (b'{"\\u0061": 1, "a": 2}', "duplicate_key", '"a"'),
    (b'{"a\\\\":1,"a\\\\":2}', "duplicate_key", '"a\\\\"'),
    (b'{"a\\u005c":1,"a\\\\":2}', "duplicate_key", '"a\\\\"'),
    (b'{"":1,"":2}', "duplicate_key", '""'),
    (b'{"x": "\\ud800"}', "lone_surrogate", "line 1, byte 8"),
    (b'{"x":\n "\\udc00 "}', "lone_surrogate", "line 2, byte 3"),
    (b'["\\ud800\\u0041"]', "lone_surrogate", "line 1, byte 3"),
    (b'["\\\\\\ud800"]', "lone_surrogate", "line 1, byte 3"),
    (b"[NaN]", "not_a_number", "line 1, byte 2"),
    (b'{"a": Infinity}', "not_a_number", "line 1, byte 7"),
    (b"[\n-Infinity]", "not_a_number", "line 2, byte 2"),
    (b'["\xff"]', "invalid_utf8", "line 1, byte 3"),
    (b'["\xed\xa0\x80"]', "invalid_utf8", "line 1, byte 3"),
    (b'{"a": [1, 1e400]}', "number_too_large", "$[...][1]"),
    (b'{"a": [1, 18446744073709551616]}', "number_too_large", "$.a[1]"),
    (b"[" + b"1" * 5_000 + b"]", "number_too_large", None),
    (b'{"a": [1, 0.1000000000000000000001]}', "number_too_precise", None),
    (b"[12345678901.12345678901]", "number_too_precise", None),
    (b"[-0.1234567890123456789e-7]", "number_too_precise", None),
    (b"", "truncated", "line 1, byte 1"),
    (b'{"a": "x', "truncated", "line 1, byte 9"),
    (b'{"a": 1,\n}', "not_json", "line 2, byte 1"),
    (b"{} x", "not_json", "line 1, byte 4"),
    (b"[" * 200_000, "nested_too_deeply", None),
    (b"[" * 61 + b"]" * 61, "nested_too_deeply", None),
    (b'{"a":' * 61 + b"1" + b"}" * 61, "nested_too_deeply", None),
]


@pytest.mark.parametrize(("text", "code", "place"), REFUSED, ids=[str(text[:30]) for text, _, _ in REFUSED])
def test_what_is_not_strict_json_is_refused_with_its_place(text: bytes, code: str, place: str | None) -> None:
    with pytest.raises(Unreadable) as refused:
        decode("a.json", text)
    assert (refused.value.code, refused.value.path) == (code, "a.json")
    if place is not None:
        assert refused.value.place is not None
        line, _, byte = place.rpartition("byte ")
        if line:  # the decoder's own offsets may be one further
            found = refused.value.place.rpartition("byte ")
            assert found[0] == line
            assert abs(int(found[2]) - int(byte)) <= 1
        else:
            assert refused.value.place == place


def test_the_limits_themselves_are_taken() -> None:
    assert decode("", b"[" * 60 + b"]" * 60)
    assert decode("", b"[18446744073709551615, -9223372036854775808]")
    assert decode("", b'["\\ud83d\\ude00"]') == ["😀"]
    assert decode("", b'["1111111111111111111111111"]')
    assert decode("", b'["0.1000000000000000000001", "....................", 0.10000000000000001]')
    assert decode("", b"[0.1000000000000000000000, 1.5000000000000000000e3, 1234567890.1234567]")
    assert decode("", b"\xef\xbb\xbf[1]") == [1]


@given(json_values, st.sampled_from([None, 1]), st.booleans())
def test_what_is_strict_json_is_taken(value: object, indent: int | None, escaped: bool) -> None:
    text = json.dumps(value, indent=indent, ensure_ascii=escaped).encode()
    assert decode("", text) == value


@given(st.text(st.sampled_from('a"\\:, é'), max_size=4), st.lists(st.text(st.sampled_from('"\\: a'))))
def test_a_member_that_is_there_twice_is_always_found(key: str, strings: list[str]) -> None:
    name = json.dumps(key)
    text = f'{{"list": {json.dumps(strings)}, "in": {{{name}: 1, {name}: "{{}}"}}}}'
    with pytest.raises(Unreadable, match="twice"):
        decode("", text.encode())


def test_a_file_that_is_too_large_is_not_read(tmp_path: Path) -> None:
    with (tmp_path / "a.json").open("wb") as file:
        file.truncate(FILE_BYTES_MAX + 1)
    with pytest.raises(Unreadable) as refused:
        Source(tmp_path).json("a.json")
    assert refused.value.code == "file_too_large"


def test_a_gzip_unpacks_up_to_a_bound() -> None:
    packed = gzip.compress(b"x" * 1_000) + gzip.compress(b"y")
    assert gunzip(packed) == b"x" * 1_000 + b"y"
    for content, code in [
        (packed, "gzip_too_large"),
        (packed[:-3], "gzip_damaged"),
        (b"PK", "gzip_damaged"),
        (b"", "gzip_damaged"),
        (packed + b"rest", "gzip_damaged"),
    ]:
        with pytest.raises(Unreadable) as refused:
            gunzip(content, "a.gz", 1_000 if code == "gzip_too_large" else 2_000)
        assert refused.value.code == code


def test_a_gzip_bomb_is_unpacked_no_further_than_its_bound() -> None:
    bomb = gzip.compress(bytes(64_000_000))
    tracemalloc.start()
    with pytest.raises(Unreadable, match="more than"):
        gunzip(bomb, "", 1_000_000)
    assert tracemalloc.get_traced_memory()[1] < 4_000_000
    tracemalloc.stop()


def test_files_come_folder_by_folder_and_sorted(tmp_path: Path) -> None:
    for name in ("b/2.json", "b/1.json", "a/x/3.json", "z.json", "a/9.json"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"{}")
    assert list(Source(tmp_path).files()) == ["z.json", "a/9.json", "a/x/3.json", "b/1.json", "b/2.json"]
    assert Source(tmp_path).names("b") == ["b/1.json", "b/2.json"]
    assert Source(tmp_path).names("", "folder") == ["a", "b"]
    assert Source(tmp_path).names("no") == []


def test_links_pipes_and_names_that_are_not_utf_8_are_left_out_and_told(tmp_path: Path) -> None:
    inside, outside = tmp_path / "source", tmp_path / "outside"
    outside.mkdir()
    (outside / "secret.json").write_bytes(b"{}")
    inside.mkdir()
    (inside / "a.json").write_bytes(b"{}")
    (inside / "file.json").symlink_to(outside / "secret.json")
    (inside / "folder").symlink_to(outside)
    os.mkfifo(inside / "pipe.json")
    os.mkdir(os.fsencode(inside / "dir"))
    with open(os.fsencode(inside) + b"/\xff.json", "wb"):
        pass
    source = Source(inside)
    assert list(source.files()) == ["a.json"]
    assert [(each.path, each.code) for each in source.left_out()] == [
        ("file.json", "symbolic_link"),
        ("folder", "symbolic_link"),
        ("pipe.json", "not_a_file"),
        ("\\xff.json", "name_not_utf8"),
    ]
    for name, code in [
        ("file.json", "symbolic_link"),
        ("folder/secret.json", "unreadable"),
        ("pipe.json", "not_a_file"),
        ("dir", "not_a_file"),
        ("gone.json", "unreadable"),
        ("../outside/secret.json", "outside_source"),
        (str(outside / "secret.json"), "outside_source"),
        ("dir//../a.json", "outside_source"),
        ("a\0.json", "outside_source"),
        ("", "outside_source"),
    ]:
        with pytest.raises(Unreadable) as refused:
            source.bytes(name)
        assert (name, refused.value.code) == (name, code)


def test_a_device_is_not_read() -> None:
    with pytest.raises(Unreadable) as refused:
        Source(Path("/dev")).bytes("zero")
    assert refused.value.code == "not_a_file"


def test_a_single_file_is_a_source_of_one(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_bytes(b'{"a": 1}')
    (tmp_path / "b.json").write_bytes(b"{}")
    source = Source(tmp_path / "a.json")
    assert list(source.files()) == ["a.json"]
    assert source.json("a.json") == {"a": 1}
    assert not source.has("b.json")
    with pytest.raises(Unreadable, match="one file"):
        source.bytes("b.json")


def test_a_link_that_is_named_as_the_source_is_its_file(tmp_path: Path) -> None:
    real, link = tmp_path / "real.json", tmp_path / "link.json"
    real.write_bytes(b'[{"a": 1}]')
    os.utime(real, (5, 5))
    link.symlink_to(real)
    source = Source(link)
    assert list(source.files()) == ["link.json"]
    assert source.has("link.json")
    assert source.modified_us("link.json") == 5_000_000
    assert source.path("link.json") == real
    assert source.json("link.json") == [{"a": 1}]
    with source.open("link.json") as file:
        assert list(elements(file, "link.json")) == [b'{"a": 1}']


def test_a_pipe_among_the_files_is_refused_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.db")
    with pytest.raises(Unreadable) as refused, Source(tmp_path).open("pipe.db"):
        pass
    assert refused.value.code == "not_a_file"


def test_files_are_listed_one_folder_at_a_time(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "x.json").write_bytes(b"{}")
    files = Source(tmp_path).files()
    assert next(files) == "a/x.json"
    (tmp_path / "b" / "y.json").write_bytes(b"{}")
    assert list(files) == ["b/x.json", "b/y.json"]


@pytest.mark.parametrize("count", [0, 1, 2, 3, 7])
def test_many_names_come_in_order(tmp_path: Path, count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "_RUN_NAMES", 3)
    names = [f"{number * 7 % 10}é.json" for number in range(count)]
    for name in names:
        (tmp_path / name).write_bytes(b"{}")
    (tmp_path / "5 folder").mkdir()
    (tmp_path / "5 folder" / "x.json").write_bytes(b"{}")
    (tmp_path / "6 link.json").symlink_to("0.json")
    source = Source(tmp_path)
    assert list(source.files()) == [*sorted(names), "5 folder/x.json"]
    assert source.names("") == sorted(names)
    assert source.names("", "folder") == ["5 folder"]
    assert [refused.path for refused in source.left_out()] == ["6 link.json"]


def test_a_stable_id_is_that_for_ever() -> None:
    assert str(stable_id("a", "b")) == "1eb58c9f-ac59-5924-a774-70a08f22984b"
    assert stable_id("a", "b") != stable_id("ab")


def test_the_nesting_bound_leaves_room_for_what_holds_the_value() -> None:
    assert json_text.NESTING_MAX + 4 <= JSON_DEPTH_MAX
