"""Where settings come from: defaults, a TOML file, the environment, flags; what comes later wins.

A setting has one name, ``limits.body_bytes_max``. In the file it is ``body_bytes_max`` in the table
``limits``, in the environment ``TURNLOG_LIMITS_BODY_BYTES_MAX``. Nothing here shows a value that was refused:
it may be a secret in the wrong place.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, Final, Literal, NamedTuple, TypeAlias, cast, get_args, get_origin

import msgspec

from eventstore.errors import Refused, reason_of
from turnlog.service.settings import Settings

Source: TypeAlias = Literal["default", "file", "environment", "flag"]

PREFIX: Final = "TURNLOG_"

FILE_BYTES_MAX: Final = 1024 * 1024
"""A settings file. One with every setting and a page of comments is under 16 KiB."""

COMMAND_LINE_VARIABLES: Final = ("TURNLOG_SETTINGS",)
"""Read by the command line, and no settings."""

SIMILAR: Final = 0.66
"""How alike an unknown variable and a setting's are before it counts as a slip: HOSTNAME and HOST."""

_PLANTED: Final = re.compile(r"TURNLOG_(SERVICE_HOST|SERVICE_PORT(_\w+)?|PORT_\d+_(TCP|UDP|SCTP)(_\w+)?)")
"""What Kubernetes sets in every container for a service that is named turnlog."""


class Loaded(NamedTuple):
    """Settings, where each came from by name, and the variables that were passed over."""

    settings: Settings
    sources: dict[str, Source]
    ignored: tuple[str, ...]


class Row(msgspec.Struct, frozen=True):
    """One setting, for people and programs to look at."""

    name: str
    value: object
    source: Source
    variable: str


def _fields(group: type[msgspec.Struct], table: str = "") -> Iterator[tuple[str, Any]]:
    for field in msgspec.structs.fields(group):
        kind: Any = field.type
        if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
            yield from _fields(kind, f"{table}{field.name}.")
        else:
            yield table + field.name, kind


FIELDS: Final[dict[str, Any]] = dict(_fields(Settings))
"""Every setting's type, with its range, by its name."""

TABLES: Final = frozenset(name.partition(".")[0] for name in FIELDS if "." in name)

VARIABLES: Final = {PREFIX + name.upper().replace(".", "_"): name for name in FIELDS}
"""Every setting's name by its variable."""


def load(path: Path | None, environ: Mapping[str, str], flags: Mapping[str, object]) -> Loaded:
    """The settings of a service.

    ``path`` is that of a TOML file, ``environ`` a whole environment, of which what begins with ``TURNLOG_``
    is read, and ``flags`` hold values by the settings' names. Text is read as the setting's type; a list as
    text has commas. An empty variable counts as not set.

    Raises ``Refused`` with code ``invalid_settings``; its fields are ``place`` and, for an unknown name, the
    ``nearest`` known one.
    """
    file = {} if path is None else _from_file(path)
    variables, ignored = _from_environment(environ)
    rising: dict[Source, dict[str, object]] = {
        "file": file,
        "environment": variables,
        "flag": _from_flags(flags),
    }
    given: dict[str, object] = {}
    sources: dict[str, Source] = dict.fromkeys(FIELDS, "default")
    for source, values in rising.items():
        given |= values
        sources |= dict.fromkeys(values, source)
    return Loaded(_settings(given), sources, ignored)


def describe(loaded: Loaded) -> list[Row]:
    """A row for each setting, in the order in which they are declared."""
    return [
        Row(name, _value(loaded.settings, name), loaded.sources[name], variable)
        for variable, name in VARIABLES.items()
    ]


def _value(settings: Settings, name: str) -> object:
    table, _, member = name.rpartition(".")
    return getattr(getattr(settings, table) if table else settings, member)


def _settings(given: Mapping[str, object]) -> Settings:
    nested: dict[str, Any] = {}
    for name, value in given.items():
        table, _, member = name.rpartition(".")
        (nested.setdefault(table, {}) if table else nested)[member] = value
    return msgspec.convert(nested, Settings)


