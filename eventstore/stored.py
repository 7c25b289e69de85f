"""Stored commits by position: filed in ``commits``, or, the newest few, still beside the head.

Every transaction rewrites the page of the unnamed database, which holds the head. A small commit that is put
on that very page costs no further one; before the page is full, its commits are filed together.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final, NamedTuple, TypeAlias, cast

import lmdb

from eventstore import keys

GENESIS: Final = bytes(keys.DIGEST_BYTES)
"""The chain before the first commit."""

Item: TypeAlias = tuple[bytes, bytes]
"""What lmdb returns without buffers=True, which its stubs cannot say."""


class Head(NamedTuple):
    """The end of the log. ``chain`` covers every commit up to ``position``.

    Up to ``indexed``, each commit has its entry in ``by_context``; beyond it, none has.
    """

    position: int
    recorded_at: int
    chain: bytes
    indexed: int


EMPTY: Final = Head(0, 0, GENESIS, 0)
"""The head of a log without commits."""


def stored_head(txn: lmdb.Transaction) -> Head | None:
    """The head as it is stored; None when it cannot be one."""
    stored = txn.get(keys.HEAD)
    if stored is None:
        return EMPTY
    return Head(*keys.split_head_value(stored)) if len(stored) == keys.HEAD_BYTES else None


def stored_commit(txn: lmdb.Transaction, commits: Any, key: bytes) -> bytes | None:
    """Digest and frame of the commit at a packed position, unchecked. ``commits``: the database's handle."""
    stored: Any = txn.get(key, None, commits)
    return txn.get(key) if stored is None else stored  # pyright: ignore[reportReturnType] -- bytes without buffers=True


def stored_commits(txn: lmdb.Transaction, commits: Any, start: bytes) -> Iterator[Item]:
    """The items of ``commits`` from a key on, then those beside the head. Lazily, within ``txn``."""
    with txn.cursor(commits) as cursor:
        if cursor.set_range(start):
            yield from cast("Iterator[Item]", cursor.iternext())
    yield from beside_head(txn, start)


def beside_head(txn: lmdb.Transaction, start: bytes = b"") -> Iterator[Item]:
    """The commits that are not filed yet, from a key on."""
    with txn.cursor() as cursor:
        if cursor.set_range(start):
            for item in cast("Iterator[Item]", cursor.iternext()):
                if not keys.is_position(item[0]):
                    return
                yield item
