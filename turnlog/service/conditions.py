"""Request headers that say when: ``If-Match``, ``If-None-Match``, ``Idempotency-Key``, and from where on.

``If-Match: "12"`` is an expected version, ``If-Match: *`` means that the context exists, ``If-None-Match: *``
that it does not. An idempotency key names an append for ever: a UUID is the commit id itself, any other text
gives one. Headers are looked up by their names in lower case, as servers give them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final, Literal
from uuid import UUID, uuid5

from eventstore.commits import ANY, EXISTS, NO_CONTEXT, ExpectedVersion
from eventstore.errors import Refused

AT_LEAST_HEADER: Final = "Turnlog-At-Least"
IDEMPOTENCY_HEADER: Final = "Idempotency-Key"
LAST_EVENT_ID: Final = "Last-Event-ID"

PLACE: Final = "(now|[0-9]{1,18})"
"""Where a reader goes on: with what is new, or after a number."""

KEY_CHARACTERS_MAX: Final = 255
"""Of an idempotency key: what others allow, so that a gateway's keys fit."""

_NAMESPACE: Final = UUID("5bd1c4a6-6d4c-4a0e-9a1f-2f6f0f4b8c11")
"""For commit ids that are made of other texts; never to be changed."""

_VERSION: Final = re.compile(r'(?:W/)?"(\d{1,15})"')


def expected_version(headers: Mapping[str, str]) -> ExpectedVersion:
    """What ``If-Match`` and ``If-None-Match`` expect of a write. Raises ``Refused`` (``invalid_header``)."""
    match, none_match = headers.get("if-match"), headers.get("if-none-match")
    if match is not None and none_match is not None:
        raise _invalid("If-Match", "give it or If-None-Match, not both")
    if none_match is not None:
        if none_match.strip() != "*":
            raise _invalid("If-None-Match", "of a write it is *: the context does not exist yet")
        return NO_CONTEXT
    if match is None:
        return ANY
    if match.strip() == "*":
        return EXISTS
    found = _VERSION.fullmatch(match.strip())
    if found is None:
        raise _invalid("If-Match", 'it is * or one version, as in "12"')
    return int(found[1])


def is_known(headers: Mapping[str, str], version: int) -> bool:
    """Whether ``If-None-Match`` of a read names this version: then there is nothing new to send."""
    given = headers.get("if-none-match", "")
    return given.strip() == "*" or str(version) in _VERSION.findall(given)


def commit_id(headers: Mapping[str, str]) -> UUID | None:
    """The commit id that ``Idempotency-Key`` names. Raises ``Refused`` (``invalid_header``)."""
    key = headers.get("idempotency-key")
    if key is None:
        return None
    key = key.strip().strip('"')
    if not 1 <= len(key) <= KEY_CHARACTERS_MAX:
        raise _invalid(IDEMPOTENCY_HEADER, f"it has 1 to {KEY_CHARACTERS_MAX} characters")
    try:
        return UUID(key)
    except ValueError:
        return uuid5(_NAMESPACE, key)


def at_least(headers: Mapping[str, str]) -> int | None:
    """The position that an answer must know of. Raises ``Refused`` (``invalid_header``)."""
    given = headers.get("turnlog-at-least")
    if given is None:
        return None
    if not re.fullmatch(r"[0-9]{1,18}", given.strip()):
        raise _invalid(AT_LEAST_HEADER, "it is a position: the number that Turnlog-Position gave")
    return int(given)


def last_seen(headers: Mapping[str, str], after: str | None) -> int | Literal["now"] | None:
    """What a reader has already; None when it does not say. Raises ``Refused`` (``invalid_argument``).

    The last id that a browser sends by itself decides, whatever it is: ``after`` is of its first request.
    """
    sent = headers.get("last-event-id") or None
    for given in (sent, after):
        if given is not None and not re.fullmatch(PLACE, given):
            raise Refused(
                "invalid_argument", "after is the number of what was last read, or now", argument="after"
            )
    place = sent or after
    return place if place is None or place == "now" else int(place)


def _invalid(header: str, why: str) -> Refused:
    return Refused("invalid_header", f"{header}: {why}", header=header)
