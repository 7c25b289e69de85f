"""Which formats a source holds."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

from turnlog.importers.conversation import Importer, Problem
from turnlog.importers.reading import Source, Unreadable


class Claiming(Importer, Protocol):
    """An importer that says of each file whether it is of its format, sound or not."""

    def claims(self, source: Source, name: str) -> bool:
        """Whether reading the source tells of this file."""
        ...


FORMATS: dict[str, Claiming] = {}
"""Every format by its name, which is what ``--format`` takes."""


def detect(source: Source, insist: str | None = None) -> list[Claiming]:
    """The importers for what is in a source; the one insisted on. Raises ``Unreadable``."""
    found = [i for i in FORMATS.values() if i.format == insist or (insist is None and i.recognises(source))]
    if not found:
        raise Unreadable(str(source.root), "nothing_recognised", "it holds no format that is known")
    return found


def unclaimed(source: Source, importers: list[Claiming]) -> Iterator[Problem]:
    """The files of which none of the importers will tell, so that nothing is passed over in silence."""
    for name in source.files():
        if not any(importer.claims(source, name) for importer in importers):
            yield Problem(name, "unrecognised", "it is of no format that was found here", warning=True)
