"""Write into a log behind the store's back: what a broken disk or a foolish hand would do."""

from __future__ import annotations

from hashlib import sha256
from typing import Any, cast

import lmdb

from eventstore import keys
from eventstore.log import Log


def stored(log: Log, name: bytes, key: bytes) -> bytes:
    """A value as it is stored; in the unnamed database when the name is empty."""
    with log.reading() as txn:
        value = cast("bytes | None", txn.get(key, db=_database(log, txn, name, key)))
    assert value is not None
    return value


def overwrite(log: Log, name: bytes, key: bytes, value: bytes | None) -> None:
    """Set or remove one entry of a database; of the unnamed one when the name is empty."""
    with log.env.begin(write=True) as txn:
        db = _database(log, txn, name, key)
        done = txn.delete(key, db=db) if value is None else txn.put(key, value, db=db)
        assert done


def _database(log: Log, txn: lmdb.Transaction, name: bytes, key: bytes) -> Any:
    """Its handle; the unnamed one, which None stands for, also for a commit that is not filed yet."""
    beside_head = name == keys.COMMITS and txn.get(key) is not None
    return log.databases[name] if name and not beside_head else None


def flip(value: bytes, offset: int) -> bytes:
    """The value with the lowest bit of one byte flipped."""
    changed = bytearray(value)
    changed[offset] ^= 1
    return bytes(changed)


def flip_commit(log: Log, position: int, offset: int) -> None:
    """Flip a bit in a stored commit."""
    key = keys.pack_u64(position)
    overwrite(log, keys.COMMITS, key, flip(stored(log, keys.COMMITS, key), offset))


def reframe(log: Log, position: int, framed: bytes) -> None:
    """Replace a commit by another frame, with a digest that matches."""
    overwrite(log, keys.COMMITS, keys.pack_u64(position), sha256(framed).digest() + framed)
