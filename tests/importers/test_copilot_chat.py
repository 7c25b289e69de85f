"""The copilot_chat importer: every generation, from files to conversations."""

from __future__ import annotations

import json
import os
from datetime import datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from uuid import UUID

import pytest
from copilot_stores import ID, plain, read, read_one, text_of
from hypothesis import given
from hypothesis import strategies as st
from legacy import (
    Context,
    legacy_contexts,
    write_designed,
    write_gen1,
    write_gen2,
    write_gen3,
    write_gen4,
    write_json,
)

from eventstore.content import ImagePart, ToolCallPart, ToolResultPart
from turnlog.importers.conversation import Conversation, Message, Problem
from turnlog.importers.copilot_chat.importer import CopilotChat
from turnlog.importers.source.files import Source


def micros(text: str) -> int:
    at = datetime.fromisoformat(text)
    return int(at.timestamp()) * 1_000_000 + at.microsecond


def check_message(message: Message, node: dict[str, Any]) -> None:
    """Compare with the file, by other means than the importer's."""
    said = node["message"]
    assert message.role == said["role"].lower()
    assert text_of(message) == "".join(part["text"] for part in said["content"] if part["type"] == "text")
    images = [part.url for part in message.parts if isinstance(part, ImagePart)]
    assert images == [part["url"] for part in said["content"] if part["type"] == "image"]
    calls = [part for part in message.parts if isinstance(part, ToolCallPart)]
    for part, call in zip(calls, said.get("tool_calls", ()), strict=True):
        arguments = call["arguments"]
        assert (part.id, part.name) == (call["id"], call["tool_name"])
        assert part.arguments == arguments or json.loads(part.arguments) == arguments
    results = [part.content for part in message.parts if isinstance(part, ToolResultPart)]
    assert results == ([said["tool_result"]["result"]] if "tool_result" in said else [])
    assert message.metadata.get("source", {}).get("metadata") == (said["metadata"] or None)
    payload = said.get("rich_type", {}).get("data")
    assert (message.streamed is None) == (payload is None)
    if message.streamed is not None and payload is not None:
        assert message.time_source == "source"
        assert [(chunk.delta, chunk.at) for chunk in message.streamed.chunks] == [
            (chunk["delta"], micros(chunk["timestamp"])) for chunk in payload["chunks"]
        ]
        assert message.streamed.started_at == micros(payload["started_at"])
        assert message.streamed.outcome == ("completed" if "completed_at" in payload else None)
        assert message.streamed.usage == payload.get("usage")
        assert "streaming_response" not in message.metadata["source"]


def check(conversation: Conversation, context: Context) -> None:
    pool, branches = context["message_pool"], context["branches"]
    assert str(conversation.id) == context["id"]
    assert {str(message.id) for message in conversation.messages} == pool.keys()
    known: set[UUID | None] = {None}
    for message in conversation.messages:
        node = pool[str(message.id)]
        assert message.parent_id in known
        assert message.parent_id == (UUID(node["parent_id"]) if node["parent_id"] else None)
        known.add(message.id)
        check_message(message, node)
    there = {name: [one for one in branch["message_ids"] if one in pool] for name, branch in branches.items()}
    heads = {name: UUID(ids[-1]) if ids else None for name, ids in there.items()}
    assert conversation.branches == heads
    assert conversation.active_branch == context["active_branch_name"]
    homes = {str(message.id): message.branch for message in conversation.messages}
    orphans = pool.keys() - {one for ids in there.values() for one in ids}
    assert {one for one, home in homes.items() if home not in branches} == orphans
    codes = [warning.code for warning in conversation.warnings]
    assert codes.count("orphan_message") == len(orphans)
    dangling = sum(one not in pool for branch in branches.values() for one in branch["message_ids"])
    assert codes.count("dangling_id") == dangling
    assert set(codes) <= {"orphan_message", "dangling_id"}
    assert conversation.title == context.get("title")
    assert conversation.config.items() >= context["config"].items()
    kept = conversation.attributes["import"]["source"]
    assert kept.get("auto_generate_title") == context.get("auto_generate_title")


@given(legacy_contexts(), st.sampled_from([write_gen3, write_gen4]))
def test_any_context_of_later_generations_is_read_whole(context: Context, write: Any) -> None:
    with TemporaryDirectory() as directory:
        write(Path(directory), context)
        assert CopilotChat().recognises(Source(Path(directory)))
        check(read_one(Path(directory)), context)


