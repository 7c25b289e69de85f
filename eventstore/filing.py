"""Putting the rows of a transaction: which database each goes to, and when.

Rows wait until commits are read, or the transaction ends: writing many at once costs a third of writing
each, since lmdb gives the interpreter's lock away at every put, and the head is written once.
"""

from __future__ import annotations

from typing import Final, cast

import lmdb

from eventstore import keys
from eventstore.limits import BESIDE_HEAD_AT_ONCE_MAX, BESIDE_HEAD_BYTES_MAX, BESIDE_HEAD_COMMIT_BYTES_MAX
from eventstore.log import Log
from eventstore.stored import Head, Item, beside_head

_ITEM_BYTES: Final = 18
"""What an item takes on its page besides its value: key, node and pointer."""

_ROWS_AT_ONCE: Final = 256
"""Rows that are written between two looks at what is mapped."""


class Filing:
    """``rows``: what waits, by database. Owned by the writer; ``forget`` after a failed transaction."""

    def __init__(self, log: Log) -> None:
        self._log = log
        self.rows: dict[bytes, dict[bytes, bytes]] = {name: {} for name in keys.DATABASES}
        self._beside: list[Item] = []
        self._beside_bytes = 0
        self._commits = 0

    def begin(self) -> None:
        """A new transaction."""
        self._commits = 0

    def forget(self, txn: lmdb.Transaction) -> None:
        """Drop what waits, and read which commits are beside the head."""
        for rows in self.rows.values():
            rows.clear()
        self._beside = list(beside_head(txn))
        self._beside_bytes = _page_bytes(self._beside)

    def get(self, txn: lmdb.Transaction, name: bytes, key: bytes) -> bytes | None:
        """What a database has under a key, once all is written."""
        waiting = self.rows[name].get(key)
        return waiting or cast("bytes | None", txn.get(key, db=self._log.databases[name]))

    def write(self, txn: lmdb.Transaction, head: Head) -> None:
        """Write what waits, and the head that it leads to."""
        for name, rows in self.rows.items():
            if not rows:
                continue
            if name == keys.COMMITS:
                self._write_commits(txn, list(rows.items()))
            else:
                self._put(txn, name, list(rows.items()))
            rows.clear()
        txn.put(keys.HEAD, keys.head_value(*head))

    def _write_commits(self, txn: lmdb.Transaction, rows: list[Item]) -> None:
        """A few small ones beside the head while its page has room; else all into ``commits``, in order."""
        self._commits += len(rows)
        if self._commits <= BESIDE_HEAD_AT_ONCE_MAX:
            size = self._beside_bytes + _page_bytes(rows)
            largest = max(len(stored) for _, stored in rows)
            if size <= BESIDE_HEAD_BYTES_MAX and largest <= BESIDE_HEAD_COMMIT_BYTES_MAX:
                for key, stored in rows:
                    txn.put(key, stored)
                self._beside += rows
                self._beside_bytes = size
                return
        self._put(txn, keys.COMMITS, self._beside + rows, append=True)
        for key, _ in self._beside:
            txn.delete(key)
        self._beside, self._beside_bytes = [], 0

    def _put(self, txn: lmdb.Transaction, name: bytes, rows: list[Item], *, append: bool = False) -> None:
        database, added = self._log.databases[name], 0
        if len(rows) == 1:
            added = int(txn.put(*rows[0], db=database, append=append))
        else:
            with txn.cursor(database) as cursor:
                for start in range(0, len(rows), _ROWS_AT_ONCE):
                    added += cursor.putmulti(rows[start : start + _ROWS_AT_ONCE], append=append)[1]
                    self._log.mapped.look()  # the page of a row is read first, wherever it is
        if append and added != len(rows):
            raise lmdb.CorruptedError(f"position {keys.unpack_u64(rows[0][0])} is out of order")


def _page_bytes(rows: list[Item]) -> int:
    return sum(len(stored) + _ITEM_BYTES for _, stored in rows)
