"""The options that every verb takes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Final, TypeAlias

from cyclopts import Group, Parameter, validators

COMMON: Final = Group("Common options", sort_key=90)

Natural: TypeAlias = Annotated[int, Parameter(validator=validators.Number(gte=0))]
"""A version, a position, a number of lines: 0 or more."""

Positive: TypeAlias = Annotated[int, Parameter(validator=validators.Number(gte=1))]
"""How many of what is asked for: 1 or more."""

Flag: TypeAlias = Annotated[bool, Parameter(negative="", show_default=False)]
"""An option that is given or not."""


@Parameter(name="*", group=COMMON)
@dataclass(frozen=True)
class Options:
    """Where the data is, and how the answer is given."""

    data: Annotated[Path, Parameter(env_var="TURNLOG_DATA", help="The data directory.")] = Path("data")
    json: Annotated[
        bool,
        Parameter(
            negative="", show_default=False, help="Answer in JSON: one object, or one a line for lists."
        ),
    ] = False
    verbose: Annotated[
        bool, Parameter(negative="", show_default=False, help="Log to stderr; show tracebacks.")
    ] = False
    projection: Annotated[
        tuple[str, ...],
        Parameter(
            negative="",
            show_default=False,
            help="A projection of your own as MODULE:NAME, beside the installed ones. May be repeated.",
        ),
    ] = ()
    allow_unsafe_file_system: Annotated[
        bool,
        Parameter(
            negative="",
            show_default=False,
            env_var="TURNLOG_ALLOW_UNSAFE_FILE_SYSTEM",
            help="Accept a network or overlay file system, against all advice.",
        ),
    ] = False


DEFAULTS: Final = Options()
"""What a verb gets that is called without any."""
