"""Single messages and states of copilot_chat: what real files lack, and what is wrong in some."""

from __future__ import annotations

from copy import deepcopy
from datetime import timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, cast

import msgspec
import pytest
from copilot_stores import ID
from hypothesis import given
from hypothesis import strategies as st
from legacy import START, Context, deltas, legacy_contexts, stamp, stream_payload, write_gen3

from eventstore.content import DataPart, ImagePart, TextPart, ToolCallPart, ToolResultPart
from turnlog.importers.conversation import Conversation, Message, Problem
from turnlog.importers.copilot_chat.found import message_id_of
from turnlog.importers.copilot_chat.importer import CopilotChat
from turnlog.importers.copilot_chat.states import read_state
from turnlog.importers.copilot_chat.streams import read_stream
from turnlog.importers.source.files import Source, stable_id
from turnlog.importers.source.notes import Notes, Where
from turnlog.importers.source.times import read_moment

A, B, C, D = (f"22222222-2222-4222-8222-00000000000{number}" for number in range(4))


def message(text: str = "a", **more: Any) -> dict[str, Any]:
    return {"role": "Assistant", "content": [{"type": "text", "text": text}], "metadata": None, **more}


def context(*nodes: tuple[str, str | None, Any], **more: Any) -> Context:
    pool = {own: {"id": own, "message": said, "parent_id": parent} for own, parent, said in nodes}
    branches = {
        "main": {"name": "main", "message_ids": list(pool), "system_prompt": None, "user_prompt": None}
    }
    return {
        "id": ID,
        "config": {},
        "message_pool": pool,
        "branches": branches,
        "active_branch_name": "main",
        "current_state": "idle",
        **more,
    }


def read(directory: Path, held: Context) -> tuple[Conversation, list[Problem]]:
    write_gen3(directory, held)
    *problems, conversation = CopilotChat().read(Source(directory))
    assert isinstance(conversation, Conversation)
    return conversation, [problem for problem in problems if isinstance(problem, Problem)]


def read_one(directory: Path, said: dict[str, Any]) -> tuple[Message, list[str]]:
    conversation, problems = read(directory, context((A, None, said)))
    assert problems == []
    return conversation.messages[0], [warning.code for warning in conversation.warnings]


def rich(kind: str, **data: Any) -> dict[str, Any]:
    return {"kind": kind, "data": data}


STATES: list[tuple[Any, str, Any]] = [
    ("idle", "idle", None),
    ("Idle", "idle", None),
    ("AwaitingLLMResponse", "idle", {"was": "awaiting_llm_response"}),
    ("awaiting_l_l_m_response", "idle", {"was": "awaiting_llm_response"}),
    ("streaming_llm_response", "idle", {"was": "streaming_llm_response"}),
    (
        "AwaitingToolApproval",
        "idle",
        {"was": "awaiting_tool_approval", "data": {"pending_requests": [], "tool_names": []}},
    ),
    (
        {"awaiting_tool_approval": {"pending_requests": ["x"], "tool_names": ["t"]}},
        "idle",
        {"was": "awaiting_tool_approval", "data": {"pending_requests": ["x"], "tool_names": ["t"]}},
    ),
    ("ExecutingTools", "idle", {"was": "executing_tool"}),
    ("connecting_l_l_m", "idle", {"was": "connecting_to_llm"}),
    ({"Failed": {"error": "e"}}, "failed", {"was": "failed", "data": {"error_message": "e"}}),
    (
        {"failed": {"error_message": "e", "failed_at": "t"}},
        "failed",
        {"was": "failed", "data": {"error_message": "e", "failed_at": "t"}},
    ),
    (
        {"TransientFailure": {"error": "e", "retry_count": 1}},
        "idle",
        {"was": "transient_failure", "data": {"error_type": "e", "retry_count": 1}},
    ),
    ("paused", "paused", {"was": "paused"}),
]


