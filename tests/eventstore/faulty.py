"""An LMDB environment that fails on request: before or after it really did what it was asked to."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Final, NamedTuple, cast

import lmdb

from eventstore import environment
from eventstore.limits import MAP_BYTES

_WAIT_SECONDS: Final = 10


class Fault(NamedTuple):
    """``error`` is raised instead of success; ``done``: although it was done."""

    error: Exception
    done: bool = False


class Faults:
    """What will fail: each list is used up from its front, None being success; then all goes well."""

    def __init__(self) -> None:
        self.commits: deque[Fault | None] = deque()
        self.opens: deque[Exception | None] = deque()
        self.write_begins: deque[Exception | None] = deque()
        self.read_begins: deque[Exception | None] = deque()
        self.puts: deque[Exception | None] = deque()
        self._held = threading.Event()
        self._released = threading.Event()
        self._released.set()

    def open_environment(
        self, path: Path, *, databases_max: int, read_only: bool = False, map_bytes: int = MAP_BYTES
    ) -> lmdb.Environment:
        """In place of the one in ``environment``."""
        if (error := self.next(self.opens)) is not None:
            raise environment.translate(cast("lmdb.Error", error), path)
        env = environment.open_environment(
            path, databases_max=databases_max, read_only=read_only, map_bytes=map_bytes
        )
        return cast("lmdb.Environment", _Environment(env, self))

    def next(self, planned: deque[Any]) -> Any:
        """What is planned for now."""
        return planned.popleft() if planned else None

    @contextmanager
    def held(self) -> Generator[threading.Event]:
        """The next commit waits for the end of the block; the event says that it does."""
        self._held.clear()
        self._released.clear()
        try:
            yield self._held
        finally:
            self._released.set()

    def pass_gate(self) -> None:
        """Wait here while commits are held."""
        if not self._released.is_set():
            self._held.set()
            assert self._released.wait(_WAIT_SECONDS)


class _Environment:
    def __init__(self, env: lmdb.Environment, faults: Faults) -> None:
        self._env = env
        self._faults = faults

    def __getattr__(self, name: str) -> Any:
        return getattr(self._env, name)

    def begin(self, *, write: bool = False) -> Any:
        """A transaction that fails as planned."""
        planned = self._faults.write_begins if write else self._faults.read_begins
        if (error := self._faults.next(planned)) is not None:
            raise error
        txn = self._env.begin(write=write)
        return _Transaction(txn, self._faults) if write else txn


class _Transaction:
    def __init__(self, txn: lmdb.Transaction, faults: Faults) -> None:
        self._txn = txn
        self._faults = faults

    def __getattr__(self, name: str) -> Any:
        return getattr(self._txn, name)

    def __enter__(self) -> _Transaction:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.commit()
        else:
            self._txn.abort()

    def put(self, *args: Any, **options: Any) -> bool:
        """The last put of a transaction is that of the head."""
        if (error := self._faults.next(self._faults.puts)) is not None:
            raise error
        return self._txn.put(*args, **options)

    def commit(self) -> None:
        """Commit, fail, or both."""
        self._faults.pass_gate()
        fault = cast("Fault | None", self._faults.next(self._faults.commits))
        if fault is None or fault.done:
            self._txn.commit()
        else:
            self._txn.abort()
        if fault is not None:
            raise fault.error
