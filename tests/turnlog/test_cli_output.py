"""What reaches a terminal, and what a pipe: untrusted text, colours, widths, the tree of a conversation."""

from __future__ import annotations

import io
import os
import re
import subprocess
import sys
from pathlib import Path

import anyio
import pytest
from commands import WIRE, Terminal, on_terminal
from rich.cells import cell_len
from rich.console import Console

import turnlog
from eventstore.content import ToolCallPart, ToolResultPart
from turnlog.cli.output import Output
from turnlog.cli.waiting import progress

ESCAPE = re.compile(r"\x1b(\[[0-9;?]*[a-zA-Z]|\][^\x07]*\x07)")
HOSTILE = "\x1b[2J[red]wiped[/red] \x1b]0;mine\x07 [link=http://x]here[/link]\r:smile:\u202e\x9b"
SHOWN = "␛[2J[red]wiped[/red] ␛]0;mine␇ [link=http://x]here[/link]␍:smile:\ufffd\ufffd"


@pytest.fixture
def terminal(data_dir: Path, capsys: pytest.CaptureFixture[str]) -> Terminal:
    return Terminal(data_dir, capsys)


def make(data: Path) -> None:
    """A context whose every word is hostile, with a branch and a tool call."""

    async def write() -> None:
        async with turnlog.open(data) as log:
            context = await log.create_context(
                title=HOSTILE, workspace="w\x1b[2J", config={HOSTILE: HOSTILE}, attributes={"a": [HOSTILE]}
            )
            question = await context.append_message("user", HOSTILE + "\n" + "word " * 60)
            call = ToolCallPart(HOSTILE, HOSTILE, HOSTILE)
            await context.append_message("assistant", [call], message_type="t\x1b[2J")
            result = ToolResultPart(HOSTILE, {HOSTILE: HOSTILE}, is_error=True)
            await context.append_message("tool", [result])
            async with context.record(model=HOSTILE, parent_id=question, branch="b\x1b[2J") as stream:
                for kind in ("reasoning", "text", "refusal"):
                    await stream.write(HOSTILE, kind=kind)
                stream.finalize("failed", finish_reason=HOSTILE, error={"message": HOSTILE})
            await context.set_state("s\x1b[2J", {"d": HOSTILE})
            await context.update({"tags": [HOSTILE], "title": HOSTILE * 2})

    anyio.run(write)


CALLS = (
    "contexts",
    "show @latest",
    "show @latest --full",
    "messages @latest --all-branches",
    "history @latest",
    "diff @latest v1",
    "events",
    "stats",
    "verify",
)


@pytest.mark.parametrize("call", CALLS)
def test_nothing_that_was_stored_reaches_a_pipe_as_a_command(call: str, terminal: Terminal) -> None:
    make(terminal.data)
    ran = terminal.ok(*call.split())
    controls = {c for c in ran.out if ord(c) < 32 or 127 <= ord(c) < 160 or c == "\u202e"}
    assert controls == {"\n"}
    if call.split()[0] in ("contexts", "show", "messages", "diff"):
        assert SHOWN in ran.out


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("columns", [80])
def test_a_terminal_obeys_only_us(call: str, columns: int, terminal: Terminal) -> None:
    make(terminal.data)
    shown = on_terminal(*call.split(), "--data", terminal.data, columns=columns)
    commands = {found[0] for found in ESCAPE.finditer(shown)}
    assert all(re.fullmatch(r"\x1b\[[0-9;]*m", command) for command in commands), commands
    if call != "events":
        assert commands, "there is no colour"
    left = ESCAPE.sub("", shown)
    assert {c for c in left if ord(c) < 32 or 127 <= ord(c) < 160} <= {"\r", "\n"}


@pytest.mark.parametrize("call", ["show @latest", "messages @latest", "history @latest", "diff @latest v1"])
@pytest.mark.parametrize("columns", [60, 100])
def test_lines_fit_a_terminal_and_stay_readable(call: str, columns: int, terminal: Terminal) -> None:
    terminal.ok("demo", "--speed", "0", "--json")
    newest = terminal.ok("contexts", "--json").lines
    context = next(line["id"] for line in newest if line["title"] == "Weather in two cities")
    written = on_terminal(*call.replace("@latest", context).split(), "--data", terminal.data, columns=columns)
    lines = [ESCAPE.sub("", line) for line in written.splitlines()]
    assert max(map(cell_len, lines)) <= columns
    if call.startswith(("show", "messages")):
        assert any("What is the weather in" in line for line in lines)


def test_a_pipe_gets_whole_texts_on_one_row_without_padding(terminal: Terminal) -> None:
    terminal.ok("record", WIRE / "openai_chat" / "openai-text.chunks.txt", "--dialect", "openai_chat")
    text = terminal.ok("messages", "@latest", "--json").object["text"]
    rows = terminal.ok("messages", "@latest").out.splitlines()
    assert len(rows) == 2
    assert " ".join(rows[1].split()).endswith(" ".join(text.split()))
    message_id = terminal.ok("messages", "@latest", "--json").object["id"]
    assert terminal.ok("replay", message_id, "--speed", "0").out == text + "\n"
    shown = terminal.ok("show", "@latest").out
    for line in text.strip().splitlines():
        assert line.rstrip() in shown
    assert not [line for line in shown.splitlines() if line != line.rstrip()]


