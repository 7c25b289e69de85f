"""What is to be said of one conversation: what is not as the format says, and what could not be read."""

from __future__ import annotations

from uuid import UUID

import msgspec

from eventstore.content import Json
from turnlog.importers.conversation import Problem
from turnlog.importers.source.json_text import Unreadable, decode


class Notes:
    """Notes about a file. ``context_id`` may be found after some of them; all of them have it at the end."""

    def __init__(self, path: str, context_id: UUID | None = None) -> None:
        self.path = path
        self.context_id = context_id
        self._said: list[Problem] = []
        self._lost: list[Problem] = []

    def of(self, path: str) -> Notes:
        """The same notes, for what is to be said of another file."""
        notes = Notes(path)
        notes._said, notes._lost = self._said, self._lost
        return notes

    def say(self, code: str, reason: str, place: str | None = None) -> None:
        """Something is not as it should be, and its original is kept."""
        self._said.append(Problem(self.path, code, reason, place, warning=True))

    def lose(self, unreadable: Unreadable) -> None:
        """Something could not be read."""
        self._lost.append(problem_of(unreadable))

    def decode(self, text: bytes, place: str | None = None) -> Json:
        """The value of a JSON text; what had to be mended in it is noted. Raises ``Unreadable``."""
        return decode(self.path, text, lambda code, reason: self.say(code, reason, place or "$"), place)

    def said(self) -> tuple[Problem, ...]:
        """The warnings."""
        return self._with_id(self._said)

    def lost(self) -> tuple[Problem, ...]:
        """What could not be read."""
        return self._with_id(self._lost)

    def _with_id(self, problems: list[Problem]) -> tuple[Problem, ...]:
        return tuple([msgspec.structs.replace(one, context_id=self.context_id) for one in problems])


class Where(msgspec.Struct, frozen=True):
    """A place in a file, where something odd is noted."""

    notes: Notes
    place: str

    def inside(self, place: str) -> Where:
        """A place within this one."""
        return Where(self.notes, f"{self.place}{place}")

    def warn(self, code: str, reason: str) -> None:
        """Something here is not as it should be, and its original is kept."""
        self.notes.say(code, reason, self.place)

    def unreadable(self, code: str, reason: str) -> Unreadable:
        """What is here cannot be taken."""
        return Unreadable(self.notes.path, code, reason, self.place)


def problem_of(unreadable: Unreadable) -> Problem:
    """What could not be taken, as it is reported."""
    return Problem(unreadable.path, unreadable.code, unreadable.reason, unreadable.place)