@given(legacy_contexts(streaming=False), st.sampled_from([write_gen1, write_gen2]))
def test_any_context_of_earlier_generations_is_read_whole(context: Context, write: Any) -> None:
    with TemporaryDirectory() as directory:
        write(Path(directory), context)
        conversation = read_one(Path(directory))
        check(conversation, context)
        write_gen3(Path(directory) / "later", context)
        (merged,) = read(Path(directory))[0]
        assert [message.id for message in merged.messages] == [one.id for one in conversation.messages]
        assert merged.state == conversation.state


@given(legacy_contexts())
def test_any_context_in_the_designed_layout_is_read_whole(context: Context) -> None:
    with TemporaryDirectory() as directory:
        write_designed(Path(directory), context)
        assert CopilotChat().recognises(Source(Path(directory)))
        conversation = read_one(Path(directory))
        check(conversation, context)
        assert all(message.time_source == "source" for message in conversation.messages)


@given(legacy_contexts())
def test_the_layout_changes_nothing_about_the_messages(context: Context) -> None:
    with TemporaryDirectory() as one, TemporaryDirectory() as other:
        write_gen3(Path(one), context)
        write_gen4(Path(other), context)
        first, second = read_one(Path(one)), read_one(Path(other))
        for message, same in zip(first.messages, second.messages, strict=True):
            if message.time_source in ("source", "neighbour"):
                assert message == same


def test_every_sample_is_a_conversation_without_problems(fixtures: Path) -> None:
    conversations, problems = read(fixtures / "copilot_chat")
    assert problems == []
    assert len(conversations) == 8
    odd = {(warning.code, warning.path) for found in conversations for warning in found.warnings}
    assert odd == {("merged", "conversations_older/24138a28-70c2-5ce1-a893-7e4a9397d5c3.json")}
    for found in conversations:
        context = json.loads((fixtures / "copilot_chat" / found.origin).read_text("utf-8"))
        for path in (fixtures / "copilot_chat" / found.origin).parent.glob("messages_pool/*.json"):
            context["message_pool"][path.stem] = json.loads(path.read_text("utf-8"))
        if found.id != UUID("24138a28-70c2-5ce1-a893-7e4a9397d5c3"):
            check(found, context)


def test_what_is_no_context_is_told_and_left(tmp_path: Path) -> None:
    write_json(tmp_path / "sessions" / f"{ID}.json", {"ui_state": {}, "open_contexts": []})
    write_json(tmp_path / "package.json", {"name": "x"})
    write_json(tmp_path / "list.json", [1])
    write_json(tmp_path / "c" / f"{ID}.json", {"id": ID})
    (tmp_path / "events.jsonl").write_text('{"type": "context.created"}\n')
    conversations, problems = read(tmp_path)
    assert conversations == []
    assert {(problem.path, problem.code, problem.warning) for problem in problems} == {
        (f"sessions/{ID}.json", "not_a_conversation", True),
        ("package.json", "not_a_conversation", True),
        ("list.json", "not_a_conversation", True),
        (f"c/{ID}.json", "not_a_conversation", False),
        ("events.jsonl", "not_a_conversation", True),
    }
    assert not CopilotChat().recognises(Source(tmp_path))


def test_damaged_files_are_told_and_the_rest_is_read(tmp_path: Path) -> None:
    good = write_gen3(tmp_path, plain("a"))
    (good.parent / "torn.json").write_bytes(good.read_bytes()[:-20])
    (good.parent / "binary.json").write_bytes(b"\xff\xfe")
    (good.parent / "link.json").symlink_to(good)
    write_gen4(tmp_path, plain("b", "c", identity="44444444-4444-4444-8444-444444444444"))
    pool = tmp_path / "contexts" / "44444444-4444-4444-8444-444444444444" / "messages_pool"
    (pool / "22222222-2222-4222-8222-000000000001.json").write_bytes(b"{")
    conversations, problems = read(tmp_path)
    assert [len(found.messages) for found in conversations] == [1, 1]
    assert {warning.code for found in conversations for warning in found.warnings} == {"dangling_id"}
    assert {(Path(problem.path).name, problem.code) for problem in problems} == {
        ("torn.json", "truncated"),
        ("binary.json", "invalid_utf8"),
        ("22222222-2222-4222-8222-000000000001.json", "truncated"),
    }
    assert not any(problem.warning for problem in problems)


def test_a_pool_without_its_context_is_told_file_by_file(tmp_path: Path) -> None:
    write_gen4(tmp_path, plain("a", "b")).unlink()
    conversations, problems = read(tmp_path)
    assert conversations == []
    assert [problem.code for problem in problems] == ["not_a_conversation"] * 2
    assert not any(problem.warning for problem in problems)


