"""Recording from files and pipes: every form, at any pace, into new and old contexts."""

from __future__ import annotations

import subprocess
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from uuid import UUID

import anyio
import msgspec
import pytest
from commands import SECONDS_MAX, WIRE, Terminal, process, spawn

import turnlog
from turnlog.cli.sources import EVENTS_PER_SECOND, framed, paced, steady

RECORDINGS = sorted(path.relative_to(WIRE) for path in WIRE.glob("*/*.txt"))


@pytest.fixture
def terminal(data_dir: Path, capsys: pytest.CaptureFixture[str]) -> Terminal:
    return Terminal(data_dir, capsys)


@pytest.mark.parametrize("file", RECORDINGS, ids=str)
def test_every_recording_of_a_provider_is_recorded_from_a_file_as_from_a_pipe(
    file: Path, terminal: Terminal
) -> None:
    dialect = file.parent.name
    from_file = terminal.ok("record", WIRE / file, "--dialect", dialect, "--json").object
    call = ("record", "-", "--dialect", dialect, "--json", "--data", terminal.data)
    piped = spawn(*call, stdin=(WIRE / file).read_bytes())
    same = [
        "role",
        "model",
        "chunks",
        "characters",
        "text_bytes",
        "outcome",
        "finish_reason",
        "usage",
        "error",
    ]
    assert [from_file[name] for name in same] == [piped.object[name] for name in same]
    assert from_file["outcome"] in ("completed", "interrupted")
    first, second = terminal.ok("contexts", "--json").lines
    assert (first["title"], second["title"]) == (None, file.name)


def test_an_answer_goes_to_the_context_and_branch_that_are_named(terminal: Terminal) -> None:
    text = WIRE / "anthropic" / "basic_response.txt"
    terminal.ok("record", text, "--dialect", "anthropic", "--title", "Talk", "--prompt", "Hello?")
    terminal.ok("branch", "@latest", "other")
    where = ("--context", "@latest", "--branch", "other")
    ran = terminal.ok("record", text, "--dialect", "anthropic", *where, "--prompt", "More?")
    assert "recorded …" in ran.out
    assert "3 chunks" in ran.out
    assert len(terminal.ok("contexts", "--json").lines) == 1
    for branch, turns in (("main", 1), ("other", 2)):
        lines = terminal.ok("messages", "@latest", "--branch", branch, "--json").lines
        assert [line["role"] for line in lines] == ["user", "assistant"] * turns


def test_the_providers_own_bytes_are_kept_when_asked_to(terminal: Terminal) -> None:
    call = ("record", WIRE / "anthropic" / "basic_response.txt", "--dialect", "anthropic", "--json")
    assert terminal.ok(*call).object["has_raw"] is False
    assert terminal.ok(*call, "--keep-raw").object["has_raw"] is True


def test_a_deleted_context_takes_no_more(terminal: Terminal) -> None:
    text = WIRE / "anthropic" / "basic_response.txt"
    created = terminal.ok("record", text, "--dialect", "anthropic", "--json").object

    async def delete() -> None:
        async with turnlog.open(terminal.data) as log:
            await log.context(UUID(created["context_id"])).delete()

    anyio.run(delete)
    ran = terminal("record", text, "--dialect", "anthropic", "--context", "@latest", "--json")
    assert (ran.code, ran.error["code"]) == (4, "context_deleted")
    assert terminal.ok("contexts", "--json").lines == []
    assert terminal.ok("contexts", "--deleted", "--json").object["deleted"] is True


def test_chunks_are_in_the_log_before_their_stream_ends(terminal: Terminal) -> None:
    text = (WIRE / "anthropic" / "basic_response.txt").read_bytes()
    terminal.ok("record", WIRE / "anthropic" / "basic_response.txt", "--dialect", "anthropic")
    follow = ["events", "--follow", "--after", "4", "--json", "--data", terminal.data]
    record = ["record", "-", "--dialect", "anthropic", "--data", terminal.data]
    with process(follow) as reader, process(record, stdin=subprocess.PIPE) as writer:
        assert writer.stdin is not None
        assert reader.stdout is not None
        deltas: list[str] = []
        for event in text.split(b"\n\n"):
            writer.stdin.write(event + b"\n\n")
            if b"content_block_delta" in event:
                deltas.append(_next_delta(reader.stdout))
        writer.stdin.close()
        writer.stdin = None
        assert writer.wait(SECONDS_MAX) == 0
    assert deltas == ["Hello", " there", "!"]


def _next_delta(lines: Any) -> str:
    for line in lines:
        event = msgspec.json.decode(line)["event"]
        if event["type"] == "stream.chunk_received":
            return event["delta"]
    raise AssertionError("the log ended")


async def _slices(*data: bytes) -> AsyncIterator[bytes]:
    for piece in data:
        yield piece


async def test_a_pace_is_kept_against_absolute_times(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    slept_until: list[float] = []

    async def sleep_until(deadline: float) -> None:
        nonlocal now
        slept_until.append(deadline)
        now = max(now, deadline) + 0.004  # every timer is late

    monkeypatch.setattr(anyio, "current_time", lambda: now)
    monkeypatch.setattr(anyio, "sleep_until", sleep_until)
    source = _slices(b": heartbeat\n\n", *[b"data: {}\n\n"] * 5)
    given = [raw async for raw in paced(framed(source), steady(2.0))]
    gap = 1 / (EVENTS_PER_SECOND * 2)
    assert slept_until == pytest.approx([100 + gap * number for number in range(5)])
    assert b"".join(given) == b": heartbeat\n\n" + b"data: {}\n\n" * 5


@pytest.mark.parametrize("speed", [None, 0, 0.0])
def test_without_a_speed_events_go_as_fast_as_they_come(speed: float | None) -> None:
    assert steady(speed) is None


def test_a_speed_divides_the_time_between_events() -> None:
    once, twice = steady(1), steady(2)
    assert once is not None
    assert twice is not None
    for number in range(10):
        assert once(number) == pytest.approx(2 * twice(number))
