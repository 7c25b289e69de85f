"""Whether all is well, and what is not."""

from __future__ import annotations

import msgspec

from eventstore.errors import TurnlogError
from turnlog.facade import Turnlog


class Health(msgspec.Struct, frozen=True):
    """``problems``: what to look at, in words; empty when all is well."""

    healthy: bool
    position: int
    read_only: bool
    problems: list[str]


def health_of(log: Turnlog) -> Health:
    """Look at the writer, the disk and every projection. It reads numbers, and waits for nobody."""
    found: list[str] = []
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
