"""Generation 5 of copilot_chat: a session's JSON and the lines beside it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from copilot_stores import ID
from legacy import write_json
from storing import read_with

from eventstore.content import TextPart, ToolCallPart, ToolResultPart
from turnlog.importers.conversation import Conversation, Problem
from turnlog.importers.copilot_chat.importer import CopilotChat
from turnlog.importers.source.files import Source, stable_id
from turnlog.importers.source.times import read_moment

WHEN = "2026-02-01T10:00:00Z"
CALL = {"id": "c1", "type": "function", "function": {"name": "read", "arguments": '{"p":1}'}}
MESSAGES: list[dict[str, Any]] = [
    {"id": "m1", "role": "user", "content": "read it", "created_at": WHEN},
    {"role": "assistant", "content": "I will.", "tool_calls": [CALL], "created_at": WHEN},
    {"role": "tool", "content": "text of it", "tool_call_id": "c1", "created_at": WHEN},
    {"role": "assistant", "content": "Done.", "created_at": WHEN},
]


def tokens(*texts: str) -> list[dict[str, Any]]:
    return [{"type": "token", "content": text} for text in texts]


LINES: list[dict[str, Any]] = [
    *tokens("I ", "will."),
    {"type": "tool_start", "tool_call_id": "c1", "tool_name": "read", "arguments": {"p": 1}},
    {"type": "tool_complete", "tool_call_id": "c1", "result": {"success": True, "result": "text of it"}},
    *tokens("Done", "."),
    {"type": "complete", "usage": {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3}},
]


def write(directory: Path, messages: list[Any] | None, lines: list[Any], name: str = ID, **more: Any) -> None:
    if messages is not None:
        session = {"id": name, "messages": messages, "created_at": WHEN, "updated_at": WHEN, **more}
        write_json(directory / f"{name}.json", session)
    if lines:
        (directory / f"{name}.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))


def read(directory: Path) -> tuple[Conversation, list[Problem]]:
    (conversation,), problems = read_with(CopilotChat(), directory)
    return conversation, problems


def deltas(conversation: Conversation) -> list[list[str] | None]:
    return [
        None if one.streamed is None else [chunk.delta for chunk in one.streamed.chunks]
        for one in conversation.messages
    ]


def test_a_session_is_a_conversation_and_its_tokens_are_the_chunks_of_its_answers(tmp_path: Path) -> None:
    write(tmp_path, MESSAGES, LINES, model="m", metadata={"k": "v"})
    conversation, problems = read(tmp_path)
    assert problems == []
    assert conversation.warnings == ()
    assert conversation.files == (f"{ID}.json", f"{ID}.jsonl")
    assert [one.role for one in conversation.messages] == ["user", "assistant", "tool", "assistant"]
    assert [one.parent_id for one in conversation.messages[1:]] == [
        one.id for one in conversation.messages[:-1]
    ]
    assert deltas(conversation) == [None, ["I ", "will."], None, ["Done", "."]]
    _, call, result, last = conversation.messages
    assert call.parts == (TextPart("I will."), ToolCallPart("c1", "read", '{"p":1}'))
    assert result.parts == (ToolResultPart("c1", "text of it"),)
    assert last.parts == ()
    assert call.streamed is not None
    assert last.streamed is not None
    assert (call.streamed.outcome, last.streamed.outcome) == ("completed", "completed")
    assert last.streamed.usage == LINES[-1]["usage"]
    assert last.streamed.model == "m"
    assert call.metadata["source"]["agent_events"] == LINES[2:4]
    assert last.metadata["source"]["chunk_times"] == "none"
    at = read_moment(WHEN)
    assert {chunk.at for chunk in last.streamed.chunks} == {at, last.streamed.started_at}
    assert conversation.attributes["import"]["source"] == {
        "created_at": WHEN,
        "updated_at": WHEN,
        "model": "m",
        "metadata": {"k": "v"},
    }


def test_ids_are_the_sources_own_or_stable(tmp_path: Path) -> None:
    messages = [{"id": ID, "role": "user", "content": "a"}, {"role": "user", "content": "b"}]
    write(tmp_path, messages, [], "chat-1")
    conversation, _ = read(tmp_path)
    assert conversation == read(tmp_path)[0]
    assert conversation.id == stable_id("copilot_chat", "chat-1")
    assert conversation.messages[0].id == UUID(ID)


def test_an_answer_that_was_never_saved_is_read_from_the_lines(tmp_path: Path) -> None:
    write(tmp_path, MESSAGES[:1], tokens("half of", " an"))
    conversation, problems = read(tmp_path)
    assert problems == []
    assert deltas(conversation) == [None, ["half of", " an"]]
    last = conversation.messages[-1]
    assert last.streamed is not None
    assert last.streamed.outcome is None
    assert conversation.branches == {"main": last.id}
    assert [warning.code for warning in conversation.warnings] == ["stream_unmatched"]


def test_an_answer_that_failed_keeps_its_error(tmp_path: Path) -> None:
    write(tmp_path, MESSAGES[:1], [*tokens("half"), {"type": "error", "message": "no route"}])
    conversation, _ = read(tmp_path)
    streamed = conversation.messages[-1].streamed
    assert streamed is not None
    assert (streamed.outcome, streamed.error) == ("failed", {"message": "no route"})


def test_tokens_that_became_another_text_stand_on_no_branch(tmp_path: Path) -> None:
    write(tmp_path, MESSAGES, [*tokens("other"), LINES[2], *LINES[4:]])
    conversation, _ = read(tmp_path)
    assert len(conversation.messages) == 5
    assert conversation.messages[4].branch not in conversation.branches
    assert conversation.branches == {"main": conversation.messages[3].id}
    assert {warning.code for warning in conversation.warnings} == {"stream_unmatched", "orphan_message"}


def test_lines_alone_are_a_conversation_too(tmp_path: Path) -> None:
    write(tmp_path, None, LINES)
    assert CopilotChat().recognises(Source(tmp_path))
    conversation, problems = read(tmp_path)
    assert problems == []
    assert str(conversation.id) == ID
    assert deltas(conversation) == [["I ", "will."], ["Done", "."]]
    assert conversation.origin == f"{ID}.jsonl"


def test_lines_beside_a_session_are_claimed_only_if_they_are_an_agents(tmp_path: Path) -> None:
    write(tmp_path, MESSAGES, LINES)
    write_json(tmp_path / "x.json", {})
    (tmp_path / "x.jsonl").write_text('{"type": "context.created"}\n')
    (tmp_path / "y.txt").write_text("y")
    claimed = [name for name in Source(tmp_path).files() if CopilotChat().claims(Source(tmp_path), name)]
    assert claimed == [f"{ID}.json", f"{ID}.jsonl", "x.json"]


def test_a_torn_line_is_told_and_the_others_are_read(tmp_path: Path) -> None:
    write(tmp_path, MESSAGES, LINES)
    path = tmp_path / f"{ID}.jsonl"
    path.write_text(path.read_text() + '{"type": "tok\n7\n')
    conversation, problems = read(tmp_path)
    assert len(conversation.messages) == 4
    assert [(problem.code, problem.place) for problem in problems] == [
        ("truncated", f"line {len(LINES) + 1}"),
        ("line_unknown", f"line {len(LINES) + 2}"),
    ]


def test_what_was_done_without_any_answer_is_kept(tmp_path: Path) -> None:
    write(tmp_path, MESSAGES[:1], [LINES[-1]])
    conversation, _ = read(tmp_path)
    assert conversation.attributes["import"]["source"]["agent_events"] == [LINES[-1]]


NEWS: list[dict[str, Any]] = [
    {"type": "todo_list_item_progress", "version": 3},
    {"type": "need_clarification", "question": "?"},
    {"type": "brand_new"},
]


def test_news_in_the_middle_of_an_answer_do_not_divide_it(tmp_path: Path) -> None:
    news, odd, last = NEWS
    lines = [*tokens("I", " will"), news, *tokens("."), last, odd, *tokens("Do"), odd, *tokens("ne", ".")]
    write(tmp_path, MESSAGES, [*lines, {"type": "complete", "usage": {"total_tokens": 1}}])
    conversation, problems = read(tmp_path)
    assert (problems, conversation.warnings) == ([], ())
    assert deltas(conversation) == [None, ["I", " will", "."], None, ["Do", "ne", "."]]
    _, first, _, second = (message.metadata["source"] for message in conversation.messages)
    assert first["agent_events_between"] == [{"after": 2, "event": news}]
    assert first["agent_events"] == [last, odd]
    assert second["agent_events_between"] == [{"after": 1, "event": odd}]
    (*_, answer) = conversation.messages
    assert answer.streamed is not None
    assert answer.streamed.usage == {"total_tokens": 1}


def test_what_ends_an_answer_divides_it_whatever_the_text_is(tmp_path: Path) -> None:
    write(tmp_path, MESSAGES, [*tokens("Do"), LINES[2], *tokens("ne.")])
    conversation, _ = read(tmp_path)
    assert deltas(conversation)[:4] == [None] * 4


def test_tokens_of_no_message_keep_their_order(tmp_path: Path) -> None:
    texts = [f"loose {number}" for number in range(8)]
    lines = [line for text in texts for line in (*tokens(text), LINES[2])]
    write(tmp_path, MESSAGES, [*lines, *tokens("Done", ".")])
    conversation, _ = read(tmp_path)
    assert [one for one in deltas(conversation) if one][1:] == [[text] for text in texts]


@pytest.mark.parametrize(
    "messages",
    [
        [MESSAGES[0], {"id": "f", "content": "without a role"}],
        [MESSAGES[0], "no object"],
        [{"content": "x"}, MESSAGES[0]],
        [{"content": "x"}],
    ],
)
def test_one_message_that_cannot_be_read_costs_no_other(tmp_path: Path, messages: list[Any]) -> None:
    write(tmp_path, messages, tokens("t"))
    conversation, problems = read(tmp_path)
    assert [problem.warning for problem in problems] == [False]
    assert len(conversation.messages) == len(messages) - 1 + 1
    assert len(conversation.kept) == 1


def test_lines_are_told_of_with_the_session_that_cannot_be_read(tmp_path: Path) -> None:
    write(tmp_path, None, LINES)
    (tmp_path / f"{ID}.json").write_text('{"id": ')
    found, problems = read_with(CopilotChat(), tmp_path)
    assert found == []
    assert [(problem.path, problem.warning) for problem in problems] == [
        (f"{ID}.json", False),
        (f"{ID}.jsonl", False),
    ]


def test_lines_beside_it_make_a_session_of_any_object(tmp_path: Path) -> None:
    write(tmp_path, None, LINES)
    (tmp_path / f"{ID}.json").write_text(json.dumps({"todo_list": ["x"]}))
    conversation, _ = read(tmp_path)
    assert deltas(conversation) == [["I ", "will."], ["Done", "."]]
    assert conversation.attributes["import"]["source"]["todo_list"] == ["x"]
