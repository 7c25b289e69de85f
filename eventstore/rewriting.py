"""Writing commits again, each at the time at which it was recorded: how a log is made of another.

Many share a transaction, and each is checked as any append is. The writer's thread is not involved: whoever
rewrites has opened the directory for himself, and nobody else may append.
"""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from typing import Final, TypeAlias

import lmdb

from eventstore.append import Appender
from eventstore.commits import Append
from eventstore.disk import Disk
from eventstore.environment import translate, translated
from eventstore.errors import Refused
from eventstore.limits import FREE_BYTES_LOW, TRANSACTION_REQUESTS_MAX
from eventstore.log import Log
from eventstore.request import Request, make_request, packed, unpacked
from eventstore.spool import Spool

_COMMITS_MAX: Final = TRANSACTION_REQUESTS_MAX
_BYTES_MAX: Final = 4 * 1024 * 1024
"""Encoded bytes of what waits: as events, those that stand alone take up to ten times as much."""

_Waits: TypeAlias = tuple[Request, int, int, bool]
"""A commit, when and at which position it was recorded, and whether it is ``together`` with that before."""


class Rewriter:
    """Appends to a log, in transactions of some ``limits.TRANSACTION_REQUESTS_MAX`` commits.

    Those that became visible together share one, however many they are; beyond some MiB they wait in a file.
    """

    def __init__(self, log: Log) -> None:
        self._log = log
        self._appender = Appender(log, lambda: 0)
        self._disk = Disk(log.path, FREE_BYTES_LOW)
        self._waiting = Spool[_Waits]()
        self._bytes = 0

    def append(self, append: Append, recorded_at: int, position: int, *, together: bool = False) -> None:
        """Append what was recorded at a position of another log. It is durable after ``finish``.

        Raises ``Refused`` with that position in ``fields``, for this commit or one that waited with it: then
        nothing of their transaction is written. Raises ``Unavailable`` as an append does.
        """
        try:
            request = make_request(append, None)
        except Refused as error:
            raise _at(error, position) from error
        if not together and (len(self._waiting) >= _COMMITS_MAX or self._bytes >= _BYTES_MAX):
            self._commit()
        waits = packed(request) if together else request, recorded_at, position, together
        self._waiting.append(waits, request.bytes)
        self._bytes += request.bytes

    def finish(self) -> None:
        """Write what waits, and the index, so that whoever opens the log next need not."""
        self._commit()
        with self._transaction() as txn:
            self._appender.finish_index(txn)

    def _commit(self) -> None:
        with translated(self._log.path):
            self._disk.check()
        waiting, self._waiting, size, self._bytes = self._waiting, Spool[_Waits](), self._bytes, 0
        with self._transaction() as txn:
            self._appender.begin(txn)
            for request, recorded_at, position, together in waiting:
                self._appender.set_time(recorded_at)
                try:
                    self._appender.append(txn, unpacked(request) if together else request, together=together)
                except Refused as error:
                    raise _at(error, position) from error
            self._appender.finish(txn)
        self._appender.committed()
        self._log.mapped.touched(size)

    @contextmanager
    def _transaction(self) -> Generator[lmdb.Transaction]:
        """One that is committed at the block's end; after one that was not, what is stored counts."""
        try:
            with self._log.env.begin(write=True) as txn:
                yield txn
        except lmdb.Error as error:
            self._appender.forget()
            raise translate(error, self._log.path) from error
        except BaseException:
            self._appender.forget()
            raise


def _at(error: Refused, position: int) -> Refused:
    fields = {**error.fields, "position": position}
    return Refused(error.code, f"position {position}: {error.message}", **fields)
