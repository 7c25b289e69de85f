"""How runs end: exit codes, errors told on stderr, nothing created or lost by a refused verb."""

from __future__ import annotations

import fcntl
import signal
import subprocess
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Final
from uuid import UUID

import pytest
from commands import SECONDS_MAX, WIRE, Terminal, process, spawn

import eventstore.process
from eventstore.errors import CODES, Refused, TurnlogError
from turnlog.cli import main
from turnlog.cli.failures import report_of

TEXT: Final = WIRE / "anthropic" / "basic_response.txt"
UNKNOWN: Final = UUID(int=7)


@pytest.fixture
def terminal(data_dir: Path, capsys: pytest.CaptureFixture[str]) -> Terminal:
    return Terminal(data_dir, capsys)


@pytest.fixture
def filled(terminal: Terminal) -> Terminal:
    terminal.ok("record", TEXT, "--dialect", "anthropic")
    return terminal


READING: Final = (
    "contexts",
    "show @latest",
    "messages @latest",
    "replay 0123abcd",
    "history @latest",
    "diff @latest v1 now",
    "events",
    "stats",
    "verify",
)
WRITING: Final = ("branch @latest b", "fork @latest", "rebuild", "sweep")


@pytest.mark.parametrize("call", READING + WRITING)
def test_verbs_that_add_nothing_make_no_directory(call: str, terminal: Terminal) -> None:
    terminal.data = terminal.data / "missing"
    ran = terminal(*call.split(), "--json")
    assert (ran.code, ran.out) == (3, "")
    assert ran.error["code"] == "directory_not_found"
    assert not terminal.data.exists()


@pytest.mark.parametrize(
    ("call", "exit_code", "code"),
    [
        ("nonsense", 2, "invalid_argument"),
        ("show", 2, "invalid_argument"),
        ("show @latest --bogus", 2, "invalid_argument"),
        ("show @latest --at-version many", 2, "invalid_argument"),
        ("show @latest --at-version 0", 3, "version_not_found"),
        ("show @latest --last 0", 2, "invalid_argument"),
        ("messages @latest --role nobody", 2, "invalid_argument"),
        ("events --after -1", 2, "invalid_argument"),
        ("events --limit -1", 2, "invalid_argument"),
        ("events --limit 0", 2, "invalid_argument"),
        ("history @latest --limit 0", 2, "invalid_argument"),
        ("history @latest --after -1", 2, "invalid_argument"),
        ("contexts --limit -1", 2, "invalid_argument"),
        ("contexts --limit 0", 2, "invalid_argument"),
        ("verify --after -1", 2, "invalid_argument"),
        ("show @latest --at-version 1 --at now", 2, "invalid_argument"),
        ("show xyz", 2, "invalid_argument"),
        ("show @latest --at yesterday", 2, "invalid_argument"),
        ("show @latest --at-time 2026-01-31", 2, "invalid_time"),
        ("replay @latest --speed -1", 2, "invalid_argument"),
        (f"show {UNKNOWN}", 3, "context_not_found"),
        ("show deadbeef", 3, "context_not_found"),
        (f"replay {UNKNOWN}", 3, "message_not_found"),
        ("show @latest --at v99", 3, "version_not_found"),
        ("show @latest --at p99", 3, "position_not_found"),
        ("show @latest --at 1999-12-31T23:59:59Z", 3, "moment_before_creation"),
        ("show @latest --at now~99", 3, "moment_before_creation"),
        ("messages @latest --branch none", 3, "branch_not_found"),
        ("branch @latest b --of none", 3, "branch_not_found"),
        ("rebuild none", 3, "unknown_projection"),
        ("contexts --projection no_such_module:thing", 2, "invalid_projection"),
    ],
)
def test_each_refusal_has_its_exit_code_and_error(
    call: str, exit_code: int, code: str, filled: Terminal
) -> None:
    for arguments in (call.split(), [*call.split(), "--json"]):
        ran = filled(*arguments)
        assert ran.code == exit_code, ran.err
        assert ran.out == ""
        assert "Traceback" not in ran.err
    assert ran.error["code"] == code
    assert ran.error["message"]
    assert ran.error["hint"]
    people = filled(*call.split()).err
    assert people.startswith("error: ")
    assert f"({code})" in people
    assert "\nhint: " in people


