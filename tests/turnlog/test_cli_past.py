"""Reading the past by every way to write a moment; branches and forks from it; views that catch up."""

from __future__ import annotations

import asyncio
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest
from commands import WIRE, Terminal
from uuid_utils.compat import uuid7

from eventstore.events import ChunkReceived, ContextCreated, StreamStarted
from eventstore.store import EventStore

DEEPSEEK = WIRE / "openai_chat" / "deepseek-tool-call.chunks.txt"
CLAUDE = WIRE / "anthropic" / "tool_use_response.txt"


@pytest.fixture
def terminal(data_dir: Path, capsys: pytest.CaptureFixture[str]) -> Terminal:
    """A context: created, a question, an answer of 50 chunks at versions 3 to 54, an answer of 7 to 63."""
    terminal = Terminal(data_dir, capsys)
    terminal.ok("record", DEEPSEEK, "--dialect", "openai_chat", "--title", "T", "--prompt", "Weather?")
    terminal.ok("record", CLAUDE, "--dialect", "anthropic", "--context", "@latest")
    return terminal


def state(terminal: Terminal, *options: str) -> dict[str, Any]:
    return terminal.ok("show", "@latest", *options, "--json").object


def test_every_way_to_write_a_moment_finds_the_same_version(terminal: Terminal) -> None:
    lines = terminal.ok("events", "--json").lines
    started = next(line for line in lines if line["event"]["type"] == "stream.started")
    message, position = started["event"]["message_id"], str(started["position"])
    expected = state(terminal, "--at", "v3")
    assert expected["version"] == 3
    for options in (
        ("--at-version", "3"),
        ("--at", f"p{position}"),
        ("--at-position", position),
        ("--at", started["recorded_at"]),
        ("--at-time", started["recorded_at"]),
        ("--at", started["recorded_at"].replace("Z", "+00:00")),
        ("--at", f"m{message}"),
        ("--at", f"m{message[-8:]}"),
        ("--at-message", message[-8:]),
        ("--at", "v5~2"),
        ("--at", f"now~{63 - 3}"),
        ("--at", f"m{message}~0"),
    ):
        assert state(terminal, *options) == expected, options
    assert state(terminal) == state(terminal, "--at", "now") == state(terminal, "--at", "v63")


def test_a_context_in_the_middle_of_an_answer_shows_what_had_arrived(terminal: Terminal) -> None:
    middle = state(terminal, "--at", "v30")
    (progress,) = middle["open_streams"].values()
    assert progress == 27
    message = terminal.ok("messages", "@latest", "--at", "v30", "--role", "assistant", "--json").object
    assert (message["complete"], message["outcome"]) == (False, None)
    whole = terminal.ok("messages", "@latest", "--at", "v54", "--role", "assistant", "--json").object
    thought, thought_later = message["parts"][0]["text"], whole["parts"][0]["text"]
    assert thought_later.startswith(thought)
    assert 0 < len(thought) < len(thought_later)
    shown = terminal.ok("show", "@latest", "--at", "v30").out
    assert thought in shown
    assert "▌ still streaming: 27 chunks so far" in shown


def test_a_difference_reads_in_both_directions(terminal: Terminal) -> None:
    there = terminal.ok("diff", "@latest", "v54", "--json").object
    back = terminal.ok("diff", "@latest", "now", "v54", "--json").object
    assert (there["from_version"], there["to_version"]) == (54, 63)
    assert (back["from_version"], back["to_version"]) == (63, 54)
    assert [entry["role"] for entry in there["messages_added"]] == ["assistant"]
    assert there["messages_added"][0]["id"] == back["messages_gone"][0]["id"]
    lines = terminal.ok("diff", "@latest", "v54").out.splitlines()
    assert lines[0].startswith("v54 → v63  position ")
    assert [line.split()[:2] for line in lines[1:]] == [["~", "branch"], ["+", "message"], ["~", "stream"]]
    assert "I'll check the current weather in Paris for you." in lines[2]
    assert "0 → 7 chunks, completed" in lines[3]
    assert terminal.ok("diff", "@latest", "now").out.splitlines()[1:] == ["no difference"]


def test_history_lists_runs_of_chunks_in_one_line_and_pages_by_version(terminal: Terminal) -> None:
    lines = terminal.ok("history", "@latest", "--json").lines
    spans = [(line["type"], line["version"], line["last_version"]) for line in lines]
    assert spans == [
        ("context.created", 1, 1),
        ("message.appended", 2, 2),
        ("stream.started", 3, 3),
        ("stream.chunk_received", 4, 53),
        ("stream.finalized", 54, 54),
        ("stream.started", 55, 55),
        ("stream.chunk_received", 56, 62),
        ("stream.finalized", 63, 63),
    ]
    assert terminal.ok("history", "@latest", "--after", "54", "--json").lines == lines[5:]
    assert terminal.ok("history", "@latest", "--limit", "2", "--json").lines == lines[:2]
    people = terminal.ok("history", "@latest").out.splitlines()
    assert len(people) == 1 + len(lines)
    assert people[4].startswith("v4-v53 ")
    assert people[4].endswith(" #1-50")


