"""The three mistakes that every durability test must be seen to catch, made by patching the real code."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Any, Final

import lmdb

from eventstore import writer
from eventstore.append import Request
from projections import bookkeeping
from projections.generations import Entry


def unsynced() -> None:
    """Commits are not synced."""
    opened = lmdb.open

    def open_unsynced(*args: Any, **options: Any) -> lmdb.Environment:
        return opened(*args, **{**options, "sync": False})

    lmdb.open = open_unsynced  # pyright: ignore[reportAttributeAccessIssue] -- the mutation


def acknowledged_first() -> None:
    """Appends return before their transaction is committed, not after."""
    original: Any = vars(writer.Writer)["_fill"]

    def fill(self: Any, txn: lmdb.Transaction, batch: list[Request]) -> list[writer.Outcome]:
        outcomes = original(self, txn, batch)
        self._deliver(batch, outcomes, self._appender.head)
        _let_clients_run(batch[0].future.get_loop())
        return outcomes

    _replace(writer.Writer, "_fill", fill)


def _let_clients_run(loop: asyncio.AbstractEventLoop) -> None:
    """Wait until the loop has turned often enough for everyone to have seen the outcome."""
    done = threading.Event()

    def turn(left: int) -> None:
        if left:
            loop.call_soon(turn, left - 1)
        else:
            done.set()

    loop.call_soon_threadsafe(turn, 10)
    done.wait()


def checkpoint_apart() -> None:
    """The rows of a view are committed in one transaction, its checkpoint in the next."""
    original: Any = vars(bookkeeping.Bookkeeping)["writing"]

    @contextmanager
    def writing(self: Any) -> Generator[bookkeeping.Change]:
        later: dict[str, Entry] = {}
        with original(self) as change:
            change.save = later.__setitem__
            yield change
        with original(self) as change:
            for name, entry in later.items():
                change.save(name, entry)

    _replace(bookkeeping.Bookkeeping, "writing", writing)


def _replace(owner: type, name: str, mutated: Callable[..., Any]) -> None:
    assert name in vars(owner), f"{owner.__name__} has no {name} to replace any more"
    setattr(owner, name, mutated)


NAMES: Final[dict[str, Callable[[], None]]] = {
    "unsynced": unsynced,
    "acknowledged_first": acknowledged_first,
    "checkpoint_apart": checkpoint_apart,
}


def apply(name: str) -> None:
    """Make one of the mistakes, before the store is opened."""
    NAMES[name]()
