"""The one writer thread: group commit, an outcome for each request, fail-stop and recovery.

Theory of operation. The thread takes whatever waits, appends it request by request in one LMDB
transaction, commits once, and answers each request by itself. There is no delay: what arrives while a sync
runs shares the next one.

When a commit fails, LMDB cannot be trusted to say whether it happened, and the next commit may fail on a
stale error. So: close, reopen, sync, and force one transaction through to the disk. Only then is the stored
head the truth, also after a power cut, and each request is answered by it. Until then nothing is written.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Final, TypeAlias

import lmdb
import msgspec
import structlog

from eventstore import keys, process
from eventstore.append import Appender
from eventstore.commits import Committed
from eventstore.disk import Disk
from eventstore.environment import translate
from eventstore.errors import OutcomeUnknown, TurnlogError, Unavailable, place_of, reason_of
from eventstore.events import ALL_BITS, MILESTONES
from eventstore.inbox import Inbox
from eventstore.limits import TRANSACTION_BYTES_MAX
from eventstore.log import Log
from eventstore.request import Request
from eventstore.stored import Head
from eventstore.units import Clock

Outcome: TypeAlias = Committed | list[Committed] | Exception
Deliver: TypeAlias = Callable[[list[Request], list[Outcome], Head], None]
Listener: TypeAlias = Callable[[int, int, int], None]
"""Hears of the commits after a position, up to another, and which kinds of events are among them at most."""

RECOVERIES_FAILED_MAX: Final = 3
"""Recoveries in a row that may fail before the log stays read-only until it is opened anew."""

READERS_CHECK_SECONDS: Final = 60.0
"""How often the places of readers whose process died are freed: they keep LMDB from reusing pages."""

_logger: Final = structlog.get_logger("turnlog.writer")


class WriterStatistics(msgspec.Struct):
    """Since the log was opened. ``failure``: why the log is read-only now, if it is."""

    failed_commits: int = 0
    recoveries: int = 0
    group_max: int = 0
    failure: str | None = None


class Writer:
    """Owns every write transaction of the log from begin to commit."""

    def __init__(self, log: Log, inbox: Inbox, clock: Clock, deliver: Deliver, free_bytes_low: int) -> None:
        self._log = log
        self._inbox = inbox
        self._deliver = deliver
        self._disk = Disk(log.path, free_bytes_low)
        self._readers_checked = time.monotonic()
        self._suspect = False
        self._failed_recoveries = 0
        self._listeners: tuple[Listener, ...] = ()
        self.statistics = WriterStatistics()
        self._mark_at_open()
        self._appender = Appender(log, clock)
        self._durable = self._appender.head
        self._told = self._durable.position
        self._thread = threading.Thread(target=self._run, name="turnlog-writer", daemon=True)
        self._thread.start()

    def _mark_at_open(self) -> None:
        """Before the first append relies on what is stored. A full disk can still be read from."""
        try:
            self._mark()
        except lmdb.Error as error:
            cause = self._translated(error)
            if cause.code != "disk_full":
                raise cause from error
            self._suspect, self.statistics.failure = True, cause.message
            self._log.reopen()

    def add_listener(self, listener: Listener) -> Callable[[], None]:
        """Call ``listener`` on this thread after each transaction; returns its removal."""
        self._listeners = (*self._listeners, listener)

        def remove() -> None:
            self._listeners = tuple(other for other in self._listeners if other is not listener)

        return remove

    def stop_writing(self, why: str) -> None:
        """Refuse every append from here on, with this reason, until the log is opened anew. On any thread."""
        if self._failed_recoveries < RECOVERIES_FAILED_MAX:
            self._failed_recoveries, self.statistics.failure = RECOVERIES_FAILED_MAX, why
            _logger.error("log_made_read_only", why=why)

    def join(self) -> None:
        """Wait until the thread has ended, after ``Inbox.close``."""
        self._thread.join()

    def _run(self) -> None:
        while batch := self._inbox.take():
            try:
                self._commit(batch)
            except BaseException as error:
                self._give_up(batch, error)
        self._finish_index()

    def _finish_index(self) -> None:
        """Before the thread ends, so that whoever opens the log next need not. No loss when it fails."""
        if self._suspect or self._failed_recoveries:
            return
        try:
            with self._log.env.begin(write=True) as txn:
                self._appender.finish_index(txn)
        except (lmdb.Error, TurnlogError) as error:
            _logger.warning("index_not_finished", code=self._translated(error).code)

    def _give_up(self, batch: list[Request], error: BaseException) -> None:
        """After a bug in this module: nobody is left waiting, and nothing more is written."""
        self._failed_recoveries = RECOVERIES_FAILED_MAX
        self.statistics.failure = f"the writer failed with {type(error).__name__}"
        unknown = OutcomeUnknown("outcome_unknown", "the commit may or may not have happened")
        self._deliver(batch, [unknown.copy() for _ in batch], self._durable)
        with suppress(Exception):  # a logger that fails may be why this is called
            _logger.error("writer_failed", error=type(error).__name__, at=place_of(error))

    def _commit(self, batch: list[Request]) -> None:
        """One transaction for the batch. Every request gets an outcome."""
        try:
            self._check_ready()
            txn = self._log.env.begin(write=True)
        except (lmdb.Error, TurnlogError, OSError) as error:
            self._suspect |= isinstance(error, lmdb.Error)
            refusal = self._translated(error)
            self._answer(batch, [refusal.copy() for _ in batch])
            return
        before = self._appender.head
        try:
            outcomes = self._fill(txn, batch)
            written = self._appender.finish(txn)
        except Exception as error:
            txn.abort()
            self._suspect |= self._stored_head() is None
            self._one_by_one(batch, error)
            return
        try:
            if written:
                txn.commit()
                self._appender.committed()
            else:
                txn.abort()
        except lmdb.MapFullError as error:
            self._suspect |= self._stored_head() is None
            self._one_by_one(batch, error)
            return
        except lmdb.Error as error:
            outcomes = self._recover_from(outcomes, error, before)
        else:
            self._durable = self._appender.head
            self._log.mapped.look()  # a page of each index is read to be changed, whatever a commit takes
            if process.spares and sum(request.bytes for request in batch) > TRANSACTION_BYTES_MAX:
                self._suspect |= not self._appender.let_go()
        self._answer(batch, outcomes)
        self._tell(before)

    def _fill(self, txn: lmdb.Transaction, batch: list[Request]) -> list[Outcome]:
        outcomes: list[Outcome] = []
        self._appender.begin(txn)
        for request in batch:
            self._log.mapped.touched(request.bytes)
            try:
                append = self._appender.append_together if request.rest else self._appender.append
                outcomes.append(append(txn, request))
            except TurnlogError as error:
                if request.rest:
                    self._appender.forget()  # it came alone, so the transaction has nothing to commit
                # Its traceback would keep the frames here alive, and with them the whole batch.
                outcomes.append(error.with_traceback(None))
        return outcomes

    def _one_by_one(self, batch: list[Request], error: Exception) -> None:
        """After a failure before the commit: let the others pass without the one that caused it."""
        if len(batch) > 1:
            for request in batch:
                self._commit([request])
            return
        if not isinstance(error, lmdb.Error):
            _logger.error("append_failed", error=type(error).__name__, at=place_of(error))
            refusal = Unavailable(
                "append_failed", f"nothing was written: {type(error).__name__} in the store"
            )
            self._answer(batch, [error.with_traceback(None) if isinstance(error, TurnlogError) else refusal])
            return
        if not isinstance(error, lmdb.MapFullError):
            self._suspect = True
        self._answer(batch, [translate(error, self._log.path)])

    def _translated(self, error: lmdb.Error | TurnlogError | OSError) -> TurnlogError:
        if isinstance(error, lmdb.Error):
            return translate(error, self._log.path)
        if isinstance(error, OSError):
            return Unavailable("storage_failed", f"the log cannot be looked at: {reason_of(error)}")
        return error

    def _answer(self, batch: list[Request], outcomes: list[Outcome]) -> None:
        self.statistics.group_max = max(self.statistics.group_max, len(batch))
        self._deliver(batch, outcomes, self._durable)

    def _tell(self, before: Head) -> None:
        """Tell the listeners what was committed since they were told last: this transaction, mostly."""
        after, position = self._told, self._durable.position
        if position == after:
            return
        kinds = self._appender.kinds if after == before.position else ALL_BITS | MILESTONES
        self._told = position
        for listener in self._listeners:
            try:
                listener(after, position, kinds)
            except Exception as error:
                _logger.error("listener_failed", error=type(error).__name__, at=place_of(error))

    def _check_ready(self) -> None:
        """Refuse to write to a log that needs recovery, lost its file, or is about to fill its disk."""
        if self._failed_recoveries >= RECOVERIES_FAILED_MAX:
            raise Unavailable("log_read_only", f"the log is read-only: {self.statistics.failure}")
        if self._suspect and not self._recover():
            raise Unavailable("log_read_only", f"the log is read-only: {self.statistics.failure}")
        try:
            self._disk.check()
        except Unavailable as error:
            if self._disk.lost:
                self._failed_recoveries, self.statistics.failure = RECOVERIES_FAILED_MAX, error.message
            raise
        now = time.monotonic()
        if now - self._readers_checked >= READERS_CHECK_SECONDS:
            self._log.env.reader_check()
            self._readers_checked = now

    def _recover_from(self, outcomes: list[Outcome], error: lmdb.Error, before: Head) -> list[Outcome]:
        """The outcomes after a failed commit: certain when the log could be recovered, else unknown.

        No space for a page is certain even so: LMDB notices it ahead of the meta page.
        """
        wanted, cause = self._appender.head, translate(error, self._log.path)
        self._suspect = True
        self.statistics.failed_commits += 1
        self.statistics.failure = cause.message
        _logger.error("commit_failed", code=cause.code, position=wanted.position, error=str(error))
        recovered = self._recover()
        stored = self._stored_head()
        if recovered and stored == wanted:
            return outcomes
        if stored == before and (recovered or isinstance(error, lmdb.DiskError)):
            answer: TurnlogError = cause
        else:
            answer = OutcomeUnknown(
                "outcome_unknown",
                "the commit failed and may or may not have happened",
                position=wanted.position,
            )
        # Refusals too, and repeats of what this transaction wrote: they were judged by what did not happen.
        return [
            outcome if _positions(outcome) and max(_positions(outcome)) <= before.position else answer.copy()
            for outcome in outcomes
        ]

    def _recover(self) -> bool:
        """Make the stored head the truth again: reopen, sync, and force a transaction to the disk."""
        self.statistics.recoveries += 1
        try:
            self._log.reopen()
            self._mark()
            self._appender.forget()
        except (lmdb.Error, TurnlogError) as error:
            cause = self._translated(error)
            self._failed_recoveries += cause.code != "disk_full"
            self.statistics.failure = cause.message
            _logger.error("recovery_failed", code=cause.code, failed=self._failed_recoveries)
            with suppress(lmdb.Error, TurnlogError):  # an environment that panicked cannot even be read
                self._log.reopen()
            return False
        self._suspect, self._failed_recoveries, self.statistics.failure = False, 0, None
        self._durable = self._appender.head
        _logger.warning("log_recovered", position=self._appender.head.position)
        return True

    def _mark(self) -> None:
        """Sync, then commit a transaction: what is stored now is durable, whatever failed before."""
        self._log.env.sync(True)
        with self._log.env.begin(write=True) as txn:
            marks = txn.get(keys.MARKS)
            txn.put(keys.MARKS, keys.pack_u64(keys.unpack_u64(marks) + 1 if marks else 1))

    def _stored_head(self) -> Head | None:
        try:
            self._appender.forget()
        except TurnlogError:  # not even open: the caller treats the outcome as unknown
            return None
        return self._appender.head


def _positions(outcome: Outcome) -> list[int]:
    """Where the commits of an outcome are."""
    committed = [outcome] if isinstance(outcome, Committed) else outcome
    return [] if isinstance(committed, Exception) else [each.position for each in committed]
