"""Verifying a stream: what is said of it, and each of its chunks, against what the views answer."""

from __future__ import annotations

from contextlib import aclosing
from uuid import UUID

from eventstore.content import Json
from eventstore.events import ChunkReceived, ChunkRun
from turnlog.facade import Turnlog
from turnlog.importers.conversation import Chunk, Streamed
from turnlog.importers.job.differences import Findings


async def compare_stream(
    log: Turnlog, message_id: UUID, streamed: Streamed, findings: Findings, *, with_times: bool
) -> None:
    """Compare a stream with what came of it; ``with_times`` also when each chunk arrived."""
    timeline = await log.queries.timeline(message_id)
    checked: tuple[tuple[str, Json, Json], ...] = (
        ("model", streamed.model, timeline.model),
        ("outcome", streamed.outcome or "interrupted", timeline.outcome),
        ("finish_reason", streamed.finish_reason, timeline.finish_reason),
        ("usage", streamed.usage, timeline.usage),
        ("error", streamed.error, timeline.error),
        ("chunks", len(streamed.chunks), timeline.chunks),
    )
    for field, expected, found in checked:
        findings.check(message_id, field, expected, found)
    reached = 0
    async with aclosing(log.queries.runs(message_id, len(streamed.chunks))) as runs:
        async for run in runs:
            some = streamed.chunks[reached : reached + len(run.deltas)]
            # All at once, and one by one only where that finds something: it is what takes the time.
            if not _is_run(some, run, reached + 1):
                for sequence, (chunk, there) in enumerate(zip(some, run.chunks(), strict=True), reached + 1):
                    _compare_chunk(message_id, chunk, there, sequence, with_times, findings)
            reached += len(run.deltas)


def _is_run(chunks: tuple[Chunk, ...], run: ChunkRun, sequence: int) -> bool:
    return (
        run.first_sequence == sequence
        and run.deltas == tuple([chunk.delta for chunk in chunks])
        and run.times() == [chunk.at for chunk in chunks]
        and [chunk.kind for chunk in chunks].count(run.kind) == len(chunks)
        and [chunk.part for chunk in chunks].count(run.part) == len(chunks)
    )


def _compare_chunk(
    key: UUID, expected: Chunk, found: ChunkReceived, sequence: int, times: bool, findings: Findings
) -> None:
    place = f"chunks/{sequence}"
    findings.check(key, f"{place}/delta", expected.delta, found.delta)
    findings.check(key, f"{place}/kind", expected.kind, found.kind)
    findings.check(key, f"{place}/part", expected.part, found.part)
    findings.check(key, f"{place}/sequence", sequence, found.sequence)
    if times:
        findings.check(key, f"{place}/at", expected.at, found.at)
