"""What a key is: its text, what it may do and when, and what is kept of it.

    tl_3f9a01c7_e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855
       id       secret: 256 bits in hex

The id is public: it names the key in lists, logs and revocations. Of the secret a SHA-256 is kept, which
needs no salt and no stretching: nobody guesses 256 bits.
"""

from __future__ import annotations

import re
import secrets
from hashlib import sha256
from hmac import compare_digest
from typing import Annotated, Final, Literal, TypeAlias, get_args

import msgspec

from eventstore.content import Name
from eventstore.errors import Refused

KeyRole: TypeAlias = Literal["reader", "writer", "admin"]
"""Each may do what those before it may: read; append and stop streams; look after the store."""

KeyState: TypeAlias = Literal["live", "expired", "revoked"]

Reason: TypeAlias = Literal["missing", "malformed", "unknown", "wrong", "expired", "revoked", "elsewhere"]
"""Why somebody was refused, for the log alone. ``elsewhere``: a ticket used at another path than its own."""

ROLES: Final[tuple[KeyRole, ...]] = get_args(KeyRole)
ID_CHARACTERS: Final = 8

_TEXT: Final = re.compile(r"tl_([0-9a-f]{8})_([0-9a-f]{64})")
_SECRET: Final = re.compile(r"(tl_[0-9a-f]{8}_|tlt_)[0-9A-Za-z_-]+")
_NOBODYS_DIGEST: Final = sha256(b"").hexdigest()
"""Compared with when the id is unknown, so that the time says nothing. No secret is empty."""


class Key(msgspec.Struct, frozen=True):
    """What may be known of a key. ``workspace`` is None for all of them; times are microseconds."""

    id: Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{8}\Z")]
    name: Name | None
    workspace: Name | None
    role: KeyRole
    created_at: int
    expires_at: int | None = None
    revoked_at: int | None = None

    def state(self, now: int) -> KeyState:
        """Whether it opens anything at that time."""
        if self.revoked_at is not None:
            return "revoked"
        return "expired" if self.expires_at is not None and self.expires_at <= now else "live"

    def require(self, role: KeyRole) -> None:
        """Raise ``Refused`` with code ``role_too_low`` unless the key may do what that role may."""
        if ROLES.index(self.role) < ROLES.index(role):
            raise Refused(
                "role_too_low",
                f"this needs the role {role}, the key is a {self.role}'s",
                role=self.role,
                needed=role,
            )

    def sees(self, workspace: str) -> bool:
        """Whether what is in that workspace is there for this key."""
        return self.workspace is None or self.workspace == workspace


ANYBODY: Final = Key("", None, None, "admin", 0)
"""Whoever asks while no key was ever made: the service answers this machine alone then."""


class StoredKey(msgspec.Struct, frozen=True):
    """A key as it is kept; ``digest`` is the SHA-256 of its secret's characters, in hex."""

    key: Key
    digest: Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{64}\Z")]

    def __repr__(self) -> str:
        return f"StoredKey({self.key!r})"


class KeyRefused(Refused):
    """No key, or none that opens anything. ``reason`` and ``key_id`` are for the log, not for who asked."""

    reason: Reason = "missing"
    key_id: str | None = None


def refusal(code: str, message: str, reason: Reason, key_id: str | None = None) -> KeyRefused:
    """A ``KeyRefused`` that tells the log more than it tells whoever asked."""
    refused = KeyRefused(code, message)
    refused.reason, refused.key_id = reason, key_id
    return refused


def new_secret() -> str:
    """256 bits from the system, in hex."""
    return secrets.token_hex(32)


def new_id() -> str:
    """Unique only by looking: there are four billion."""
    return secrets.token_hex(ID_CHARACTERS // 2)


def text_of(key_id: str, secret: str) -> str:
    """What the holder of a key sends."""
    return f"tl_{key_id}_{secret}"


def digest_of(secret: str) -> str:
    """What is kept of a secret."""
    return sha256(secret.encode()).hexdigest()


def parse(text: str) -> tuple[str, str] | None:
    """Id and secret, or None for what cannot be a key."""
    found = _TEXT.fullmatch(text)
    return None if found is None else (found[1], found[2])


def is_secret(secret: str, stored: StoredKey | None) -> bool:
    """Whether it is that key's; of no key no secret is. Takes the same time, whatever the answer."""
    expected = _NOBODYS_DIGEST if stored is None else stored.digest
    return compare_digest(digest_of(secret), expected) and stored is not None


def without_secrets(text: str) -> str:
    """The text with what can be used of keys and tickets cut out: ``tl_3f9a01c7_…``."""
    return _SECRET.sub(r"\1…", text)
