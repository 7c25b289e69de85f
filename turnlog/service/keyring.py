"""The keys as the running service knows them: who is asking, and whether a key still opens anything."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import structlog

from eventstore.errors import Damaged, TurnlogError
from turnlog.service import key_file
from turnlog.service.keys import ANYBODY, Key, KeyState, StoredKey, is_secret, parse, refusal

_logger: Final = structlog.get_logger("turnlog.keyring")


class Keyring:
    """The keys of a data directory, as of the last ``refresh``.

    ``required`` is whether a key was ever made: until then everybody is ``ANYBODY``, and afterwards nobody
    is, even when all keys are revoked or the file is gone. ``failure`` is why the last ``refresh`` could not
    read the file; what was known before counts until it can.

    Raises what ``key_file.read`` raises: a service does not start with keys that it cannot read.
    """

    def __init__(self, directory: Path) -> None:
        self._path = key_file.path_in(directory)
        self._signature: key_file.Signature | None = None
        self._keys: dict[str, StoredKey] = {}
        self.required: bool = False
        self.failure: TurnlogError | None = None
        self._take(key_file.read(self._path))

    def refresh(self) -> bool:
        """Look whether the file has changed, and take over what it holds; whether it did. Never raises.

        Without a change it is one look at the file's facts, so it can be done every second.
        """
        try:
            signature = key_file.signature_of(self._path)
            self.required |= signature is not None or key_file.was_made(self._path)  # readable or not
            changed = signature != self._signature
            if changed or (self.required and signature is None):
                self._take(key_file.read(self._path))
        except TurnlogError as error:
            self._failed(error)
            return False
        self._succeeded()
        return changed

    def authenticate(self, text: str | None, now: int) -> Key:
        """Whose text it is. ``now`` is in microseconds since the epoch.

        Raises ``KeyRefused``: ``key_missing``; ``key_invalid``, which does not tell an unknown key from a
        wrong secret; ``key_expired`` or ``key_revoked``, which only who has the right secret gets to hear.
        """
        if not self.required:
            return ANYBODY
        if not text:
            raise refusal("key_missing", "a key is needed", "missing")
        parsed = parse(text)
        if parsed is None:
            raise refusal("key_invalid", "the key is not valid", "malformed")
        key_id, secret = parsed
        stored = self._keys.get(key_id)
        if not is_secret(secret, stored) or stored is None:
            raise refusal(
                "key_invalid", "the key is not valid", "unknown" if stored is None else "wrong", key_id
            )
        match stored.key.state(now):
            case "revoked":
                raise refusal("key_revoked", "the key was revoked", "revoked", key_id)
            case "expired":
                raise refusal("key_expired", "the key has expired", "expired", key_id)
            case "live":
                return stored.key

    def state(self, key_id: str, now: int) -> KeyState:
        """Whether whom that key let in may stay, and if not, why. ``ANYBODY`` may until there is a key."""
        if key_id == ANYBODY.id:
            return "revoked" if self.required else "live"
        stored = self._keys.get(key_id)
        return "revoked" if stored is None else stored.key.state(now)

    def _take(self, stored: key_file.Stored | None) -> None:
        if stored is None:
            if self.required:
                raise Damaged("keys_damaged", f"{self._path} is gone", path=str(self._path))
            return
        self._signature = stored.signature
        self._keys = {each.key.id: each for each in stored.keys}
        self.required = True

    def _failed(self, error: TurnlogError) -> None:
        if self.failure is None or self.failure.message != error.message:
            _logger.error("keys_not_read", code=error.code, reason=error.message, keys=len(self._keys))
        self.failure = error

    def _succeeded(self) -> None:
        if self.failure is not None:
            _logger.info("keys_read_again", keys=len(self._keys))
        self.failure = None
