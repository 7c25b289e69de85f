"""The ``turnlog`` command: one verb for each job, readable or as JSON.

``main`` is the process: it runs a verb and turns whatever happens into an exit code (``failures``).
"""

from __future__ import annotations

import io
import os
import sys
import traceback
from collections.abc import Sequence
from typing import NoReturn

import structlog

from eventstore import process
from turnlog.cli.failures import BROKEN_PIPE, INTERRUPTED, report_of, tell
from turnlog.cli.output import Output
from turnlog.cli.verbs import app
from turnlog.service.keys import without_secrets


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run one verb and end the process with its exit code."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a locale without a character is no reason to fail
    arguments = sys.argv[1:] if arguments is None else arguments
    if "serve" not in arguments:
        process.spare()
    sys.exit(run(arguments))


def run(arguments: Sequence[str]) -> int:
    """Run one verb and return its exit code, after telling on stderr what went wrong."""
    configure_logging(verbose="--verbose" in arguments)
    try:
        code = _run(arguments)
        sys.stdout.flush()
    except BrokenPipeError:
        _write_to_nowhere()
        return BROKEN_PIPE
    return code


def _run(arguments: Sequence[str]) -> int:
    try:
        return app(arguments) or 0
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        raise
    except Exception as error:
        sys.stdout.flush()
        if "--verbose" in arguments:
            sys.stderr.write(without_secrets("".join(traceback.format_exception(error))))
        report = report_of(error)
        tell(Output("--json" in arguments), report)
        return report.exit_code


def _write_to_nowhere() -> None:
    """Nobody reads: let what is still buffered go, so that the interpreter's end does not complain."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except BrokenPipeError:
            os.dup2(nowhere, stream.fileno())


def configure_logging(*, verbose: bool) -> None:
    """Log lines go to stderr: warnings and worse, or with ``verbose`` everything."""
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            structlog.processors.KeyValueRenderer(key_order=["timestamp", "level", "event"]),
        ],
        wrapper_class=structlog.make_filtering_bound_logger("debug" if verbose else "warning"),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=False,
    )