@pytest.mark.parametrize(("found", "state", "detail"), STATES, ids=[str(found) for found, _, _ in STATES])
def test_states_are_read_in_every_spelling(found: Any, state: str, detail: Any) -> None:
    expected = None if detail is None else {**detail, "source": found}
    assert read_state(found) == (state, expected, True)


@pytest.mark.parametrize("found", ["dancing", None, 5, [], {}, {"a": 1, "b": 2}])
def test_an_unknown_state_is_kept_and_told(tmp_path: Path, found: Any) -> None:
    conversation, _ = read(tmp_path, context(current_state=found))
    assert (conversation.state, conversation.state_detail) == ("idle", {"source": found})
    assert [warning.code for warning in conversation.warnings] == ["state_unknown"]


PARTS: list[tuple[dict[str, Any], list[Any]]] = [
    (message(rich_type=rich("text", content="a")), [TextPart("a")]),
    (message(rich_type=rich("text", content="a", display_text="A")), [TextPart("a")]),
    (
        message(rich_type=rich("image", image_data={"url": "u"}, recognition_mode="o_c_r")),
        [TextPart("a"), ImagePart(url="u")],
    ),
    (
        message(rich_type=rich("Image", image_data={"base64": {"data": "AAAA", "mime_type": "image/png"}})),
        [TextPart("a"), ImagePart(url="data:image/png;base64,AAAA", media_type="image/png")],
    ),
    (
        message(rich_type=rich("tool_request", calls=[{"id": "1", "name": "t", "arguments": {"p": [1]}}])),
        [TextPart("a"), ToolCallPart("1", "t", '{"p":[1]}')],
    ),
    (
        message(
            rich_type=rich("m_c_p_tool_request", server_name="s", tool_name="t", request_id="1", arguments={})
        ),
        [TextPart("a"), ToolCallPart("1", "t", "{}")],
    ),
    (
        message(rich_type=rich("McpToolResult", request_id="1", result={"x": 1}, status="failed")),
        [TextPart("a"), ToolResultPart("1", {"x": 1}, True)],
    ),
    (
        message(rich_type=rich("tool_result", request_id="1", result=None, status="success")),
        [TextPart("a"), ToolResultPart("1", None, False)],
    ),
    *(
        (message(rich_type=rich(kind, path="p")), [TextPart("a"), DataPart(rich(kind, path="p"))])
        for kind in (
            "file_reference",
            "project_structure",
            "m_c_p_resource",
            "workflow_execution",
            "system_control",
            "processing",
        )
    ),
    (
        message(tool_calls=[{"id": "1", "tool_name": "t", "arguments": "text"}]),
        [TextPart("a"), ToolCallPart("1", "t", "text")],
    ),
    (
        message(tool_calls=[{"id": "1", "tool_name": "t", "arguments": ["x", "y"], "ui_hints": {}}]),
        [TextPart("a"), ToolCallPart("1", "t", '["x","y"]')],
    ),
    (
        message(tool_result={"request_id": "read_file", "result": {"error": "e", "tool": "read_file"}}),
        [TextPart("a"), ToolResultPart("read_file", {"error": "e", "tool": "read_file"}, True)],
    ),
    (
        message(tool_result={"request_id": "1", "result": {"is_error": False, "error": "no"}}),
        [TextPart("a"), ToolResultPart("1", {"is_error": False, "error": "no"}, False)],
    ),
    (message(content="plain"), [TextPart("plain")]),
    (message(content=[{"type": "image", "url": "u", "detail": "high"}]), [ImagePart(url="u")]),
]


@pytest.mark.parametrize(("said", "parts"), PARTS, ids=range(len(PARTS)))
def test_every_kind_becomes_parts_and_its_original_is_kept(
    tmp_path: Path, said: dict[str, Any], parts: list[Any]
) -> None:
    found, codes = read_one(tmp_path, said)
    assert list(found.parts) == parts
    assert codes == []
    source = found.metadata.get("source", {})
    payload = said.get("rich_type")
    if payload is not None and DataPart(payload) not in parts and set(payload["data"]) != {"content"}:
        assert source["rich_type"]["kind"] == payload["kind"]
    assert source.get("tool_calls") == said.get("tool_calls")
    assert ("content" in source) == ("detail" in str(said["content"]))


