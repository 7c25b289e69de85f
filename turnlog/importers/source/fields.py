"""An object of a source, taken field by field: what has another type than the format says is noted."""

from __future__ import annotations

from typing import Any, Final, cast
from uuid import UUID

from eventstore.content import Json
from turnlog.importers.conversation import Problem
from turnlog.importers.source.json_text import Unreadable, decode
from turnlog.importers.source.times import ReadTime, read_time

_NAMES: Final[dict[type[Any], str]] = {
    str: "text",
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    list: "an array",
    dict: "an object",
    type(None): "null",
}


class Notes:
    """What is to be said of one conversation: where it is, and not as the format says."""

    def __init__(self, path: str, context_id: UUID | None = None) -> None:
        self.path = path
        self.context_id = context_id
        self._said: list[Problem] = []

    def of(self, path: str) -> Notes:
        """The same notes, said of another file."""
        notes = Notes(path)
        notes._said = self._said
        return notes

    def say(self, code: str, reason: str, place: str | None) -> None:
        """Add one."""
        self._said.append(Problem(self.path, code, reason, place, self.context_id))

    def decode(self, text: bytes, place: str | None = None) -> Json:
        """The value of a JSON text; what had to be mended in it is noted. Raises ``Unreadable``."""
        return decode(self.path, text, lambda code, reason: self.say(code, reason, place or "$"), place)

    def said(self) -> tuple[Problem, ...]:
        """All of them, with the conversation's id, which may have been found after some."""
        return tuple(
            Problem(said.path, said.code, said.reason, said.place, self.context_id) for said in self._said
        )


class Fields:
    """The members of an object. ``rest`` is what nobody took: to be kept as it is."""

    def __init__(self, value: dict[str, Json], place: str, notes: Notes) -> None:
        self.rest: dict[str, Json] = dict(value)
        self.place = place
        self.notes = notes
        self._noted: set[str] = set()

    def _take(self, name: str, *kinds: type) -> Any:
        value = self.rest.get(name)
        if value is None:
            return None
        if type(value) not in kinds:
            self._note(name, "wrong_type", f"it is {type_of(value)}, not {_NAMES[kinds[0]]}")
            return None
        del self.rest[name]
        return value

    def text(self, name: str) -> str | None:
        """A text; None if there is none."""
        return cast("str | None", self._take(name, str))

    def number(self, name: str) -> int | float | None:
        """A number."""
        return cast("int | float | None", self._take(name, float, int))

    def whole(self, name: str) -> int | None:
        """A whole number."""
        return cast("int | None", self._take(name, int))

    def flag(self, name: str) -> bool | None:
        """True or false."""
        return cast("bool | None", self._take(name, bool))

    def object(self, name: str) -> dict[str, Json]:
        """An object; an empty one if there is none."""
        return cast("dict[str, Json]", self._take(name, dict) or {})

    def array(self, name: str) -> list[Json]:
        """An array; an empty one if there is none."""
        return cast("list[Json]", self._take(name, list) or [])

    def time(self, name: str) -> ReadTime | None:
        """A time. Its text stays in ``rest``: it says more than the moment, such as the zone."""
        value = self.rest.get(name)
        text = self.text(name)
        if text is None:
            return None
        self.rest[name] = value
        moment = read_time(text)
        if moment is None:
            self._note(name, "unreadable_time", f"{text[:60]!r} is no time")
        return moment

    def missing(self, name: str) -> None:
        """Note that a field which the format demands is not there."""
        if self.rest.get(name) is None:
            self._note(name, "missing_field", f"there is no {name}")

    def _note(self, name: str, code: str, reason: str) -> None:
        if name not in self._noted:  # a field may be looked at twice
            self._noted.add(name)
            self.notes.say(code, reason, f"{self.place}.{name}")


def problem_of(unreadable: Unreadable) -> Problem:
    """What could not be taken, as it is reported."""
    return Problem(unreadable.path, unreadable.code, unreadable.reason, unreadable.place)


def type_of(value: Json) -> str:
    """A value's type in the words of JSON."""
    return next(name for kind, name in _NAMES.items() if type(value) is kind)
