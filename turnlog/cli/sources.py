"""A provider's stream from a file or standard input: framed as it arrives, or played at a pace."""

from __future__ import annotations

import asyncio
import errno
import os
import stat
import sys
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import BinaryIO, Final

import anyio
import anyio.lowlevel

from eventstore.errors import Refused, reason_of
from turnlog.dialects.sse import Decoder, Frame

EVENTS_PER_SECOND: Final = 50.0
"""The pace that speed 1 gives a recording without times: about what a fast model does."""

SLICE_BYTES: Final = 64 * 1024
"""Read at once from a file."""

STDIN: Final = "-"


def refuse_speed(speed: float | None) -> None:
    """Raise ``Refused`` for a speed that is none."""
    if speed is not None and not 0 <= speed < float("inf"):
        raise Refused("invalid_argument", "speed is 0 or more", argument="speed")


@asynccontextmanager
async def slices(name: str) -> AsyncGenerator[AsyncIterator[bytes]]:
    """The bytes of a file, or of standard input for ``-``, as they arrive.

    Raises ``Refused`` with code ``input_unreadable``.
    """
    file = _open(name)
    try:
        yield _piped(file) if _waits(file) else _read(file, name)
    finally:
        if name != STDIN:
            file.close()


def _open(name: str) -> BinaryIO:
    try:
        if name != STDIN:
            return Path(name).open("rb")
        if sys.stdin is None:  # pyright: ignore[reportUnnecessaryComparison] -- it is, where it was closed
            raise OSError(errno.EBADF, "it is closed")
        return sys.stdin.buffer
    except OSError as error:
        raise _unreadable(name, error) from None


def _waits(file: BinaryIO) -> bool:
    """Whether bytes may be long in coming."""
    mode = os.fstat(file.fileno()).st_mode
    return stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode) or file.isatty()


async def _read(file: BinaryIO, name: str) -> AsyncIterator[bytes]:
    while True:
        try:
            data = file.read(SLICE_BYTES)
        except OSError as error:
            raise _unreadable(name, error) from None
        if not data:
            return
        yield data
        await anyio.lowlevel.checkpoint()


async def _piped(file: BinaryIO) -> AsyncIterator[bytes]:
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader()
    transport, _ = await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), file)
    try:
        while data := await reader.read(SLICE_BYTES):
            yield data
    finally:
        if not file.closed:
            os.set_blocking(file.fileno(), True)  # a terminal is shared with stdout, and with the shell
        transport.close()


def _unreadable(name: str, error: OSError) -> Refused:
    why = reason_of(error)
    return Refused("input_unreadable", f"cannot read {name}: {why}", path=name)


async def framed(source: AsyncIterator[bytes]) -> AsyncIterator[Frame]:
    """The provider's events in the bytes. Raises ``Refused`` with code ``malformed_stream``."""
    decoder = Decoder()
    async for data in source:
        for frame in decoder.feed(data):
            yield frame
    for frame in decoder.close():
        yield frame


async def paced(frames: AsyncIterator[Frame], due: Callable[[int], float] | None) -> AsyncIterator[bytes]:
    """The bytes of each event, the n-th (from 0) ``due(n)`` seconds after the first was asked for.

    Frames without data take no time. Delays do not add up: each is due at an absolute time.
    """
    start = anyio.current_time()
    number = 0
    async for frame in frames:
        if due is not None and frame.data is not None:
            await anyio.sleep_until(start + due(number))
            number += 1
        yield frame.raw


def steady(speed: float | None) -> Callable[[int], float] | None:
    """The pace of ``--speed``: events evenly spaced; none without a speed, or at 0."""
    if not speed:
        return None
    return lambda number: number / (EVENTS_PER_SECOND * speed)