ODD: list[tuple[dict[str, Any], str]] = [
    (message(rich_type=rich("hologram", x=1)), "rich_type_unknown"),
    (message(rich_type="text"), "rich_type_unknown"),
    (message(rich_type=rich("streaming_response")), "chunks_missing"),
    (message(rich_type={"kind": "streaming_response"}), "rich_type_unknown"),
    (message(rich_type=rich("text", content="other")), "texts_differ"),
    (message(content=[{"type": "video", "url": "u"}]), "content_unknown"),
    (message(content={"x": 1}), "content_unknown"),
    (message(tool_calls=[{"tool": "t"}]), "tool_call_unknown"),
    (message(tool_calls="t"), "tool_call_unknown"),
    (message(tool_result={"result": 1}), "tool_result_unknown"),
    (message(metadata={"created_at": "yesterday"}), "time_unreadable"),
    (message(message_type=7), "unexpected_value"),
]


@pytest.mark.parametrize(("said", "code"), ODD, ids=range(len(ODD)))
def test_what_is_odd_is_told_and_kept(tmp_path: Path, said: dict[str, Any], code: str) -> None:
    found, codes = read_one(tmp_path, said)
    assert code in codes
    kept = str(found.metadata) + str(found.parts)
    for name in ("rich_type", "tool_calls", "tool_result", "metadata", "message_type"):
        if said.get(name) is not None and said[name] != rich("streaming_response"):
            assert str(said[name]) in kept or name == "rich_type"
    assert "hologram" in kept or "hologram" not in str(said)


def streamed(payload: dict[str, Any], text: str | None = None) -> dict[str, Any]:
    return message(
        payload.get("content", "") if text is None else text,
        rich_type={"kind": "streaming_response", "data": payload},
    )


def test_the_three_texts_of_a_stream_are_checked_and_the_payload_counts(tmp_path: Path) -> None:
    payload = stream_payload(["a", "b"], [1, 1])
    found, codes = read_one(tmp_path, streamed(payload, "ax"))
    assert (found.parts, codes) == ((), ["texts_differ"])
    assert found.metadata["source"]["content"] == [{"type": "text", "text": "ax"}]
    found, codes = read_one(tmp_path, streamed({**payload, "content": "abc"}))
    assert (found.parts, codes) == ((TextPart("abc"),), ["texts_differ"])
    assert found.streamed is not None
    assert [chunk.delta for chunk in found.streamed.chunks] == ["a", "b"]
    found, codes = read_one(tmp_path, streamed({**payload, "content": None}, "ab"))
    assert (found.parts, codes) == ((), ["text_missing"])


def test_a_stream_beside_calls_has_its_parts_too(tmp_path: Path) -> None:
    said = streamed(stream_payload(["a"], [1]))
    said["tool_calls"] = [{"id": "1", "tool_name": "t", "arguments": "{}"}]
    found, codes = read_one(tmp_path, said)
    assert (found.parts, codes) == ((TextPart("a"), ToolCallPart("1", "t", "{}")), [])


CHUNKS: list[tuple[dict[str, Any], str | None]] = [
    ({"sequence": 7}, "sequence_gap"),
    ({"accumulated_chars": 1}, "length_differs"),
    ({"timestamp": "soon"}, "time_unreadable"),
    ({"delta": None}, "chunk_malformed"),
    ({"interval_ms": 9}, None),
    ({"timestamp": "2025-11-15T17:45:00.000003004Z"}, None),
    ({"logprob": -1.5}, None),
]


