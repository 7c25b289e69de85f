"""The demo: what it makes, what it tells, and that what it suggests works."""

from __future__ import annotations

import re
import shlex
import signal
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from commands import ROOT, SECONDS_MAX, Ran, Terminal, on_terminal, process
from rich.cells import cell_len

from turnlog.cli.demo_scenes import RECORDINGS

FIXTURES = ROOT / "turnlog" / "fixtures"
ESCAPE = re.compile(r"\x1b\[[0-9;?]*[a-zA-Z]")


@pytest.fixture
def terminal(data_dir: Path, capsys: pytest.CaptureFixture[str]) -> Terminal:
    return Terminal(data_dir, capsys)


@pytest.fixture
def told(terminal: Terminal) -> Ran:
    """The story, as a pipe gets it."""
    return terminal.ok("demo", "--speed", "0")


def messages(terminal: Terminal, context: str, *options: str) -> list[dict[str, Any]]:
    return terminal.ok("messages", context, *options, "--json").lines


def test_it_records_four_conversations_with_a_branch_a_tool_and_a_regenerated_answer(
    terminal: Terminal,
) -> None:
    weather, letters, hello, holiday = terminal.ok("demo", "--speed", "0", "--json").object["context_ids"]
    main, paris = messages(terminal, weather, "--branch", "main"), messages(terminal, weather)
    assert [line["role"] for line in main] == ["user", "assistant", "tool", "assistant"]
    assert [line["role"] for line in paris] == ["user", "assistant", "tool"]
    assert main[0]["parent_id"] is paris[0]["parent_id"] is None, "an edit is a sibling"
    assert main[1]["parts"][1]["id"] == main[2]["parts"][0]["call_id"], "the result answers the call"
    state = terminal.ok("show", weather, "--json").object
    assert (state["active_branch"], sorted(state["branches"])) == ("paris", ["main", "paris"])

    question, first, second = messages(terminal, hello, "--all-branches")
    assert first["parent_id"] == second["parent_id"] == question["id"], "a regeneration is a sibling"
    assert [line["id"] for line in messages(terminal, hello)] == [question["id"], second["id"]]

    (answer,) = messages(terminal, letters, "--role", "assistant")
    assert [part["type"] for part in answer["parts"]] == ["reasoning", "text"]
    assert messages(terminal, holiday)[-1]["text"].startswith("**Holiday Name:** Harmony Day")
    every = [line for context in (weather, letters, hello, holiday) for line in messages(terminal, context)]
    assert {line["outcome"] for line in every if line["streamed"]} == {"completed"}


def test_the_last_three_events_of_the_first_context_are_worth_comparing(terminal: Terminal) -> None:
    weather = terminal.ok("demo", "--speed", "0", "--json").object["context_ids"][0]
    last = terminal.ok("history", weather, "--json").lines[-3:]
    assert [line["type"] for line in last] == ["message.appended", "context.updated", "branch.switched"]


def test_it_tells_one_story_in_six_chapters(told: Ran) -> None:
    chapters = re.findall(r"^(\d)  (\S.*)$", told.out, re.MULTILINE)
    assert chapters == [
        ("1", "Record"),
        ("2", "The contexts"),
        ("3", "One context, now and three events ago"),
        ("4", "The difference"),
        ("5", "An answer once more, as it was timed"),
        ("6", "What next"),
    ]
    assert told.out.count("✓ ") == len(RECORDINGS)
    assert "587 chunks in " in told.out
    assert '~ title           "Weather" → "Weather in two cities"' in told.out
    assert "~ active branch   main → paris" in told.out
    assert 'The word "strawberry" contains three "r"s.' in told.out
    assert told.err == ""


def test_a_pipe_gets_plain_lines_of_readable_length(told: Ran) -> None:
    assert "\x1b" not in told.out
    story = told.out.split("6  What next")[0]
    assert max(map(cell_len, story.splitlines())) <= 96