def _from_file(path: Path) -> dict[str, object]:
    try:
        with path.open("rb") as file:
            text = file.read(FILE_BYTES_MAX + 1)
    except OSError as error:
        why = reason_of(error)
        raise _refused(f"{path} cannot be read: {why}", place=str(path)) from None
    if len(text) > FILE_BYTES_MAX:
        raise _refused(f"{path} is larger than {FILE_BYTES_MAX} bytes", place=str(path))
    try:
        tables = msgspec.toml.decode(text, type=dict[str, Any])
    except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
        why = str(error) if isinstance(error, msgspec.MsgspecError) else "it is no text that TOML can be"
        raise _refused(f"{path} is no TOML: {why}", place=str(path)) from None
    return dict(_leaves(tables, str(path)))


def _leaves(tables: Mapping[str, Any], place: str, table: str = "") -> Iterator[tuple[str, object]]:
    for key, value in tables.items():
        name = table + key
        if name in FIELDS:
            yield name, _converted(name, value, f"{name} in {place}", strict=True)
        elif name not in TABLES:
            raise _unknown(f"{name} in {place}", name, [*FIELDS, *TABLES])
        elif isinstance(value, dict):
            yield from _leaves(cast("dict[str, Any]", value), place, f"{name}.")
        else:
            raise _refused(f"{name} in {place}: expected a table", place=f"{name} in {place}")


def _from_environment(environ: Mapping[str, str]) -> tuple[dict[str, object], tuple[str, ...]]:
    """What the variables say, and those that say nothing to us.

    A slip must not leave a limit at its default unseen, so what looks like one of ours is refused. The rest
    belongs to somebody else, a deployment's scripts or an orchestrator, who is not to keep us from starting.
    """
    values: dict[str, object] = {}
    ignored: list[str] = []
    for variable in sorted(name for name in environ if name.startswith(PREFIX)):
        text = environ[variable]
        if _is_planted(variable, text):
            ignored.append(variable)
        elif variable in VARIABLES:
            if text:
                name = VARIABLES[variable]
                values[name] = _converted(name, text, variable, strict=False)
        elif variable not in COMMAND_LINE_VARIABLES:
            if _looks_like_ours(variable):
                raise _unknown(variable, variable, VARIABLES)
            ignored.append(variable)
    return values, tuple(ignored)


def _is_planted(variable: str, text: str) -> bool:
    return bool(_PLANTED.fullmatch(variable)) or (
        variable == "TURNLOG_PORT" and text.startswith(("tcp://", "udp://", "sctp://"))
    )


def _looks_like_ours(variable: str) -> bool:
    name = variable.removeprefix(PREFIX)
    return name.startswith(tuple(f"{table.upper()}_" for table in TABLES)) or bool(
        get_close_matches(name, [known.removeprefix(PREFIX) for known in VARIABLES], 1, SIMILAR)
    )


def _from_flags(flags: Mapping[str, object]) -> dict[str, object]:
    values: dict[str, object] = {}
    for name, value in flags.items():
        if name not in FIELDS:
            raise _unknown(f"flag {name}", name, FIELDS)
        values[name] = _converted(name, value, f"flag {name}", strict=False)
    return values


def _converted(name: str, value: object, place: str, *, strict: bool) -> object:
    kind = FIELDS[name]
    if isinstance(value, str) and _bare(kind) is tuple:
        value = [piece.strip() for piece in value.split(",") if piece.strip()]
    try:
        return msgspec.convert(value, kind, strict=strict)
    except (msgspec.MsgspecError, UnicodeError, OverflowError) as error:
        raise _refused(f"{place}: expected {_expected(kind, error)}", place=place) from None


def _bare(kind: Any) -> Any:
    """The type without what is said about it."""
    return _bare(get_args(kind)[0]) if get_origin(kind) is Annotated else get_origin(kind) or kind


def _expected(kind: Any, error: Exception) -> str:
    for meta in get_args(kind)[1:] if get_origin(kind) is Annotated else ():
        if meta.description is not None:
            return str(meta.description)
    return str(error).replace("`", "").removeprefix("Expected ")


def _unknown(place: str, name: str, known: Iterable[str]) -> Refused:
    nearest = next(iter(get_close_matches(name, list(known), 1, 0.5)), None)
    about = f"; did you mean {nearest}?" if nearest else ""
    return _refused(f"{place} is no setting{about}", place=place, nearest=nearest)


def _refused(message: str, **fields: object) -> Refused:
    return Refused("invalid_settings", message, **fields)
