"""Turnlog: an event-sourced, append-only log for chat backends. ``turnlog.open`` is the way in."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterable
from contextlib import asynccontextmanager
from pathlib import Path

from eventstore.errors import TurnlogError
from projections.projection import Projection
from projections.timetravel import NOW, AtMessage, AtPosition, AtTime, AtVersion
from turnlog.facade import Context, Turnlog, open_turnlog

__all__ = [
    "NOW",
    "AtMessage",
    "AtPosition",
    "AtTime",
    "AtVersion",
    "Context",
    "Turnlog",
    "TurnlogError",
    "open",
]


@asynccontextmanager
async def open(  # noqa: A001 -- reads as turnlog.open(...), like other modules' open
    path: str | Path,
    *,
    read_only: bool = False,
    create: bool = True,
    projections: Iterable[str | Projection] = (),
    allow_unsafe_file_system: bool = False,
) -> AsyncGenerator[Turnlog]:
    """Open a data directory, creating it if need be, and close it at the end of the block.

    Args:
        path: the directory; one process at a time may write it.
        read_only: read beside the process that writes.
        create: whether a missing directory is made.
        projections: your own, as objects or ``module:name``, beside the built-in ones.
        allow_unsafe_file_system: accept a network or overlay file system, against all advice.

    Raises ``TurnlogError``; see ``EventStore.open``.
    """
    log = await open_turnlog(
        path,
        read_only=read_only,
        create=create,
        projections=projections,
        allow_unsafe_file_system=allow_unsafe_file_system,
    )
    try:
        yield log
    finally:
        await log.close()
