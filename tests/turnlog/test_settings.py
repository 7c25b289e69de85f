"""Settings: every value has a default, a unit and a reason; later sources win; slips are named."""

from __future__ import annotations

import ast
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, cast

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from eventstore.errors import Refused
from turnlog.service import settings as module
from turnlog.service.configuration import FIELDS, TABLES, VARIABLES, describe, load
from turnlog.service.settings import Settings

UNITS: Final = ("_bytes_max", "_seconds", "_seconds_max", "_ms", "_max")
WITHOUT_UNIT: Final = (
    *("host", "port", "data", "projections", "allow_unsafe_file_system", "cors_origins", "log_level"),
)
"""Names, lists and choices have none."""

VALUES: Final[dict[str, st.SearchStrategy[Any]]] = {
    "host": st.sampled_from(["localhost", "::1", "10.0.0.1", "turnlog.example"]),
    "port": st.integers(0, 65_535),
    "data": st.sampled_from(["data", "other/place", "with space"]),
    "cors_origins": st.lists(st.sampled_from(["*", "https://a.example", "http://b:8080"]), max_size=3),
    "log_level": st.sampled_from(["debug", "info", "warning", "error"]),
    "allow_unsafe_file_system": st.booleans(),
    "limits.body_bytes_max": st.integers(1_024, 1 << 20),
    "limits.idle_seconds_max": st.integers(2, 200).map(lambda halves: halves / 2),
    "streams.retry_ms": st.integers(0, 10_000),
    "sweep.lease_seconds": st.integers(1, 1_000).map(float),
}
"""Some of every type and table."""

GIVEN: Final = st.fixed_dictionaries({}, optional=VALUES)


def toml_of(values: Mapping[str, Any]) -> str:
    """The values as a settings file; what JSON says in one line, TOML says alike."""
    return "".join(f"{name} = {msgspec.json.encode(value).decode()}\n" for name, value in values.items())


def variable_of(name: str) -> str:
    return next(variable for variable, known in VARIABLES.items() if known == name)


def text_of(value: Any) -> str:
    """The value as a variable holds it."""
    return ",".join(cast("list[str]", value)) if isinstance(value, list) else str(value)


def value_in(settings: Settings, name: str) -> Any:
    found: Any = settings
    for part in name.split("."):
        found = getattr(found, part)
    return list(cast("tuple[str, ...]", found)) if isinstance(found, tuple) else found


def refusal(file: str | None, tmp_path: Path, **environ: str) -> Refused:
    path = tmp_path / "settings.toml"
    if file is not None:
        path.write_text(file)
    with pytest.raises(Refused) as refused:
        load(None if file is None else path, environ, {})
    assert refused.value.code == "invalid_settings"
    return refused.value


def test_what_is_not_given_has_its_default() -> None:
    loaded = load(None, {"PATH": "somewhere"}, {})
    assert loaded.settings == Settings()
    assert set(loaded.sources.values()) == {"default"}
    assert loaded.ignored == ()


def test_a_service_that_is_told_nothing_answers_this_machine_alone() -> None:
    settings = Settings()
    assert (settings.host, settings.port, settings.cors_origins) == ("127.0.0.1", 7411, ())
    assert (settings.streams.heartbeat_seconds, settings.streams.ticket_life_seconds) == (15, 30)
    assert settings.shutdown_grace_seconds == 1.5


