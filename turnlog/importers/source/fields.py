"""An object of a source, taken field by field: what has another type than the format says is noted."""

from __future__ import annotations

from typing import Any, Final, cast

from eventstore.content import Json
from turnlog.importers.source.notes import Notes
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

    def left(self, known: tuple[str, ...]) -> dict[str, Json]:
        """What nobody took: ``source``, and the names of those that are null, but for ``known`` ones.

        A merge patch, which takes attributes in, could not say a null.
        """
        source = {name: value for name, value in self.rest.items() if value is not None}
        nulls = [name for name, value in self.rest.items() if value is None and name not in known]
        return ({"source": source} if source else {}) | ({"nulls": nulls} if nulls else {})

    def _note(self, name: str, code: str, reason: str) -> None:
        if name not in self._noted:  # a field may be looked at twice
            self._noted.add(name)
            self.notes.say(code, reason, f"{self.place}.{name}")


def type_of(value: Json) -> str:
    """A value's type in the words of JSON."""
    return next(name for kind, name in _NAMES.items() if type(value) is kind)
