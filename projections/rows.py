"""What a row may be, and the rows of one fold while they are not stored yet."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Final

from eventstore.errors import Refused

KEY_BYTES_MAX: Final = 480
"""Bytes of a row's key: LMDB's limit is 511, the rest is ours."""

_ROW_BYTES: Final = 200
"""What a buffered row costs beside its key and value: two objects, a slot in a dictionary."""

_ABSENT: Final = b"\x00absent"
"""Stands, by identity, for "not in the buffer"; None stands for "deleted"."""


def check_row(key: object, value: object = b"") -> None:
    """Raise ``Refused`` for a key or value that could not be stored."""
    if type(key) is not bytes or type(value) is not bytes:
        raise Refused("invalid_projection", "keys and values of rows are bytes")
    if not 0 < len(key) <= KEY_BYTES_MAX:
        raise Refused(
            "invalid_projection",
            f"a row's key has 1 to {KEY_BYTES_MAX} bytes, not {len(key)}",
            limit=KEY_BYTES_MAX,
            actual=len(key),
        )


class BufferedRows:
    """A ``Rows`` whose changes wait in memory until they are stored, and are seen by its own reads at once.

    Rows that many commits of a batch rewrite reach LMDB once, in key order. The changes since the last
    ``keep`` can be taken back: a fold that raises leaves nothing behind.
    """

    __slots__ = ("_changed", "_undo", "bytes", "stored")

    def __init__(self, tables: Iterable[str], stored: Callable[[str, bytes], bytes | None]) -> None:
        self._changed: dict[str, dict[bytes, bytes | None]] = {table: {} for table in tables}
        self._undo: list[tuple[dict[bytes, bytes | None], bytes, bytes | None]] = []
        self.bytes: int = 0
        self.stored: Callable[[str, bytes], bytes | None] = stored

    def get(self, table: str, key: bytes) -> bytes | None:
        """The value at ``key``: changed here, or stored."""
        value = self._changed[table].get(key, _ABSENT)
        return self.stored(table, key) if value is _ABSENT else value

    def put(self, table: str, key: bytes, value: bytes) -> None:
        """Set the value at ``key``."""
        if type(key) is not bytes or type(value) is not bytes or not 0 < len(key) <= KEY_BYTES_MAX:
            check_row(key, value)  # it says what is wrong; the call alone takes as long as the rest of this
        changed = self._changed[table]
        self._undo.append((changed, key, changed.get(key, _ABSENT)))
        changed[key] = value
        self.bytes += _ROW_BYTES + len(key) + len(value)

    def delete(self, table: str, key: bytes) -> None:
        """Remove ``key`` if it is there."""
        if type(key) is not bytes or not 0 < len(key) <= KEY_BYTES_MAX:
            check_row(key)
        changed = self._changed[table]
        self._undo.append((changed, key, changed.get(key, _ABSENT)))
        changed[key] = None
        self.bytes += _ROW_BYTES + len(key)

    def keep(self) -> None:
        """What changed so far stays: the commit is folded."""
        self._undo.clear()

    def undo(self) -> None:
        """Take back what changed since the last ``keep``."""
        for changed, key, before in reversed(self._undo):
            if before is _ABSENT:
                del changed[key]
            else:
                changed[key] = before
        self._undo.clear()

    @property
    def changed(self) -> bool:
        """Whether there is anything to store."""
        return any(self._changed.values())

    def changes(self) -> Iterator[tuple[str, list[tuple[bytes, bytes]], list[bytes]]]:
        """Each changed table with its rows to put and keys to delete, in key order; ``clear`` once stored.

        In key order, neighbouring rows meet on pages that are dirty already.
        """
        for table, changed in self._changed.items():
            if changed:
                puts = sorted((key, value) for key, value in changed.items() if value is not None)
                yield table, puts, sorted(key for key, value in changed.items() if value is None)

    def clear(self) -> None:
        """Forget the changes: they are stored."""
        for changed in self._changed.values():
            changed.clear()
        self._undo.clear()
        self.bytes = 0