@given(file=GIVEN, environ=GIVEN, flags=GIVEN)
def test_flags_win_over_the_environment_over_the_file_over_defaults(
    file: dict[str, Any],
    environ: dict[str, Any],
    flags: dict[str, Any],
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    path = tmp_path_factory.getbasetemp() / "precedence.toml"
    path.write_text(toml_of(file))
    environ = {name: value for name, value in environ.items() if value != []}  # empty means not set
    variables = {variable_of(name): text_of(value) for name, value in environ.items()}
    loaded = load(path, variables, flags)
    for name in FIELDS:
        source, value = next(
            (source, values[name])
            for source, values in (
                ("flag", flags),
                ("environment", environ),
                ("file", file),
                ("default", {name: value_in(Settings(), name)}),
            )
            if name in values
        )
        assert value_in(loaded.settings, name) == value
        assert loaded.sources[name] == source


@given(st.fixed_dictionaries({}, optional=VALUES))
def test_a_flag_may_be_a_text(values: dict[str, Any]) -> None:
    loaded = load(None, {}, {name: text_of(value) for name, value in values.items()})
    assert {name: value_in(loaded.settings, name) for name in values} == values


def test_a_table_of_the_file_is_a_group(tmp_path: Path) -> None:
    path = tmp_path / "settings.toml"
    path.write_text("port = 80\n[limits]\nconnections_max = 12\n[sweep]\nlease_seconds = 5\n")
    settings = load(path, {}, {}).settings
    assert (settings.port, settings.limits.connections_max, settings.sweep.lease_seconds) == (80, 12, 5.0)


def test_an_empty_variable_is_not_set() -> None:
    loaded = load(None, {"TURNLOG_PORT": "", "TURNLOG_CORS_ORIGINS": ""}, {})
    assert loaded.settings == Settings()
    assert loaded.sources["port"] == "default"


@pytest.mark.parametrize(
    ("file", "place", "nearest"),
    [
        ("prot = 1", "prot", "port"),
        ("[limits]\nbody_byte_max = 5", "limits.body_byte_max", "limits.body_bytes_max"),
        ("body_bytes_max = 5000", "body_bytes_max", "limits.body_bytes_max"),
        ("[limit]\nbody_bytes_max = 5", "limit", "limits"),
        ("[limits.body_bytes_max]\nx = 1", "limits.body_bytes_max", None),
        ("limits = 3", "limits", None),
        ("zzzzzzzz = 3", "zzzzzzzz", None),
        ('port = "80"', "port", None),
        ("port = 65536", "port", None),
        ("port = -1", "port", None),
        ("port = 80.0", "port", None),
        ("port = true", "port", None),
        ("[streams]\nheartbeat_seconds = nan", "streams.heartbeat_seconds", None),
        ("[streams]\nheartbeat_seconds = inf", "streams.heartbeat_seconds", None),
        ("[streams]\nheartbeat_seconds = 0", "streams.heartbeat_seconds", None),
        ("[limits]\njson_depth_max = 129", "limits.json_depth_max", None),
        ("[limits]\ncommit_events_max = 10001", "limits.commit_events_max", None),
        ('log_level = "loud"', "log_level", None),
        ('host = ""', "host", None),
        ('host = "http://x"', "host", None),
        ('host = "[::1]"', "host", None),
        ('host = "localhost\\n"', "host", None),
        ('cors_origins = ["https://a.example/"]', "cors_origins", None),
        ('cors_origins = ["https://a.example\\n"]', "cors_origins", None),
        ('cors_origins = ["null"]', "cors_origins", None),
        ("cors_origins = [1]", "cors_origins", None),
    ],
)
def test_a_wrong_file_is_refused_with_the_place_and_the_nearest_name(
    file: str, place: str, nearest: str | None, tmp_path: Path
) -> None:
    refused = refusal(file, tmp_path)
    assert refused.fields["place"] == f"{place} in {tmp_path / 'settings.toml'}"
    assert refused.fields.get("nearest") == nearest
    assert str(refused.fields["place"]) in refused.message
    if nearest is not None:
        assert refused.message.endswith(f"did you mean {nearest}?")


@pytest.mark.parametrize(
    ("file", "said"),
    [
        ("port = 65536", "expected int <= 65535"),
        ("[limits]\nbody_bytes_max = 1.5", "expected int, got float"),
        ('log_level = "loud"', "expected debug, info, warning or error"),
        ('host = "a b"', "expected a name or an address, without port and brackets"),
        ('cors_origins = "a"', "expected origins such as https://chat.example, without a path, or *"),
        ("limits = 3", "expected a table"),
    ],
)
def test_a_refusal_says_what_was_expected(file: str, said: str, tmp_path: Path) -> None:
    assert refusal(file, tmp_path).message.endswith(f": {said}")


@pytest.mark.parametrize(
    "content",
    [b"port = ", b"port = 1\nport = 2", b"\xff", b"a = " + b"[" * 100_000, b"x" * (1024 * 1024 + 1)],
)
def test_a_file_that_is_no_toml_is_refused(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "settings.toml"
    path.write_bytes(content)
    with pytest.raises(Refused, match=re.escape(str(path))) as refused:
        load(path, {}, {})
    assert refused.value.code == "invalid_settings"


def test_a_file_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    for path in (tmp_path / "missing.toml", tmp_path):
        with pytest.raises(Refused, match="cannot be read") as refused:
            load(path, {}, {})
        assert refused.value.code == "invalid_settings"


@pytest.mark.parametrize(
    ("variable", "text"),
    [
        ("TURNLOG_PORT", "many"),
        ("TURNLOG_PORT", "65536"),
        ("TURNLOG_PORT", " 80"),
        ("TURNLOG_LIMITS_BODY_BYTES_MAX", "1e9"),
        ("TURNLOG_STREAMS_HEARTBEAT_SECONDS", "nan"),
        ("TURNLOG_ALLOW_UNSAFE_FILE_SYSTEM", "perhaps"),
        ("TURNLOG_LOG_LEVEL", "LOUD"),
        ("TURNLOG_CORS_ORIGINS", "https://a.example, b.example"),
    ],
)
def test_a_wrong_variable_is_refused_by_its_name(variable: str, text: str, tmp_path: Path) -> None:
    refused = refusal(None, tmp_path, **{variable: text})
    assert refused.fields["place"] == variable
    assert refused.message.startswith(f"{variable}: expected ")


@pytest.mark.parametrize(
    ("variable", "nearest"),
    [
        ("TURNLOG_HOSTNAME", "TURNLOG_HOST"),
        ("TURNLOG_DATA_DIR", "TURNLOG_DATA"),
        ("TURNLOG_BODY_BYTES_MAX", "TURNLOG_LIMITS_BODY_BYTES_MAX"),
        ("TURNLOG_LIMITS_BODY_BYTE_MAX", "TURNLOG_LIMITS_BODY_BYTES_MAX"),
        ("TURNLOG_CORS_ORIGIN", "TURNLOG_CORS_ORIGINS"),
    ],
)
def test_a_variable_that_is_nearly_a_setting_is_refused(variable: str, nearest: str, tmp_path: Path) -> None:
    refused = refusal(None, tmp_path, **{variable: "1"})
    assert (refused.fields["place"], refused.fields["nearest"]) == (variable, nearest)


@pytest.mark.parametrize("table", sorted(TABLES))
def test_a_variable_of_a_group_that_is_no_setting_is_refused(table: str, tmp_path: Path) -> None:
    variable = f"TURNLOG_{table.upper()}_QQQQ"
    assert refusal(None, tmp_path, **{variable: "1"}).fields["place"] == variable


def test_what_others_call_by_our_prefix_is_passed_over_and_told() -> None:
    environ = {
        "TURNLOG_POWER_CUT_STATES": "4000",
        "TURNLOG_KILL_ROUNDS": "3",
        "TURNLOG_VERSION": "1.2",
        "TURNLOG_API_KEY": "tl_secret",
        "TURNLOG_SETTINGS": "read.toml",
        "TURNLOGPORT": "1",
    }
    loaded = load(None, environ, {})
    assert loaded.settings == Settings()
    assert loaded.ignored == tuple(sorted(environ.keys() - {"TURNLOG_SETTINGS", "TURNLOGPORT"}))


def test_an_orchestrator_that_plants_variables_for_a_service_of_our_name_does_no_harm() -> None:
    environ = {
        "TURNLOG_PORT": "tcp://10.0.0.7:7411",
        "TURNLOG_SERVICE_HOST": "10.0.0.7",
        "TURNLOG_SERVICE_PORT": "7411",
        "TURNLOG_SERVICE_PORT_HTTP": "7411",
        "TURNLOG_PORT_7411_TCP": "tcp://10.0.0.7:7411",
        "TURNLOG_PORT_7411_TCP_PROTO": "tcp",
        "TURNLOG_PORT_7411_TCP_PORT": "7411",
        "TURNLOG_PORT_7411_TCP_ADDR": "10.0.0.7",
    }
    loaded = load(None, environ, {})
    assert loaded.settings == Settings()
    assert loaded.ignored == tuple(sorted(environ))


def test_a_flag_that_is_no_setting_is_refused() -> None:
    with pytest.raises(Refused, match=r"flag limits\.x is no setting") as refused:
        load(None, {}, {"limits.x": "1"})
    assert refused.value.code == "invalid_settings"
    with pytest.raises(Refused, match="flag port: expected int"):
        load(None, {}, {"port": "x"})


def test_a_refusal_never_shows_the_value(tmp_path: Path) -> None:
    secret = "tl_0123abcd_" + "5ec7e7" * 10
    for name in VALUES:
        for refused in (
            refusal(f'{name} = {{ secret = "{secret}" }}', tmp_path),
            refusal(f'{name} = "{secret}{" " * 5_000}"', tmp_path),
            refusal(None, tmp_path, **{variable_of(name): secret + " " * 5_000}),
        ):
            assert "5ec7e7" not in f"{refused} {refused.fields}"


def test_the_description_has_a_row_for_each_setting_with_its_source() -> None:
    loaded = load(None, {"TURNLOG_PORT": "80"}, {"limits.connections_max": 9})
    rows = {row.name: row for row in describe(loaded)}
    assert list(rows) == list(FIELDS)
    assert (rows["port"].value, rows["port"].source) == (80, "environment")
    assert (rows["limits.connections_max"].value, rows["limits.connections_max"].source) == (9, "flag")
    assert (rows["host"].value, rows["host"].source) == ("127.0.0.1", "default")
    assert rows["limits.connections_max"].variable == "TURNLOG_LIMITS_CONNECTIONS_MAX"


@given(flags=GIVEN)
def test_a_description_written_to_a_file_says_the_same_again(
    flags: dict[str, Any], tmp_path_factory: pytest.TempPathFactory
) -> None:
    loaded = load(None, {}, flags)
    path = tmp_path_factory.getbasetemp() / "described.toml"
    path.write_text(toml_of({row.name: row.value for row in describe(loaded)}))
    assert load(path, {}, {}).settings == loaded.settings


def test_every_setting_has_a_variable_of_its_own() -> None:
    assert sorted(VARIABLES.values()) == sorted(FIELDS)
    assert all(re.fullmatch(r"TURNLOG_[A-Z_]+", variable) for variable in VARIABLES)


def test_every_number_has_its_unit_in_its_name_and_every_setting_a_reason() -> None:
    tree = ast.parse(Path(module.__file__).read_text())
    documented: set[str] = set()
    for group in tree.body:
        if isinstance(group, ast.ClassDef):
            for field, after in zip(group.body, [*group.body[1:], None], strict=True):
                match field, after:
                    case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(value=ast.Constant(value=str())):
                        documented.add(name)
                    case _:
                        pass
    for name in FIELDS:
        member = name.rpartition(".")[2]
        assert member in documented, f"{name} has no reason"
        assert name in WITHOUT_UNIT or member.endswith(UNITS), f"{name} has no unit"


def test_every_default_is_within_its_range() -> None:
    for name, kind in FIELDS.items():
        assert msgspec.convert(value_in(Settings(), name), kind) is not None, name