def test_messages_beside_what_is_no_context_are_told_of_as_a_failure(tmp_path: Path) -> None:
    write_json(tmp_path / "metadata.json", {"name": "x"})
    write_json(tmp_path / "messages" / "a.json", plain("a")["message_pool"].popitem()[1])
    _, problems = read(tmp_path)
    assert [(problem.path, problem.code, problem.warning) for problem in problems] == [
        ("metadata.json", "not_a_conversation", False)
    ]


def test_a_file_of_another_name_keeps_its_own_id(tmp_path: Path) -> None:
    write_json(tmp_path / "55555555-5555-4555-8555-555555555555.json", plain("a"))
    conversation = read_one(tmp_path)
    assert str(conversation.id) == ID
    assert [warning.code for warning in conversation.warnings] == ["misnamed"]


@pytest.mark.parametrize("said", [None, "", 5])
def test_a_context_without_an_id_has_that_of_its_file(tmp_path: Path, said: object) -> None:
    write_json(tmp_path / f"{ID}.json", {**plain("a"), "id": said})
    conversation = read_one(tmp_path)
    assert str(conversation.id) == ID
    assert [warning.code for warning in conversation.warnings] == ["id_missing"]


def test_ids_that_are_no_uuids_become_stable_ones(tmp_path: Path) -> None:
    context = plain("a", "b", identity="chat-7")
    text = json.dumps(context).replace("22222222-2222-4222-8222-", "m")
    (tmp_path / "chat-7.json").write_text(text)
    first, second = read_one(tmp_path), read_one(tmp_path)
    assert first == second
    assert first.attributes["import"]["source"]["id"] == "chat-7"
    assert [message.metadata["source"]["id"] for message in first.messages] == [
        "m000000000000",
        "m000000000001",
    ]
    assert first.branches == {"main": first.messages[1].id}
    assert first.messages[1].parent_id == first.messages[0].id
    assert first.warnings == ()


def test_times_come_from_the_file_where_there_is_none(tmp_path: Path) -> None:
    path = write_gen3(tmp_path, plain("a", "b"))
    os.utime(path, ns=(0, 1_700_000_000_123_456_000))
    conversation = read_one(tmp_path)
    assert {(one.occurred_at, one.time_source) for one in conversation.messages} == {
        (1_700_000_000_123_456, "file")
    }


def test_a_context_folder_and_a_context_file_are_sources_of_their_own(tmp_path: Path) -> None:
    pool = write_gen4(tmp_path, plain("a", "b"))
    assert len(read_one(pool.parent).messages) == 2
    whole = write_gen3(tmp_path, plain("a", "b"))
    assert len(read_one(whole).messages) == 2


def test_reading_holds_one_context_at_a_time(tmp_path: Path) -> None:
    for number in range(3):
        write_gen3(tmp_path, plain("a", identity=f"66666666-6666-4666-8666-{number:012}"))
    found = CopilotChat().read(Source(tmp_path))
    first = next(found)
    assert isinstance(first, Conversation)
    for path in sorted((tmp_path / "conversations").iterdir())[1:]:
        path.write_bytes(b"[")  # not read before it is asked for
    assert [item.code for item in found if isinstance(item, Problem)] == ["truncated", "truncated"]


def test_what_an_index_says_beyond_its_messages_is_kept(tmp_path: Path) -> None:
    write_json(tmp_path / "metadata.json", {"context_id": ID, "branches": {}})
    write_json(tmp_path / "messages" / "m.json", {"id": "m", "role": "User", "content": []})
    entries: dict[str, Any] = {"m": {"role": "User"}, "gone": {"role": "Tool"}}
    index = {"entries": entries, "version": 1, "updated_at": "2025-11-01T00:00:00Z", "more": [1]}
    write_json(tmp_path / "index.json", index)
    conversation = read_one(tmp_path)
    assert conversation.messages[0].metadata["source"]["index"] == {"role": "User"}
    assert conversation.attributes["import"]["source"]["index"] == {
        "updated_at": "2025-11-01T00:00:00Z",
        "more": [1],
        "entries": {"gone": {"role": "Tool"}},
    }
    told = [(one.code, one.path, one.place) for one in conversation.warnings]
    assert told == [("index_entry_unknown", "index.json", "$.entries.gone")]


@pytest.mark.parametrize("index", [{"entries": {}}, {"entries": []}, [], {"version": 2}])
def test_an_index_of_another_shape_is_kept_too(tmp_path: Path, index: Any) -> None:
    write_json(tmp_path / "metadata.json", {"context_id": ID, "branches": {}})
    write_json(tmp_path / "index.json", index)
    conversation = read_one(tmp_path)
    assert "index.json" in conversation.files
    if index != {"entries": {}}:
        assert conversation.attributes["import"]["source"]["index"] == {"as_found": index}
        assert [one.code for one in conversation.warnings] == ["index_unknown"]
