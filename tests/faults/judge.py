"""What must hold of a data directory whatever happened to it, given what was sent and acknowledged."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Iterable, Iterator
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple
from uuid import UUID

import recording
import sent
from folds import live_findings, stored_findings
from opening import PROJECTIONS, opened

from eventstore.commits import Append, Commit, Committed
from eventstore.store import EventStore
from eventstore.stored import GENESIS
from eventstore.verify import verify


class Sent(NamedTuple):
    """Which conversations were sent: this many of them from number 0."""

    seed: int
    conversations: int

    def mark(self) -> bytes:
        """As a record for the file that `shim.c` writes."""
        return recording.mark("B", *self)


class Acknowledged(NamedTuple):
    """An append that returned: the conversation's number, the commit's place in it, the position."""

    number: int
    place: int
    position: int

    def mark(self) -> bytes:
        """As a record for the file that `shim.c` writes."""
        return recording.mark("A", self.position, self.number << 32 | self.place)


def judge_record(directory: Path, records: list[recording.Operation]) -> list[str]:
    """`judge`, told by the records of a run."""
    was_sent = next(Sent(r.offset, r.length) for r in records if r.tag == "B")
    acknowledged = [
        Acknowledged(r.length >> 32, r.length & 0xFFFF_FFFF, r.offset) for r in records if r.tag == "A"
    ]
    return asyncio.run(judge(directory, was_sent, acknowledged))


async def judge(directory: Path, was_sent: Sent, acknowledged: Iterable[Acknowledged]) -> list[str]:
    """Open the directory as any program would, and say what is wrong; nothing when all is well.

    A sound store is written to: it must go on where it stands.
    """
    async with await EventStore.open(directory, free_bytes_low=0) as store:
        commits = list(store.read())
        findings = [
            *(f"verify: {finding.code}\n{finding}" for finding in verify(store.log)),
            *_chain_findings(store, commits),
            *_sent_findings(_by_context(commits), was_sent),
            *_loss_findings(commits, was_sent, acknowledged),
            *stored_findings(directory, PROJECTIONS, commits),
        ]
    if findings:
        return findings
    async with opened(directory) as all_open:
        findings = [finding async for finding in _further_findings(all_open.store, commits, was_sent)]
        await all_open.runner.wait_for(all_open.store.head().position)
        with all_open.views.reading() as reader:
            return [*findings, *live_findings(reader, PROJECTIONS, list(all_open.store.read()))]


def _by_context(commits: list[Commit]) -> dict[UUID, list[Commit]]:
    found: dict[UUID, list[Commit]] = defaultdict(list)
    for commit in commits:
        found[commit.context_id].append(commit)
    return found


def _chain_findings(store: EventStore, commits: list[Commit]) -> Iterator[str]:
    """Positions are dense up to the head, the chain is that of the digests, time never goes back."""
    chain, head = GENESIS, store.head()
    for commit in commits:
        chain = sha256(chain + commit.digest).digest()
    if [commit.position for commit in commits] != list(range(1, head.position + 1)):
        yield f"positions are not dense\n{len(commits)} commits, head {head.position}"
    if chain != head.chain:
        yield "the chain is not that of the commits"
    times = [commit.recorded_at for commit in commits]
    if times != sorted(times) or (times and times[-1] != head.recorded_at):
        yield "recorded_at goes backwards"


def _sent_findings(by_context: dict[UUID, list[Commit]], was_sent: Sent) -> Iterator[str]:
    """Every context holds a prefix of what was sent to it, each once; or all, or nothing."""
    seed, longest = was_sent.seed, max(map(len, by_context.values()), default=0)
    whole = {sent.context_id(seed, n): n for n in sent.whole_numbers(was_sent.conversations, longest)}
    known = {sent.context_id(seed, n): n for n in range(was_sent.conversations)} | whole
    for context_id, commits in by_context.items():
        if context_id not in known:
            yield f"a context that nobody sent\n{context_id}"
            continue
        if any(each.together == (context_id not in whole) for each in commits[1:]) or commits[0].together:
            yield f"commits stand together that were not sent so, or do not\n{context_id}"
        if context_id in whole and len(commits) != sent.WHOLE_COMMITS:
            yield f"of commits that were sent together some are missing\n{context_id}, {len(commits)} there"
        version = 0
        conversation = sent.conversation(seed, known[context_id])
        for commit, append in zip(commits, conversation, strict=False):
            if commit.commit_id != append.commit_id or commit.first_version != version + 1:
                yield f"commits are not those that were sent, in order\nposition {commit.position}"
                break
            if not _same_events(commit, append):
                yield f"a commit holds other events than were sent\nposition {commit.position}"
                break
            version = commit.last_version


def _same_events(commit: Commit, append: Append) -> bool:
    stored = list(commit.events())
    return len(stored) == len(append.events) and all(
        sent.as_stored(event, there) == there for event, there in zip(append.events, stored, strict=True)
    )


def _loss_findings(
    commits: list[Commit], was_sent: Sent, acknowledged: Iterable[Acknowledged]
) -> Iterator[str]:
    """What was acknowledged is where it was said to be."""
    acknowledged = list(acknowledged)
    ids: dict[int, list[UUID | None]] = {}
    for number, place, position in acknowledged:
        if position > len(commits):
            yield f"an acknowledged commit is lost\nposition {position}, head {len(commits)}"
            return
        if number not in ids:
            count = 1 + max(a.place for a in acknowledged if a.number == number)
            ids[number] = [a.commit_id for a in sent.conversation(was_sent.seed, number, count)]
        if commits[position - 1].commit_id != ids[number][place]:
            yield f"another commit stands where one was acknowledged\nposition {position}"
            return


async def _further_findings(store: EventStore, commits: list[Commit], was_sent: Sent) -> AsyncIterator[str]:
    """The store goes on: a repeated commit is known, the next one is written."""
    by_context = _by_context(commits)
    for number in range(was_sent.conversations):
        there = by_context[sent.context_id(was_sent.seed, number)]
        *repeats, following = sent.conversation(was_sent.seed, number, len(there) + 1)
        for commit, append in list(zip(there, repeats, strict=True))[-2:]:
            again = await send(store, append)
            if again.written or again.position != commit.position:
                yield f"a repeated commit is not recognised\nposition {commit.position}, again {again}"
        head = store.head().position
        if (await send(store, following)).position != head + 1:
            yield f"the next commit is not written\nafter {head}"


async def send(store: EventStore, append: Append) -> Committed:
    """Append as the workloads do."""
    return await store.append(append.context_id, append.events, commit_id=append.commit_id)