@pytest.mark.parametrize("columns", [80, 100])
def test_a_terminal_sees_it_alive_and_in_its_width(columns: int, data_dir: Path) -> None:
    written = on_terminal("demo", "--speed", "0", "--data", data_dir, columns=columns)
    assert "\x1b[?25l" in written, "nothing moves"
    lines = [ESCAPE.sub("", line) for line in written.split("6  \x1b")[0].splitlines()]
    assert max(map(cell_len, lines)) <= columns
    calm = on_terminal("demo", "--speed", "0", "--data", data_dir, columns=columns, NO_COLOR="1")
    assert not re.search(r"\x1b\[[0-9;]*3[0-7]", calm)


def test_what_it_suggests_next_works(told: Ran, terminal: Terminal) -> None:
    commands = re.findall(r"^ +python -m turnlog (.+)$", told.out.split("What next")[1], re.MULTILINE)
    assert len(commands) == 7
    for command in commands:
        arguments = shlex.split(command)
        at = arguments.index("--data")
        assert Path(arguments[at + 1]).resolve() == terminal.data
        del arguments[at : at + 2]
        if "--follow" in arguments:
            arguments.remove("--follow")
        if arguments[0] == "replay":
            arguments[-1] = "0"
        assert terminal.ok(*arguments).out


def test_a_second_run_adds_its_conversations_and_says_so(terminal: Terminal) -> None:
    first = terminal.ok("demo", "--speed", "0", "--json").object["context_ids"]
    second = terminal.ok("demo", "--speed", "0").out
    assert "every run adds its own" in second
    contexts = [line["id"] for line in terminal.ok("contexts", "--json").lines]
    assert len(contexts) == 8
    assert set(first) == set(contexts[4:])
    assert terminal.ok("verify", "--json").object["sound"] is True


def test_its_recordings_are_those_of_the_fixtures_and_are_played_in_order() -> None:
    files = {path.relative_to(FIXTURES).as_posix() for path in FIXTURES.glob("*/*.txt")}
    assert files == {f"{recording.dialect}/{recording.file}" for recording in RECORDINGS}
    readme = (FIXTURES / "README.md").read_text("utf-8")
    for recording in RECORDINGS:
        assert f"| {recording.dialect}/{recording.file} | {recording.model}" in readme
        times = [recording.due(number) for number in range(sum(1 for _ in recording.frames()))]
        assert all(a < b for a, b in pairwise(times))
        assert times[0] == recording.first_seconds
        assert times[-1] < 6


def test_its_timelines_have_the_pace_of_the_play(terminal: Terminal) -> None:
    told = terminal.ok("demo", "--speed", "50", "--json").object
    *_, done = terminal.ok("replay", told["message_ids"][1], "--speed", "0", "--json").lines
    assert done["chunks"] == 218
    assert 0.04e6 < done["recorded_us"] < 2e6


def test_an_interrupted_demo_leaves_a_sound_log_and_no_open_stream(terminal: Terminal) -> None:
    terminal.ok("demo", "--speed", "0", "--json")
    head = terminal.ok("stats", "--json").object["store"]["position"]
    follow = ["events", "--follow", "--after", str(head), "--json", "--data", terminal.data]
    with process(follow) as reader, process(["demo", "--data", terminal.data]) as demo:
        assert reader.stdout is not None
        assert any(b"stream.chunk_received" in line for line in reader.stdout)
        demo.send_signal(signal.SIGINT)
        out, err = demo.communicate(timeout=SECONDS_MAX)
        assert (demo.returncode, err) == (130, b"")
        assert b"Traceback" not in out
    assert {line["open_streams"] for line in terminal.ok("contexts", "--json").lines} == {0}
    outcomes = [
        line["outcome"] for line in terminal.ok("history", "@latest", "--json").lines if line["outcome"]
    ]
    assert outcomes[-1] == "aborted"
    assert terminal.ok("verify", "--json").object["sound"] is True
