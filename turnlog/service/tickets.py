"""Tickets: what a browser shows instead of a key, once, because its event streams cannot send headers."""

from __future__ import annotations

import secrets
from collections import Counter
from hashlib import sha256
from typing import NamedTuple

from eventstore.errors import Unavailable
from turnlog.service.keyring import Keyring
from turnlog.service.keys import Key, refusal


class _Issued(NamedTuple):
    key: Key
    path: str
    expires_at: int


class Tickets:
    """The tickets of one process that wait to be used; they are kept nowhere else.

    Times are microseconds since the epoch, of the clock that tells when keys expire.
    """

    def __init__(self, keyring: Keyring, *, life_seconds: float, per_key_max: int) -> None:
        self._keyring = keyring
        self.life_us: int = round(life_seconds * 1_000_000)
        self._per_key_max = per_key_max
        self._issued: dict[bytes, _Issued] = {}  # by digest, the oldest first
        self._by_key: Counter[str] = Counter()

    def __len__(self) -> int:
        return len(self._issued)

    def issue(self, key: Key, path: str, now: int) -> str:
        """A ticket for one request of ``path`` in the name of a key.

        Raises ``Unavailable`` with code ``too_many_tickets`` while too many of the key's wait to be used.
        """
        self._drop_expired(now)
        if self._by_key[key.id] >= self._per_key_max:
            raise Unavailable(
                "too_many_tickets", f"{self._per_key_max} tickets wait to be used", limit=self._per_key_max
            )
        text = f"tlt_{secrets.token_hex(32)}"
        self._issued[_digest(text)] = _Issued(key, path, now + self.life_us)
        self._by_key[key.id] += 1
        return text

    def redeem(self, text: str, path: str, now: int) -> Key:
        """The key in whose name ``path`` may be asked for. Whatever comes of it, the ticket is used up.

        Raises ``KeyRefused`` with code ``ticket_invalid``, also when the key was revoked or has expired.
        """
        digest = _digest(text)
        issued = self._issued.get(digest)
        if issued is None:
            raise refusal("ticket_invalid", "the ticket is not valid", "unknown")
        self._drop(digest)
        key_id = issued.key.id
        if issued.expires_at <= now:
            raise refusal("ticket_invalid", "the ticket is not valid", "expired", key_id)
        if issued.path != path:
            raise refusal("ticket_invalid", "the ticket is not valid", "elsewhere", key_id)
        state = self._keyring.state(key_id, now)
        if state != "live":
            raise refusal("ticket_invalid", "the ticket is not valid", state, key_id)
        return issued.key

    def _drop_expired(self, now: int) -> None:
        """All live equally long, so the first that has not expired ends it."""
        while self._issued:
            digest, oldest = next(iter(self._issued.items()))
            if oldest.expires_at > now:
                return
            self._drop(digest)

    def _drop(self, digest: bytes) -> None:
        key_id = self._issued.pop(digest).key.id
        self._by_key[key_id] -= 1
        if not self._by_key[key_id]:
            del self._by_key[key_id]


def _digest(text: str) -> bytes:
    """Looked up instead of the text: how long a look takes says nothing about what was issued."""
    return sha256(text.encode(errors="surrogatepass")).digest()
