"""A process that appends, or rebuilds a view, is killed at random moments."""

from __future__ import annotations

import os
import random
import sys
from itertools import chain, islice
from pathlib import Path
from typing import Final

import sent
from children import HERE, Said, environment, run, run_and_kill, workload_command
from folds import checkpoints, live_findings, stored_findings
from judge import Sent, judge, send
from opening import PROJECTIONS, Counts, opened
from rebuilding import NewCounts, projections

from eventstore.commits import Commit, Committed
from eventstore.store import EventStore
from projections.projection import Past, Rows

ROUNDS: Final = int(os.environ.get("TURNLOG_KILL_ROUNDS", "15"))
ENDLESS: Final = 1_000_000
"""Commits of a conversation that no run gets to."""


async def test_nothing_acknowledged_is_lost_by_killing_the_process_again_and_again(
    disk: Path, seed: int
) -> None:
    rng, was_sent, said = random.Random(seed), Sent(seed, 6), Said()
    command = workload_command(disk, was_sent, ENDLESS, "--together")
    for _ in range(ROUNDS):
        said.hear(run_and_kill(command, rng.randrange(1, 300)))
        assert said.errors == []
        assert await judge(disk, was_sent, said.acknowledged) == []
    assert len(said.acknowledged) > ROUNDS


async def test_repeating_what_a_killed_process_never_answered_writes_each_commit_once(
    disk: Path, seed: int
) -> None:
    rng, was_sent, said = random.Random(seed), Sent(seed, 6), Said()
    for _ in range(5):
        said.hear(run_and_kill(workload_command(disk, was_sent, ENDLESS), rng.randrange(30, 150)))
        async with await EventStore.open(disk, free_bytes_low=0) as store:
            for number in range(was_sent.conversations):
                answered = 1 + max((a.place for a in said.acknowledged if a.number == number), default=-1)
                unanswered = list(sent.conversation(seed, number, answered + 3))[answered:]
                first = [await send(store, append) for append in unanswered]
                again = [await send(store, append) for append in unanswered]
                assert [outcome.position for outcome in first] == [outcome.position for outcome in again]
                assert not any(outcome.written for outcome in again)
        assert await judge(disk, was_sent, said.acknowledged) == []


async def test_the_views_of_a_killed_process_go_on_from_their_checkpoint(disk: Path, seed: int) -> None:
    run_and_kill(workload_command(disk, Sent(seed, 6), ENDLESS), 300)
    stored = checkpoints(disk)[Counts.name, 1]
    assert stored > 0
    folded: list[int] = []

    class Watched(Counts):
        def apply(self, commit: Commit, rows: Rows, past: Past) -> None:
            folded.append(commit.position)
            super().apply(commit, rows, past)

    others = tuple(projection for projection in PROJECTIONS if projection.name != Counts.name)
    async with opened(disk, (*others, Watched())) as all_open:
        head = all_open.store.head().position
        await all_open.runner.wait_for(head)
        with all_open.views.reading() as reader:
            assert [*live_findings(reader, PROJECTIONS, list(all_open.store.read()))] == []
    assert folded == list(range(stored + 1, head + 1))


async def test_a_rebuild_that_is_killed_again_and_again_resumes_and_ends_equal(disk: Path, seed: int) -> None:
    rng = random.Random(seed)
    await fill(disk, seed, contexts=10, commits=200)
    command = [sys.executable, str(HERE / "rebuilding.py"), str(disk)]
    resumed_at: list[int] = []
    for _ in range(4):
        folds = rng.randrange(300, 500)
        printed = run_and_kill([*command, str(folds)], ENDLESS)
        assert len(printed) == folds + 1
        resumed_at.append(int(printed[0].split()[1]))
        commits = await commits_of(disk)
        assert [*stored_findings(disk, PROJECTIONS, commits)] == []  # what is still live
        assert [*stored_findings(disk, projections(), commits)] == []  # and what is being built
        assert checkpoints(disk)[NewCounts.name, 2] >= resumed_at[-1]
    assert resumed_at[0] == 1
    assert resumed_at == sorted(set(resumed_at))
    assert run([*command, str(ENDLESS)], environment()).splitlines()[-1] == "DONE"
    async with opened(disk, projections()) as all_open:
        with all_open.views.reading() as reader:
            assert [*live_findings(reader, projections(), list(all_open.store.read()))] == []


async def commits_of(directory: Path) -> list[Commit]:
    async with await EventStore.open(directory, free_bytes_low=0) as store:
        return list(store.read())


async def fill(directory: Path, seed: int, contexts: int, commits: int) -> None:
    """A log whose views have caught up, with commits that stand together here and there."""
    conversations = [sent.conversation(seed, number, commits) for number in range(contexts)]
    async with opened(directory) as all_open:
        store = all_open.store
        for number in sent.whole_numbers(1, commits):
            some = chain.from_iterable(islice(each, sent.WHOLE_EVERY) for each in conversations)
            outcomes = await store.append_many(some)
            assert all(isinstance(outcome, Committed) for outcome in outcomes)
            await store.append_together(sent.conversation(seed, number, sent.WHOLE_COMMITS))
        await all_open.runner.wait_for(store.acknowledged)
