"""``turnlog serve``: settings from flags, environment and file, then the service."""

from __future__ import annotations

import os
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Annotated, Final

import anyio
import msgspec
import structlog
from cyclopts import Parameter
from rich.text import Text

from eventstore.errors import Refused
from turnlog.cli.demo import demo as demonstrate
from turnlog.cli.options import COMMON, Options
from turnlog.cli.output import Output
from turnlog.cli.text import one_line, styled
from turnlog.cli.welcome import welcome
from turnlog.service import server
from turnlog.service.configuration import Row, describe, load
from turnlog.service.exposure import check_exposure
from turnlog.service.keyring import Keyring
from turnlog.service.logs import configure
from turnlog.service.settings import LogLevel, Settings
from turnlog.shapes import plain

_logger: Final = structlog.get_logger("turnlog.serve")


def serve(
    *,
    host: str | None = None,
    port: int | None = None,
    settings: Annotated[str | None, Parameter(env_var="TURNLOG_SETTINGS")] = None,
    set_: Annotated[tuple[str, ...], Parameter(name="--set", negative="", show_default=False)] = (),
    log_level: LogLevel | None = None,
    demo: Annotated[bool, Parameter(negative="", show_default=False)] = False,
    print_settings: Annotated[bool, Parameter(negative="", show_default=False)] = False,
    data: Annotated[Path | None, Parameter(group=COMMON)] = None,
    json: Annotated[bool, Parameter(group=COMMON, negative="", show_default=False)] = False,
    verbose: Annotated[bool, Parameter(group=COMMON, negative="", show_default=False)] = False,
    projection: Annotated[tuple[str, ...], Parameter(group=COMMON, negative="", show_default=False)] = (),
    allow_unsafe_file_system: Annotated[
        bool, Parameter(group=COMMON, negative="", show_default=False)
    ] = False,
) -> int:
    """Serve the directory over HTTP.

    Without a key (`turnlog keys create`) it answers this machine alone. Every setting has a default, a place
    in the settings file, a variable such as TURNLOG_PORT or TURNLOG_LIMITS_BODY_BYTES_MAX, and a flag; each
    wins over those before it.

    Args:
        host: a name or an address to listen on; 127.0.0.1 unless given.
        port: where to listen; 7411 unless given, and any that is free with 0.
        settings: a TOML file of settings.
        set_: any setting, as NAME=VALUE: limits.body_bytes_max=65536. May be repeated.
        log_level: the least of what is logged.
        demo: record the demo's conversations first, if the directory holds nothing.
        print_settings: print every setting and where it comes from, as TOML, and end.
        data: the data directory, or TURNLOG_DATA.
        json: answer in JSON.
        verbose: log everything; show tracebacks.
        projection: a projection of your own as MODULE:NAME. May be repeated.
        allow_unsafe_file_system: accept a network or overlay file system, against all advice.
    """
    output = Output(json)
    flags: dict[str, object] = {
        "host": host,
        "port": port,
        "log_level": "debug" if verbose and log_level is None else log_level,
        "data": None if data is None else str(data),
        "projections": projection or None,
        "allow_unsafe_file_system": allow_unsafe_file_system or None,
    }
    flags = {name: value for name, value in flags.items() if value is not None}
    for name, text in _assignments(set_):
        if name in flags:
            raise Refused("invalid_settings", f"{name} is given twice", place=f"--set {name}")
        flags[name] = text
    loaded = load(Path(settings) if settings else None, os.environ, flags)
    if loaded.ignored:
        configure(loaded.settings.log_level)  # the service does that too, but later
    for variable in loaded.ignored:
        _logger.warning("variable_ignored", variable=variable)
    if print_settings:
        _print(output, describe(loaded))
        return 0
    keyring = Keyring(Path(loaded.settings.data).absolute())
    check_exposure(loaded.settings, keyring.required)
    if demo:
        server.check_installed()  # before anything is recorded for nobody to see
        anyio.run(partial(demonstrate, if_empty=True, options=_options(loaded.settings, json=json)))
    return server.serve(loaded.settings, partial(welcome, output, keys_required=keyring.required))


def _options(settings: Settings, *, json: bool) -> Options:
    """The same directory, for another verb."""
    return Options(
        data=Path(settings.data),
        json=json,
        projection=settings.projections,
        allow_unsafe_file_system=settings.allow_unsafe_file_system,
    )


def _assignments(texts: tuple[str, ...]) -> Iterator[tuple[str, str]]:
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals:
            raise Refused("invalid_settings", "--set takes NAME=VALUE", place="--set")
        yield name.strip(), value.strip()


def _print(output: Output, rows: list[Row]) -> None:
    """As a table that is TOML: it can be kept as a file, and read back by ``--settings``."""
    if output.json:
        for row in rows:
            output.emit(plain(row))
        return
    output.table(
        ("# setting", "", "value", "# from"),
        [
            [
                styled(row.name, "" if row.source == "default" else "heading"),
                styled("=", "faint"),
                Text(one_line(msgspec.json.encode(row.value).decode())),
                styled(f"# {row.source}", "faint" if row.source == "default" else "changed"),
            ]
            for row in rows
        ],
    )
