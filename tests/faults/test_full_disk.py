"""A disk, or a map, that is full: appends are refused, reads go on, and with room again so do appends."""

from __future__ import annotations

import os
import random
import subprocess
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from typing import Final

import pytest
import sent
from children import intrude
from folds import live_findings
from judge import Acknowledged, Sent, judge, send
from opening import PROJECTIONS, caught_up, opened, retry_at_once

from eventstore.errors import TurnlogError, Unavailable
from eventstore.store import EventStore

MEGABYTE: Final = 1 << 20
KILOBYTE: Final = 1 << 10

MakeDisk = Callable[[int], Path]


@pytest.fixture
def make_disk(tmp_path: Path) -> Iterator[MakeDisk]:
    """Mounts a small file system that holds this many bytes; once in a test."""
    if os.geteuid() != 0:
        pytest.skip("only root can mount a small tmpfs")
    point = tmp_path / "disk"
    point.mkdir()

    def mount(size: int) -> Path:
        command = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(point)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            pytest.skip(f"tmpfs cannot be mounted here: {done.stderr.strip()}")
        return point

    try:
        yield mount
    finally:
        if point.is_mount():
            subprocess.run(["umount", str(point)], check=True)


def enlarge(disk: Path) -> None:
    """Give a small disk room for everything."""
    subprocess.run(["mount", "-o", f"remount,size={64 * MEGABYTE}", str(disk)], check=True)


class Client:
    """Appends one conversation and remembers what was acknowledged."""

    def __init__(self, seed: int) -> None:
        self.seed: int = seed
        self.acknowledged: list[Acknowledged] = []
        self._conversation = sent.conversation(seed, 0)
        self._next = next(self._conversation)

    async def append(self, store: EventStore) -> None:
        """The next commit, or the one that was refused before."""
        committed = await send(store, self._next)
        self.acknowledged.append(Acknowledged(0, len(self.acknowledged), committed.position))
        self._next = next(self._conversation)

    async def append_until_refused(self, store: EventStore) -> TurnlogError:
        """As many commits as fit."""
        for _ in count():
            try:
                await self.append(store)
            except TurnlogError as error:
                return error
        raise AssertionError

    def assert_all_there(self, store: EventStore) -> None:
        """What was acknowledged, and nothing else, is read back."""
        commits = list(store.read())
        assert [commit.position for commit in commits] == [a.position for a in self.acknowledged]
        assert store.head().position == store.acknowledged == len(self.acknowledged)

    async def findings(self, directory: Path) -> list[str]:
        """The judge's."""
        return await judge(directory, Sent(self.seed, 1), self.acknowledged)


@pytest.mark.parametrize("size", [size * KILOBYTE for size in (1200, 1500, 2048, 2100, 3000, 4096)])
async def test_a_full_disk_refuses_appends_until_there_is_room_again(
    make_disk: MakeDisk, seed: int, size: int
) -> None:
    disk, client, rng = make_disk(size), Client(seed), random.Random(seed)
    ballast = disk / "ballast"
    ballast.write_bytes(bytes(300 * KILOBYTE + rng.randrange(100) * KILOBYTE))
    async with await EventStore.open(disk / "data", free_bytes_low=0) as store:
        refusal = await client.append_until_refused(store)
        assert isinstance(refusal, Unavailable)
        assert refusal.code == "disk_full"
        client.assert_all_there(store)
        for _ in range(3):  # and again, each time for certain and with nothing half-written
            assert (await client.append_until_refused(store)).code in ("disk_full", "log_read_only")
            client.assert_all_there(store)
        ballast.unlink()
        for _ in range(10):
            await client.append(store)
        client.assert_all_there(store)
        assert store.statistics().failure is None
    enlarge(disk)
    assert await client.findings(disk / "data") == []