@pytest.mark.parametrize(("change", "code"), CHUNKS, ids=[str(change) for change, _ in CHUNKS])
def test_chunks_that_say_more_than_ours_are_kept_whole(
    tmp_path: Path, change: dict[str, Any], code: str | None
) -> None:
    payload = stream_payload(["a", "é", "c"], [1, 1, 1])
    payload["chunks"][1] |= change
    found, codes = read_one(tmp_path, streamed(payload))
    assert found.metadata["source"]["streaming_response"]["chunks"] == payload["chunks"]
    follows = {"texts_differ", "length_differs"} if code == "chunk_malformed" else set[str]()
    assert set(codes) - follows == ({code} if code else set())
    assert found.streamed is not None
    assert len(found.streamed.chunks) == (2 if code == "chunk_malformed" else 3)


@pytest.mark.parametrize(
    ("gaps", "ended", "backwards"),
    [([1, 0, 1], 0, 0), ([5, -1, 1], 0, 1), ([5, -1, -1], 0, 2), ([-5, 1, 1], 0, 1), ([1, 1, 1], -1, 1)],
)
@pytest.mark.parametrize("regular", [True, False])
def test_a_stream_whose_times_run_backwards_is_told_and_comes_as_it_is(
    tmp_path: Path, gaps: list[int], ended: int, backwards: int, regular: bool
) -> None:
    payload = stream_payload(["a", "b", "c"], gaps)
    payload["completed_at"] = stamp(START + timedelta(microseconds=sum(gaps) + ended))
    payload.pop("total_duration_ms")
    if not regular:
        payload["chunks"][2]["logprob"] = -1.5
    conversation, _ = read(tmp_path, context((A, None, streamed(payload))))
    said = conversation.messages[0].streamed
    assert said is not None
    assert [chunk.at for chunk in said.chunks] == [read_moment(row["timestamp"]) for row in payload["chunks"]]
    assert [warning.code for warning in conversation.warnings] == ["times_backwards"] * bool(backwards)
    assert all(warning.reason.startswith(f"times: {backwards} ") for warning in conversation.warnings)


@given(st.lists(st.tuples(deltas, st.integers(-2_000, 2_000_000))), st.booleans())
def test_a_regular_stream_is_read_the_same_column_by_column_and_row_by_row(
    pieces: list[tuple[str, int]], shorter: bool
) -> None:
    payload = stream_payload([delta for delta, _ in pieces], [gap for _, gap in pieces])
    where = Where(Notes("", stable_id("x")), "")
    regular, kept = read_stream(payload, where, None)
    payload["chunks"].append({"delta": "x", "sequence": 0})
    other, more = read_stream(payload, where, None)
    assert regular.chunks == other.chunks[:-1]
    assert kept == {}
    assert more["chunks"] == payload["chunks"]
    if shorter:
        for chunk in payload["chunks"][:-1]:
            chunk["timestamp"] = chunk["timestamp"].replace("Z", "+00:00")
        assert read_stream(payload, where, None)[0].chunks == other.chunks


@pytest.mark.parametrize(
    ("text", "at"),
    [
        ("2025-11-15T17:45:00Z", 1_763_228_700_000_000),
        ("2025-11-15T17:45:00.123Z", 1_763_228_700_123_000),
        ("2025-11-15T17:45:00.123456Z", 1_763_228_700_123_456),
        ("2025-11-15T17:45:00.123456789Z", 1_763_228_700_123_456),
        ("2025-11-15T18:45:00.123456+01:00", 1_763_228_700_123_456),
        ("2025-11-15T17:45:00.12345\u0663Z", None),
        ("2025-11-15T17:45:00.+12345Z", None),
        ("2025-11-15T17:45:00", None),
        ("9999-01-01T00:00:00Z", None),
        ("", None),
        (5, None),
    ],
)
def test_times_are_read_to_the_microsecond(text: object, at: int | None) -> None:
    assert read_moment(text) == at


