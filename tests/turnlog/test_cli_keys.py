"""``turnlog keys``: a secret is printed once and alone, nothing is revoked unasked, nothing is repeated."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest
from commands import SECONDS_MAX, Terminal, environment, on_terminal, spawn
from locksmith import TEXT

from eventstore.units import parse_time, wall_clock_us
from turnlog.service.key_file import path_in
from turnlog.service.keyring import Keyring
from turnlog.service.keys import digest_of

DAY_US: Final = 86_400_000_000
KEY: Final = ["id", "name", "workspace", "role", "created_at", "expires_at", "revoked_at"]


@pytest.fixture
def terminal(data_dir: Path, capsys: pytest.CaptureFixture[str]) -> Terminal:
    return Terminal(data_dir, capsys)


def create(terminal: Terminal, *arguments: str) -> str:
    return terminal.ok("keys", "create", "--role", "writer", *arguments).out.strip()


def test_the_key_stands_alone_on_stdout_and_what_it_is_on_stderr(terminal: Terminal) -> None:
    ran = terminal.ok("keys", "create", "--role", "writer", "--name", "Back end", "--expires", "30d")
    text = ran.out.removesuffix("\n")
    assert TEXT.fullmatch(text)
    assert f"key {text[3:11]}: Back end, writer, workspace default, expires 2" in ran.err
    assert "shown this once" in ran.err
    assert text[12:] not in ran.err
    key = Keyring(terminal.data).authenticate(text, wall_clock_us())
    assert (key.id, key.role, key.workspace, key.name) == (text[3:11], "writer", "default", "Back end")


def test_as_json_the_key_comes_with_what_it_is(terminal: Terminal) -> None:
    ran = terminal.ok("keys", "create", "--role", "admin", "--all-workspaces", "--json")
    assert list(ran.object) == ["key", *KEY]
    assert ran.err == ""
    key = Keyring(terminal.data).authenticate(ran.object["key"], wall_clock_us())
    assert (key.workspace, key.role) == (None, "admin")


def test_the_first_key_may_come_before_the_log_and_makes_a_private_directory(terminal: Terminal) -> None:
    terminal.data = terminal.data / "new"
    create(terminal)
    assert terminal.data.stat().st_mode & 0o777 == 0o700
    terminal.ok("demo", "--speed", "0", "--json")
    assert len(terminal.ok("keys", "list", "--json").lines) == 1


def test_no_key_is_put_among_files_of_others(terminal: Terminal) -> None:
    (terminal.data / "thesis.txt").touch()
    mode = terminal.data.stat().st_mode
    ran = terminal("keys", "create", "--role", "reader", "--json")
    assert (ran.code, ran.error["code"]) == (6, "directory_foreign")
    assert [path.name for path in terminal.data.iterdir()] == ["thesis.txt"]
    assert terminal.data.stat().st_mode == mode


@pytest.mark.parametrize(("expires", "days"), [("30d", 30), ("48h", 2), ("1440m", 1), ("2w", 14)])
def test_a_key_expires_after_a_span(expires: str, days: int, terminal: Terminal) -> None:
    before = wall_clock_us()
    line = terminal.ok("keys", "create", "--role", "reader", "--expires", expires, "--json").object
    expires_at = parse_time(line["expires_at"])
    assert expires_at - parse_time(line["created_at"]) == days * DAY_US
    assert before <= parse_time(line["created_at"]) <= wall_clock_us()


def test_a_key_expires_at_a_time_or_never(terminal: Terminal) -> None:
    at = "2099-01-31T12:00:00+01:00"
    line = terminal.ok("keys", "create", "--role", "reader", "--expires", at, "--json").object
    assert line["expires_at"] == "2099-01-31T11:00:00.000000Z"
    for arguments in ((), ("--expires", "never")):
        assert (
            terminal.ok("keys", "create", "--role", "reader", "--json", *arguments).object["expires_at"]
            is None
        )


@pytest.mark.parametrize(
    "call",
    [
        "keys create",
        "keys create --role boss",
        "keys create --role reader --workspace w --all-workspaces",
        "keys create --role reader --expires tomorrow",
        "keys create --role reader --expires 0d",
        "keys create --role reader --expires -1d",
        "keys create --role reader --expires 999999w",
        "keys create --role reader --expires 2020-01-01T00:00:00Z",
        "keys create --role reader --expires 2099-01-01",
        "keys create --role reader --name=",
        "keys create --role reader --workspace=",
        "keys create --role reader --name " + "n" * 101,
        "keys create reader",
        "keys revoke",
        "keys revoke 123",
        "keys revoke 0badcafe0",
        "keys nonsense",
    ],
)
def test_a_wrong_call_is_refused_and_makes_no_key(call: str, terminal: Terminal) -> None:
    ran = terminal(*call.split(), "--json")
    assert (ran.code, ran.out, ran.error["code"]) == (2, "", "invalid_argument")
    assert not path_in(terminal.data).exists()


def test_the_list_shows_what_each_key_is_and_no_secret(terminal: Terminal) -> None:
    texts = [
        create(terminal, "--workspace", "w1", "--name", "one\x1b[2J"),
        create(terminal, "--expires", "2w"),
    ]
    terminal.ok("keys", "revoke", texts[0][3:11], "--yes")
    lines = terminal.ok("keys", "list", "--json").lines
    assert [list(line) for line in lines] == [[*KEY, "state"]] * 2
    assert [line["id"] for line in lines] == [text[3:11] for text in texts]
    assert [line["state"] for line in lines] == ["revoked", "live"]
    shown = terminal.ok("keys", "list").out
    assert "one␛[2J" in shown
    assert f"live until {lines[1]['expires_at'][:10]}" in shown
    for text in texts:
        for out in (shown, str(lines)):
            assert text[12:] not in out
            assert digest_of(text[12:]) not in out


def test_a_list_of_no_keys_says_what_that_means(terminal: Terminal) -> None:
    ran = terminal.ok("keys", "list")
    assert ran.out == ""
    assert "no keys: the service answers this machine alone" in ran.err
    assert terminal.ok("keys", "list", "--json").lines == []
    terminal.data = terminal.data / "missing"
    for call in ("keys list", "keys revoke 0badcafe --yes"):
        ran = terminal(*call.split(), "--json")
        assert (ran.code, ran.error["code"]) == (3, "directory_not_found")


def test_a_revocation_needs_a_yes_where_nobody_can_be_asked(
    terminal: Terminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    key_id = create(terminal)[3:11]
    with open(os.devnull) as nobody:
        monkeypatch.setattr(sys, "stdin", nobody)
        ran = terminal("keys", "revoke", key_id, "--json")
    assert (ran.code, ran.error["code"]) == (2, "not_confirmed")
    assert terminal.ok("keys", "list", "--json").object["state"] == "live"
    line = terminal.ok("keys", "revoke", key_id, "--yes", "--json").object
    assert list(line) == [*KEY, "state"]
    assert (line["id"], line["state"]) == (key_id, "revoked")
    again = terminal.ok("keys", "revoke", f"tl_{key_id}", "--json").object
    assert again == line, "what is revoked needs no yes and stays as it is"


@pytest.mark.parametrize(
    ("answer", "revoked"), [("y\n", True), ("YES\n", True), ("\n", False), ("no\n", False)]
)
def test_on_a_terminal_a_revocation_asks(answer: str, revoked: bool, terminal: Terminal) -> None:
    key_id = create(terminal, "--name", "Back end")[3:11]
    ours, theirs = pty.openpty()
    os.write(ours, answer.encode())
    try:
        done = subprocess.run(
            [sys.executable, "-m", "turnlog", "keys", "revoke", key_id, "--data", str(terminal.data)],
            stdin=theirs,
            capture_output=True,
            text=True,
            env=environment(),
            timeout=SECONDS_MAX,
            check=False,
        )
    finally:
        os.close(theirs)
        os.close(ours)
    asked = f"Revoke key {key_id}: Back end, writer, workspace default, never expires? [y/N] "
    assert done.stderr.startswith(asked)
    assert done.returncode == (0 if revoked else 2)
    assert ("not confirmed; nothing was revoked" in done.stderr) != revoked
    state = terminal.ok("keys", "list", "--json").object["state"]
    assert (state == "revoked") == revoked


def test_an_unknown_key_cannot_be_revoked(terminal: Terminal) -> None:
    for _ in range(2):
        ran = terminal("keys", "revoke", "0badcafe", "--yes", "--json")
        assert (ran.code, ran.error["code"]) == (3, "key_not_found")
        create(terminal)


def test_a_key_given_by_mistake_is_never_repeated(terminal: Terminal) -> None:
    text = create(terminal)
    for call in (
        ["keys", "revoke", text],
        ["keys", "revoke", text[3:11], text],
        ["keys", "revoke", f"--{text}"],
        ["keys", text],
        [text],
        ["keys", "create", "--role", text],
        ["serve", text],
        ["serve", "--port", text],
        ["serve", "--log-level", text],
        ["serve", "--set", text],
        ["serve", "--set", f"port={text}"],
        ["serve", "--set", f"{text}=1"],
        ["contexts", "--limit", text],
    ):
        for more in ([], ["--json"], ["--verbose"]):
            ran = terminal(*call, *more)
            assert ran.code == 2, ran
            assert text[12:] not in ran.err + ran.out, call


def test_a_name_cannot_command_a_terminal(terminal: Terminal) -> None:
    terminal.ok("keys", "create", "--role", "reader", "--name", "n\x1b]0;mine\x07", "--workspace", "w\x1b[2J")
    for shown in (on_terminal("keys", "list", "--data", terminal.data), terminal.ok("keys", "list").out):
        assert "\x1b]0" not in shown
        assert "\x1b[2J" not in shown
        assert "w␛[2J" in shown


def test_keys_that_others_may_read_and_damaged_ones_have_their_exit_codes(terminal: Terminal) -> None:
    create(terminal)
    for call in ("keys list", "keys create --role reader", "keys revoke 0badcafe --yes"):
        path_in(terminal.data).chmod(0o644)
        ran = terminal(*call.split(), "--json")
        assert (ran.code, ran.error["code"]) == (2, "keys_exposed")
        path_in(terminal.data).chmod(0o600)
    path_in(terminal.data).write_text("{")
    ran = terminal("keys", "list", "--json")
    assert (ran.code, ran.error["code"]) == (5, "keys_damaged")


def test_the_directory_may_come_from_the_environment(data_dir: Path) -> None:
    made = spawn("keys", "create", "--role", "reader", TURNLOG_DATA=str(data_dir))
    assert made.code == 0
    listed = spawn("keys", "list", "--json", TURNLOG_DATA=str(data_dir))
    assert listed.object["id"] == made.out[3:11]
