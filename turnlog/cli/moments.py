"""Moments as options and arguments of a verb: ``turnlog.moments`` with abbreviated ids."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Annotated, Final
from uuid import UUID

from cyclopts import Group, Parameter

from eventstore.errors import Refused
from projections.timetravel import Moment
from turnlog.cli.identify import find_message
from turnlog.facade import Turnlog
from turnlog.moments import moment_of, named_moment


async def written_moment(log: Turnlog, context_id: UUID, text: str) -> Moment:
    """The moment that is written in ``text``; an id in it may be shortened."""
    return await moment_of(log.queries, context_id, text, partial(find_message, log.store.log))


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
        message = None if self.at_message is None else find_message(log.store.log, self.at_message)
        named = named_moment(self.at_version, self.at_position, self.at_time, message)
        if self.at is None or named is None:
            return named or await written_moment(log, context_id, self.at or "now")
        raise Refused("invalid_argument", "give one moment only: --at or one of the --at-... options")


PRESENT: Final = AsOf()
"""None of them."""
