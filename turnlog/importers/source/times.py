"""When things happened: the ways in which sources write a time, read as microseconds since the epoch."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from functools import lru_cache
from operator import add
from typing import Final, NamedTuple

from eventstore.events import NUMBER_MAX

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)


ASSUMED_UTC: Final = "time_assumed_utc"
"""In the metadata of a message: the text of its time named no zone."""


class ReadTime(NamedTuple):
    """``assumed_utc``: the text named no zone, as SQLite's ``datetime('now')`` does, which is in UTC."""

    at: int
    assumed_utc: bool = False


def read_time(text: str) -> ReadTime | None:
    """A time as JavaScript, Rust (RFC 3339, and with `` UTC`` at the end) or SQLite writes it.

    None if it is none of these, or outside of what an event can hold. Digits below a microsecond are cut.
    """
    try:
        moment = datetime.fromisoformat(text.strip().upper().removesuffix(" UTC"))
    except ValueError:
        return None
    assumed = moment.tzinfo is None and not text.rstrip().upper().endswith(" UTC")
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return _bounded((moment - _EPOCH) // _MICROSECOND, assumed)


def read_moment(value: object) -> int | None:
    """The microseconds of a time that names its zone; None for anything else."""
    if not isinstance(value, str):
        return None
    fraction = value[20:26]
    if (
        len(value) == 27
        and value[19] == "."
        and value[26] == "Z"
        and fraction.isdecimal()
        and value.isascii()
    ):
        second = _second(value[:19])
        return None if second is None else second + int(fraction)
    moment = read_time(value)
    return None if moment is None or moment.assumed_utc else moment.at


def read_moments(texts: list[str]) -> list[int] | None:
    """As ``read_moment``, of many that all have six digits after the second and a Z; None for any others."""
    joined, fractions = "".join(texts), [text[20:26] for text in texts]
    digits = "".join(fractions)
    if (
        set(map(len, texts)) - {27}
        or joined[19::27] != "." * len(texts)
        or joined[26::27] != "Z" * len(texts)
        or (digits and not (digits.isascii() and digits.isdecimal()))
    ):
        return None
    seconds: list[int] = []
    before, at = "", None
    for text in texts:
        if (second := text[:19]) != before:
            before, at = second, _second(second)
        if at is None:
            return None
        seconds.append(at)
    return list(map(add, seconds, map(int, fractions)))


@lru_cache(maxsize=1_024)
def _second(text: str) -> int | None:
    """Chunks come in runs: most share their second with the one before."""
    moment = read_time(f"{text}Z")
    return None if moment is None else moment.at


def read_milliseconds(number: float) -> ReadTime | None:
    """A time as ``Date.now()`` gives it."""
    return _bounded(round(number * 1000)) if abs(number) < NUMBER_MAX else None


def _bounded(at: int, assumed_utc: bool = False) -> ReadTime | None:
    return ReadTime(at, assumed_utc) if abs(at) <= NUMBER_MAX else None