@pytest.mark.parametrize(
    ("call", "message"),
    [
        ("record file.sse", "--dialect is missing"),
        ("show", "CONTEXT is missing"),
        ("record file.sse --dialect", "--dialect requires an argument"),
    ],
)
def test_what_is_missing_is_named(call: str, message: str, terminal: Terminal) -> None:
    assert message in terminal(*call.split(), "--json").error["message"]


@pytest.mark.parametrize(
    ("call", "data", "code", "message"),
    [
        ("demo", "{file}", "storage_failed", "{file} cannot be used: File exists"),
        ("keys create --role reader", "{file}/in", "storage_failed", "{file}/in cannot be used: Not a dir"),
        ("serve --port 0", "{file}", "storage_failed", "{file}/keys.json cannot be used: Not a directory"),
        (
            "export --all --format ndjson --out {file}",
            "{data}",
            "storage_failed",
            "{file} cannot be used: File",
        ),
        ("migrate-store {data} {file}", "{data}", "storage_failed", "{file} cannot be used: File exists"),
        ("import undo {file}/in", "{data}", "input_unreadable", "cannot read {file}/in: Not a directory"),
        ("import undo {folder}", "{data}", "input_unreadable", "cannot read {folder}: Is a directory"),
        ("record {folder} --dialect anthropic", "{data}", "input_unreadable", "cannot read {folder}: Is a"),
    ],
)
def test_what_the_system_refuses_is_said_in_its_own_words(
    call: str,
    data: str,
    code: str,
    message: str,
    filled: Terminal,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    file = tmp_path / "file"
    file.write_text("x")
    names = {"file": str(file), "folder": str(tmp_path), "data": str(filled.data)}
    terminal = Terminal(Path(data.format(**names)), capsys)
    ran = terminal(*call.format(**names).split(), "--json")
    assert ran.error["code"] == code
    assert message.format(**names) in ran.error["message"]
    assert "Errno" not in ran.err


def test_an_answer_that_is_no_stream_cannot_be_replayed(filled: Terminal) -> None:
    filled.ok("record", TEXT, "--dialect", "anthropic", "--context", "@latest", "--prompt", "Hello?")
    question = filled.ok("messages", "@latest", "--role", "user", "--json").object
    ran = filled("replay", question["id"], "--json")
    assert (ran.code, ran.error["code"]) == (CODES["stream_not_open"].exit, "stream_not_open")


def test_an_ambiguous_id_lists_its_candidates(filled: Terminal) -> None:
    filled.ok("record", TEXT, "--dialect", "anthropic")
    ids = [line["id"] for line in filled.ok("contexts", "--json").lines]
    shared = ids[0][:8]  # a UUID of version 7 begins with the time
    assert all(id_.startswith(shared) for id_ in ids)
    ran = filled("show", shared, "--json")
    assert (ran.code, ran.error["code"]) == (2, "ambiguous_id")
    assert sorted(ran.error["candidates"]) == sorted(ids)
    assert all(f"  {id_}\n" in filled("show", shared).err for id_ in ids)


@pytest.mark.parametrize("cut", [slice(0, 35), slice(-8, None), slice(-4, None)])
def test_a_unique_start_or_end_of_an_id_is_enough(cut: slice, filled: Terminal) -> None:
    filled.ok("record", TEXT, "--dialect", "anthropic")
    for line in filled.ok("contexts", "--json").lines:
        assert filled.ok("show", line["id"][cut], "--json").object["id"] == line["id"]
        assert filled.ok("show", "…" + line["id"][cut].upper(), "--json").object["id"] == line["id"]


@pytest.mark.parametrize("dialect", ["openai_chat", "anthropic"])
def test_what_is_no_stream_is_refused_and_nothing_is_written(
    dialect: str, terminal: Terminal, tmp_path: Path
) -> None:
    file = tmp_path / "notes.txt"
    for content in (b"", b"\n\n", b"just some notes\n", b'{"half": ', b"data: [1, 2]\n\n", b"\xff\xfe\x00"):
        file.write_bytes(content)
        ran = terminal("record", file, "--dialect", dialect, "--json")
        assert (ran.code, ran.error["code"]) == (2, "malformed_stream"), content
    assert list(terminal.data.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        ((TEXT, "--dialect", "morse"), "unknown_dialect"),
        (("missing.txt", "--dialect", "anthropic"), "input_unreadable"),
        ((TEXT.parent, "--dialect", "anthropic"), "input_unreadable"),
        ((TEXT, "--dialect", "anthropic", "--speed", "-1"), "invalid_argument"),
        ((TEXT, "--dialect", "anthropic", "--speed", "nan"), "invalid_argument"),
        ((TEXT, "--dialect", "anthropic", "--context", "@latest", "--title", "T"), "invalid_argument"),
    ],
)
def test_a_recording_that_cannot_begin_leaves_no_directory(
    arguments: tuple[str | Path, ...], code: str, terminal: Terminal
) -> None:
    terminal.data = terminal.data / "new"
    ran = terminal("record", *arguments, "--json")
    assert (ran.code, ran.error["code"]) == (2, code)
    assert not terminal.data.exists()


