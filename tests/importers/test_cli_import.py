"""``turnlog import``, its undoing and ``turnlog migrate``, as they are typed."""

from __future__ import annotations

import io
import os
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import msgspec
import pytest
from commands import Ran, Terminal
from conversations import Plain, conversation, identifier, write
from copilot_stores import plain
from legacy import write_gen3, write_json

import turnlog.cli.importing
from eventstore.environment import WriterLock
from eventstore.errors import Refused
from turnlog.importers.conversation import Importer, Message, Problem
from turnlog.importers.source.files import Source, stable_id


def detect(source: Source, insist: str | None) -> list[Importer]:
    importer = Plain()
    if insist not in (None, importer.format) or not importer.recognises(source):
        raise Refused("nothing_recognised", "no such format here")
    return [importer]


@pytest.fixture
def terminal(data_dir: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Terminal:
    monkeypatch.setattr(turnlog.cli.importing, "detect", detect)
    monkeypatch.chdir(data_dir)  # where the backups go
    return Terminal(data_dir / "store", capsys)


@pytest.fixture
def source(data_dir: Path) -> Path:
    path = data_dir / "conversations"
    write(path, [conversation(n, texts=2) for n in range(3)])
    return path


def saying(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO(text))


def summary(ran: Ran) -> dict[str, Any]:
    assert ran.lines[-1]["type"] == "summary"
    return ran.lines[-1]


def ids(terminal: Terminal) -> set[str]:
    return {line["id"] for line in terminal.ok("contexts", "--json").lines}


def test_a_store_is_imported_in_one_command(terminal: Terminal, source: Path) -> None:
    ran = terminal.ok("import", source, "--yes")
    assert ran.out.splitlines() == [
        "3 contexts: 3 created, 0 updated, 0 unchanged, 0 failed",
        "written: 6 messages, 9 chunks of 6 and 9 found",
        "verified: 3 contexts",
        "0 problems, 0 warnings",
    ]
    assert "backed up 3 files" in ran.err
    (report,) = Path("backups").resolve().glob("*/report-1.ndjson")
    assert ran.err.endswith(f"undo: turnlog import undo {report} --data {terminal.data}\n")
    assert ids(terminal) == {str(identifier(n)) for n in range(3)}
    again = terminal.ok("import", source, "--yes", "--json")
    assert (summary(again)["unchanged"], summary(again)["verified"]) == (3, 3)


def test_json_is_the_report(terminal: Terminal, source: Path, data_dir: Path) -> None:
    kept = data_dir / "kept.ndjson"
    ran = terminal.ok("import", source, "--yes", "--json", "--report", kept)
    assert [line["type"] for line in ran.lines] == ["import", *["context"] * 3, "summary"]
    written = [msgspec.json.decode(line) for line in kept.read_bytes().splitlines()]
    assert written == ran.lines
    (backup,) = (data_dir / "backups").iterdir()
    assert (backup / "report-1.ndjson").read_bytes() == kept.read_bytes()
    assert written[0]["report"] == str(backup / "report-1.ndjson")
    assert terminal.ok("import", source, "--dry-run", "--json").lines[0]["report"] is None


@pytest.mark.parametrize("data", ["there", "missing", "without a log"])
def test_a_dry_run_writes_nothing(data: str, terminal: Terminal, source: Path, data_dir: Path) -> None:
    if data == "there":
        terminal.ok("demo")
    elif data == "without a log":
        terminal.ok("keys", "create", "--role", "reader")
    before = sorted(data_dir.rglob("*"))
    ran = terminal.ok("import", source, "--dry-run")
    *told, summary = ran.out.splitlines()[:4]
    ids = sorted(str(identifier(n)) for n in range(3))
    assert sorted(told) == [f"create {one} {one}.conversation 2 messages, 3 chunks" for one in ids]
    assert summary.startswith("3 contexts: 3 would be created")
    assert sorted(data_dir.rglob("*")) == before


@pytest.mark.parametrize("answer", ["", "y\n", "no\n"])
def test_nothing_happens_without_a_yes(
    answer: str, terminal: Terminal, source: Path, monkeypatch: pytest.MonkeyPatch, data_dir: Path
) -> None:
    saying(monkeypatch, answer)
    ran = terminal("import", source, "--json")
    assert (ran.code, ran.out) == (2, "")
    assert "3 contexts, 6 messages and 9 chunks" in ran.err
    assert "not_confirmed" in ran.err
    assert not (data_dir / "backups").exists()
    assert not terminal.data.exists()


def test_a_yes_goes_on(terminal: Terminal, source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    saying(monkeypatch, "yes\n")
    assert "3 created" in terminal.ok("import", source).out


def test_what_fails_is_told_and_ends_with_one(terminal: Terminal, source: Path) -> None:
    (source / "broken.conversation").write_bytes(b"\xc1")
    ran = terminal("import", source, "--yes")
    assert ran.code == 1
    assert "problem broken.conversation $: " in ran.err
    assert "(not_msgpack)" in ran.err
    assert "3 created" in ran.out


def test_a_conflict_is_told_with_both_texts(terminal: Terminal, source: Path) -> None:
    terminal.ok("import", source, "--yes")
    changed = conversation(0, texts=3, config={})
    first = msgspec.structs.replace(changed.messages[0], role="system")
    write(source, [msgspec.structs.replace(changed, messages=(first, *changed.messages[1:]))])
    ran = terminal("import", source, "--yes")
    assert ran.code == 1
    assert f'message {first.id} role: "system" in the source, "user" here' in ran.err
    assert "1 failed" in ran.out


def test_nothing_that_a_terminal_obeys_is_printed(
    terminal: Terminal, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    evil = "\x1b]0;owned\x07 \u202egnp \x9b2J"
    name = "[bold]\x1b[2J.conversation"
    told = Problem(name, "orphan", f"kept {evil}", evil, warning=True)
    first = Message(identifier("m"), None, "main", "user", (), message_type="plan", metadata={evil: evil})
    odd = conversation("odd", messages=(first,), branches={"main": first.id}, warnings=(told,))
    write(source, [odd], name)
    (source / f"broken{name}").write_bytes(b"\xc1")
    ran = terminal("import", source, "--yes")
    changed = msgspec.structs.replace(first, metadata={evil: "other"})
    write(source, [msgspec.structs.replace(odd, messages=(changed,), title="new")], name)
    again = terminal("import", source, "--yes", "--delete-source")
    saying(monkeypatch, "yes\n")
    old = terminal("migrate", "-l", source, "-s", terminal.data)
    for text in (ran.err, again.err, old.out):
        assert name.replace("\x1b", "␛") in text
        assert not set(text) & set("\x1b\x07\x9b\u202e")
    assert ("warning" in ran.err, "conflict" in again.err) == (True, True)
    assert "Validation failed: metadata" in old.out
    assert "problem broken[bold]␛[2J.conversation" in ran.err, "what looks like markup is text"


def test_only_and_workspace(terminal: Terminal, source: Path) -> None:
    chosen = [str(identifier(n)) for n in (0, 2)]
    terminal.ok("import", source, "--yes", "--workspace", "old", "--only", *chosen)
    assert ids(terminal) == set(chosen)
    assert {line["workspace"] for line in terminal.ok("contexts", "--json").lines} == {"old"}
    assert terminal("import", source, "--yes", "--only", "nonsense").code == 3


def test_a_context_may_be_asked_for_by_the_name_that_the_source_gives_it(
    data_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    terminal = Terminal(data_dir / "store", capsys)
    for name in ("first", "second"):
        session = {"id": name, "messages": [{"role": "user", "content": name}], "created_at": "2026-02-01"}
        write_json(data_dir / "source" / f"{name}.json", session)
    backups = data_dir / "backups"
    options = ("--yes", "--backup-dir", backups)
    terminal.ok("import", data_dir / "source", *options, "--only", "second")
    (line,) = terminal.ok("contexts", "--json").lines
    assert line["id"] == str(stable_id("copilot_chat", "second"))
    ran = terminal("import", data_dir / "source", *options, "--only", line["id"].replace("-", ""), "third")
    assert ran.code == 3
    assert "problem the source has no context third (context_not_found)" in ran.err


def test_nothing_is_deleted_through_a_link_to_the_source(
    terminal: Terminal, source: Path, data_dir: Path
) -> None:
    (data_dir / "link").symlink_to(source)
    ran = terminal("import", data_dir / "link", "--yes", "--delete-source")
    assert ran.code == 2
    assert "is a symbolic link" in ran.err
    assert len(list(source.iterdir())) == 3
    assert terminal.ok("import", data_dir / "link", "--yes").out.startswith("3 contexts: 3 created")


def test_another_workspace_later_is_told_as_what_it_is(terminal: Terminal, source: Path) -> None:
    terminal.ok("import", source, "--yes")
    ran = terminal("import", source, "--yes", "--workspace", "other")
    assert ran.code == 1
    assert 'workspace: it stays in "default" and is not moved to "other"' in ran.err


def test_a_context_that_is_not_in_the_source_is_not_found(terminal: Terminal, source: Path) -> None:
    missing = str(identifier("missing"))
    ran = terminal("import", source, "--yes", "--only", str(identifier(0)), missing)
    assert ran.code == 3
    assert f"problem the source has no context {missing} (context_not_found)" in ran.err
    (source / "broken.conversation").write_bytes(b"\xc1")
    write(source, [conversation(0, config={"prompt": "x" * 300_000})])
    assert terminal("import", source, "--yes", "--only", str(identifier(0)), missing).code == 1


def test_a_deleted_source_comes_back_when_the_import_is_undone(
    terminal: Terminal, source: Path, data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    contents = {path.name: path.read_bytes() for path in source.iterdir()}
    ran = terminal.ok("import", source, "--yes", "--delete-source")
    assert "deleted: 3 source files" in ran.out
    assert list(source.iterdir()) == []
    (report,) = (data_dir / "backups").glob("*/report-1.ndjson")
    saying(monkeypatch, "no\n")
    assert terminal("import", "undo", report).code == 2
    assert terminal.ok("import", "undo", report, "--yes").out == "undone: 3 contexts, 3 files, 0 failed\n"
    assert {path.name: path.read_bytes() for path in source.iterdir()} == contents
    assert ids(terminal) == set()


def test_undoing_tells_each_outcome(terminal: Terminal, source: Path, data_dir: Path) -> None:
    report = data_dir / "report.ndjson"
    terminal.ok("import", source, "--yes", "--delete-source", "--report", report)
    (source / f"{identifier(0)}.conversation").write_text("mine")
    ran = terminal("import", "undo", report, "--yes", "--json")
    assert ran.code == 1
    assert ran.lines[-1] == {"contexts": 2, "files": 2, "failed": 2, "updates_left": 0}
    assert sorted(line["outcome"] for line in ran.lines[:-1]) == [
        "another file is there",
        *["deleted"] * 2,
        "its file could not be put back: it stays",
        *["restored"] * 2,
    ]


def test_undoing_twice_undoes_nothing_the_second_time(
    terminal: Terminal, source: Path, data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    report = data_dir / "report.ndjson"
    terminal.ok("import", source, "--yes", "--report", report)
    terminal.ok("import", "undo", report, "--yes")
    saying(monkeypatch, "yes\n")
    ran = terminal.ok("import", "undo", report)
    assert "Delete 0 contexts and put back 0 files?" in ran.err
    assert ran.out == "undone: 0 contexts, 0 files, 0 failed\n"


def test_undoing_says_which_contexts_it_leaves_as_they_are(
    terminal: Terminal, source: Path, data_dir: Path
) -> None:
    terminal.ok("import", source, "--yes")
    write(source, [conversation(0, texts=4)])
    report = data_dir / "report.ndjson"
    terminal.ok("import", source, "--yes", "--report", report)
    ran = terminal.ok("import", "undo", report, "--yes")
    assert ran.out.splitlines() == [
        "undone: 0 contexts, 0 files, 0 failed",
        "1 updated context is left as it is: what an import adds to a context stays",
    ]
    assert terminal.ok("import", "undo", report, "--yes", "--json").lines[-1]["updates_left"] == 1


def test_what_was_told_comes_before_the_question(
    terminal: Terminal, source: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    both = tmp_path / "both"
    with both.open("a") as out, both.open("a", buffering=1) as errors:  # buffered as a pipe and stderr are
        monkeypatch.setattr(sys, "stdout", out)
        monkeypatch.setattr(sys, "stderr", errors)
        saying(monkeypatch, "no\n")
        terminal("migrate", "-l", source)
    text = both.read_text()
    assert text.index("Found 3 legacy contexts") < text.index("Do you want to proceed")


@pytest.mark.parametrize("why", ["writer_locked", "directory_foreign", "file"])
@pytest.mark.parametrize("verb", [("import",), ("migrate", "-l")])
def test_a_store_that_cannot_be_written_is_refused_before_anything_is_asked_or_copied(
    why: str, verb: tuple[str, ...], terminal: Terminal, source: Path, data_dir: Path
) -> None:
    with ExitStack() as held:
        if why == "writer_locked":
            terminal.ok("demo", "--speed", "0")
            held.callback(WriterLock(terminal.data).release)
        elif why == "directory_foreign":
            terminal.data.mkdir()
            (terminal.data / "holiday.jpg").touch()
        else:
            terminal.data.touch()
        ran = terminal(*verb, source, "--json")
    assert "Type yes" not in ran.err
    assert "proceed" not in ran.err
    assert (ran.code, ran.error["code"]) == (6, why if why != "file" else "storage_failed")
    assert not (data_dir / "backups").exists()


@pytest.mark.parametrize("inside", ["data", "backups"])
def test_the_source_must_not_hold_what_is_written(
    inside: str, terminal: Terminal, source: Path, data_dir: Path
) -> None:
    if inside == "data":
        terminal.data = source / "store"
        ran = terminal("import", source, "--yes", "--json")
    else:
        ran = terminal("import", source, "--yes", "--json", "--backup-dir", source / "backups")
    assert (ran.code, ran.error["code"]) == (2, "invalid_argument")


def test_a_source_that_is_missing_or_unknown_is_refused(terminal: Terminal, data_dir: Path) -> None:
    assert terminal("import", data_dir / "missing", "--yes", "--json").error["code"] == "input_unreadable"
    (data_dir / "empty").mkdir()
    assert terminal("import", data_dir / "empty", "--yes").code == 2
    assert not terminal.data.exists()


NOT_UTF_8 = os.fsdecode(b"caf\xe9")


@pytest.mark.parametrize("which", ["folder", "file", "data", "backups", "above"])
def test_a_place_whose_name_is_not_utf_8_is_refused(
    which: str, terminal: Terminal, source: Path, data_dir: Path
) -> None:
    odd, place, backups = data_dir / NOT_UTF_8, source, data_dir / "backups"
    match which:
        case "folder":
            place = source.rename(odd)
        case "file":
            place = next(source.iterdir()).rename(odd)
        case "above":
            odd.mkdir()
            place = source.rename(odd / "source")
        case "data":
            terminal.data = odd
        case _:
            backups = odd
    ran = terminal("import", place, "--yes", "--json", "--backup-dir", backups)
    assert (ran.code, ran.error["code"]) == (2, "invalid_argument")
    assert "is not UTF-8" in ran.error["message"]
    assert not backups.exists()


def test_a_file_whose_name_is_not_utf_8_is_told_and_the_rest_goes_on(
    terminal: Terminal, source: Path, data_dir: Path
) -> None:
    (source / NOT_UTF_8).write_text("x")
    (source / f"{NOT_UTF_8}s").mkdir()
    (source / f"{NOT_UTF_8}s" / "below.conversation").write_text("x")
    ran = terminal("import", source, "--yes", "--delete-source")
    assert ran.code == 1
    assert r"problem caf\xe9: its name is not UTF-8 (name_not_utf8)" in ran.err
    assert r"problem caf\xe9s/below.conversation: " in ran.err
    assert "3 created" in ran.out
    assert sorted(source.iterdir()) == [source / NOT_UTF_8, source / f"{NOT_UTF_8}s"]


def test_migrate_speaks_the_words_of_the_old_tool(
    terminal: Terminal, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dry = terminal.ok("migrate", "--dry-run")
    found = sorted(str(identifier(n)) for n in range(3))
    assert dry.out.splitlines() == [
        "=== Storage Migration Tool ===",
        "Found 3 legacy contexts:",
        *(f"  {number}. {context_id}" for number, context_id in enumerate(found, 1)),
        "✓ Dry run mode - no changes made.",
    ]
    saying(monkeypatch, "no\n")
    assert terminal.ok("migrate").out.endswith("Migration cancelled.\n")
    saying(monkeypatch, "YES\n")
    ran = terminal.ok("migrate", "-d")
    assert ran.out.splitlines()[-5:] == [
        "=== Migration Summary ===",
        "Total contexts: 3",
        "Successful: 3",
        "Failed: 0",
        "Success rate: 100.0%",
    ]
    assert list(source.iterdir()) == []
    assert terminal.ok("migrate").out.endswith("No legacy contexts found.\n")


def test_migrate_ends_with_one_when_a_context_failed(
    terminal: Terminal, source: Path, data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(source, [conversation("huge", config={"prompt": "x" * 300_000})])
    (source / "broken.conversation").write_bytes(b"\xc1")
    saying(monkeypatch, "yes\n")
    ran = terminal("migrate", "-l", source, "-s", data_dir / "storage", "-b", data_dir / "copies")
    assert ran.code == 1
    assert ran.out.splitlines()[-4:-2] == ["Success rate: 60.0%", "Failed migrations:"]
    assert f"  - {identifier('huge')}: Save failed: " in ran.out
    assert "  - broken.conversation: Load failed: " in ran.out
    assert (data_dir / "storage" / "log").exists()
    assert len(list((data_dir / "copies").iterdir())) == 1


def test_migrate_counts_each_context_once(
    data_dir: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    context = plain("a", "b", "c")
    for node in list(context["message_pool"].values())[1:]:
        del node["message"]["role"]
    write_gen3(data_dir, context)
    (data_dir / "conversations" / f"{identifier('bad')}.json").write_text("{")
    saying(monkeypatch, "yes\n")
    monkeypatch.chdir(data_dir)
    ran = Terminal(data_dir / "store", capsys)("migrate")
    assert ran.code == 1
    words = [line for line in ran.out.splitlines() if line.startswith(("Total", "Succ", "Failed:", "  - "))]
    assert words[:3] == ["Total contexts: 2", "Successful: 0", "Failed: 2"]
    assert sum("Load failed" in line for line in words) == 3
