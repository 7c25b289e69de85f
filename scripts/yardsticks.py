"""What this machine can do at best: the yardsticks that ``speed`` measures by."""

from __future__ import annotations

import asyncio
import threading
import time
from pathlib import Path
from queue import SimpleQueue

import lmdb


def empty_loop_ms() -> float:
    """What this machine's Python takes for a million turns of a loop: the best of five."""
    times: list[float] = []
    for _ in range(5):
        start = time.perf_counter()
        for _turn in range(1_000_000):
            pass
        times.append(time.perf_counter() - start)
    return min(times) * 1e3


class Handed:
    """The least that an append can be: its three puts, on a thread of their own, and the way there and back.

    No validation, no write model, no frame, no digest: what is slower than this is ours to make faster.
    """

    def __init__(self, path: Path) -> None:
        self._env = lmdb.open(str(path), map_size=1 << 40, max_dbs=2, lib_version=0)
        self._commits, self._index = self._env.open_db(b"commits"), self._env.open_db(b"index")
        self._queue: SimpleQueue[tuple[bytes, asyncio.Future[None]] | None] = SimpleQueue()
        self._loop = asyncio.get_running_loop()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        position = 0
        while taken := self._queue.get():
            value, future = taken
            position += 1
            key = position.to_bytes(8, "big")
            with self._env.begin(write=True) as txn:
                txn.put(key, value, db=self._commits, append=True)
                txn.put(value[:16] + key, key, db=self._index)
                txn.put(b"head", value[:48])
            self._loop.call_soon_threadsafe(future.set_result, None)

    async def append(self, value: bytes) -> None:
        """Three puts and a commit."""
        future: asyncio.Future[None] = self._loop.create_future()
        self._queue.put((value, future))
        await future

    def close(self) -> None:
        """End the thread."""
        self._queue.put(None)
        self._thread.join()
        self._env.close()
