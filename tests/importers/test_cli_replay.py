"""``turnlog import`` of what ``turnlog export`` wrote as NDJSON: replayed into another store, whole."""

from __future__ import annotations

import io
from pathlib import Path
from uuid import UUID

import msgspec
import pytest
from commands import Terminal

from eventstore.events import ContextCreated, Event, StateChanged

FIGURES = ("commits", "written", "unchanged", "dropped", "failed", "problems")


@pytest.fixture
def terminal(data_dir: Path, capsys: pytest.CaptureFixture[str]) -> Terminal:
    return Terminal(data_dir, capsys)


@pytest.fixture
def lines(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Path:
    """The export of a store."""
    first = Terminal(tmp_path / "first", capsys)
    first.ok("demo", "--speed", "0")
    first.ok("export", "--all", "--format", "ndjson", "--out", tmp_path / "out")
    return tmp_path / "out" / "turnlog.ndjson"


def renamed(event: Event) -> Event | None:
    """A transform: another workspace, no states."""
    if isinstance(event, ContextCreated):
        return msgspec.structs.replace(event, workspace="moved")
    return None if isinstance(event, StateChanged) else event


def test_an_export_is_recognised_and_replayed_and_exported_the_same(
    terminal: Terminal, lines: Path, tmp_path: Path
) -> None:
    told = terminal.ok("import", lines.parent, "--yes", "--json").object
    assert told["type"] == "replayed"
    assert [told[name] for name in FIGURES] == [told["commits"], told["commits"], 0, 0, 0, 0]
    again = terminal.ok("import", lines, "--format", "turnlog", "--yes", "--json").object
    assert [again[name] for name in FIGURES] == [told["commits"], 0, told["commits"], 0, 0, 0]
    terminal.ok("export", "--all", "--format", "ndjson", "--out", tmp_path / "again")
    assert (tmp_path / "again" / "turnlog.ndjson").read_bytes() == lines.read_bytes()
    assert terminal.ok("verify", "--json").object["sound"]


def test_a_transform_changes_what_is_replayed(terminal: Terminal, lines: Path) -> None:
    terminal.ok("import", lines, "--transform", f"{__name__}:renamed", "--yes")
    assert {line["workspace"] for line in terminal.ok("contexts", "--json").lines} == {"moved"}


def nothing(event: Event) -> None:
    """A transform that drops everything."""


def failing(event: Event) -> Event:
    """A transform with a defect."""
    raise ValueError("a defect")


@pytest.mark.parametrize(("transform", "figure"), [("nothing", "dropped"), ("failing", "failed")])
def test_what_a_transform_leaves_out_is_counted(
    transform: str, figure: str, terminal: Terminal, lines: Path
) -> None:
    commits = terminal.ok("import", lines, "--dry-run", "--json").object["commits"]
    ran = terminal("import", lines, "--transform", f"{__name__}:{transform}", "--yes", "--json")
    told = ran.lines[-1]
    assert (told["commits"], told[figure], told["written"]) == (commits, commits, 0)
    for problem in ran.lines[:-1]:
        assert problem["code"] == "invalid_transform" or str(problem["context_id"]) in problem["reason"]
    ran = terminal("import", lines, "--transform", f"{__name__}:{transform}", "--yes")
    assert f"{commits} {figure}" in ran.out


def test_looking_writes_nothing_and_a_real_one_asks(
    terminal: Terminal, lines: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = terminal.ok("import", lines, "--dry-run", "--json").object
    assert told["commits"] > told["written"] == 0
    assert not (terminal.data / "log").exists()
    monkeypatch.setattr("sys.stdin", io.StringIO("no\n"))
    ran = terminal("import", lines)
    assert "(not_confirmed)" in ran.err
    assert not (terminal.data / "log").exists()


def test_what_cannot_be_read_or_written_is_told(terminal: Terminal, lines: Path) -> None:
    terminal.ok("import", lines, "--yes")
    content = lines.read_bytes()
    lines.write_bytes(content.replace(b'"type":"context.created"', b'"type":"context.imagined"', 1))
    ran = terminal("import", lines, "--yes", "--json")
    *problems, told = ran.lines
    assert ran.code == 1
    assert {problem["code"] for problem in problems} == {
        "not_an_event",
        "digest_differs",
        "context_incomplete",
    }
    assert told["problems"] == len(problems)
    header, first, *_ = content.splitlines(keepends=True)
    lines.write_bytes(header + first.replace(b'"version":1', b'"version":999'))
    ran = terminal("import", lines, "--yes", "--json")
    assert [line.get("code") for line in ran.lines] == ["file_torn", "wrong_expected_version", None]
    assert (ran.lines[1]["path"], ran.lines[1]["place"]) == (lines.name, "line 2")
    assert (ran.code, ran.lines[-1]["failed"], ran.lines[-1]["problems"]) == (1, 1, 1)


@pytest.mark.parametrize("option", [("--delete-source",), ("--workspace", "w"), ("--only", str(UUID(int=1)))])
def test_what_is_for_other_formats_is_refused(
    option: tuple[str, ...], terminal: Terminal, lines: Path
) -> None:
    ran = terminal("import", lines, *option, "--yes", "--json")
    assert (ran.code, ran.error["code"]) == (2, "invalid_argument")
    other = lines.with_name("other.json")
    other.write_text("{}")
    ran = terminal("import", other, "--transform", f"{__name__}:renamed", "--yes", "--json")
    assert (ran.code, ran.error["code"]) == (2, "invalid_argument")
