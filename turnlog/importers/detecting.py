"""Which formats a source holds."""

from __future__ import annotations

from eventstore.errors import Refused
from turnlog.importers.conversation import Importer
from turnlog.importers.reading import Source

IMPORTERS: tuple[Importer, ...] = ()


def detect(source: Source, insist: str | None) -> list[Importer]:
    """The importers that recognise a source, or the one that is insisted on. Raises ``Refused``."""
    found = [i for i in IMPORTERS if i.format == insist or (insist is None and i.recognises(source))]
    if not found:
        raise Refused("input_unreadable", f"{source.root.name} holds no format that is known")
    return found