def test_a_stream_without_any_time_has_that_of_its_neighbours(tmp_path: Path) -> None:
    payload = {"content": "ab", "chunks": [{"sequence": 1, "delta": "a"}, {"sequence": 2, "delta": "b"}]}
    first = message(metadata={"created_at": stamp(START)})
    conversation, _ = read(tmp_path, context((A, None, first), (B, A, streamed(payload))))
    found = conversation.messages[1]
    assert found.streamed is not None
    start = read_moment(stamp(START))
    assert (found.occurred_at, found.time_source, found.streamed.started_at) == (start, "neighbour", start)
    assert [chunk.at for chunk in found.streamed.chunks] == [start, start]
    assert found.streamed.outcome is None


def test_a_question_has_the_time_of_its_answer_and_a_result_that_of_its_call(tmp_path: Path) -> None:
    call = streamed(stream_payload(["a"], [5_000]))
    user, result = {**message("q"), "role": "User"}, {**message("r"), "role": "Tool"}
    held = context((A, None, user), (B, A, call), (C, B, result), (D, C, message("last")))
    conversation, _ = read(tmp_path, held)
    start = read_moment(stamp(START))
    assert start is not None
    times = [(one.occurred_at, one.time_source) for one in conversation.messages]
    after = (start + 5_000, "neighbour")
    assert times == [(start, "neighbour"), (start, "source"), after, after]


def test_messages_that_cannot_be_read_are_told_and_the_others_go_on(tmp_path: Path) -> None:
    held = context((A, None, message("a")), (B, A, {**message(), "role": "Ghost"}), (C, B, message("c")))
    held["message_pool"]["x"] = 5
    held["message_pool"]["y"] = {"id": D}
    conversation, problems = read(tmp_path, held)
    assert {(problem.code, problem.place) for problem in problems} == {
        ("role_unknown", f"$.message_pool.{B}"),
        ("message_unreadable", "$.message_pool.x"),
        ("message_unreadable", "$.message_pool.y"),
    }
    assert all(problem.reason.endswith("it is kept beside the messages") for problem in problems)
    kept = {one.data["place"]: msgspec.json.decode(one.data["text"]) for one in conversation.kept}
    names = {B: B, "x": message_id_of(conversation.id, "x"), "y": D}
    assert kept == {f"$.untaken.{names[key]}": held["message_pool"][key] for key in names}
    assert [str(one.id) for one in conversation.messages] == [A, C]
    assert str(conversation.messages[1].parent_id) == A
    assert conversation.messages[1].metadata["source"]["parent_id"] == B
    assert [warning.code for warning in conversation.warnings] == ["dangling_id", "dangling_parent"]


def test_a_missing_parent_is_that_before_on_the_branch(tmp_path: Path) -> None:
    conversation, _ = read(tmp_path, context((A, None, message()), (B, None, message())))
    assert str(conversation.messages[1].parent_id) == A
    assert [warning.code for warning in conversation.warnings] == ["parent_missing"]


def test_parents_in_a_circle_are_cut_and_told(tmp_path: Path) -> None:
    conversation, _ = read(tmp_path, context((A, B, message()), (B, A, message()), (C, C, message())))
    assert len(conversation.messages) == 3
    assert "parent_circle" in [warning.code for warning in conversation.warnings]
    known: set[Any] = {None}
    for one in conversation.messages:
        assert one.parent_id in known
        known.add(one.id)


def test_another_order_on_the_branch_is_kept_and_told(tmp_path: Path) -> None:
    held = context((A, None, message()), (B, A, message()), (C, B, message()))
    held["branches"]["main"]["message_ids"] = [A, C, B]
    conversation, _ = read(tmp_path, held)
    assert [str(one.id) for one in conversation.messages] == [A, B, C]
    kept = conversation.attributes["import"]["source"]["branches"]["main"]
    assert kept == {"message_ids": [A, C, B]}
    assert [warning.code for warning in conversation.warnings] == ["order_differs"]


