"""What became visible together does so too in the store that it is brought over to."""

from __future__ import annotations

import random
from pathlib import Path
from uuid import UUID

import pytest
from logs import random_appends, write

from eventstore import request, rewriting
from eventstore.commits import Append, Commit
from eventstore.errors import Refused
from eventstore.events import ContextCreated, CustomRecorded, Event, StateChanged
from eventstore.store import EventStore
from turnlog.exporters.ndjson import lines
from turnlog.importers.conversation import Problem
from turnlog.importers.source.files import Source
from turnlog.migrating import migrate
from turnlog.replaying.transforming import Transform
from turnlog.replaying.writing import ReplayedLines, replay_lines

A, B = UUID(int=0xA), UUID(int=0xB)
MARK = CustomRecorded("mark")


class Killed(Exception):
    """The end of a migration, at once."""


def group(context_id: UUID, *events: Event) -> list[Append]:
    """Commits of one event each."""
    return [Append(context_id, (event,), commit_id=UUID(int=n)) for n, event in enumerate(events, 1)]


async def commits_of(path: Path) -> list[Commit]:
    async with await EventStore.open(path, read_only=True) as store:
        return list(store.read())


async def together(path: Path) -> list[bool]:
    return [commit.together for commit in await commits_of(path)]


async def filled(path: Path) -> None:
    """Groups of some sizes, and commits that stand alone."""
    await write(path, random_appends(random.Random(1), 10))
    async with await EventStore.open(path) as store:
        for number, size in enumerate((3, 9, 1, 5), 0xA):
            events = ContextCreated(), *[MARK] * (size - 1)
            await store.append_together(group(UUID(int=number), *events))
            await store.append(UUID(int=number), [StateChanged("alone")])


@pytest.mark.parametrize("place", [13, 16, 19, 22, 29])
async def test_a_migration_that_is_cut_short_ends_between_none_of_them(
    place: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rewriting, "_COMMITS_MAX", 4)
    old, new = tmp_path / "old", tmp_path / "new"
    await filled(old)

    def progress(doing: str, done: int, total: int) -> None:
        if doing == "replaying" and done == place:
            raise Killed

    with pytest.raises(Killed):
        await migrate(old, new, progress=progress)
    there = len(await commits_of(new))
    assert 0 < there < place
    assert not (await together(old))[there]
    await migrate(old, new)
    assert await commits_of(new) == await commits_of(old)


def without_what_is_gone(event: Event) -> Event | None:
    return None if event == StateChanged("gone") else event


@pytest.mark.parametrize("way", ["store", "lines"])
async def test_what_a_transform_leaves_stands_together_with_nothing_else(way: str, tmp_path: Path) -> None:
    old, new = tmp_path / "old", tmp_path / "new"
    async with await EventStore.open(old) as store:
        await store.append(A, [ContextCreated()])
        await store.append(B, [ContextCreated()])
        gone = StateChanged("gone")
        await store.append_together(group(A, gone, MARK, gone, MARK))
    if way == "store":
        await migrate(old, new, without_what_is_gone)
    else:
        await replayed(old, new, without_what_is_gone)
    assert await together(new) == [False, False, False, True]


async def replayed(old: Path, new: Path, transform: Transform | None = None) -> ReplayedLines:
    """Export a store's lines and replay them into another."""
    file = new.with_suffix(".ndjson")
    async with await EventStore.open(old, read_only=True) as store:
        file.write_bytes(b"".join(lines(store)))
    told: list[Problem] = []
    async with await EventStore.open(new) as store:
        return await replay_lines(store, Source(file), transform, told.append, lambda commits: None)


async def test_lines_are_replayed_together(tmp_path: Path) -> None:
    old, new, third = tmp_path / "old", tmp_path / "new", tmp_path / "third"
    await filled(old)
    done = await replayed(old, new)
    assert done == ReplayedLines(commits=32, written=32)
    assert await together(new) == await together(old)
    assert (await replayed(old, new)).unchanged == 32
    await replayed(new, third)
    assert new.with_suffix(".ndjson").read_bytes() == third.with_suffix(".ndjson").read_bytes()


async def test_lines_that_are_refused_are_refused_together(tmp_path: Path) -> None:
    old, new = tmp_path / "old", tmp_path / "new"
    async with await EventStore.open(old) as store:
        await store.append_together(group(A, ContextCreated(), MARK, MARK))
        await store.append(B, [ContextCreated()])
    async with await EventStore.open(new) as store:
        await store.append(A, [ContextCreated("another")])
    done = await replayed(old, new)
    assert (done.written, done.failed) == (1, 3)


async def test_lines_of_more_than_goes_together_are_refused_to_the_last(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old, new = tmp_path / "old", tmp_path / "new"
    async with await EventStore.open(old) as store:
        await store.append_together(group(A, ContextCreated(), *[MARK] * 5))
        await store.append(A, [StateChanged("alone")])
        await store.append(B, [ContextCreated()])
    monkeypatch.setattr(request, "TOGETHER_BYTES_MAX", 50)
    done = await replayed(old, new)
    assert (done.commits, done.written, done.failed, done.problems) == (8, 1, 7, 0)
    assert [commit.context_id for commit in await commits_of(new)] == [B]


async def test_a_store_in_which_they_stand_alone_is_another(tmp_path: Path) -> None:
    appends = group(A, ContextCreated(), MARK)
    async with await EventStore.open(tmp_path / "old", clock=lambda: 1) as store:
        await store.append_together(appends)
    async with await EventStore.open(tmp_path / "new", clock=lambda: 1) as store:
        await store.append_many(appends)
    with pytest.raises(Refused) as refused:
        await migrate(tmp_path / "old", tmp_path / "new")
    assert (refused.value.code, refused.value.fields["position"]) == ("store_differs", 2)