def test_a_stream_that_breaks_in_the_middle_keeps_what_came_and_says_so(
    terminal: Terminal, tmp_path: Path
) -> None:
    file = tmp_path / "broken.txt"
    lines = TEXT.read_text().partition("event: content_block_stop")[0]
    file.write_text(lines + "data: {broken\n\n")
    ran = terminal("record", file, "--dialect", "anthropic", "--json")
    assert (ran.code, ran.error["code"]) == (2, "malformed_stream")
    message = terminal.ok("messages", "@latest", "--json").object
    assert (message["text"], message["outcome"]) == ("Hello there!", "failed")


def test_the_end_of_the_exit_codes_is_the_table_of_errors() -> None:
    for code, meaning in CODES.items():
        assert report_of(TurnlogError(code, "m")).exit_code == meaning.exit
        assert meaning.exit in (2, 3, 4, 5, 6)


def test_of_several_errors_at_once_the_first_is_told() -> None:
    group = ExceptionGroup("several", [ExceptionGroup("inner", [Refused("empty_commit", "m")]), ValueError()])
    assert report_of(group).code == "empty_commit"


def test_damage_ends_with_five_and_names_the_position(filled: Terminal) -> None:
    stored = filled.data / "log" / "data.mdb"
    damaged = stored.read_bytes()
    text = b"claude-3-opus"
    assert text in damaged
    stored.write_bytes(damaged.replace(text, text.swapcase()))
    ran = filled("verify", "--json")
    assert ran.code == 5
    assert ran.object["sound"] is False
    assert {finding["code"] for finding in ran.object["findings"]} >= {"digest_differs"}
    people = filled("verify")
    assert people.code == 5
    assert "damaged: " in people.out
    assert "digest_differs" in people.out
    ran = filled("events", "--json")
    assert (ran.code, ran.error["code"]) == (5, "commit_damaged")
    assert ran.error["position"] == 2


def test_a_sound_log_verifies(filled: Terminal) -> None:
    ran = filled.ok("verify", "--json").object
    assert (ran["sound"], ran["findings"]) == (True, [])
    assert ran["chain"] == filled.ok("stats", "--json").object["store"]["chain"]
    assert filled.ok("verify").out.startswith("sound: 4 commits, 0 findings\nchain ")


def test_an_unexpected_error_ends_with_one_and_keeps_its_words_to_itself(
    filled: Terminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*arguments: object) -> None:
        raise KeyError("what somebody said")

    monkeypatch.setattr("turnlog.cli.contexts.context_row", fails)
    ran = filled("contexts")
    assert ran.code == 1
    assert "KeyError at test_cli_exits.py:" in ran.err
    assert "what somebody said" not in ran.err
    assert "Traceback" not in ran.err
    assert "Traceback" in filled("contexts", "--verbose").err


@contextmanager
def recording(data: Path) -> Generator[subprocess.Popen[bytes]]:
    """A process that records into a directory that is there, once three chunks are in the log."""
    follow = ["events", "--follow", "--after", "4", "--json", "--data", data]
    record = ["record", "-", "--dialect", "anthropic", "--data", data]
    with process(follow) as reader, process(record, stdin=subprocess.PIPE) as writer:
        assert writer.stdin is not None
        assert reader.stdout is not None
        writer.stdin.write(TEXT.read_bytes().partition(b"event: content_block_stop")[0])
        assert any(b'"delta":"!"' in line for line in reader.stdout), "the stream did not reach the log"
        yield writer


