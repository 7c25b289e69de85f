"""What the service does now and then: looks at keys, streams, dead producers and the health of the log."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Final

import structlog

from eventstore.errors import TurnlogError
from turnlog.facade import Turnlog
from turnlog.service.gate import Gate
from turnlog.service.health import check_damage
from turnlog.service.keyring import Keyring
from turnlog.service.problems import defect
from turnlog.service.settings import Settings
from turnlog.service.streams import Streams

TEND_SECONDS: Final = 0.5
"""Between two looks at the open streams: a heartbeat, or the end of a key's time, is late by this at most.
A feed that nobody reads goes on for up to twice as long."""

_logger: Final = structlog.get_logger("turnlog.service")


class Chores:
    """They run between entering and leaving."""

    def __init__(
        self, log: Turnlog, keyring: Keyring, gate: Gate, streams: Streams, settings: Settings
    ) -> None:
        self._log = log
        self._keyring = keyring
        self._gate = gate
        self._streams = streams
        self._lease_seconds = settings.sweep.lease_seconds
        self._chores: tuple[tuple[float, Callable[[], Awaitable[None]]], ...] = (
            (settings.keys_check_seconds, self._look),
            (TEND_SECONDS, self._tend),
            (settings.sweep.interval_seconds, self._sweep),
        )
        self._tasks: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> None:
        self._tasks = [asyncio.create_task(_every(seconds, chore)) for seconds, chore in self._chores]

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.wait(self._tasks)
        self._streams.feeds.stop()

    async def _look(self) -> None:
        if self._keyring.refresh():
            await self._tend()  # now: who lost their key is not to read on for another half second
        check_damage(self._log)

    async def _tend(self) -> None:
        self._streams.connections.tend(self._gate.state)
        self._streams.feeds.tend()

    async def _sweep(self) -> None:
        producing = self._streams.producing
        swept = await self._log.sweep(lease_seconds=self._lease_seconds, alive=producing)
        if swept:
            _logger.info(
                "streams_swept", count=len(swept), ids=[str(message_id) for message_id in swept[:20]]
            )


async def _every(seconds: float, chore: Callable[[], Awaitable[None]]) -> None:
    """Do it, again and again. What fails is done again: a full disk is full for a while, a defect stays."""
    while True:
        await asyncio.sleep(seconds)
        try:
            await chore()
        except TurnlogError as error:
            _logger.warning("chore_failed", code=error.code, reason=error.message)
        except Exception as error:
            defect(error, "chore_failed")
