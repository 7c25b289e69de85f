"""Whether all is well, and what is not."""

from __future__ import annotations

from typing import Final

import msgspec

from eventstore.errors import TurnlogError
from turnlog.facade import Turnlog
from turnlog.service.keyring import Keyring


class Health(msgspec.Struct, frozen=True):
    """``problems``: what to look at, in words; empty when all is well."""

    healthy: bool
    position: int
    read_only: bool
    problems: list[str]


_LOG_DAMAGE: Final = frozenset({"commit_damaged", "directory_damaged"})
"""Of the log itself. Damaged views are built anew, and damaged keys say nothing of the log."""


def note(log: Turnlog, error: TurnlogError) -> None:
    """Whoever finds the log damaged makes it read-only: what holds a fault is not trusted with more."""
    if error.code in _LOG_DAMAGE:
        log.store.stop_writing(error.message)


def check_damage(log: Turnlog) -> None:
    """The same for what the projections found, while they followed the log."""
    status = log.runner.status()
    for failure in (status.failure, *(projection.failure for projection in status.projections)):
        if failure is not None and failure.code in _LOG_DAMAGE:
            log.store.stop_writing(f"the log is damaged at position {failure.position}")


def health_of(log: Turnlog, keys: Keyring) -> Health:
    """Look at the writer, the disk, every projection and the keys. It reads numbers, and waits for nobody."""
    found: list[str] = []
    if keys.failure is not None:
        found.append(f"the keys cannot be read: {keys.failure.code}")
    read_only = False
    position = 0
    try:
        statistics = log.store.statistics()
        position, read_only = statistics.position, statistics.read_only
        if statistics.failure is not None:
            found.append(f"the log is read-only: {statistics.failure}")
        log.store.check_room()
        status = log.runner.status()
        if status.failure is not None:
            found.append(f"the projections have stopped: {status.failure.error}")
        for projection in status.projections:
            if projection.failure is not None:
                at, error = projection.failure.position, projection.failure.error
                found.append(f"the projection {projection.name} stopped at position {at}: {error}")
    except TurnlogError as error:
        found.append(error.message)
    return Health(not found, position, read_only, found)
