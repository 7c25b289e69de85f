"""The envelope: what it holds, what its checksum says, and how little a bomb can do."""

from __future__ import annotations

import base64
import gzip
import json
import tracemalloc
import zlib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from taskerino_stores import checksum, envelope, put, read, session

from turnlog.importers.source.files import Source, Unreadable
from turnlog.importers.source.notes import Notes
from turnlog.importers.taskerino import envelope as reading
from turnlog.importers.taskerino.envelope import checksums, collection, value

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(1 << 60), 1 << 60) | st.text(st.characters(codec="utf-8")),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=10,
)


def opened(folder: Path, text: str) -> tuple[Any, list[str]]:
    """What a file with this text says, and the codes of what is to be said of it."""
    (folder / "x.json").write_text(text, "utf-8")
    notes = Notes("x.json")
    return value(Source(folder), "x.json", notes), [problem.code for problem in notes.said()]


@given(told=st.fixed_dictionaries({"value": JSON}), form=st.sampled_from(["bare", "plain", "gzip"]))
def test_any_value_comes_out_as_it_went_in(
    told: Any, form: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    assert opened(tmp_path_factory.mktemp("any"), envelope(told, form)) == (told, [])


@given(text=st.text(max_size=9_000))
def test_the_checksum_is_the_rolling_hash(text: str) -> None:
    assert checksum(text) in checksums(text)


@pytest.mark.parametrize(
    ("text", "hashed"), [("", "0"), ("a", "2p"), ("hello", "1n1e4y"), ("polygenelubricants", "-zik0zk")]
)
def test_known_checksums(text: str, hashed: str) -> None:
    assert hashed in checksums(text)


def test_a_wrong_checksum_is_told_and_the_text_taken(tmp_path: Path) -> None:
    text = json.dumps(json.loads(envelope({"a": 1})) | {"checksum": "nonsense"})
    assert opened(tmp_path, text) == ({"a": 1}, ["checksum_mismatch"])


def test_a_newer_envelope_is_told(tmp_path: Path) -> None:
    assert opened(tmp_path, json.dumps(json.loads(envelope({"a": 1})) | {"version": 2})) == (
        {"a": 1},
        ["unknown_version"],
    )


def test_an_object_with_data_of_its_own_is_no_envelope(tmp_path: Path) -> None:
    assert opened(tmp_path, '{"data": "x", "version": 3}') == ({"data": "x", "version": 3}, [])


PACKED = gzip.compress(b"[1]", mtime=0)


@pytest.mark.parametrize(
    ("packed", "code"),
    [
        (PACKED[:-3], "gzip_damaged"),
        (PACKED + b"x", "gzip_damaged"),
        (PACKED[:-8] + b"\0" * 8, "gzip_damaged"),
        (b"", "gzip_damaged"),
        (zlib.compress(b"[1]"), "gzip_damaged"),
        (gzip.compress(b"[1", mtime=0), "truncated"),
        (gzip.compress(b'"\xff"', mtime=0), "invalid_utf8"),
    ],
)
def test_a_broken_text_is_refused(tmp_path: Path, packed: bytes, code: str) -> None:
    data = "GZIP_V1:" + base64.b64encode(packed).decode()
    with pytest.raises(Unreadable) as refused:
        opened(tmp_path, json.dumps({"version": 1, "checksum": "0", "compressed": True, "data": data}))
    assert refused.value.code == code


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (5, "bad_envelope"),
        (None, "bad_envelope"),
        (["x"], "bad_envelope"),
        ("GZIP_V1:not base 64!", "bad_envelope"),
        ("not json", "not_json"),
    ],
)
def test_broken_data_is_refused(tmp_path: Path, data: Any, code: str) -> None:
    with pytest.raises(Unreadable) as refused:
        opened(tmp_path, json.dumps({"version": 1, "checksum": "0", "compressed": True, "data": data}))
    assert refused.value.code == code


def test_a_bomb_is_refused_within_bounds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "JSON_BYTES_MAX", 1 << 20)
    packer = zlib.compressobj(9, wbits=31)
    bomb = b"".join(packer.compress(b" " * (1 << 20)) for _ in range(200)) + packer.flush()
    data = "GZIP_V1:" + base64.b64encode(bomb).decode()
    text = json.dumps({"version": 1, "checksum": "0", "compressed": True, "data": data})
    tracemalloc.start()
    try:
        with pytest.raises(Unreadable) as refused:
            opened(tmp_path, text)
        assert tracemalloc.get_traced_memory()[1] < 16 << 20
    finally:
        tracemalloc.stop()
    assert refused.value.code == "gzip_too_large"


def test_envelopes_inside_each_other_come_to_an_end(tmp_path: Path) -> None:
    told: Any = {"a": 1}
    for _ in range(5):
        told = json.loads(envelope(told))
    with pytest.raises(Unreadable) as refused:
        opened(tmp_path, json.dumps(told))
    assert refused.value.code == "bad_envelope"


def test_a_broken_collection_is_told(tmp_path: Path) -> None:
    put(tmp_path, "sessions", [session()], "gzip").write_text(
        json.dumps({"version": 1, "checksum": "0", "compressed": True, "data": "GZIP_V1:AAAA"})
    )
    put(tmp_path, "older", [session(id="two")])
    found, problems = read(tmp_path)
    assert len(found) == 1
    assert [(problem.path, problem.code) for problem in problems] == [("sessions.json", "gzip_damaged")]


def test_a_collection_is_unpacked_piece_by_piece(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sessions = [session(id=f"session-{n}", description="x" * 300_000) for n in range(100)]
    put(tmp_path, "sessions", sessions, "gzip")
    monkeypatch.setattr(reading, "JSON_BYTES_MAX", 1 << 20)
    notes = Notes("sessions.json")
    tracemalloc.start()
    try:
        count = sum(1 for _ in collection(Source(tmp_path), "sessions.json", notes))
        assert tracemalloc.get_traced_memory()[1] < 16 << 20
    finally:
        tracemalloc.stop()
    assert count == 100
    conversations, problems = read(tmp_path)
    assert (len(conversations), problems) == (100, [])


def test_a_collection_that_unpacks_without_end_is_read_up_to_a_bound(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sessions = [session(id=f"session-{n}", description="x" * 300_000) for n in range(100)]
    put(tmp_path, "sessions", sessions, "gzip")
    monkeypatch.setattr(reading, "COLLECTION_BYTES_MAX", 8_000_000)
    conversations, problems = read(tmp_path)
    assert 20 < len(conversations) < 27, "those before the bound"
    assert [problem.code for problem in problems] == ["gzip_too_large"]