def test_unknown_fields_are_kept_wherever_they_stand(tmp_path: Path) -> None:
    held = context((A, None, message(mood="good")), parent_id=ID, colour="red", config={"new": [1]})
    held["message_pool"][A]["pinned"] = True
    held["branches"]["main"] |= {"parent_message_id": A, "user_prompt": "p"}
    conversation, _ = read(tmp_path, held)
    assert conversation.config == {"new": [1]}
    assert conversation.attributes["import"]["source"] == {
        "parent_id": ID,
        "colour": "red",
        "branches": {"main": {"parent_message_id": A, "user_prompt": "p"}},
    }
    assert conversation.messages[0].metadata == {"source": {"mood": "good", "node": {"pinned": True}}}
    assert conversation.warnings == ()


@pytest.mark.parametrize("name", ["", "x" * 101])
def test_a_branch_whose_name_is_none_here_gets_another(tmp_path: Path, name: str) -> None:
    held = context((A, None, message()))
    held["branches"][name] = {"name": name, "message_ids": [A]}
    conversation, _ = read(tmp_path, held)
    assert "branch_renamed" in [warning.code for warning in conversation.warnings]
    assert all(0 < len(branch) <= 100 for branch in conversation.branches)


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"branches": 5}, "branches_unknown"),
        ({"branches": {"main": 5}}, "branch_unknown"),
        ({"active_branch_name": "gone"}, "active_branch_unknown"),
        ({"config": "x"}, "unexpected_value"),
        ({"title": 5}, "unexpected_value"),
        ({"branches": [{"name": "main", "message_ids": [A, A]}]}, "repeated_id"),
    ],
)
def test_a_context_that_is_odd_is_read_and_told(tmp_path: Path, change: dict[str, Any], code: str) -> None:
    conversation, problems = read(tmp_path, {**context((A, None, message())), **change})
    assert problems == []
    assert len(conversation.messages) == 1
    assert code in [warning.code for warning in conversation.warnings]
    assert conversation.active_branch in conversation.branches
    (value,) = change.values()
    assert str(value) in str(conversation.attributes) or code in ("branch_unknown", "repeated_id")


@given(legacy_contexts(), st.data())
def test_no_content_makes_the_importer_raise(held: Context, data: st.DataObject) -> None:
    """Each run puts a wrong value somewhere in a context: a copy, for others may be given the same state."""
    inside: Any = (held := deepcopy(held))
    while True:
        at = cast("dict[Any, Any] | list[Any]", inside)
        key = data.draw(st.sampled_from(list(at) if isinstance(at, dict) else list(range(len(at)))))
        inside = at[key]
        if not inside or not isinstance(inside, (dict, list)) or data.draw(st.booleans()):
            break
    at[key] = data.draw(st.sampled_from([None, 5, "x", [], {}, [5], {"x": 5}, True]))
    with TemporaryDirectory() as directory:
        write_gen3(Path(directory), {**held, "id": ID})
        for item in CopilotChat().read(Source(Path(directory))):
            assert isinstance(item, (Conversation, Problem))


def test_a_later_question_has_the_time_of_its_own_answer(tmp_path: Path) -> None:
    answers = [message(metadata={"created_at": f"2025-11-15T17:4{minute}:00Z"}) for minute in (1, 5)]
    question = {**message("q"), "role": "User"}
    held = context((A, None, answers[0]), (B, A, question), (C, B, answers[1]))
    conversation, _ = read(tmp_path, held)
    assert conversation.messages[1].occurred_at == read_moment("2025-11-15T17:45:00Z")


def test_main_is_the_home_of_what_stands_on_other_branches_too(tmp_path: Path) -> None:
    held = context((A, None, message()), (B, A, message()))
    held["branches"] = {
        "alpha": {"name": "alpha", "message_ids": [A]},
        "main": {"name": "main", "message_ids": [A, B]},
    }
    conversation, _ = read(tmp_path, held)
    assert [one.branch for one in conversation.messages] == ["main", "main"]
    assert conversation.branches == {
        "alpha": conversation.messages[0].id,
        "main": conversation.messages[1].id,
    }