def test_a_second_writer_is_refused_with_the_first_ones_pid_and_readers_go_on(filled: Terminal) -> None:
    with recording(filled.data) as writer:
        for call in WRITING:
            ran = filled(*call.split(), "--json")
            assert (ran.code, ran.error["code"], ran.error["pid"]) == (6, "writer_locked", writer.pid)
        assert str(writer.pid) in filled("sweep").err
        for call in READING:
            if not call.startswith("replay"):
                filled.ok(*call.split())
        assert filled.ok("contexts", "--json").lines[0]["open_streams"] == 1
        assert "Hello there!" in filled.ok("show", "@latest").out
        assert "still streaming: 3 chunks so far" in filled.ok("show", "@latest").out


def test_a_recording_that_is_interrupted_ends_as_aborted_with_its_text(filled: Terminal) -> None:
    with recording(filled.data) as writer:
        writer.send_signal(signal.SIGINT)
        out, err = writer.communicate(timeout=SECONDS_MAX)
    assert writer.returncode == 130
    assert out == b""
    assert err.startswith(b"interrupted: 3 chunks kept in ")
    message = filled.ok("messages", "@latest", "--json").object
    assert (message["text"], message["outcome"]) == ("Hello there!", "aborted")


def test_a_recording_whose_process_is_killed_is_swept_as_interrupted(filled: Terminal) -> None:
    with recording(filled.data) as writer:
        writer.kill()
        writer.wait(SECONDS_MAX)
    assert filled.ok("sweep", "--json").lines == []  # its lease is not over
    (swept,) = filled.ok("sweep", "--lease-seconds", "0", "--json").lines
    message = filled.ok("messages", "@latest", "--json").object
    assert swept == {"message_id": message["id"], "outcome": "interrupted"}
    assert (message["text"], message["outcome"]) == ("Hello there!", "interrupted")


def test_following_ends_at_an_interrupt(filled: Terminal) -> None:
    with process(["events", "--follow", "--json", "--data", filled.data]) as reader:
        assert reader.stdout is not None
        reader.stdout.readline()
        reader.send_signal(signal.SIGINT)
        _, err = reader.communicate(timeout=SECONDS_MAX)
        assert (reader.returncode, err) == (130, b"")


@pytest.mark.parametrize("arguments", [("--json",), ()])
def test_a_reader_that_leaves_early_ends_the_run_quietly(
    arguments: tuple[str, ...], filled: Terminal
) -> None:
    for _ in range(3):
        filled.ok("record", WIRE / "openai_chat" / "openai-text.chunks.txt", "--dialect", "openai_chat")
    with process(["events", "--follow", *arguments, "--data", filled.data]) as events:
        assert events.stdout is not None
        fcntl.fcntl(events.stdout, fcntl.F_SETPIPE_SZ, 4096)  # so that there is more to be written
        events.stdout.readline()
        events.stdout.close()
        assert events.wait(SECONDS_MAX) == 141
        assert events.stderr is not None
        assert events.stderr.read() == b""


def test_help_and_version_succeed_and_no_verb_shows_the_help() -> None:
    bare, page = spawn(), spawn("--help")
    assert bare == page
    assert page.code == 0
    assert "Usage: turnlog COMMAND" in page.out
    for code in ("141  nobody reads the output", "5    damaged", "now~3", "@latest"):
        assert code in page.out
    assert max(map(len, page.out.splitlines())) <= 80


def test_the_directory_and_the_unsafe_file_system_may_come_from_the_environment(filled: Terminal) -> None:
    ran = spawn("stats", "--json", TURNLOG_DATA=str(filled.data), TURNLOG_ALLOW_UNSAFE_FILE_SYSTEM="1")
    assert ran.object["path"] == str(filled.data)
    given = spawn("stats", "--json", "--data", filled.data, TURNLOG_DATA="/nowhere")
    assert given.object["path"] == str(filled.data)


def test_the_error_of_an_unsafe_file_system_names_the_option() -> None:
    assert "--allow-unsafe-file-system" in report_of(TurnlogError("file_system_unsafe", "m")).hint


@pytest.mark.parametrize(
    ("arguments", "spares"),
    [(["verify", "--help"], True), (["serve", "--help"], False), (["--verbose", "serve", "--help"], False)],
)
def test_every_process_but_a_service_spares_memory(
    arguments: list[str], spares: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("eventstore.process.spares", False)
    with pytest.raises(SystemExit):
        main(arguments)
    assert eventstore.process.spares is spares
