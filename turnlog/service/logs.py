"""What the service logs: a line of JSON for each thing, on standard error, with the time."""

from __future__ import annotations

import logging
import sys
from typing import Any, Final

import msgspec
import structlog

from turnlog.service.keys import without_secrets
from turnlog.service.settings import LogLevel

_LEVELS: Final = {"debug": 10, "info": 20, "warning": 30, "error": 40}


def configure(level: LogLevel) -> None:
    """Send structlog's lines, and those of the libraries from warnings on, to standard error."""
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(_LEVELS[level]),
        logger_factory=_Logger,
        cache_logger_on_first_use=True,
    )
    logging.basicConfig(handlers=[_Handler()], level=logging.WARNING, force=True)


class _Logger:
    """Writes events: the last processor hands over their members, and nothing else is needed."""

    def __init__(self, *_: object) -> None:
        self._write = sys.stderr.write

    def msg(self, **members: Any) -> None:
        """Write one line."""
        self._write(msgspec.json.encode(members, enc_hook=str).decode() + "\n")

    debug = info = warning = error = critical = msg


class _Handler(logging.Handler):
    """A library's line. What it says of a request may hold what a request held: secrets are cut out."""

    def emit(self, record: logging.LogRecord) -> None:
        """Hand it to structlog."""
        failed = record.exc_info and record.exc_info[0] and record.exc_info[0].__name__
        structlog.get_logger(record.name).log(
            record.levelno, "library", message=without_secrets(record.getMessage()), error=failed
        )
