"""How a run ends: the error on stderr, for people or as JSON, and the exit code.

0    done                                   5    stored bytes are damaged
1    unexpected: a fault of Turnlog         6    the store cannot do it now
2    refused, or used wrongly               130  interrupted from the keyboard
3    what was asked for does not exist      141  nobody reads the output any more
4    conflict with what the log holds
"""

from __future__ import annotations

import traceback
from typing import Final, cast

import msgspec
from cyclopts import CycloptsError, MissingArgumentError

from eventstore.errors import CODES, TurnlogError
from turnlog.cli.output import Output
from turnlog.cli.text import clean, one_line
from turnlog.service.keys import without_secrets

UNEXPECTED: Final = 1
INTERRUPTED: Final = 130
"""128 and the number of SIGINT, as shells count."""
BROKEN_PIPE: Final = 141
"""128 and the number of SIGPIPE: what other programs' ends look like then."""


class Report(msgspec.Struct, frozen=True):
    """An error as people and programs see it."""

    exit_code: int
    code: str
    message: str
    hint: str
    fields: dict[str, object] = {}


def report_of(error: BaseException) -> Report:
    """What to say of an error, and the exit code it has. Of several at once, the first."""
    while isinstance(error, BaseExceptionGroup):
        error = cast("BaseExceptionGroup[BaseException]", error).exceptions[0]
    if isinstance(error, TurnlogError):
        hint = error.hint
        if error.code == "file_system_unsafe":
            hint += " Here: --allow-unsafe-file-system."
        return Report(CODES[error.code].exit, error.code, error.message, hint, error.fields)
    if isinstance(error, CycloptsError):
        code = CODES["invalid_argument"]
        message = " ".join(str(error).split())
        if isinstance(error, MissingArgumentError) and error.argument and error.keyword is None:
            message = f"{error.argument.name} is missing"
        return Report(code.exit, "invalid_argument", message, _usage_hint(error))
    # The message of an unknown exception may hold anything, a conversation too: only its place is told.
    place = traceback.extract_tb(error.__traceback__)
    where = f" at {place[-1].filename.rpartition('/')[2]}:{place[-1].lineno}" if place else ""
    return Report(
        UNEXPECTED,
        "unexpected",
        f"{type(error).__name__}{where}",
        "This is a fault of Turnlog: run it again with --verbose and report the traceback.",
    )


def tell(output: Output, report: Report) -> None:
    """Write the error to stderr. It may repeat what was typed, a key by mistake: its secret is cut out."""
    if output.json:
        body: dict[str, object] = {"code": report.code, "message": report.message, "hint": report.hint}
        fields = {name: value for name, value in report.fields.items() if name not in body}
        text = msgspec.json.encode({"error": body | fields}, enc_hook=str).decode()
        output.errors.file.write(without_secrets(text) + "\n")
        return
    message = without_secrets(one_line(report.message))
    output.say(("error", "bad"), f": {message} ", (f"({report.code})", "faint"))
    for candidate in cast("list[object]", report.fields.get("candidates", [])):
        output.say("  ", (clean(str(candidate)), "id"))
    output.say((f"hint: {report.hint}", "faint"))


def _usage_hint(error: CycloptsError) -> str:
    command = " ".join(error.command_chain or ())
    return f"See `turnlog {command} --help`." if command else "See `turnlog --help`."
