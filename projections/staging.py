"""Staged rows: those of many commits that became visible together, which one transaction has no room for.

While a generation is between two such commits its rows go, some at a time, into tables beside its own, where
nobody looks: they are ``hidden``. With the last commit they are ``shown``, all at once: whoever reads looks
there first. Then they are moved, some at a time, and the generation is as if it had never had any.

A staged value is 1 and the row's value; of a row that is deleted it is empty.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from heapq import merge
from itertools import islice
from operator import itemgetter
from typing import Any, Final, Literal, NamedTuple, TypeAlias, cast

import lmdb

Staged: TypeAlias = Literal["none", "hidden", "shown"]
"""What a generation has of them."""

Item: TypeAlias = tuple[bytes, bytes]
# What lmdb returns without buffers=True, which its stubs cannot say.

_PUT: Final = b"\x01"


class Table(NamedTuple):
    """The LMDB database of a table's rows, and that of those which are staged over them, if any are."""

    rows: Any
    staged: Any = None


def get(txn: lmdb.Transaction, table: Table, key: bytes) -> bytes | None:
    """The value at ``key``."""
    if table.staged is not None:
        staged = cast("bytes | None", txn.get(key, db=table.staged))
        if staged is not None:
            return staged[1:] if staged else None
    return cast("bytes | None", txn.get(key, db=table.rows))


def as_staged(puts: Iterable[Item], deletes: Iterable[bytes]) -> Iterator[Item]:
    """Changes of rows as they are staged."""
    for key, value in puts:
        yield key, _PUT + value
    for key in deletes:
        yield key, b""


def merged(rows: Iterator[Item], staged: Iterator[Item], *, reverse: bool) -> Iterator[Item]:
    """Rows in key order with what is staged in the place of those under it; both run the same way."""
    last: bytes | None = None
    # Of equal keys the first iterator's comes first.
    both = merge(
        ((key, value, True) for key, value in staged),
        ((key, value, False) for key, value in rows),
        key=itemgetter(0),
        reverse=reverse,
    )
    for key, value, is_staged in both:
        if key != last:
            last = key
            if not is_staged:
                yield key, value
            elif value:
                yield key, value[1:]


def move(txn: lmdb.Transaction, table: Table, count: int) -> int:
    """Move the first staged rows of a table to their place, ``count`` at most; how many there were."""
    with txn.cursor(table.staged) as staged, txn.cursor(table.rows) as rows:
        if not staged.first():
            return 0
        some = list(islice(cast("Iterator[Item]", staged.iternext()), count))
        rows.putmulti([(key, value[1:]) for key, value in some if value])
        for key, value in some:
            if not value and rows.set_key(key):
                rows.delete()
        staged.first()
        for _ in some:
            staged.delete()
    return len(some)
