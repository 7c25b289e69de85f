"""Integers that must not mix, and the one way to write a time."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Annotated, NewType, TypeAlias

import msgspec

from eventstore.errors import Refused

RFC_3339 = "2026-01-31T12:00:00.000000Z"
"""How a time looks outside."""

Position = NewType("Position", int)
"""A commit's place in the whole log: 1, 2, 3 ...; 0 is "before the first"."""

Version = NewType("Version", int)
"""The number of events a context has had; 0 means that it does not exist."""

Sequence = NewType("Sequence", int)
"""A chunk's number within its stream: 1, 2, 3 ...; 0 is "before the first"."""

Micros = NewType("Micros", int)
"""Microseconds since 1970-01-01T00:00:00Z, or a span of them."""

At: TypeAlias = Annotated[
    int,
    msgspec.Meta(extra_json_schema={"type": "string", "format": "date-time", "examples": [RFC_3339]}),
]
"""``Micros`` in an answer: a number inside, RFC 3339 outside."""

Clock: TypeAlias = Callable[[], int]
"""Gives the time in microseconds since the epoch; passed in, so that tests own it."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


def wall_clock_us() -> Micros:
    """The machine's clock. It may jump: order never comes from it."""
    return Micros(time.time_ns() // 1000)


def format_time(at: int) -> str:
    """RFC 3339 in UTC with six decimals and ``Z``."""
    seconds, microseconds = divmod(at, 1_000_000)
    return f"{_second(seconds)}.{microseconds:06d}Z"


@lru_cache(maxsize=1_024)
def _second(seconds: int) -> str:
    """Times come in runs: most share their second with the one before."""
    return (_EPOCH + timedelta(seconds=seconds)).isoformat(timespec="seconds")[:-6]


def parse_time(text: str) -> Micros:
    """Read an RFC 3339 time; one without an offset is refused, because it names no instant.

    Raises ``Refused`` with code ``invalid_time``.
    """
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        moment = None
    if moment is None or moment.tzinfo is None:
        raise Refused("invalid_time", f"{text!r} is not an RFC 3339 time", value=text)
    return Micros((moment - _EPOCH) // _MICROSECOND)
