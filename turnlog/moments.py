"""Moments of the past as people write them.

| written                  | means                                                                  |
|---|---|
| ``now``                  | the newest version                                                     |
| ``v12``                  | the context's version 12: after its twelfth event                      |
| ``p90``                  | once the log had position 90                                           |
| ``2026-01-31T12:00:00Z`` | at that time; any RFC 3339 time with an offset                         |
| ``m0190c4f2-...``        | right after that message was added; the id, or a unique start or end   |
| ``v12~3``                | three events before a moment, here version 9; works after any of these |
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final
from uuid import UUID

from eventstore.errors import NotFound, Refused
from eventstore.units import parse_time
from projections.queries import Queries
from projections.timetravel import NOW, AtMessage, AtPosition, AtTime, AtVersion, Moment

_BEFORE: Final = re.compile(r"(.+?)~(\d{1,18})")
_NUMBERED: Final = re.compile(r"([vp])(\d{1,18})")
_MESSAGE: Final = re.compile(r"m([0-9A-Fa-f-]{4,36})")


async def moment_of(queries: Queries, context_id: UUID, text: str, message: Callable[[str], UUID]) -> Moment:
    """The moment that is written in ``text``, for a context; ``message`` reads the id of a message.

    Raises ``Refused`` (``invalid_argument``, ``ambiguous_id``) or ``NotFound``.
    """
    before = _BEFORE.fullmatch(text)
    if before is None:
        return _plain_moment(text, message)
    state = await queries.context(context_id, _plain_moment(before[1], message))
    version = state.version - int(before[2])
    if version < 1:
        raise NotFound(
            "moment_before_creation",
            f"{text} lies before the context's first event",
            context_id=context_id,
            version=state.version,
        )
    return AtVersion(version)


def _plain_moment(text: str, message: Callable[[str], UUID]) -> Moment:
    if text == "now":
        return NOW
    if numbered := _NUMBERED.fullmatch(text):
        number = int(numbered[2])
        return AtVersion(number) if numbered[1] == "v" else AtPosition(number)
    if written := _MESSAGE.fullmatch(text):
        return AtMessage(message(written[1]))
    try:
        return AtTime(parse_time(text))
    except Refused:
        raise Refused(
            "invalid_argument",
            f"{text!r} is no moment: write now, v12, p90, a time such as 2026-01-31T12:00:00Z, "
            "m and a message's id, or one of these with ~3 for three events before it",
            value=text,
        ) from None


def named_moment(
    version: int | None = None,
    position: int | None = None,
    time: str | None = None,
    message: UUID | None = None,
) -> Moment | None:
    """The one that is given: a version, a position, an RFC 3339 time, or a message's id; None when none is.

    Raises ``Refused`` (``invalid_argument`` for more than one, ``invalid_time``).
    """
    if sum(given is not None for given in (version, position, time, message)) > 1:
        raise Refused("invalid_argument", "give one moment only: a version, a position, a time or a message")
    if version is not None:
        return AtVersion(version)
    if position is not None:
        return AtPosition(position)
    if time is not None:
        return AtTime(parse_time(time))
    return None if message is None else AtMessage(message)
