"""Taskerino's sessions in both phases: items in the order of time, and everything that can be lost."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from uuid import UUID

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from storing import check_storable
from taskerino_stores import (
    at,
    codes,
    envelope,
    note,
    put,
    put_attachment,
    put_chunked,
    read,
    screenshot,
    segment,
    session,
    sessions,
    video,
)

from eventstore.content import DataPart, FilePart, ImagePart, TextPart
from eventstore.limits import CONTEXT_METADATA_BYTES_MAX
from turnlog.importers.conversation import Conversation
from turnlog.importers.source.files import Source, stable_id
from turnlog.importers.source.times import read_time
from turnlog.importers.taskerino.importer import Taskerino

FORMS = pytest.mark.parametrize("form", ["bare", "plain", "gzip"])
START = 1_762_682_400_000_000


def whole() -> dict[str, Any]:
    """A session with something of everything."""
    return session(
        fullTranscription="all that was said",
        summary={"narrative": "a good day"},
        audioInsights={"mood": "calm"},
        canvasSpec={"theme": "dark"},
        relationships=[{"to": "x"}],
        screenshots=[screenshot(number, userComment="see") for number in range(0, 90, 2)],
        audioSegments=[segment(number) for number in range(1, 90, 30)],
        videoChunks=[video(30, attachmentId="v"), video(10)],
        contextItems=[note(89), note(0, type="marker"), note(5, type="task", taskId="t")],
    )


def facts(conversation: Conversation) -> Any:
    """All but where it was found."""
    told = msgspec.to_builtins(conversation)
    for name in ("origin", "files", "warnings"):
        told.pop(name)
    for name in ("origin", "place"):
        told["attributes"]["import"].pop(name)
    told["attributes"]["import"]["source"].pop("chunks", None)
    return told


@FORMS
def test_both_phases_say_the_same(tmp_path: Path, form: str) -> None:
    put(tmp_path / "three", "sessions", [whole()], form)
    put_chunked(tmp_path / "four", whole(), form)
    three, four = read(tmp_path / "three"), read(tmp_path / "four")
    assert not three[1]
    assert not four[1]
    assert facts(three[0][0]) == facts(four[0][0])
    for conversation in (three[0][0], four[0][0]):
        assert [code for _, code, _ in codes(conversation)] == ["attachments_elsewhere"]


def test_items_become_messages_in_the_order_of_time(tmp_path: Path) -> None:
    put_chunked(tmp_path, whole())
    (conversation,), _ = read(tmp_path)
    said = conversation.messages
    assert len(said) == 45 + 3 + 2 + 3 + 4
    times = [one.occurred_at for one in said]
    assert times == sorted(times, key=lambda time: time or 0)
    assert [one.message_type for one in said[:3]] == ["screenshot", "marker", "audio_segment"]
    assert [one.message_type for one in said[-4:]] == [
        "transcription",
        "summary",
        "audio_insights",
        "canvas_spec",
    ]
    assert [one.role for one in said[-4:]] == ["user", "assistant", "assistant", "assistant"]
    assert said[-4].parts == (TextPart("all that was said"),)
    assert said[-3].parts == (DataPart({"narrative": "a good day"}),)
    assert [one.parent_id for one in said[1:]] == [one.id for one in said[:-1]]
    assert conversation.branches == {"main": said[-1].id}
    by_type = {one.message_type: one for one in said[:-4]}
    assert by_type["screenshot"].parts == (ImagePart(attachment="att-88"), TextPart("see"))
    assert by_type["audio_segment"].parts == (TextPart("said 61"),)
    assert by_type["video_chunk"].parts == (FilePart(attachment="v"), TextPart("seen 30"))
    assert by_type["video_chunk"].occurred_at == START + 30_000_000
    assert by_type["task"].parts == (TextPart("note 5"),)
    assert by_type["task"].metadata["source"]["taskId"] == "t"
    assert by_type["screenshot"].id == stable_id("taskerino", "session-1", "screenshots", "shot-88")


def test_a_session_becomes_a_context(tmp_path: Path) -> None:
    own = "0198c0de-0000-7000-8000-000000000001"
    told = session(id=own, odd=None, enrichmentLock={"lockedBy": "x"}, tags=["b", "a", "b"], updatedAt=at(9))
    put_chunked(tmp_path, told)
    (conversation,), problems = read(tmp_path)
    assert not problems
    assert conversation.id == UUID(own)
    assert (conversation.title, conversation.state) == ("Morning", "completed")
    assert conversation.tags == ("b", "a")
    assert conversation.updated_at == START + 9_000_000
    assert conversation.attributes["session"]["description"] == "What I did"
    kept = conversation.attributes["import"]
    assert kept["source"]["enrichmentLock"] == {"lockedBy": "x"}
    assert kept["nulls"] == ["odd"]
    assert (kept["id"], kept["origin"]) == (own, f"sessions/{own}/metadata.json")


def test_what_is_passed_over_is_counted_once_for_each_kind(tmp_path: Path) -> None:
    put_chunked(tmp_path, whole())
    put(tmp_path, "sessions", [session(id="two")])
    for key in (
        "sessions.1762.backup",
        "sessions/session-1/metadata.1762.backup",
        "sessions/session-1/summary.tmp",
        "sessions/session-1/screenshots/chunk-000.tmp",
        "session-index",
        "session-indexes",
        "rollback-points-index",
        "rollback-points/rollback-1/sessions",
    ):
        put(tmp_path, key, [session(id="old")])
    put(tmp_path, "sessions/session-1/summary.compressed", "x")
    put_attachment(tmp_path, b"x", "session-1", "att-0")
    (tmp_path / "wal.log").write_text("{}")
    found, problems = read(tmp_path)
    assert sorted(one.attributes["import"]["id"] for one in found) == ["session-1", "two"]
    assert {(problem.code, problem.warning, problem.context_id) for problem in problems} == {
        ("skipped", True, None)
    }
    assert sorted(problem.reason for problem in problems) == [
        "1 compressed twins of files that are there",
        "1 write-ahead logs, whose entries are not replayed",
        "2 attachments, which are referred to by their hash",
        "2 backups",
        "2 indexes",
        "2 rollback points",
        "2 temporaries",
    ]
    source = Source(tmp_path)
    assert all(Taskerino().claims(source, name) for name in source.files())


def test_a_backup_that_is_asked_for_is_read(tmp_path: Path) -> None:
    file = put(tmp_path, "sessions.1762.backup", [session()])
    assert not Taskerino().recognises(Source(tmp_path))
    assert Taskerino().recognises(Source(file))
    found, problems = read(file)
    assert len(found) == 1
    assert not problems


def test_a_compressed_twin_serves_where_the_file_itself_is_lost(tmp_path: Path) -> None:
    put_chunked(tmp_path, whole())
    folder = tmp_path / "sessions" / "session-1"
    for name in ("metadata", "screenshots/chunk-001", "summary"):
        file = folder / f"{name}.json"
        value = json.loads(json.loads(file.read_text())["data"])
        packed = json.loads(envelope(value, "gzip"))["data"]
        put(folder, f"{name}.compressed", packed)  # a compressed text, in an envelope as every value is
        file.unlink()
    (conversation,), problems = read(tmp_path)
    assert not problems
    assert len(conversation.messages) == 57


@pytest.mark.parametrize("kind", ["screenshots", "audio-segments", "video-chunks"])
@pytest.mark.parametrize(
    ("content", "code"),
    [
        ("{", "truncated"),
        ("[3", "truncated"),
        ("5", "wrong_type"),
        ("{}", "wrong_type"),
        (json.dumps({"version": 1, "compressed": True, "data": "GZIP_V1:AAAA"}), "gzip_damaged"),
    ],
)
def test_a_corrupt_chunk_is_told_and_the_rest_goes_on(
    tmp_path: Path, kind: str, content: str, code: str
) -> None:
    put_chunked(tmp_path, whole())
    file = f"sessions/session-1/{kind}/chunk-000.json"
    (tmp_path / file).write_text(content)
    (conversation,), problems = read(tmp_path)
    assert [(problem.path, problem.code, problem.context_id) for problem in problems] == [
        (file, code, conversation.id)
    ]
    assert 57 - 20 <= len(conversation.messages) < 57
    assert "count_mismatch" in [warned for _, warned, _ in codes(conversation)]


def test_missing_chunks_are_told(tmp_path: Path) -> None:
    put_chunked(tmp_path, whole())
    for kind, number in (("screenshots", 0), ("screenshots", 2), ("audio-segments", 0)):
        (tmp_path / "sessions" / "session-1" / kind / f"chunk-{number:03d}.json").unlink()
    (conversation,), problems = read(tmp_path)
    assert not problems
    told = [(warning.place, warning.reason) for warning in conversation.warnings]
    assert ("$.chunks.screenshots", "2 chunks are not there: 000, 002") in told
    assert ("$.chunks.screenshots", "it counts 45, and there are 20") in told
    assert ("$.chunks.audioSegments", "1 chunks are not there: 000") in told


def test_chunks_may_be_counted_from_one_and_a_wrong_count_does_no_harm(tmp_path: Path) -> None:
    put_chunked(tmp_path, whole() | {"screenshots": [screenshot(1)]})
    folder = tmp_path / "sessions" / "session-1"
    (folder / "screenshots" / "chunk-000.json").rename(folder / "screenshots" / "chunk-001.json")
    metadata = json.loads(json.loads((folder / "metadata.json").read_text())["data"])
    metadata["chunks"]["videoChunks"]["chunkCount"] = 1 << 60
    put(folder, "metadata", metadata)
    (conversation,), _ = read(tmp_path)
    told = [(warning.code, warning.place) for warning in conversation.warnings]
    assert told[:2] == [
        ("wrong_chunk", "$.chunkIndex"),  # which still counts from nothing
        ("chunk_missing", "$.chunks.videoChunks"),
    ]


@pytest.mark.parametrize("content", [None, "{", "5", "[]", "nonsense"])
def test_a_session_without_its_metadata_keeps_its_items(tmp_path: Path, content: str | None) -> None:
    put_chunked(tmp_path, whole())
    file = tmp_path / "sessions" / "session-1" / "metadata.json"
    file.unlink()
    if content is not None:
        file.write_text(content)
    (conversation,), problems = read(tmp_path)
    assert conversation.id == stable_id("taskerino", "session-1")
    assert len(conversation.messages) == 57
    assert [problem.code for problem in problems] == [
        {
            None: "metadata_missing",
            "{": "truncated",
            "5": "wrong_type",
            "[]": "wrong_type",
            "nonsense": "not_json",
        }[content]
    ]


def test_a_file_that_is_no_part_of_a_session_is_told(tmp_path: Path) -> None:
    put_chunked(tmp_path, whole())
    put(tmp_path, "sessions/session-1/unknown", {})
    put(tmp_path, "sessions/session-1/screenshots/notes", {})
    _, problems = read(tmp_path)
    assert [(problem.path, problem.code) for problem in problems] == [
        ("sessions/session-1/screenshots/notes.json", "unrecognised"),
        ("sessions/session-1/unknown.json", "unrecognised"),
    ]


SPOILT = {
    "": (
        "id name description status startTime endTime autoAnalysis tags extractedTaskIds screenshotInterval "
        "version screenshots audioSegments videoChunks contextItems"
    ),
    "screenshots": "id timestamp userComment attachmentId",
    "audioSegments": "timestamp transcription",
    "videoChunks": "startTime description",
    "contextItems": "type content",
}
"""Fields of a session and of its items, by the array that holds them."""


@pytest.mark.parametrize("value", [7, True, [], {}, "text", [1]])
def test_a_wrong_type_in_any_field_is_told_and_the_rest_goes_on(tmp_path: Path, value: Any) -> None:
    told: dict[str, Any] = whole() | {"endTime": at(9), "extractedTaskIds": ["t"], "version": 1}
    told |= {"screenshots": [screenshot(1, userComment="c")], "videoChunks": [video(1, startTime=at(4))]}
    told |= {"audioSegments": [segment(1)], "contextItems": [note(1)]}
    for array, names in SPOILT.items():
        holder: dict[str, Any] = told[array][0] if array else told
        for name in names.split():
            right = holder[name]
            if type(right) is type(value) or (name == "startTime" and array and value == 7):
                continue
            holder[name] = value
            put(tmp_path, "sessions", [told, session(id="next")])
            holder[name] = right
            place = f"$[0].{array}[0].{name}" if array else f"$[0].{name}"
            found, problems = read(tmp_path / "sessions.json")
            assert len(found) == 2
            assert not problems
            assert place in [where for _, _, where in codes(found[0])], place
            assert json.dumps(value) in json.dumps(msgspec.to_builtins(found[0])), place
            check_storable(found[0])


@pytest.mark.parametrize("value", [None, 5, "x", [1]])
def test_items_that_are_no_objects_are_kept_beside(tmp_path: Path, value: Any) -> None:
    put_chunked(tmp_path, session(screenshots=[screenshot(1), value, screenshot(2)]))
    (conversation,), problems = read(tmp_path)
    assert not problems
    assert len(conversation.messages) == 2
    path = "sessions/session-1/screenshots/chunk-000.json"
    assert (path, "wrong_type", "$.screenshots[1]") in codes(conversation)
    assert conversation.attributes["import"]["unread"] == [
        {"path": path, "place": "$.screenshots[1]", "value": value}
    ]


def test_items_without_a_time_follow_their_neighbour(tmp_path: Path) -> None:
    shots = [screenshot(5), screenshot(6, timestamp=None), screenshot(7, timestamp="never"), screenshot(1)]
    put(tmp_path, "sessions", [session(screenshots=shots, contextItems=[note(9, timestamp=None), note(6)])])
    (conversation,), _ = read(tmp_path)
    told = [(one.metadata["source"]["id"], one.time_source) for one in conversation.messages]
    assert told == [
        ("note-9", "neighbour"),
        ("shot-1", "source"),
        ("shot-5", "source"),
        ("shot-6", "neighbour"),
        ("shot-7", "neighbour"),
        ("note-6", "source"),
    ]


def test_equal_ids_of_items_are_told_apart(tmp_path: Path) -> None:
    put(
        tmp_path,
        "sessions",
        [session(screenshots=[screenshot(1)] * 3, audioSegments=[segment(1, id="shot-1")])],
    )
    (conversation,), _ = read(tmp_path)
    assert len({one.id for one in conversation.messages}) == 4
    assert [code for _, code, _ in codes(conversation)] == [
        "repeated_id",
        "repeated_id",
        "attachments_elsewhere",
    ]


def test_large_facts_do_not_break_a_context(tmp_path: Path) -> None:
    put(
        tmp_path,
        "sessions",
        [session(description="d" * 400_000, odd=[{"n": n} for n in range(90_000)])],
        "gzip",
    )
    (conversation,), _ = read(tmp_path)
    assert len(msgspec.msgpack.encode(conversation.attributes)) < CONTEXT_METADATA_BYTES_MAX
    kept = {one.data["place"]: one.data for one in conversation.kept}
    assert kept["$.session.description"]["text"] == "d" * 400_000
    assert any("89999" in one.data["text"] for one in conversation.kept)


def test_the_files_of_a_session_in_chunks_are_all_that_it_was_read_from(tmp_path: Path) -> None:
    put_chunked(tmp_path, whole())
    wanted = tuple(Source(tmp_path).files())
    for name in ("unknown", "summary.compressed", "metadata.1762.backup", "summary.tmp"):
        put(tmp_path, f"sessions/session-1/{name}", {})
    put_attachment(tmp_path, b"x", "session-1", "att-0")
    put(tmp_path, "sessions", [session(id="two")])
    found, _ = read(tmp_path)
    files = {one.attributes["import"]["id"]: one.files or (one.origin,) for one in found}
    assert sorted(files["session-1"]) == sorted(wanted)
    assert len(wanted) == 11
    assert files["two"] == ("sessions.json",)


def test_a_session_without_a_file_that_can_be_read_names_those_that_there_are(tmp_path: Path) -> None:
    put_chunked(tmp_path, session(screenshots=[screenshot(1)]))
    (tmp_path / "sessions" / "session-1" / "metadata.json").unlink()
    chunk = "sessions/session-1/screenshots/chunk-000.json"
    (tmp_path / chunk).write_text("{")
    (conversation,), _ = read(tmp_path)
    assert conversation.files == (chunk,)


def test_a_folder_of_one_session_can_be_the_source(tmp_path: Path) -> None:
    put_chunked(tmp_path, whole())
    folder = tmp_path / "sessions" / "session-1"
    assert Taskerino().recognises(Source(folder))
    (conversation,), problems = read(folder)
    assert not problems
    assert len(conversation.messages) == 57


def test_other_files_are_not_claimed(tmp_path: Path) -> None:
    put(tmp_path, "tasks", [{"id": 1, "title": "x", "status": "open"}])
    put(tmp_path, "conversation/metadata", {"id": "x", "title": "t", "created_at": "now"}, "bare")
    put(tmp_path, "conversation/messages/0", {"id": "x"}, "bare")
    assert not Taskerino().recognises(Source(tmp_path))
    assert read(tmp_path) == ([], [])
    assert not any(Taskerino().claims(Source(tmp_path), name) for name in Source(tmp_path).files())


@given(told=sessions(), form=st.sampled_from(["bare", "plain", "gzip"]), chunked=st.booleans())
def test_any_session_survives_with_all_its_facts(
    told: dict[str, Any], form: str, chunked: bool, tmp_path_factory: pytest.TempPathFactory
) -> None:
    root = tmp_path_factory.mktemp("any")
    if chunked:
        put_chunked(root, told, form)
    else:
        put(root, "sessions", [told], form)
    (conversation,), problems = read(root)
    assert not problems
    lost = {code for _, code, _ in codes(conversation)} - {"attachments_elsewhere"}
    assert not lost
    check_storable(conversation)
    said = {one.id: one for one in conversation.messages}
    kinds = {
        "screenshots": ("screenshots", None),
        "audioSegments": ("audio-segments", "transcription"),
        "videoChunks": ("video-chunks", "description"),
        "contextItems": ("context-items", "content"),
    }
    count = 0
    for field, (kind, text) in kinds.items():
        for item in told[field]:
            one = said[stable_id("taskerino", "session-1", kind, item["id"])]
            texts = [part.text for part in one.parts if isinstance(part, TextPart)]
            back = dict(one.metadata["source"])
            if text is not None:
                back[text] = texts[0]
            if kind == "context-items":
                back["type"] = one.message_type
            assert back == item
            time = read_time(item["timestamp"]) if "timestamp" in item else None
            assert one.occurred_at == (time.at if time else START + item["startTime"] * 1_000_000)
            count += 1
    documents = {"fullTranscription", "summary", "audioInsights", "canvasSpec"}
    assert len(said) == count + len(documents & told.keys())
    kept = conversation.attributes["import"]
    back = conversation.attributes["session"] | kept.get("source", {}) | {"id": kept["id"]}
    back |= {"tags": list(conversation.tags)}
    assert {name: back[name] for name in told if name not in documents | kinds.keys()} == {
        name: value for name, value in told.items() if name not in documents | kinds.keys()
    }


def test_an_index_that_names_what_is_not_there_is_told(tmp_path: Path) -> None:
    put(tmp_path, "sessions/one/metadata", session(id="one"))
    put(tmp_path, "session-index", ["one", "gone", 5, "../one", ""])
    found, problems = read(tmp_path)
    assert len(found) == 1
    told = [(one.code, one.place) for one in problems if one.code != "skipped"]
    assert told == [("dangling_session", f"$[{index}]") for index in (1, 2, 3, 4)]
    assert all(problem.warning for problem in problems)


def test_an_index_beside_a_collection_is_left_to_it(tmp_path: Path) -> None:
    put(tmp_path, "sessions", [session(id="one")])
    put(tmp_path, "session-index", ["one"])
    _, problems = read(tmp_path)
    assert [problem.code for problem in problems] == ["skipped"]


def test_an_index_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    put(tmp_path, "sessions/one/metadata", session(id="one"))
    (tmp_path / "session-index.json").write_text("[")
    _, problems = read(tmp_path)
    assert [(problem.code, problem.warning) for problem in problems] == [
        ("truncated", True),
        ("skipped", True),
    ]


def test_a_status_of_any_type_is_no_reason_for_a_warning(tmp_path: Path) -> None:
    put(tmp_path, "sessions", [session(enrichmentStatus={"audio": "done"})])
    (conversation,), _ = read(tmp_path)
    assert conversation.warnings == ()
    assert conversation.attributes["import"]["source"]["enrichmentStatus"] == {"audio": "done"}