def test_a_pipe_may_be_told_to_have_colours_and_a_terminal_to_have_none(terminal: Terminal) -> None:
    terminal.ok("demo", "--speed", "0", "--json")
    plain = on_terminal("contexts", "--data", terminal.data, NO_COLOR="1")
    assert not re.search(r"\x1b\[[0-9;]*3[0-7]", plain)


def test_a_conversation_branches_where_it_was_edited_and_answered_anew(terminal: Terminal) -> None:
    weather, _, hello, _ = terminal.ok("demo", "--speed", "0", "--json").object["context_ids"]
    tree = [
        line.split("  …")[0].rstrip()
        for line in terminal.ok("show", weather).out.splitlines()
        if "●─" in line
    ]
    assert tree == [
        "├──●─ user",
        "│  ●─ assistant · deepseek-reasoner",
        "│  ●─ tool",
        "│  ●─ assistant · claude-haiku-4-5-20251001  ◂ main",
        "╰──●─ user",
        "   ●─ assistant · claude-sonnet-4-20250514",
        "   ●─ tool  ◂ paris",
    ]
    tree = [
        line.split("  …")[0].rstrip() for line in terminal.ok("show", hello).out.splitlines() if "●─" in line
    ]
    assert tree == [
        "●─ user",
        "├──●─ assistant · claude-3-opus-latest",
        "╰──●─ assistant · claude-sonnet-4-5-20250929  ◂ main",
    ]


def test_a_long_conversation_shows_its_newest_messages_and_says_so(terminal: Terminal) -> None:
    async def write() -> None:
        async with turnlog.open(terminal.data) as log:
            context = await log.create_context()
            for number in range(60):
                await context.append_message("user", f"message {number}.")

    anyio.run(write)
    shown = terminal.ok("show", "@latest").out
    assert "the newest 50 of 60 messages:" in shown
    assert "message 9." not in shown
    assert "message 10." in shown
    assert terminal.ok("show", "@latest", "--last", "60").out.count("●─") == 60
    assert len(terminal.ok("messages", "@latest", "--json").lines) == 60
    last = terminal.ok("messages", "@latest", "--last", "2", "--json").lines
    assert [line["text"] for line in last] == ["message 58.", "message 59."]


def test_a_redacted_message_shows_nothing_at_any_moment(terminal: Terminal) -> None:
    async def write() -> None:
        async with turnlog.open(terminal.data) as log:
            context = await log.create_context()
            message_id = await context.append_message("user", "a secret")
            await context.redact(message_id, "asked for")

    anyio.run(write)
    for options in ((), ("--at", "v2")):
        shown = terminal.ok("show", "@latest", *options).out
        assert "secret" not in shown
        assert "(redacted)" in shown
    (line,) = terminal.ok("messages", "@latest", "--json").lines
    assert (line["redacted"], line["text"], line["parts"]) == (True, "", [])
    assert "(redacted)" in terminal.ok("messages", "@latest").out
    assert "- redacted" in terminal.ok("diff", "@latest", "v2").out


def test_a_replay_on_a_terminal_keeps_words_whole_and_shows_the_thoughts(terminal: Terminal) -> None:
    told = terminal.ok("demo", "--speed", "0", "--json").object
    written = on_terminal("replay", told["message_ids"][1], "--speed", "0", "--data", terminal.data)
    *lines, totals = [ESCAPE.sub("", line) for line in written.splitlines()]
    assert totals.startswith("218 chunks in ")
    assert max(map(cell_len, lines)) <= 80
    words = " ".join(lines).split()
    parts = terminal.ok("messages", told["context_ids"][1], "--role", "assistant", "--json").object["parts"]
    thought, said = parts[0]["text"], parts[1]["text"]
    assert words[: len((thought + " " + said).split())] == (thought + " " + said).split()
    piped = terminal.ok("replay", told["message_ids"][1], "--speed", "0")
    assert piped.out == said + "\n"
    assert piped.err.startswith("218 chunks in ")
    assert piped.err.endswith(" · completed (stop)\n")


@pytest.mark.parametrize(("seconds", "shown"), [(0.2, False), (0.4, True)])
@pytest.mark.parametrize("total", [100, None])
def test_only_long_work_shows_its_progress(seconds: float, shown: bool, total: int | None) -> None:
    now = 0.0
    written = io.StringIO()
    output = Output(json=False)
    output.errors = Console(file=written, force_terminal=True, width=80, get_time=lambda: now)
    with progress(output, "working", total) as tell:
        tell(1)
        now = seconds
        tell(50)
    assert ("working" in written.getvalue()) is shown
    assert ("50/100" in written.getvalue()) is (shown and total is not None)


def test_progress_is_silent_where_stderr_is_no_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    with progress(Output(json=False), "working", 100) as tell:
        tell(50)
    assert capsys.readouterr() == ("", "")


def test_both_streams_in_one_file_keep_their_order() -> None:
    lines = "from turnlog.cli.output import Output; o = Output(False); o.line('1'); o.say('2'); o.line('3')"
    command = [sys.executable, "-c", lines]
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    ran = subprocess.run(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=True
    )
    assert ran.stdout.split() == [b"1", b"2", b"3"]
