"""Who asks: the key of a request, or the ticket that stands for one; and where a request may come from.

While no key was ever made, the service listens on this machine alone and everybody may do everything. Pages
of other sites run on this machine too, in its browser: they reach the service under a name that they let
point here, or by sending what needs no permission. So without keys the name is checked, and the origin.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, Final
from urllib.parse import parse_qs, urlsplit

from eventstore.errors import Refused
from eventstore.units import Clock, wall_clock_us
from turnlog.service.exposure import is_loopback
from turnlog.service.keyring import Keyring
from turnlog.service.keys import Key, KeyState, refusal
from turnlog.service.tickets import Tickets

TICKET: Final = "ticket"
"""The query parameter that holds one."""

_READS: Final = frozenset({"GET", "HEAD", "OPTIONS"})


class Gate:
    """Tells whose request it is."""

    def __init__(
        self,
        keyring: Keyring,
        tickets: Tickets,
        *,
        origins: Collection[str] = (),
        clock: Clock = wall_clock_us,
    ) -> None:
        self.tickets: Tickets = tickets
        self._keyring = keyring
        self._origins = origins
        self._clock = clock

    def key_of(self, scope: Any, headers: Mapping[str, str]) -> Key:
        """In whose name a request is made. Raises ``KeyRefused``, or ``Refused`` (``invalid_header``)."""
        text, now = _sent_key(headers), self._clock()
        ticket = _ticket(scope["query_string"]) if text is None else None
        if ticket is None:
            key = self._keyring.authenticate(text, now)
        elif scope["method"] == "GET":
            key = self.tickets.redeem(ticket, scope["path"], now)
        else:
            raise refusal("ticket_invalid", "a ticket is for GET only", "elsewhere")
        if not self._keyring.required:
            _check_nearness(scope["method"], headers, self._origins)
        return key

    def state(self, key_id: str) -> KeyState:
        """Whether a key still opens anything, and if not, why."""
        return self._keyring.state(key_id, self._clock())

    def check_live(self, key: Key) -> None:
        """Raise ``KeyRefused`` for a key that was revoked or has expired since it let somebody in."""
        state = self.state(key.id)
        if state != "live":
            what = "was revoked" if state == "revoked" else "has expired"
            raise refusal(f"key_{state}", f"the key {what}", state, key.id)

    def ticket(self, key: Key, path: str) -> tuple[str, int]:
        """A ticket for one request of a path, and when it expires. Raises ``Unavailable``."""
        now = self._clock()
        return self.tickets.issue(key, path, now), now + self.tickets.life_us


def _sent_key(headers: Mapping[str, str]) -> str | None:
    """From ``Authorization: Bearer``, or ``X-Api-Key``, as the clients of model providers send theirs."""
    authorization = headers.get("authorization")
    if authorization is None:
        return headers.get("x-api-key")
    scheme, _, text = authorization.partition(" ")
    return text.strip() if scheme.lower() == "bearer" else authorization


def _ticket(query: bytes) -> str | None:
    """The ticket in a query."""
    if b"ticket=" not in query:
        return None
    return next(iter(parse_qs(query.decode("latin-1")).get(TICKET, ())), None)


def _check_nearness(method: str, headers: Mapping[str, str], origins: Collection[str]) -> None:
    host, origin = headers.get("host", ""), headers.get("origin")
    if not is_loopback(_name_of(host)):
        raise Refused(
            "invalid_header",
            "Host: without keys the service answers to this machine's own names only; use 127.0.0.1",
            header="Host",
        )
    if origin is None or method in _READS:
        return
    if urlsplit(origin).netloc != host and origin not in origins and "*" not in origins:
        raise Refused(
            "invalid_header",
            "Origin: a page of another site may not write; name it in cors_origins",
            header="Origin",
        )


def _name_of(host: str) -> str:
    """A ``Host`` header without its port."""
    if host.startswith("["):
        return host.partition("]")[0].removeprefix("[")
    return host.partition(":")[0]
