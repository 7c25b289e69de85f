"""A sound log with a bit of everything in it, and what ``verify`` finds."""

from __future__ import annotations

from typing import Final

import msgspec
from samples import C, D, M, S, chunks, ident, message

from eventstore.commits import Append
from eventstore.events import (
    BranchMoved,
    ContextCreated,
    CustomRecorded,
    ForkedFrom,
    StreamFinalized,
    StreamStarted,
)
from eventstore.findings import Finding
from eventstore.log import Log
from eventstore.store import EventStore
from eventstore.verify import verify

MARK: Final = CustomRecorded("mark")
COMMITS: Final = 20


async def fill(store: EventStore) -> None:
    """Two contexts, messages, a stream, commit ids, a context long enough for a snapshot, one in a group."""
    await store.append(C, [ContextCreated(), message(M)], commit_id=ident(1))  # 1
    await store.append(D, [ContextCreated(forked_from=ForkedFrom(C, 2))])  # 2
    await store.append(C, [StreamStarted(S)], commit_id=ident(2))  # 3
    for part in range(3):  # 4, 6, 8
        await store.append(C, chunks(part * 10 + 1, part * 10 + 10))
        await store.append(D, [MARK, MARK])  # 5, 7, 9
    await store.append(C, [StreamFinalized(S, "completed"), message(ident(9), "x" * 3_000)])  # 10
    await store.append(D, [BranchMoved("main", M)])  # 11
    outcomes = await store.append_many([Append(ident(0xE), (ContextCreated(),))])  # 12
    outcomes += await store.append_many([Append(ident(0xE), (MARK,) * 300)] * 5)  # 13 to 17
    outcomes += await store.append_together(  # 18 to 20
        [Append(ident(0xF), (event,)) for event in (ContextCreated(), MARK, message(ident(0x10)))]
    )
    assert (len(outcomes), store.head().position) == (9, COMMITS)


def found(log: Log, after: int = 0) -> list[tuple[str, int | None]]:
    """Code and position of each finding; each says something and can be written as JSON."""
    findings = list(verify(log, after))
    for finding in findings:
        assert finding.message
        msgspec.json.encode(finding)
    return [(finding.code, finding.position) for finding in findings]


def the(code: str, log: Log) -> Finding:
    """The one finding with a code."""
    (finding,) = (finding for finding in verify(log) if finding.code == code)
    return finding
