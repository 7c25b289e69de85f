"""A process that only reads: it waits for what the writer's has stored, and says when that cannot come."""

from __future__ import annotations

from pathlib import Path

import pytest
from witness import Journal, code_of, fill, oracle, rows_of, running

from eventstore.errors import TurnlogError, Unavailable
from eventstore.events import ALL_BITS, CHUNK_BIT
from eventstore.store import EventStore
from projections.projection import MILESTONES
from projections.runner import Runner
from projections.views import Views


async def test_a_read_only_process_waits_for_what_the_writer_has_stored(
    data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("projections.polling.WAIT_SECONDS", 0.02)
    async with running(data_dir, Journal(), Journal("bad", poison=7)) as (store, _, started):
        await started.wait_for(0)
        await fill(store, 10)
        await started.wait_for(10)
    async with await EventStore.open(data_dir) as store:
        await fill(store, 5)
    async with await EventStore.open(data_dir, read_only=True) as store:
        projections = [Journal(), Journal("bad"), Journal("new")]
        views = Views(data_dir / "views", projections, store.log, read_only=True)
        async with Runner(store, views) as reader:
            await reader.wait_for(10, "journal")
            with pytest.raises(Unavailable):
                await reader.wait_for(10)  # a configured projection has never been built
            assert rows_of(views, Journal()) == oracle(store, Journal(), 10)
            codes: list[str] = []
            for position, name in ((15, "journal"), (8, "bad"), (1, "new"), (16, "journal")):
                with pytest.raises(TurnlogError) as refused:
                    await reader.wait_for(position, name)
                codes.append(code_of(refused))
            with pytest.raises(Unavailable) as read_only:
                await reader.rebuild("journal")
            states = [(p.name, p.state, p.checkpoint) for p in reader.status().projections]
        views.close()
    assert codes == ["views_behind", "projection_poisoned", "views_behind", "position_not_found"]
    assert states == [("journal", "live", 10), ("bad", "failed", 6), ("new", "building", None)]
    assert code_of(read_only) == "log_read_only"


async def test_a_read_only_process_does_not_wait_for_what_has_failed(data_dir: Path) -> None:
    async with running(data_dir, Journal(), Journal("bad", poison=7)) as (store, _, started):
        await started.wait_for(0)
        await fill(store, 10)
        await started.wait_for(10)
    async with await EventStore.open(data_dir, read_only=True) as store:
        projections = [Journal(), Journal("bad")]
        views = Views(data_dir / "views", projections, store.log, read_only=True)
        async with Runner(store, views) as reader:
            await reader.wait_for(10)
        views.close()


@pytest.mark.parametrize("kinds", [0, MILESTONES])
async def test_a_read_only_process_knows_when_nothing_new_concerns_a_projection(
    data_dir: Path, kinds: int
) -> None:
    journal = Journal(kinds=ALL_BITS & ~CHUNK_BIT | kinds)
    async with running(data_dir, journal) as (store, _, started):
        await fill(store, 2, chunks=True)
        await started.wait_for(2)
    async with await EventStore.open(data_dir) as store:
        await fill(store, 600, chunks=True)
    async with await EventStore.open(data_dir, read_only=True) as store:
        views = Views(data_dir / "views", [journal], store.log, read_only=True)
        async with Runner(store, views) as reader:
            await reader.wait_for(602)
        views.close()


async def test_the_status_before_there_are_any_views_is_that_all_are_to_be_built(data_dir: Path) -> None:
    async with await EventStore.open(data_dir) as store:
        await fill(store, 3)
    async with await EventStore.open(data_dir, read_only=True) as store:
        views = Views(data_dir / "views", [Journal()], store.log, read_only=True)
        async with Runner(store, views) as reader:
            (status,) = reader.status().projections
        views.close()
    assert (status.state, status.checkpoint, status.lag_positions) == ("building", None, 3)
