"""``turnlog serve``: what it is told and by whom, and what it refuses before it listens."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from pathlib import Path
from typing import Any, TypeAlias

import msgspec
import pytest
from commands import Ran, Terminal, environment, on_terminal, spawn

from turnlog.service import server
from turnlog.service.configuration import FIELDS, load
from turnlog.service.key_file import path_in
from turnlog.service.running import Started
from turnlog.service.settings import Settings

Served: TypeAlias = list[Settings]


@pytest.fixture
def terminal(data_dir: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Terminal:
    for name in ("TURNLOG_POWER_CUT_STATES", "TURNLOG_KILL_ROUNDS", "TURNLOG_DATA", "TURNLOG_SETTINGS"):
        monkeypatch.delenv(name, raising=False)
    return Terminal(data_dir, capsys)


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch) -> Served:
    """What the service was started with."""
    settings_of: Served = []

    def serve(settings: Settings, started: Started) -> int:
        del started
        settings_of.append(settings)
        return 0

    monkeypatch.setattr(server, "serve", serve)
    return settings_of


def rows(ran: Ran) -> dict[str, dict[str, Any]]:
    return {line["name"]: line for line in ran.lines}


def test_settings_are_printed_with_their_sources_and_nothing_is_served(
    terminal: Terminal, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    path = tmp_path / "settings.toml"
    path.write_text('port = 1\nhost = "10.0.0.1"\nlog_level = "error"\n[limits]\nconnections_max = 7\n')
    monkeypatch.setenv("TURNLOG_PORT", "2")
    monkeypatch.setenv("TURNLOG_LOG_LEVEL", "warning")
    ran = terminal.ok("serve", "--settings", path, "--port", "3", "--print-settings", "--json")
    found = rows(ran)
    assert list(found) == list(FIELDS)
    assert list(found["port"].values()) == ["port", 3, "flag", "TURNLOG_PORT"]
    assert (found["log_level"]["value"], found["log_level"]["source"]) == ("warning", "environment")
    assert (found["host"]["value"], found["host"]["source"]) == ("10.0.0.1", "file")
    assert (found["limits.connections_max"]["value"], found["limits.subscribers_max"]["source"]) == (
        7,
        "default",
    )
    assert list(terminal.data.iterdir()) == []


def test_what_is_printed_is_a_settings_file(terminal: Terminal, tmp_path: Path) -> None:
    call = (
        "serve",
        "--set",
        "cors_origins=https://a.example,https://b.example",
        "--port",
        "0",
        "--print-settings",
    )
    path = tmp_path / "settings.toml"
    path.write_text(terminal.ok(*call).out)
    assert "# setting" in path.read_text()
    read = load(path, {}, {}).settings
    assert (read.port, read.cors_origins) == (0, ("https://a.example", "https://b.example"))
    printed, again = (
        rows(terminal.ok(*call, "--json")),
        rows(spawn("serve", "--settings", path, *call[-1:], "--json")),
    )
    assert {name: row["value"] for name, row in printed.items()} == {
        name: row["value"] for name, row in again.items()
    }
    assert {row["source"] for row in again.values()} == {"file"}


def test_a_terminal_gets_the_table_in_its_width(terminal: Terminal) -> None:
    shown = on_terminal("serve", "--print-settings", "--data", terminal.data, columns=100)
    assert "limits.body_bytes_max" in shown
    assert "25165824" in shown


def test_every_flag_is_a_setting(terminal: Terminal, served: Served) -> None:
    terminal.ok(
        *("serve", "--host", "::1", "--port", "80", "--log-level", "error", "--projection", "a:b"),
        *("--projection", "c:d", "--allow-unsafe-file-system", "--set", "limits.connections_max=5"),
        *("--set", "sweep.lease_seconds = 9.5"),
    )
    (settings,) = served
    assert (settings.host, settings.port, settings.log_level) == ("::1", 80, "error")
    assert (settings.projections, settings.allow_unsafe_file_system) == (("a:b", "c:d"), True)
    assert (settings.limits.connections_max, settings.sweep.lease_seconds) == (5, 9.5)
    assert settings.data == str(terminal.data)


def test_verbose_logs_everything(terminal: Terminal, served: Served) -> None:
    terminal.ok("serve", "--verbose")
    terminal.ok("serve", "--verbose", "--log-level", "info")
    assert [settings.log_level for settings in served] == ["debug", "info"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--port", "65536"], "flag port: expected int <= 65535"),
        (["--set", "port"], "--set takes NAME=VALUE"),
        (["--set", "prot=1"], "flag prot is no setting; did you mean port?"),
        (["--port", "1", "--set", "port=2"], "port is given twice"),
        (["--set", "port=1", "--set", "port=2"], "port is given twice"),
        (["--set", "limits.body_bytes_max=many"], "flag limits.body_bytes_max: expected int, got str"),
        (["--settings", "missing.toml"], "missing.toml cannot be read: No such file or directory"),
    ],
)
def test_wrong_settings_are_refused_with_their_place(
    arguments: list[str], said: str, terminal: Terminal
) -> None:
    for more in ([], ["--print-settings"]):
        ran = terminal("serve", *arguments, *more, "--json")
        assert (ran.code, ran.out) == (2, "")
        assert (ran.error["code"], ran.error["message"]) == ("invalid_settings", said)


def test_the_file_and_the_directory_may_come_from_the_environment(data_dir: Path, tmp_path: Path) -> None:
    path = tmp_path / "settings.toml"
    path.write_text('port = 5\ndata = "elsewhere"\n')
    call = ("serve", "--print-settings", "--json")
    found = rows(spawn(*call, TURNLOG_SETTINGS=str(path), TURNLOG_DATA=str(data_dir)))
    assert (found["port"]["value"], found["port"]["source"]) == (5, "file")
    assert (found["data"]["value"], found["data"]["source"]) == (str(data_dir), "environment")
    found = rows(spawn(*call, "--data", tmp_path, TURNLOG_SETTINGS=str(path), TURNLOG_DATA=str(data_dir)))
    assert (found["data"]["value"], found["data"]["source"]) == (str(tmp_path), "flag")
    found = rows(spawn(*call, TURNLOG_SETTINGS="", TURNLOG_DATA=""))
    assert {line["source"] for line in found.values()} == {"default"}


def test_a_variable_that_is_nearly_a_setting_ends_it_and_another_is_told(data_dir: Path) -> None:
    ran = spawn("serve", "--print-settings", "--json", TURNLOG_HOSTNAME="x")
    assert (ran.code, ran.error["code"], ran.error["nearest"]) == (2, "invalid_settings", "TURNLOG_HOST")
    ran = spawn("serve", "--print-settings", "--json", TURNLOG_VERSION="a-value")
    assert ran.code == 0
    line = msgspec.json.decode(ran.err)
    assert (line["level"], line["event"], line["variable"]) == (
        "warning",
        "variable_ignored",
        "TURNLOG_VERSION",
    )
    assert "a-value" not in ran.err


def test_without_keys_it_serves_this_machine_and_says_so_once_it_does(
    terminal: Terminal, served: Served
) -> None:
    assert "no keys" not in terminal.ok("serve").err, "it may yet fail to listen"
    assert len(served) == 1


def test_another_address_needs_a_key_and_revoked_ones_will_do(terminal: Terminal, served: Served) -> None:
    ran = terminal("serve", "--host", "0.0.0.0", "--json")
    assert (ran.code, ran.error["code"], ran.error["host"]) == (2, "keys_required", "0.0.0.0")
    assert served == []
    key = terminal.ok("keys", "create", "--role", "reader", "--json").object
    terminal.ok("serve", "--host", "0.0.0.0")
    terminal.ok("keys", "revoke", key["id"], "--yes")
    terminal.ok("serve", "--host", "0.0.0.0")
    assert len(served) == 2


def harm(path: Path) -> None:
    path.write_text("{")


def expose(path: Path) -> None:
    path.chmod(0o644)


def lose(path: Path) -> None:
    path.unlink()


@pytest.mark.parametrize(
    ("harmed", "code", "exit_code"),
    [(harm, "keys_damaged", 5), (lose, "keys_damaged", 5), (expose, "keys_exposed", 2)],
)
def test_keys_that_cannot_be_trusted_end_it(
    harmed: Callable[[Path], None],
    code: str,
    exit_code: int,
    terminal: Terminal,
    served: Served,
) -> None:
    terminal.ok("keys", "create", "--role", "reader")
    harmed(path_in(terminal.data))
    ran = terminal("serve", "--json")
    assert (ran.code, ran.error["code"]) == (exit_code, code)
    assert served == []


def test_without_the_extra_it_says_how_to_install_it(
    terminal: Terminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    def finding(name: str) -> ModuleSpec | None:
        return None if name == "uvicorn" else find_spec(name)

    monkeypatch.setattr(server, "find_spec", finding)
    for flags in ((), ("--demo",)):
        ran = terminal("serve", "--json", *flags)
        assert (ran.code, ran.error["code"], ran.error["missing"]) == (6, "service_missing", ["uvicorn"])
        assert 'pip install "turnlog[service]"' in ran.error["hint"]
    assert not (terminal.data / "log").exists(), "nothing is recorded for nobody to see"


def test_no_other_verb_imports_the_service() -> None:
    code = "import sys, turnlog.cli; print(*{'litestar', 'uvicorn', 'httptools'} & set(sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment()
    )
    assert done.stdout.strip() == ""
