"""What a replay of lines holds does not grow with the file, nor with a context in it."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable, Iterator
from hashlib import sha256
from pathlib import Path
from typing import Final
from uuid import UUID

import pytest

from eventstore import rewriting
from eventstore.commits import Append
from eventstore.content import TextPart
from eventstore.directory import open_directory
from eventstore.events import ChunkReceived, ContextCreated, Event, MessageAppended, StreamStarted
from eventstore.limits import MAP_BYTES
from eventstore.store import EventStore
from turnlog.importers.source.files import Source
from turnlog.ndjson import HEADER, End, Line, Totals, encode
from turnlog.replaying import writing
from turnlog.replaying.writing import ReplayedLines, replay_lines

A = UUID(int=0xA)

CHUNKS: Final = 250
"""Of a commit."""

BATCH_BYTES: Final = 64 * 1024

GROWTH_MAX: Final = 2.5
"""Between two sizes, one five times the other. What goes together waits encoded: an eighth of what it takes
as events."""


def streamed(commits: int) -> Iterator[list[Event]]:
    """A context and a long stream in it."""
    yield [ContextCreated(), StreamStarted(UUID(int=1))]
    for n in range(commits):
        yield [ChunkReceived(UUID(int=1), n * CHUNKS + i, f"word {i} ") for i in range(1, CHUNKS + 1)]


def texts(commits: int) -> Iterator[list[Event]]:
    """A context of messages of 20 kB."""
    yield [ContextCreated()]
    for n in range(commits):
        yield [MessageAppended(UUID(int=n + 1), "user", (TextPart(f"{n} " * (20_000 // len(f"{n} "))),))]


def write_lines(path: Path, commits: Iterator[list[Event]], *, together: bool) -> int:
    """An export in which all commits are of one context; returns how many there are."""
    digest, number, version = sha256(), 0, 0
    with path.open("wb") as file:

        def write(line: bytes) -> None:
            file.write(line + b"\n")
            digest.update(line + b"\n")

        write(HEADER)
        for number, events in enumerate(commits, 1):
            for event in events:
                version += 1
                if event is events[0]:
                    facts = {"context_id": A, "recorded_at": number, "events": len(events)}
                    line = Line(
                        commit=number,
                        version=version,
                        event=event,
                        together=together and number > 1,
                        **facts,  # pyright: ignore[reportArgumentType] -- each of its kind
                    )
                else:
                    line = Line(commit=number, version=version, event=event)
                write(encode(line))
        file.write(encode(End(Totals(number, version, digest.hexdigest()))) + b"\n")
    return number


async def peak_of_replay(path: Path, data: Path) -> tuple[int, ReplayedLines]:
    """The most bytes of Python's that a replay held at once, and what came of it."""
    async with await EventStore.open(data, free_bytes_low=0) as store:
        tracemalloc.start()
        try:
            done = await replay_lines(store, Source(path), None, lambda problem: None, lambda commits: None)
            return tracemalloc.get_traced_memory()[1], done
        finally:
            tracemalloc.stop()


@pytest.mark.parametrize(
    ("events", "together", "few", "many"),
    [(streamed, True, 8, 40), (streamed, False, 8, 40), (texts, False, 20, 100)],
    ids=["chunks together", "chunks", "texts"],
)
async def test_five_times_the_file_takes_no_more_memory(
    events: Callable[[int], Iterator[list[Event]]],
    together: bool,
    few: int,
    many: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(writing, "BATCH_BYTES", BATCH_BYTES)
    peaks: list[int] = []
    for size in (few, few, many):  # what is made once is made in the first
        path = tmp_path / f"{len(peaks)}.ndjson"
        commits = write_lines(path, events(size), together=together)
        peak, done = await peak_of_replay(path, tmp_path / f"log {len(peaks)}")
        assert done == ReplayedLines(commits=commits, written=commits)
        peaks.append(peak)
    assert peaks[2] < GROWTH_MAX * peaks[1]


def peak_of_rewriting(data: Path, commits: Iterator[list[Event]], *, together: bool) -> int:
    """The most bytes of Python's that writing commits again held at once."""
    opened = open_directory(
        data,
        read_only=False,
        create=True,
        allow_unsafe_file_system=False,
        clock=lambda: 1,
        map_bytes=MAP_BYTES,
    )
    try:
        rewriter = rewriting.Rewriter(opened.log)
        tracemalloc.start()
        for number, events in enumerate(commits, 1):
            append = Append(A, tuple(events), commit_id=UUID(int=number))
            rewriter.append(append, number, number, together=together and number > 1)
        rewriter.finish()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
        opened.close()


@pytest.mark.parametrize("together", [True, False])
def test_writing_five_times_as_much_again_takes_no_more_memory(
    together: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rewriting, "_BYTES_MAX", 16 * 1024)
    sizes = 8, 8, 40
    peaks = [
        peak_of_rewriting(tmp_path / f"log {n}", streamed(size), together=together)
        for n, size in enumerate(sizes)
    ]
    assert peaks[2] < GROWTH_MAX * peaks[1]
