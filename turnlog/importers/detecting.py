"""Which formats a source holds, by the shape of its files; the registry of all that we import."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import chain, islice
from typing import Final, NamedTuple

from eventstore.errors import Refused
from turnlog.importers.ait42 import importer as ait42
from turnlog.importers.conversation import Importer, Problem
from turnlog.importers.copilot_chat import importer as copilot_chat
from turnlog.importers.source.files import Source, Unreadable
from turnlog.importers.taskerino import importer as taskerino


class Format(NamedTuple):
    """A format that can be imported, and the shape by which it is known."""

    importer: Importer
    looked_for: str


FORMATS: Final[dict[str, Format]] = {
    one.importer.format: one
    for one in (
        Format(copilot_chat.CopilotChat(), copilot_chat.LOOKED_FOR),
        Format(ait42.Ait42(), ait42.LOOKED_FOR),
        Format(taskerino.Taskerino(), taskerino.LOOKED_FOR),
    )
}
"""Every format by its name, which is what ``--format`` takes."""

_LOOKED_AT: Final = 200
"""Files that are read to see what is wrong with a source in which nothing was recognised."""

_TOLD: Final = 5
"""Of those that cannot be read: a message is one line."""


def detect(source: Source, insist: str | None = None) -> list[Importer]:
    """The importers for what is in a source; the one insisted on, unless all that is there is of another.

    Raises ``Refused``: ``invalid_argument`` for a format that there is not, or ``nothing_recognised``, which
    says of what other format the source is; or what is wrong with the first files that cannot be read, and
    what was looked for.
    """
    if insist is not None:
        if insist not in FORMATS:
            reason = f"there is no format {insist!r}; there are {', '.join(FORMATS)}"
            raise Refused("invalid_argument", reason, argument="format")
        if not FORMATS[insist].importer.recognises(source) and (others := _formats_of(source)):
            holds = "; ".join(f"{one.importer.format}: {one.looked_for}" for one in others)
            names = " or ".join(f"--format {one.importer.format}" for one in others)
            what = f"{source.root} looks like {holds}. It holds nothing of {insist}: give {names}"
            raise Refused("nothing_recognised", what, formats=[one.importer.format for one in others])
        return [FORMATS[insist].importer]
    found = [one.importer for one in _formats_of(source)]
    if not found:
        looked = "; ".join(f"{name}: {one.looked_for}" for name, one in FORMATS.items())
        what = "".join(f"{one}; " for one in _damaged(source))
        raise Refused("nothing_recognised", f"{source.root}: {what}it holds none of these. {looked}")
    return found


def _formats_of(source: Source) -> list[Format]:
    return [one for one in FORMATS.values() if one.importer.recognises(source)]


def _damaged(source: Source) -> Iterator[str]:
    """What is wrong with the first files that could have been of a format and cannot be read."""
    errors = chain(source.left_out(), _unreadable(islice(source.files(), _LOOKED_AT), source))
    for number, error in enumerate(errors):
        if number == _TOLD:
            yield "and more"
            return
        yield f"{' '.join(filter(None, (error.path, error.place)))}: {error.reason}".removeprefix(": ")


def _unreadable(names: Iterable[str], source: Source) -> Iterator[Unreadable]:
    for name in names:
        if name.endswith(".json"):
            try:
                source.json(name)
            except Unreadable as error:
                yield error


def unclaimed(source: Source, importers: list[Importer]) -> Iterator[Problem]:
    """The files of which none of the importers will tell, so that nothing is passed over in silence."""
    for name in source.files():
        if not any(importer.claims(source, name) for importer in importers):
            yield Problem(name, "unrecognised", "it is of no format that was found here", warning=True)
