"""An open environment, shared by one writer thread and any readers, that can be closed under them safely.

LMDB must not be closed while anybody is inside: readers are counted, and a close waits for them. They are
short, so it waits for milliseconds.
"""

from __future__ import annotations

import threading
from pathlib import Path
from types import TracebackType
from typing import Any, Final

import lmdb

from eventstore import process
from eventstore.environment import open_environment, translate
from eventstore.errors import Unavailable
from eventstore.limits import MAP_BYTES
from eventstore.resident import Mapped

_READERS_LEAVE_SECONDS: Final = 5.0
"""How long a close waits for readers, which stay for milliseconds: a forgotten one must not hang it."""


class SharedEnvironment:
    """The environment of the log, with its databases' handles by name in ``databases``."""

    def __init__(
        self,
        path: Path,
        names: tuple[bytes, ...],
        *,
        read_only: bool = False,
        map_bytes: int = MAP_BYTES,
    ) -> None:
        self.path: Path = path
        self.mapped: Mapped = Mapped(path)
        self.read_only: bool = read_only
        self._names = names
        self._map_bytes = map_bytes
        self._forks = process.forks
        self._gate = threading.Condition()
        self._readers = 0
        self._open = False
        self.env: lmdb.Environment
        self.databases: dict[bytes, Any]
        self._attach()

    def _attach(self) -> None:
        env = open_environment(
            self.path, databases_max=len(self._names), read_only=self.read_only, map_bytes=self._map_bytes
        )
        try:
            self.databases = {name: env.open_db(name, create=False) for name in self._names}
        except lmdb.NotFoundError as error:
            env.close()
            raise Unavailable(
                "directory_foreign", f"{self.path} is not a Turnlog log", path=str(self.path)
            ) from error
        except lmdb.Error as error:
            env.close()
            raise translate(error, self.path) from error
        self.env = env
        self._open = True

    def reopen(self) -> None:
        """Close the environment once no reader is inside, and open it again: after a failed commit."""
        with self._gate:
            self._detach()
            self._attach()

    def close(self) -> None:
        """Close the environment once no reader is inside. Idempotent."""
        with self._gate:
            self._detach()

    def _detach(self) -> None:
        self._gate.wait_for(lambda: self._readers == 0, _READERS_LEAVE_SECONDS)
        if self._open:
            self._open = False
            self.env.close()

    def reading(self) -> Reading:
        """A read transaction as a context manager.

        Raises ``Unavailable``: ``log_closed``, ``forked_process`` or ``storage_failed``.
        """
        return Reading(self)

    def begin(self) -> lmdb.Transaction:
        """A read transaction that keeps the environment open until ``end``; use ``reading``."""
        self.check_process()
        with self._gate:
            if not self._open:
                raise Unavailable("log_closed", "the log is closed", path=str(self.path))
            self._readers += 1
        try:
            return self.env.begin()
        except lmdb.Error as error:
            self.end()
            raise translate(error, self.path) from error

    def end(self) -> None:
        """A reader has left."""
        with self._gate:
            self._readers -= 1
            if self._readers == 0:
                self._gate.notify_all()

    def check_process(self) -> None:
        """Refuse to touch an environment inherited over a fork: LMDB would let it, and lose data."""
        if process.forks != self._forks:
            raise Unavailable("forked_process", "the store was opened before this process was forked")


class Reading:
    """A read transaction as a context manager: shorter-lived than anything it returns."""

    __slots__ = ("_environment", "_txn")

    def __init__(self, environment: SharedEnvironment) -> None:
        self._environment = environment

    def __enter__(self) -> lmdb.Transaction:
        self._txn = self._environment.begin()
        return self._txn

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self._txn.abort()
        finally:
            self._environment.end()
        if isinstance(error, lmdb.Error):
            raise translate(error, self._environment.path) from error