@pytest.mark.parametrize("size", [3 * MEGABYTE, 4 * MEGABYTE])
async def test_views_on_a_full_disk_catch_up_once_there_is_room_again(
    make_disk: MakeDisk, seed: int, size: int
) -> None:
    disk, client = make_disk(size), Client(seed)
    ballast = disk / "ballast"
    ballast.write_bytes(bytes(size // 2))
    retry_at_once()
    async with opened(disk / "data") as all_open:
        store = all_open.store
        assert (await client.append_until_refused(store)).code == "disk_full"
        client.assert_all_there(store)
        ballast.unlink()
        await client.append(store)
        await caught_up(all_open)
        with all_open.views.reading() as reader:
            assert [*live_findings(reader, PROJECTIONS, list(store.read()))] == []
        assert all_open.runner.status().healthy
    enlarge(disk)
    assert await client.findings(disk / "data") == []


async def test_a_store_on_a_full_disk_can_be_opened_and_read(make_disk: MakeDisk, seed: int) -> None:
    disk, client = make_disk(2 * MEGABYTE), Client(seed)
    async with await EventStore.open(disk / "data", free_bytes_low=0) as store:
        await client.append_until_refused(store)
    fill_up(disk / "ballast")
    async with await EventStore.open(disk / "data", read_only=True) as store:
        client.assert_all_there(store)
    try:
        store = await EventStore.open(disk / "data", free_bytes_low=0)
    except TurnlogError as error:
        refusal = error
    else:
        async with store:
            client.assert_all_there(store)
            refusal = await client.append_until_refused(store)
    assert refusal.code in ("disk_full", "log_read_only")
    enlarge(disk)
    assert await client.findings(disk / "data") == []


async def test_opening_on_a_full_disk_is_refused_and_kills_nobody(make_disk: MakeDisk, seed: int) -> None:
    disk, client = make_disk(2 * MEGABYTE), Client(seed)
    async with await EventStore.open(disk / "data", free_bytes_low=0) as store:
        await client.append(store)
    fill_up(disk / "ballast")
    assert intrude(disk / "data", "views") == {"code": "disk_full"}  # there are none yet
    assert intrude(disk / "new", "write")["code"] == "disk_full"
    enlarge(disk)
    assert intrude(disk / "data", "views") == {"code": "ok", "head": 1}
    assert await client.findings(disk / "data") == []


async def test_appends_are_refused_before_the_disk_is_full(make_disk: MakeDisk, seed: int) -> None:
    disk, client = make_disk(4 * MEGABYTE), Client(seed)
    async with await EventStore.open(disk / "data", free_bytes_low=MEGABYTE) as store:
        await client.append(store)
    (disk / "ballast").write_bytes(bytes(3 * MEGABYTE))
    async with await EventStore.open(disk / "data", free_bytes_low=MEGABYTE) as store:
        assert (await client.append_until_refused(store)).code == "disk_full"
        client.assert_all_there(store)
        assert store.statistics().failed_commits == 0


@pytest.mark.parametrize("map_bytes", [size * KILOBYTE for size in (160, 200, 256, 300, 400, 512, 1024)])
async def test_a_full_map_refuses_appends_until_it_is_opened_with_a_larger_one(
    disk: Path, seed: int, map_bytes: int
) -> None:
    client = Client(seed)
    for _ in range(2):  # full for whoever opens it, too
        async with await EventStore.open(disk, map_bytes=map_bytes, free_bytes_low=0) as store:
            for _ in range(3):
                assert (await client.append_until_refused(store)).code == "log_full"
                client.assert_all_there(store)
            assert store.statistics().recoveries == 0
    assert len(client.acknowledged) > 3
    async with await EventStore.open(disk, free_bytes_low=0) as store:
        for _ in range(10):
            await client.append(store)
        client.assert_all_there(store)
    assert await client.findings(disk) == []


def fill_up(path: Path) -> None:
    """Write until the disk takes no byte more."""
    with path.open("ab", buffering=0) as file:
        for size in (64 * KILOBYTE, 4 * KILOBYTE):
            try:
                while file.write(bytes(size)) == size:
                    pass
            except OSError:
                continue