def test_history_says_in_one_line_how_far_streams_came_that_took_turns(terminal: Terminal) -> None:
    first, second = uuid7(), uuid7()
    started = [StreamStarted(message_id) for message_id in (first, second)]
    turns = [ChunkReceived(message_id, n, "x") for n in (1, 2, 3) for message_id in (first, second)]

    async def take_turns() -> None:
        async with await EventStore.open(terminal.data) as store:
            await store.append(uuid7(), [ContextCreated(), *started, *turns])

    asyncio.run(take_turns())
    stretch = terminal.ok("history", "@latest", "--json").lines[-1]
    assert (stretch["version"], stretch["last_version"], stretch["message_id"]) == (4, 9, None)
    assert stretch["streams"] == [
        {"message_id": str(message_id), "first_sequence": 1, "last_sequence": 3}
        for message_id in (first, second)
    ]
    line = terminal.ok("history", "@latest").out.splitlines()[-1]
    assert line.endswith(f"…{str(first)[-8:]} #1-3, …{str(second)[-8:]} #1-3")


def test_a_branch_stands_where_another_one_stood(terminal: Terminal) -> None:
    first, second = [
        line["id"] for line in terminal.ok("messages", "@latest", "--role", "assistant", "--json").lines
    ]
    made = terminal.ok("branch", "@latest", "before", "--at", "v54", "--json").object
    assert (made["head"], made["version"], made["written"]) == (first, 64, True)
    assert state(terminal)["branches"] == {"main": second, "before": first}
    assert terminal.ok("messages", "@latest", "--branch", "before", "--json").lines[-1]["id"] == first
    line = terminal.ok("branch", "@latest", "again", "--of", "before").out
    assert line.startswith(f"branch again → …{first[-8:]}")
    shown = terminal.ok("show", "@latest").out
    assert f"◂ before again  …{first[-8:]}" in shown
    assert f"◂ main  …{second[-8:]}" in shown


def test_a_fork_shares_what_was_and_cuts_what_was_open(terminal: Terminal) -> None:
    source = state(terminal)
    made = terminal.ok("fork", "@latest", "--at", "v56", "--title", "Copy", "--json").object
    assert made["forked_from"] == {"context_id": source["id"], "version": 56}
    texts = [line["text"] for line in terminal.ok("messages", made["id"], "--json").lines]
    assert texts == ["Weather?", "", "I"]
    shown = terminal.ok("show", made["id"]).out
    assert f"forked     from …{source['id'][-8:]} at v56" in shown
    assert "▌ cut here" in shown
    assert terminal.ok("fork", "@latest").out.startswith("context ")
    counts = [row.split()[1:3] for row in terminal.ok("contexts").out.splitlines()[1:]]
    assert counts == [["0", "own"], ["0", "own"], ["3", "main"]], "a fork shows more than it has of its own"


def test_contexts_are_listed_newest_first_by_workspace_and_limit(terminal: Terminal) -> None:
    for title in ("a", "b"):
        terminal.ok("record", CLAUDE, "--dialect", "anthropic", "--title", title)
    titles = [line["title"] for line in terminal.ok("contexts", "--json").lines]
    assert titles == ["b", "a", "T"]
    assert [line["title"] for line in terminal.ok("contexts", "--limit", "2", "--json").lines] == ["b", "a"]
    assert terminal.ok("contexts", "--workspace", "other", "--json").lines == []
    assert "no contexts yet" in terminal.ok("contexts", "--workspace", "other").err
    rows = terminal.ok("contexts").out.splitlines()
    assert rows[0].split() == ["context", "messages", "branch", "changed", "title"]
    assert rows[1].endswith("just now  b")


def test_events_begin_after_a_position_and_keep_to_a_context(terminal: Terminal) -> None:
    everything = terminal.ok("events", "--json").lines
    terminal.ok("record", CLAUDE, "--dialect", "anthropic")
    assert terminal.ok("events", "--context", everything[0]["context_id"][-6:], "--json").lines == everything
    assert len({line["context_id"] for line in terminal.ok("events", "--json").lines}) == 2
    later = [line for line in everything if line["position"] > 4]
    assert terminal.ok("events", "--after", "4", "--json").lines[: len(later)] == later
    assert [line["position"] for line in terminal.ok("events", "--limit", "2", "--json").lines] == [1, 2]


def test_reading_brings_views_back_that_were_deleted(terminal: Terminal) -> None:
    before = state(terminal)
    shutil.rmtree(terminal.data / "views")
    assert state(terminal) == before
    stats = terminal.ok("stats", "--json").object
    assert [projection["lag_positions"] for projection in stats["projections"]] == [0, 0, 0]


def test_a_rebuild_gives_the_same_answers(terminal: Terminal) -> None:
    before = state(terminal)
    assert [line["projection"] for line in terminal.ok("rebuild", "--json").lines] == [
        "contexts",
        "messages",
        "timelines",
    ]
    assert state(terminal) == before
    assert terminal.ok("rebuild", "messages").out.startswith("rebuilt messages up to position ")


def test_a_projection_of_ones_own_is_followed_and_rebuilt(
    terminal: Terminal, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "counting.py").write_text(PROJECTION)
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    own = ("--projection", "counting:Counting")
    (line,) = terminal.ok("rebuild", "counting", *own, "--json").lines
    assert line["projection"] == "counting"
    names = [p["name"] for p in terminal.ok("stats", *own, "--json").object["projections"]]
    assert names == ["contexts", "messages", "timelines", "counting"]
    states = {p["name"]: p["state"] for p in terminal.ok("stats", "--json").object["projections"]}
    assert states["counting"] == "unused"


PROJECTION = """
from eventstore.events import ALL_BITS

class Counting:
    name = "counting"
    version = 1
    tables = ("counts",)
    kinds = ALL_BITS

    def apply(self, commit, rows, past):
        rows.put("counts", commit.context_id.bytes, str(commit.last_version).encode())
"""
