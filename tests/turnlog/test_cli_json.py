"""The JSON shapes are what the documents say: members, lines, times, ids."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, cast
from uuid import UUID

import pytest
from commands import WIRE, Terminal

from turnlog.cli.json_output import JSON_SHAPES
from turnlog.cli.verbs import IMPORTS, KEYS, VERBS, app, name_of

TIMELINE: Final = (
    "message_id context_id role model started_version started_position started_at occurred_at chunks "
    "characters text_bytes first_chunk_us duration_us chunks_per_second has_raw has_tool_calls redacted "
    "outcome finish_reason usage error finalized_version finalized_position finalized_at"
)
CONTEXT: Final = (
    "id version position workspace title config attributes tags state state_detail deleted created_at "
    "updated_at forked_from active_branch branches message_count open_streams"
)
MESSAGE: Final = (
    "id context_id version position parent_id branch role message_type recorded_at occurred_at size_bytes "
    "has_tool_calls has_tool_result streamed outcome redacted"
)
SHAPES: Final[dict[str, tuple[str, str]]] = {
    "contexts": (
        "contexts",
        "id workspace title tags state deleted active_branch message_count open_streams created_at "
        "updated_at forked_from",
    ),
    "show @latest": ("show", CONTEXT),
    "show @latest --at now~3": ("show", CONTEXT),
    "messages @latest": ("messages", f"{MESSAGE} complete text parts"),
    "history @latest": (
        "history",
        "type version last_version position recorded_at count message_id branch name outcome streams",
    ),
    "diff @latest now~9 now": (
        "diff",
        "context_id from_version to_version from_position to_position metadata state deleted active_branch "
        "branches_added branches_removed branches_moved message_count_change messages_added messages_gone "
        "redacted streams truncated",
    ),
    "events": ("events", "position context_id version recorded_at commit_id metadata event"),
    "stats": ("stats", "path store projections"),
    "verify": ("verify", "sound after position chain findings"),
    "rebuild": ("rebuild", "projection version position duration_us"),
    "branch @latest again": ("branch", "context_id branch head position version recorded_at written"),
    "fork @latest --title Copy": ("fork", CONTEXT),
}
"""A call of each verb, and the members of what it prints."""

TIME: Final = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z")


@pytest.fixture
def terminal(data_dir: Path, capsys: pytest.CaptureFixture[str]) -> Terminal:
    terminal = Terminal(data_dir, capsys)
    file = WIRE / "openai_chat" / "deepseek-tool-call.chunks.txt"
    terminal.ok("record", file, "--dialect", "openai_chat", "--prompt", "What is the weather?")
    return terminal


@pytest.mark.parametrize("call", SHAPES)
def test_each_verb_prints_the_members_that_are_documented(call: str, terminal: Terminal) -> None:
    verb, members = SHAPES[call]
    ran = terminal.ok(*call.split(), "--json")
    assert ran.lines
    assert ran.err == ""
    for line in ran.lines:
        assert list(line) == members.split()
    documented = re.split(r"\W+", JSON_SHAPES[verb])
    assert set(members.split()) <= set(documented)


def test_a_recording_is_answered_with_its_timeline(terminal: Terminal) -> None:
    file = WIRE / "anthropic" / "basic_response.txt"
    line = terminal.ok("record", file, "--dialect", "anthropic", "--json").object
    assert list(line) == TIMELINE.split()
    assert line["outcome"] == "completed"
    assert set(TIMELINE.split()) <= set(re.split(r"\W+", JSON_SHAPES["record"]))


def test_a_replay_gives_a_line_for_each_chunk_and_one_for_the_totals(terminal: Terminal) -> None:
    answer = terminal.ok("messages", "@latest", "--role", "assistant", "--json").object
    *chunks, done = terminal.ok("replay", answer["id"], "--speed", "0", "--json").lines
    assert [line["sequence"] for line in chunks] == list(range(1, 51))
    for line in chunks:
        assert list(line) == ["type", "sequence", "delta", "kind", "part", "at", "offset_us"]
        assert line["type"] == "chunk"
    assert list(done) == ["type", "chunks", "characters", "text_bytes", "recorded_us", "outcome"]
    assert done["type"] == "done"
    assert done["chunks"] == len(chunks)


def test_a_sweep_gives_a_line_for_each_stream(terminal: Terminal) -> None:
    assert terminal.ok("sweep", "--json").lines == []


def test_a_demo_gives_its_ids(data_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    line = Terminal(data_dir, capsys).ok("demo", "--speed", "0", "--json").object
    assert list(line) == ["context_ids", "message_ids"]
    assert len(line["context_ids"]) == len(line["message_ids"]) == 4


def walk(value: object) -> Iterator[tuple[str, Any]]:
    """Every member of a JSON value, by name."""
    if isinstance(value, dict):
        for name, item in cast("dict[str, Any]", value).items():
            yield name, item
            yield from walk(item)
    elif isinstance(value, list):
        for item in cast("list[Any]", value):
            yield from walk(item)


@pytest.mark.parametrize(
    "call", ["contexts", "show @latest", "messages @latest", "history @latest", "events"]
)
def test_times_are_rfc_3339_and_ids_canonical(call: str, terminal: Terminal) -> None:
    times = ids = 0
    for line in terminal.ok(*call.split(), "--json").lines:
        for name, value in walk(line):
            if (name == "at" or name.endswith("_at")) and value is not None:
                assert TIME.fullmatch(value), (name, value)
                times += 1
            if (name == "id" or name.endswith("_id")) and value is not None and name != "call_id":
                if name == "id" and str(value).startswith("call_"):
                    continue  # the provider's own
                assert str(UUID(value)) == value
                ids += 1
    assert times
    assert ids or call.startswith("history")


def test_what_an_application_stored_comes_back_as_it_is(terminal: Terminal) -> None:
    parts = terminal.ok("messages", "@latest", "--role", "assistant", "--json").object["parts"]
    assert parts[1] == {
        "type": "tool_call",
        "id": "call_00_ioIn7yN9p1ZOMNpDLwd4MgAF",
        "name": "weather",
        "arguments": '{"location": "San Francisco"}',
    }


def test_events_say_their_type_and_all_their_members(terminal: Terminal) -> None:
    lines = terminal.ok("events", "--json").lines
    types = [line["event"]["type"] for line in lines]
    assert types == [
        "context.created",
        "message.appended",
        "stream.started",
        *["stream.chunk_received"] * 50,
        "stream.finalized",
    ]
    assert [line["version"] for line in lines] == list(range(1, 55))
    chunk = lines[3]["event"]
    assert list(chunk) == ["type", "message_id", "sequence", "delta", "kind", "at", "part", "raw"]


def test_every_verb_documents_its_shape_in_its_help(capsys: pytest.CaptureFixture[str]) -> None:
    verbs = [name_of(verb) for verbs in VERBS.values() for verb in verbs]
    assert sorted(JSON_SHAPES) == sorted([*verbs, *IMPORTS, *(f"keys {verb}" for verb in KEYS)])
    for verb, shape in JSON_SHAPES.items():
        app([*verb.split(), "--help"])
        assert f"With --json {shape}." in " ".join(capsys.readouterr().out.split())
