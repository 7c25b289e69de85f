"""What the service logs: a line for each thing, on standard error, with the time.

JSON for programs; where standard error is a terminal, the same facts for people.
"""

from __future__ import annotations

import asyncio
import logging
import sys
from collections import deque
from collections.abc import MutableMapping
from contextlib import suppress
from typing import Any, Final

import msgspec
import structlog
from structlog.dev import ConsoleRenderer
from structlog.processors import TimeStamper, add_log_level

from eventstore.units import format_time, wall_clock_us
from turnlog.service.keys import without_secrets
from turnlog.service.settings import LogLevel

_LEVELS: Final = {"debug": 10, "info": 20, "warning": 30, "error": 40}

_lines: Final = msgspec.json.Encoder(enc_hook=str)


def configure(level: LogLevel) -> None:
    """Send structlog's lines, and those of the libraries from warnings on, to standard error."""
    person = sys.stderr.isatty()
    for_people = (
        add_log_level,
        TimeStamper("%H:%M:%S", utc=False),
        ConsoleRenderer(pad_event_to=8, sort_keys=False),
    )
    structlog.configure(
        processors=for_people if person else [_line],
        wrapper_class=structlog.make_filtering_bound_logger(_LEVELS[level]),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr) if person else _Logger,
        cache_logger_on_first_use=True,
    )
    logging.basicConfig(handlers=[_Handler()], level=logging.WARNING, force=True)


def _line(_: object, level: str, facts: MutableMapping[str, Any]) -> bytes:
    """The facts as JSON. One step: each of structlog's own costs as much as all of this."""
    line = {"timestamp": format_time(wall_clock_us()), "level": level, "event": facts.pop("event"), **facts}
    return _lines.encode(line)


class _Logger:
    """Writes lines, those of one turn of the event loop at once."""

    def __init__(self, *_: object) -> None:
        self._lines: deque[bytes] = deque()

    def msg(self, line: bytes) -> None:
        """Write one line."""
        self._lines.append(line + b"\n")
        if len(self._lines) == 1:
            try:
                asyncio.get_running_loop().call_soon(self._write)
            except RuntimeError:  # another thread's: it has no loop
                self._write()

    debug = info = warning = error = critical = msg

    def _write(self) -> None:
        """What cannot be written is lost: a full disk is no reason to fail, nor to keep lines for ever."""
        lines: list[bytes] = []
        with suppress(IndexError):  # the end; another thread may take some, too
            while True:
                lines.append(self._lines.popleft())
        with suppress(OSError):
            sys.stderr.buffer.write(b"".join(lines))
            sys.stderr.buffer.flush()


class _Handler(logging.Handler):
    """A library's line. What it says of a request may hold what a request held: secrets are cut out."""

    def emit(self, record: logging.LogRecord) -> None:
        """Hand it to structlog."""
        failed = record.exc_info and record.exc_info[0] and record.exc_info[0].__name__
        structlog.get_logger(record.name).log(
            record.levelno, "library", message=without_secrets(record.getMessage()), error=failed
        )
