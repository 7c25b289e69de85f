"""Old event shapes -> today's, as a chain that is checked when it is loaded.

An upcaster turns the stored fields of a retired tag into those of its successor, which may itself be
retired: events written years ago walk the whole chain on each read, and the log never changes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, NamedTuple

from eventstore.events import BIT_OF_TAG

Fields = dict[str, Any]
"""An event's stored fields without its tag: ids are 16 bytes, defaults are left out."""


class Upcaster(NamedTuple):
    """From a retired tag, with the bit it had in ``kinds``, to its successor."""

    retired: str
    bit: int
    successor: str
    convert: Callable[[Fields], Fields]


class Chain:
    """All upcasters, proven to lead every retired tag to a current one.

    Raises ``ValueError`` for a gap (a successor that is neither current nor retired), a cycle, a tag that
    is retired twice or still current, and a bit that is not the retired tag's own.
    """

    def __init__(self, upcasters: Iterable[Upcaster], current: Mapping[str, int] = BIT_OF_TAG) -> None:
        self._steps: dict[str, Upcaster] = {}
        bits = set(current.values())
        for step in upcasters:
            if step.retired in current or step.retired in self._steps:
                raise ValueError(f"{step.retired} is retired twice or still current")
            if step.bit in bits or step.bit.bit_count() != 1:
                raise ValueError(f"{step.retired} needs a bit of its own")
            bits.add(step.bit)
            self._steps[step.retired] = step
        self._leads = {step.bit: current[self._check(tag, current)] for tag, step in self._steps.items()}
        self.retired_kinds: int = sum(step.bit for step in self._steps.values())

    def _check(self, tag: str, current: Mapping[str, int]) -> str:
        seen = [tag]
        while tag not in current:
            if tag not in self._steps:
                raise ValueError(f"no upcaster leads on from {tag}: {' -> '.join(seen)}")
            tag = self._steps[tag].successor
            if tag in seen:
                raise ValueError(f"upcasters go in a circle: {' -> '.join([*seen, tag])}")
            seen.append(tag)
        return tag

    def stored_kinds(self, kinds: int) -> int:
        """The bits that frames may carry for today's ``kinds``: their own, and those of retired tags."""
        return kinds | sum(bit for bit, leads_to in self._leads.items() if leads_to & kinds)

    def upcast(self, stored: Fields) -> Fields:
        """A stored event, tag in ``type``, in today's shape; a current one comes back unchanged."""
        tag = stored["type"]
        if tag not in self._steps:
            return stored
        fields = {name: value for name, value in stored.items() if name != "type"}
        while tag in self._steps:
            step = self._steps[tag]
            tag, fields = step.successor, step.convert(fields)
        return {"type": tag, **fields}


UPCASTERS: Final = Chain(())
"""No tag has been retired yet."""
