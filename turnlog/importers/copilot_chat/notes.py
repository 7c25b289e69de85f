"""What the readers of copilot_chat share: what was odd on the way, times, and words in any spelling."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any, Final, cast
from uuid import UUID

import msgspec

from eventstore.events import NUMBER_MAX
from eventstore.limits import NAME_CHARACTERS_MAX
from turnlog.importers.conversation import Problem
from turnlog.importers.source.files import Unreadable

FORMAT: Final = "copilot_chat"

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)


class Notes:
    """What was odd in one context: ``warnings`` about what is kept, ``losses`` of what could not be."""

    def __init__(self, context_id: UUID) -> None:
        self.context_id: UUID = context_id
        self.warnings: list[Problem] = []
        self.losses: list[Problem] = []

    def warn(self, path: str, code: str, reason: str, place: str | None = None) -> None:
        """Something is not as it should be, and its original is kept."""
        self.warnings.append(Problem(path, code, reason, place, self.context_id, warning=True))

    def lose(self, problem: Unreadable) -> None:
        """Something could not be read."""
        self.losses.append(problem_of(problem, self.context_id))


class Where(msgspec.Struct, frozen=True):
    """A place in a file, where something odd is noted."""

    notes: Notes
    path: str
    place: str

    def inside(self, place: str) -> Where:
        """A place within this one."""
        return Where(self.notes, self.path, f"{self.place}{place}")

    def warn(self, code: str, reason: str) -> None:
        """Something here is not as it should be, and its original is kept."""
        self.notes.warn(self.path, code, reason, self.place)

    def unreadable(self, code: str, reason: str) -> Unreadable:
        """What is here cannot be taken."""
        return Unreadable(self.path, code, reason, self.place)


def problem_of(error: Unreadable, context_id: UUID | None = None) -> Problem:
    """What the reader could not take, as an importer says it."""
    return Problem(error.path, error.code, error.reason, error.place, context_id)


def read_time(value: object) -> int | None:
    """Microseconds since the epoch of an RFC 3339 time; None for anything else or out of the log's range."""
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
    return _moment(value)


def is_exact(value: str) -> bool:
    """Whether microseconds hold the time: nanoseconds that are not zero are cut off."""
    return len(value) <= 27 or not value[26:29].strip("0").isdecimal()


@lru_cache(maxsize=1_024)
def _second(text: str) -> int | None:
    """Chunks come in runs: most share their second with the one before."""
    return _moment(f"{text}Z")


def _moment(text: str) -> int | None:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    if moment.tzinfo is None:
        return None
    at = (moment - _EPOCH) // _MICROSECOND
    return at if -NUMBER_MAX <= at <= NUMBER_MAX else None


def squashed(word: str) -> str:
    """One spelling for ``awaiting_l_l_m_response``, ``awaiting_llm_response`` and ``AwaitingLLMResponse``."""
    return word.replace("_", "").replace("-", "").lower()


def object_of(value: object) -> dict[str, Any] | None:
    """A JSON object, or None."""
    return cast("dict[str, Any]", value) if isinstance(value, dict) else None


def list_of(value: object) -> list[Any] | None:
    """A JSON array, or None."""
    return cast("list[Any]", value) if isinstance(value, list) else None


def text_of(value: object) -> str | None:
    """A string, or None."""
    return value if isinstance(value, str) else None


def name_of(value: object) -> str | None:
    """What the log takes as a name, or None."""
    return value if isinstance(value, str) and 0 < len(value) <= NAME_CHARACTERS_MAX else None


def uuid_of(value: object) -> UUID | None:
    """A UUID in its usual form, or None."""
    if not isinstance(value, str) or len(value) != 36:
        return None
    try:
        return UUID(value)
    except ValueError:
        return None


def rest_of(found: dict[str, Any], *known: str) -> dict[str, Any]:
    """The members that are not ``known``: what we do not model."""
    return {key: value for key, value in found.items() if key not in known}


def as_text(value: object) -> str:
    """A JSON value as its text."""
    return msgspec.json.encode(value).decode()
