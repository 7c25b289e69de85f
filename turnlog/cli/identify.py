"""Ids as people give them: whole, or by a start or an end that only one has.

Tables show the end of an id. UUIDs of version 7 begin with the time, so those made together begin alike.
"""

from __future__ import annotations

import re
from typing import Final
from uuid import UUID

from eventstore.errors import NotFound, Refused
from eventstore.log import Log

CHARACTERS_MIN: Final = 4
"""Of an abbreviated id."""

CANDIDATES_MAX: Final = 8
"""Listed when an abbreviation fits several."""

LATEST: Final = "@latest"
"""The context that was written last."""

_HEX: Final = re.compile(r"[0-9a-f]+")
_ID_CHARACTERS: Final = 32


def find_context(log: Log, text: str) -> UUID:
    """The context that ``text`` names: an id, a unique start or end of one, or ``@latest``.

    Raises ``NotFound`` (``context_not_found``) or ``Refused`` (``invalid_argument``, ``ambiguous_id``).
    """
    if text != LATEST:
        return _find(log, text, "context")
    with log.reading() as txn:
        head = log.head(txn).position
        if head == 0:
            raise NotFound("context_not_found", "there is no context yet")
        return log.commit_at(txn, head).context_id


def find_message(log: Log, text: str) -> UUID:
    """The message that ``text`` names: an id, or a unique start or end of one. Raises as ``find_context``."""
    return _find(log, text, "message")


def _find(log: Log, text: str, noun: str) -> UUID:
    wanted = text.strip().removeprefix("…").replace("-", "").lower()
    if len(wanted) < CHARACTERS_MIN or len(wanted) > _ID_CHARACTERS or not _HEX.fullmatch(wanted):
        raise Refused(
            "invalid_argument",
            f"{text!r} is no {noun} id: give at least {CHARACTERS_MIN} characters of its start or end",
            value=text,
        )
    if len(wanted) == _ID_CHARACTERS:
        return UUID(wanted)
    with log.reading() as txn:
        every = log.context_keys(txn) if noun == "context" else log.message_keys(txn)
        found = [key for key in every if _abbreviates(wanted, key.hex())]
    if not found:
        code = "context_not_found" if noun == "context" else "message_not_found"
        raise NotFound(code, f"no {noun} has an id that starts or ends with {text}", value=text)
    if len(found) > 1:
        candidates = [str(UUID(bytes=key)) for key in found[:CANDIDATES_MAX]]
        raise Refused(
            "ambiguous_id",
            f"{len(found)} {noun}s have ids that start or end with {text}",
            value=text,
            candidates=candidates,
        )
    return UUID(bytes=found[0])


def _abbreviates(wanted: str, whole: str) -> bool:
    return whole.startswith(wanted) or whole.endswith(wanted)
