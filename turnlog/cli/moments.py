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
from dataclasses import dataclass
from typing import Annotated, Final
from uuid import UUID

from cyclopts import Group, Parameter

from eventstore.errors import NotFound, Refused
from eventstore.units import parse_time
from projections.timetravel import NOW, AtMessage, AtPosition, AtTime, AtVersion, Moment
from turnlog.cli.identify import find_message
from turnlog.facade import Turnlog

_BEFORE: Final = re.compile(r"(.+?)~(\d{1,18})")
_NUMBERED: Final = re.compile(r"([vp])(\d{1,18})")
_MESSAGE: Final = re.compile(r"m([0-9A-Fa-f-]{4,36})")


async def moment_of(log: Turnlog, context_id: UUID, text: str) -> Moment:
    """The moment that is written in ``text``, for a context.

    Raises ``Refused`` (``invalid_argument``, ``ambiguous_id``) or ``NotFound``.
    """
    before = _BEFORE.fullmatch(text)
    if before is None:
        return _plain_moment(log, text)
    state = await log.queries.context(context_id, _plain_moment(log, before[1]))
    version = state.version - int(before[2])
    if version < 1:
        raise NotFound(
            "moment_before_creation",
            f"{text} lies before the context's first event",
            context_id=context_id,
            version=state.version,
        )
    return AtVersion(version)


def _plain_moment(log: Turnlog, text: str) -> Moment:
    if text == "now":
        return NOW
    if numbered := _NUMBERED.fullmatch(text):
        number = int(numbered[2])
        return AtVersion(number) if numbered[1] == "v" else AtPosition(number)
    if message := _MESSAGE.fullmatch(text):
        return AtMessage(find_message(log.store.log, message[1]))
    try:
        return AtTime(parse_time(text))
    except Refused:
        raise Refused(
            "invalid_argument",
            f"{text!r} is no moment: write now, v12, p90, a time such as 2026-01-31T12:00:00Z, "
            "m and a message's id, or one of these with ~3 for three events before it",
            value=text,
        ) from None


@Parameter(name="*", group=Group("As of a moment (give one; now unless given)", sort_key=50))
@dataclass(frozen=True)
class AsOf:
    """The options of verbs that read the past."""

    at: Annotated[str | None, Parameter(help="A moment: now~3, v12, p90, a time, m and an id.")] = None
    at_version: Annotated[int | None, Parameter(help="After the context's event of this version.")] = None
    at_position: Annotated[int | None, Parameter(help="Once the log had this position.")] = None
    at_time: Annotated[str | None, Parameter(help="At a time, such as 2026-01-31T12:00:00Z.")] = None
    at_message: Annotated[str | None, Parameter(help="Right after this message was added.")] = None

    async def moment(self, log: Turnlog, context_id: UUID) -> Moment:
        """The one moment that is named, for a context. Raises as ``moment_of``."""
        given = (self.at, self.at_version, self.at_position, self.at_time, self.at_message)
        if sum(option is not None for option in given) > 1:
            raise Refused("invalid_argument", "give one moment only: --at or one of the --at-... options")
        if self.at_version is not None:
            return AtVersion(self.at_version)
        if self.at_position is not None:
            return AtPosition(self.at_position)
        if self.at_time is not None:
            return AtTime(parse_time(self.at_time))
        if self.at_message is not None:
            return AtMessage(find_message(log.store.log, self.at_message))
        return await moment_of(log, context_id, self.at or "now")


PRESENT: Final = AsOf()
"""None of them."""
