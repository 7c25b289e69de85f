"""Detection: by shape, several formats at once, and a refusal that says what was looked for."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from ait42_stores import HASH, SCHEMA_B, make_database, session
from taskerino_stores import put, put_chunked
from taskerino_stores import session as taskerino_session

from eventstore.errors import Refused
from turnlog.importers.detecting import FORMATS, detect, unclaimed
from turnlog.importers.source.files import Source
from turnlog.importers.source.shapes import HEAD_BYTES


def formats(root: Path) -> list[str]:
    """The names of what is found."""
    return [importer.format for importer in detect(Source(root))]


@pytest.mark.parametrize("name", ["x.json", "deep/er/any name.json", f"sessions/{HASH}.json"])
def test_names_of_folders_and_files_decide_nothing(tmp_path: Path, name: str) -> None:
    file = tmp_path / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps([session()]))
    assert formats(tmp_path) == formats(file) == ["ait42"]
    file.write_text(json.dumps([taskerino_session()]))
    assert formats(tmp_path) == formats(file) == ["taskerino"]


def test_a_long_text_does_not_hide_the_shape(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text(json.dumps([session(id="i" * 1_000_000, task="t" * 1_000_000)]))
    assert formats(tmp_path) == ["ait42"]
    (tmp_path / "a.json").write_text(json.dumps([taskerino_session(description="t" * 1_000_000)]))
    assert formats(tmp_path) == ["taskerino"]


def test_a_long_object_is_known_by_its_head(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    chunks = [{"sequence": number, "delta": "a [{", "timestamp": "x"} for number in range(20_000)]
    for key in ("message_pool", "data"):
        (tmp_path / f"{key}.json").write_text(json.dumps({"id": "1", key: {"a": {"chunks": chunks}}}))
    source, asked = Source(tmp_path), list[int]()

    def head(self: Source, name: str, length: int, read: Any = Source.head) -> bytes:
        asked.append(length)
        return read(self, name, length)

    monkeypatch.setattr(Source, "head", head)
    for format_ in ("ait42", "taskerino"):
        assert not FORMATS[format_].importer.recognises(source)
        assert list(FORMATS[format_].importer.read(source)) == []
    assert asked
    assert max(asked) == HEAD_BYTES


def test_a_database_is_known_whatever_its_name(tmp_path: Path) -> None:
    file = make_database(tmp_path / "history.bin", SCHEMA_B, [session()])
    assert formats(tmp_path) == formats(file) == ["ait42"]


def test_several_formats_can_lie_in_one_source(tmp_path: Path) -> None:
    put_chunked(tmp_path / "b" / "db", taskerino_session())
    (tmp_path / "a.json").write_text(json.dumps([session()]))
    source = Source(tmp_path)
    found = detect(source)
    assert [importer.format for importer in found] == ["ait42", "taskerino"]
    said = [one for importer in found for one in importer.read(source)]
    assert len(said) == 2
    assert not list(unclaimed(source, found))


def test_files_of_no_format_are_told(tmp_path: Path) -> None:
    put(tmp_path, "sessions", [taskerino_session()])
    (tmp_path / "broken.json").write_text("{")
    (tmp_path / "notes.txt").write_text("x")
    source = Source(tmp_path)
    told = [(problem.path, problem.code) for problem in unclaimed(source, detect(source))]
    assert told == [("broken.json", "unrecognised"), ("notes.txt", "unrecognised")]


def test_what_lies_beside_no_database_is_told(tmp_path: Path) -> None:
    put(tmp_path, "sessions", [taskerino_session()])
    os.mkfifo(tmp_path / "pipe.db")
    for name in ("pipe.db-wal", "gone.db-journal"):
        (tmp_path / name).write_text("x")
    source = Source(tmp_path)
    importers = [one.importer for one in FORMATS.values()]
    told = [problem.path for problem in unclaimed(source, importers)]
    assert told == ["gone.db-journal", "pipe.db-wal"]
    alone = Source(tmp_path / "pipe.db-wal")
    assert [problem.path for problem in unclaimed(alone, importers)] == ["pipe.db-wal"]


def test_an_unknown_source_is_refused_with_what_was_looked_for(tmp_path: Path) -> None:
    (tmp_path / "notes.json").write_text("[1, 2]")
    with pytest.raises(Refused) as refused:
        detect(Source(tmp_path))
    assert refused.value.code == "nothing_recognised"
    assert all(name in refused.value.message for name in FORMATS)
    with pytest.raises(Refused) as refused:
        detect(Source(tmp_path / "absent"))
    assert refused.value.code == "nothing_recognised"


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b'{"id": "a", "message_pool": {}, "x": 18446744073709551616}', "does not fit"),
        (b"", "it ends"),
        (b'{"id": "a", "message_pool": {', "it ends"),
    ],
)
def test_what_is_wrong_with_the_files_of_an_unknown_source_is_told(
    content: bytes, reason: str, tmp_path: Path
) -> None:
    (tmp_path / "chat.json").write_bytes(content)
    for root in (tmp_path, tmp_path / "chat.json"):
        with pytest.raises(Refused) as refused:
            detect(Source(root))
        assert refused.value.code == "nothing_recognised"
        assert "chat.json" in refused.value.message
        assert reason in refused.value.message
        assert "--format" in refused.value.hint


def test_only_the_first_files_that_cannot_be_read_are_told(tmp_path: Path) -> None:
    for number in range(9):
        (tmp_path / f"{number}.json").write_bytes(b"{")
    with pytest.raises(Refused, match=r"4\.json [^;]*; and more"):
        detect(Source(tmp_path))


def test_a_pipe_as_the_source_is_told(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(Refused, match="it is no regular file"):
        detect(Source(tmp_path / "pipe"))


def test_one_can_insist_on_a_format(tmp_path: Path) -> None:
    file = tmp_path / "broken.json"
    file.write_text("{")
    (importer,) = detect(Source(file), "ait42")
    assert importer.format == "ait42"
    assert len(list(importer.read(Source(file)))) == 1
    with pytest.raises(Refused) as refused:
        detect(Source(file), "word")
    assert refused.value.code == "invalid_argument"
    assert "ait42, taskerino" in refused.value.message


@pytest.mark.parametrize("insist", ["taskerino", "copilot_chat"])
@pytest.mark.parametrize("is_file", [True, False])
def test_insisting_on_another_format_than_the_source_is_of_is_refused_with_the_one_that_fits(
    tmp_path: Path, insist: str, is_file: bool
) -> None:
    (tmp_path / "x.json").write_text(json.dumps([session()]))
    with pytest.raises(Refused) as refused:
        detect(Source(tmp_path / "x.json" if is_file else tmp_path), insist)
    assert (refused.value.code, refused.value.fields) == ("nothing_recognised", {"formats": ["ait42"]})
    assert "looks like ait42: JSON arrays of sessions with task" in refused.value.message
    assert refused.value.message.endswith(f"It holds nothing of {insist}: give --format ait42")
