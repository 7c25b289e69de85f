"""AIT42's JSON: sessions, their instances and their chat, and everything that can be wrong with them."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any
from uuid import UUID

import msgspec
import pytest
from ait42_stores import HASH, codes, instance, message, read, session, sessions, source_of
from hypothesis import given
from storing import check_storable

from eventstore.content import DataPart, TextPart
from eventstore.limits import CONTEXT_METADATA_BYTES_MAX
from turnlog.importers.ait42.importer import Ait42
from turnlog.importers.conversation import Conversation
from turnlog.importers.source.files import Source, stable_id
from turnlog.importers.source.times import read_time

SAMPLE = Path(__file__).parents[1] / "fixtures" / "ait42" / "sample_sessions.json"


def one(tmp_path: Path, value: Any, name: str = f"{HASH}.json") -> Conversation:
    """The only conversation of a file that holds one session."""
    (tmp_path / name).write_text(json.dumps([value]), "utf-8")
    found, problems = read(tmp_path)
    assert not problems
    assert len(found) == 1
    return found[0]


def test_the_sample_is_read_whole() -> None:
    found, problems = read(SAMPLE)
    assert not problems
    assert [len(conversation.messages) for conversation in found] == [2, 0, 2]
    assert not any(conversation.warnings for conversation in found)
    assert [source_of(conversation) for conversation in found] == json.loads(SAMPLE.read_bytes())


def test_a_session_becomes_a_context(tmp_path: Path) -> None:
    told = session(model="m", winnerId=3, totalDuration=9.5, instances=[instance(3)], chatHistory=[message()])
    conversation = one(tmp_path, told)
    assert conversation.id == stable_id("ait42", "session-1")
    assert conversation.title == "Add a login"
    assert conversation.state == "completed"
    assert conversation.config == {"model": "m"}
    assert conversation.attributes["session"]["winnerId"] == 3
    assert conversation.attributes["session"]["totalDuration"] == 9.5
    assert conversation.attributes["import"]["id"] == "session-1"
    assert conversation.branches == {"main": conversation.messages[-1].id}
    assert conversation.updated_at == 1_762_686_000_123_456
    (said,) = conversation.messages
    assert said.id == stable_id("ait42", "session-1", "msg-1762000000001")
    assert said.parts == (TextPart("text 1"),)
    assert (said.occurred_at, said.time_source) == (1_762_682_401_000_000, "source")


def test_a_uuid_stays_the_id_and_other_spellings_of_it_do_not(tmp_path: Path) -> None:
    own = "0198c0de-0000-7000-8000-000000000001"
    assert one(tmp_path, session(id=own)).id == UUID(own)
    bare = own.replace("-", "")
    assert one(tmp_path, session(id=bare)).id == stable_id("ait42", bare)


def test_the_workspace_is_its_path_or_its_hash(tmp_path: Path) -> None:
    folder = tmp_path / ".ait42" / "sessions"
    folder.mkdir(parents=True)
    long, project = "/projects/" + "long/" * 30, "/projects/app"
    stems = {path: hashlib.sha256(path.encode()).hexdigest()[:16] for path in (long, project, "/unknown")}
    for stem in stems.values():
        (folder / f"{stem}.json").write_text(json.dumps([session(id=stem)]))
    mapping = {stems[project]: project, stems[long]: long, "0" * 16: 5}
    (folder.parent / "workspace_mapping.json").write_text(json.dumps(mapping))
    found, problems = read(tmp_path)
    assert {one.attributes["import"]["id"]: one.workspace for one in found} == {
        stems[project]: project,
        stems[long]: stems[long],  # no workspace has a name so long; the attributes hold the path
        stems["/unknown"]: stems["/unknown"],
    }
    assert {one.attributes["workspace"].get("path") for one in found} == {project, long, None}
    assert [(problem.code, problem.place) for problem in problems] == [("wrong_type", "$." + "0" * 16)]


def test_instances_are_participants_with_their_status_changes(tmp_path: Path) -> None:
    times = {"startTime": "2025-11-09T10:00:00Z", "endTime": "2025-11-09T10:30:00Z"}
    told = [instance(0, status="failed", extra=1, **times), instance(1, status="running", output=None)]
    participants = one(tmp_path, session(instances=told)).attributes["participants"]
    assert participants[0]["statusChanges"] == [
        {"status": "running", "at": times["startTime"]},
        {"status": "failed", "at": times["endTime"]},
    ]
    assert participants[0] | told[0] == participants[0]
    assert participants[1]["statusChanges"] == [{"status": "running"}]


def test_messages_stay_in_the_order_of_the_array(tmp_path: Path) -> None:
    times = ["2025-11-09T10:00:03Z", "2025-11-09 10:00:01", "2025-11-09T19:00:02+09:00", None, "soon"]
    told = [message(index, timestamp=time) for index, time in enumerate(times)]
    conversation = one(tmp_path, session(chatHistory=told))
    second = 1_762_682_400_000_000
    assert [(said.occurred_at, said.time_source) for said in conversation.messages] == [
        (second + 3_000_000, "source"),
        (second + 1_000_000, "source"),
        (second + 2_000_000, "source"),
        (second + 2_000_000, "neighbour"),
        (second + 2_000_000, "neighbour"),
    ]
    assert [said.metadata.get("time_assumed_utc") for said in conversation.messages[:3]] == [None, True, None]
    assert [said.parent_id for said in conversation.messages[1:]] == [
        said.id for said in conversation.messages[:-1]
    ]
    assert codes(conversation) == [
        ("missing_field", "$[0].chatHistory[3].timestamp"),
        ("unreadable_time", "$[0].chatHistory[4].timestamp"),
    ]
    assert conversation.messages[4].metadata["source"]["timestamp"] == "soon"


def test_equal_message_ids_are_told_apart_by_session_and_by_occurrence(tmp_path: Path) -> None:
    told = [
        session(id="one", chatHistory=[message(), message(), message()]),
        session(chatHistory=[message()]),
    ]
    (tmp_path / "any name.json").write_text(json.dumps(told))
    found, problems = read(tmp_path)
    assert not problems
    ids = [said.id for conversation in found for said in conversation.messages]
    assert len(set(ids)) == 4
    assert codes(found[0]) == [
        ("repeated_id", "$[0].chatHistory[1].id"),
        ("repeated_id", "$[0].chatHistory[2].id"),
    ]


@pytest.mark.parametrize("value", [7, None, True, [], {}, "text", 1.5])
def test_a_wrong_type_in_any_field_is_told_and_the_rest_goes_on(tmp_path: Path, value: Any) -> None:
    whole = session(
        completedAt="2025-11-09T10:00:00Z",
        model="m",
        timeoutSeconds=1,
        preserveWorktrees=True,
        winnerId=0,
        runtimeMix=["claude"],
        totalDuration=1,
        instances=[instance(0, output="o", startTime="2025-11-09T10:00:00Z", filesChanged=1)],
        chatHistory=[message(instanceId=0)],
    )
    for at in (whole, whole["instances"][0], whole["chatHistory"][0]):
        for name, right in list(at.items()):
            if value is None or type(value) is type(right) or {type(value), type(right)} == {int, float}:
                continue
            at[name] = value
            conversation = one(tmp_path, whole)
            at[name] = right
            assert any(place and place.endswith(f".{name}") for _, place in codes(conversation)), name
            assert all(warning.context_id == conversation.id for warning in conversation.warnings)
            assert json.dumps(value) in json.dumps(msgspec.to_builtins(conversation)), name
            check_storable(conversation)


@pytest.mark.parametrize("place", ["instances", "chatHistory"])
def test_what_is_no_object_is_kept_beside(tmp_path: Path, place: str) -> None:
    told = {"instances": [instance(0), "x", None], "chatHistory": [message(), 5, [1]]}
    conversation = one(tmp_path, session(**{place: told[place]}))
    assert codes(conversation) == [("wrong_type", f"$[0].{place}[{index}]") for index in (1, 2)]
    assert [kept["value"] for kept in conversation.attributes["import"]["unread"]] == told[place][1:]


def test_all_texts_are_accepted(tmp_path: Path) -> None:
    told = [message(1, content=""), message(2, content="x" * 20_000), message(3, content={"a": None})]
    told += [message(4, role="Assistant"), message(5, role="agent", instanceId=9)]
    conversation = one(tmp_path, session(status="s" * 300, type="integration", chatHistory=told))
    assert [said.parts for said in conversation.messages[:3]] == [
        (TextPart(""),),
        (TextPart("x" * 20_000),),
        (DataPart({"a": None}),),
    ]
    assert [said.role for said in conversation.messages[3:]] == ["assistant", "assistant"]
    assert conversation.messages[4].metadata["source"]["role"] == "agent"
    assert conversation.attributes["session"]["status"] == "s" * 300
    assert {code for code, _ in codes(conversation)} == {"wrong_type", "unknown_role", "dangling_instance"}


def test_unknown_fields_are_kept(tmp_path: Path) -> None:
    told = session(
        evaluation={"score": 1}, integrationPhase="pending", odd=None, deep=json.loads("[" * 99 + "]" * 99)
    )
    source = one(tmp_path, told | {"chatHistory": [message(extra=[1])]})
    kept = source.attributes["import"]
    assert kept["source"]["evaluation"] == {"score": 1}
    assert kept["source"]["integrationPhase"] == "pending"
    assert kept["nulls"] == ["odd"]
    assert "[" * 50 in json.dumps(kept["source"]["deep"])  # as a text: no event nests so deeply
    assert source.messages[0].metadata["source"]["extra"] == [1]
    check_storable(source)


def test_what_attributes_cannot_hold_is_kept_beside_them(tmp_path: Path) -> None:
    outputs = [letter * 200_000 for letter in "abc"]
    outputs.append("é" * 3_000_000)
    told = [instance(index, output=output) for index, output in enumerate(outputs)]
    conversation = one(tmp_path, session(task="t" * 100_000, instances=told))
    assert len(msgspec.msgpack.encode(conversation.attributes)) < CONTEXT_METADATA_BYTES_MAX
    texts: dict[str, str] = {}
    for kept in conversation.kept:
        texts[kept.data["place"]] = texts.get(kept.data["place"], "") + kept.data["text"]
    assert texts == {f"$.participants[{index}].output": output for index, output in enumerate(outputs)}
    assert conversation.attributes["participants"][0]["output"] == {
        "kept": "$.participants[0].output",
        "bytes": 200_005,
    }
    assert conversation.attributes["participants"][0]["branch"] == "agent-0"
    assert conversation.attributes["session"]["task"] == "t" * 100_000
    assert conversation.title == "t" * 1_000
    check_storable(conversation)


def test_ten_thousand_instances_do_not_break_a_context(tmp_path: Path) -> None:
    conversation = one(tmp_path, session(instances=[instance(number) for number in range(10_000)]))
    assert len(msgspec.msgpack.encode(conversation.attributes)) < CONTEXT_METADATA_BYTES_MAX
    text = "".join(kept.data["text"] for kept in conversation.kept)
    assert len(json.loads(text)) == 10_000
    assert conversation.attributes["import"]["id"] == "session-1"


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (b"[{", "truncated"),
        (b"{}", "wrong_type"),
        (b"nonsense", "not_json"),
        (b"[nul]", "truncated"),
        (b"[] 5", "not_json"),
        (b"[" * 100_000, "truncated"),
    ],
)
def test_a_broken_file_is_told_and_its_neighbours_are_read(tmp_path: Path, content: bytes, code: str) -> None:
    (tmp_path / f"{HASH}.json").write_bytes(content)
    (tmp_path / "good.json").write_text(json.dumps([session()]))
    found, problems = read(tmp_path)
    assert [(problem.path, problem.code) for problem in problems] == [(f"{HASH}.json", code)]
    assert len(found) == 1


def test_a_broken_session_is_told_and_its_neighbours_are_read(tmp_path: Path) -> None:
    good = json.dumps(session()).encode()
    bad = [b'{"id":"\xff"}', b"5", b"null", b'{"task": 1e999}', b'{"a":' * 5_000 + b"1" + b"}" * 5_000]
    (tmp_path / f"{HASH}.json").write_bytes(b"\xef\xbb\xbf[" + b",".join([good, *bad[:-1], good]) + b"]")
    found, problems = read(tmp_path)
    assert [problem.place for problem in problems] == ["$[1]", "$[2]", "$[3]", "$[4]"]
    assert [codes(conversation) for conversation in found] == [[], [("repeated_id", "$[5]")]]
    (tmp_path / f"{HASH}.json").write_bytes(b"[" + bad[-1] + b"]")
    found, problems = read(tmp_path)
    assert not found
    assert [problem.code for problem in problems] == ["nested_too_deeply"]


def test_lone_surrogates_become_replacement_characters_and_are_told(tmp_path: Path) -> None:
    text = json.dumps([session(task="cut \ud83d here", chatHistory=[message(content="\ude00")])])
    (tmp_path / f"{HASH}.json").write_text(text)
    (conversation,), problems = read(tmp_path)
    assert not problems
    assert conversation.title == "cut \ufffd here"
    assert conversation.messages[0].parts == (TextPart("\ufffd"),)
    assert codes(conversation) == [("lone_surrogate", "$[0]")]


def test_a_session_without_an_id_has_a_stable_one(tmp_path: Path) -> None:
    told = session(id=None, chatHistory=[message(id=None), message(id=4)])
    first, second = one(tmp_path, told), one(tmp_path, told | {"status": "failed"})
    assert first.id == second.id
    assert [said.id for said in first.messages] == [said.id for said in second.messages]
    assert ("missing_field", "$[0].id") in codes(first)


def test_an_empty_file_has_no_sessions(tmp_path: Path) -> None:
    for name, text in (("0" * 16, ""), ("1" * 16, " \n"), ("2" * 16, "[]")):
        (tmp_path / f"{name}.json").write_text(text)
    assert Ait42().recognises(Source(tmp_path))
    assert read(tmp_path) == ([], [])


def test_other_files_are_not_claimed(tmp_path: Path) -> None:
    other: dict[str, Any] = {
        "notes.json": [{"title": "x", "status": "open"}],
        "package.json": {"task": 1, "instances": []},
    }
    for name, value in other.items():
        (tmp_path / name).write_text(json.dumps(value))
    (tmp_path / "sessions").mkdir()
    assert not Ait42().recognises(Source(tmp_path))
    assert read(tmp_path) == ([], [])
    assert not any(Ait42().claims(Source(tmp_path), name) for name in other)


def test_a_link_is_not_followed(tmp_path: Path) -> None:
    outside = tmp_path / "outside.json"
    outside.write_text(json.dumps([session()]))
    folder = tmp_path / "source"
    folder.mkdir()
    (folder / f"{HASH}.json").symlink_to(outside)
    assert read(folder) == ([], [])


@given(told=sessions())
def test_any_session_survives_with_all_its_facts(
    told: dict[str, Any], tmp_path_factory: pytest.TempPathFactory
) -> None:
    conversation = one(tmp_path_factory.mktemp("any"), told)
    assert not [code for code, _ in codes(conversation) if code != "unreadable_time"]
    check_storable(conversation)
    assert source_of(conversation) == told
    for said, row in zip(conversation.messages, told["chatHistory"], strict=True):
        time = read_time(row["timestamp"])
        if time is not None:
            assert said.occurred_at == time.at
