"""A whole store of each release, with what it answers for ever: ``tests/golden/VERSION/store.*``.

``scripts/golden`` runs this file to add that of the release at hand; it never overwrites any.
"""

from __future__ import annotations

import asyncio
import io
import sys
import tarfile
import tempfile
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final
from uuid import UUID

import msgspec
import zstandard

import turnlog
from eventstore.commits import Append
from eventstore.content import (
    AudioPart,
    DataPart,
    FilePart,
    ImagePart,
    ReasoningPart,
    RefusalPart,
    TextPart,
    ToolCallPart,
    ToolResultPart,
)
from eventstore.events import (
    BranchDeleted,
    BranchMoved,
    BranchSwitched,
    ChunkReceived,
    ContextCreated,
    ContextDeleted,
    ContextUpdated,
    CustomRecorded,
    ForkedFrom,
    MessageAppended,
    MessageRedacted,
    StateChanged,
    StreamFinalized,
    StreamResumed,
    StreamStarted,
)
from eventstore.store import EventStore
from projections.timetravel import AtVersion
from turnlog.facade import Turnlog
from turnlog.shapes import event_lines, message_line, plain

ROOT: Final = Path(__file__).resolve().parents[2]
GOLDEN: Final = ROOT / "tests" / "golden"
FILES: Final = ("log/data.mdb", "views/data.mdb")
"""What is a store; its locks are made anew."""

START: Final = 1_700_000_000_000_000
C, D, E = UUID(int=0xC), UUID(int=0xD), UUID(int=0xE)

PARTS: Final = (
    TextPart("What is this? 猫 🐈"),
    ReasoningPart("It looks like a cat.", "proof"),
    RefusalPart("I would rather not."),
    ImagePart(url="https://example.org/cat.png", media_type="image/png"),
    AudioPart(attachment="sha256:00", media_type="audio/wav"),
    FilePart(attachment="sha256:01", media_type="text/csv", name="cats.csv"),
    ToolCallPart("call-1", "look_up", '{"name":"cat"}'),
    ToolResultPart("call-1", {"found": [1, 2.5, None, True]}, is_error=True),
    DataPart({"kept": "as it was"}),
)


class Answers(msgspec.Struct):
    """What the store said when it was made: later releases say the same, and maybe more."""

    position: int
    chain: str
    events: list[dict[str, Any]]
    states: list[dict[str, Any]]
    past: list[dict[str, Any]]
    messages: list[dict[str, Any]]
    timelines: list[dict[str, Any]]


def story() -> list[Append]:
    """Every kind of event and of part, metadata, a commit id, a fork, a stream that is open, a tombstone."""

    def ident(number: int) -> UUID:
        return UUID(int=number)

    def chunks(first: int, last: int) -> list[ChunkReceived]:
        return [ChunkReceived(ident(3), n, f"{n} ", at=START + 1_000 * n) for n in range(first, last + 1)]

    answer = StreamStarted(ident(3), model="m-1", metadata={"request": "r-1"}, occurred_at=START)
    thought = ChunkReceived(ident(3), 51, "Hm", "reasoning", START + 60_000, "0", b"data: 1")
    ended = StreamFinalized(ident(3), "completed", "stop", {"tokens": 2}, occurred_at=START + 9)
    withdrawn = MessageAppended(ident(4), "user", (TextPart("gone"),), "side")
    changed = ContextUpdated({"title": "Another", "tags": ["a"]})
    long = CustomRecorded("long", "many " * 400)
    return [
        Append(C, (ContextCreated("A title", "team", {"model": "m-1"}, {"colour": "grün"}),)),
        Append(C, (MessageAppended(ident(1), "user", PARTS, metadata={"n": 1}, occurred_at=START - 1),)),
        Append(C, (answer, *chunks(1, 40)), commit_id=ident(0xEE), metadata={"actor": "ann"}),
        Append(C, (StreamResumed(ident(3), 2), *chunks(41, 50)), epoch=2),
        Append(C, (thought,), epoch=2),
        Append(C, (ended,), epoch=2),
        Append(C, (BranchMoved("side", ident(1)), BranchSwitched("side"), BranchDeleted("main"))),
        Append(C, (withdrawn, MessageRedacted(ident(4), "private"))),
        Append(C, (changed, StateChanged("waiting", {"for": "user"}))),
        Append(D, (ContextCreated("Fork", forked_from=ForkedFrom(C, 2)), BranchMoved("main", ident(1)))),
        Append(D, (StreamStarted(ident(5)), ChunkReceived(ident(5), 1, "open"), long)),
        Append(E, (ContextCreated("Deleted"), ContextDeleted("asked to"))),
    ]


def clock() -> int:
    """The time of all its commits."""
    return START


async def make(path: Path) -> None:
    """Write the store, and bring its views up to date."""
    async with await EventStore.open(path, clock=clock) as store:
        for append in story():
            await store.append(
                append.context_id,
                append.events,
                commit_id=append.commit_id,
                metadata=append.metadata,
                epoch=append.epoch,
            )
    async with turnlog.open(path) as log:
        await log.runner.wait_for(log.store.head().position)


async def answers(log: Turnlog) -> Answers:
    """All that it says."""
    head = log.store.head()
    found = Answers(head.position, head.chain.hex(), [], [], [], [], [])
    for commit in log.store.read():
        found.events += event_lines(commit)
    for context_id in (C, D, E):
        state = await log.queries.context(context_id)
        found.states.append(plain(state))
        for at in range(1, state.version + 1, 7):
            found.past.append(plain(await log.queries.context(context_id, AtVersion(at))))
        page = await log.queries.messages(context_id, all_branches=True)
        for entry in page.items:
            found.messages.append(message_line(await log.queries.body(entry.id)))
            if entry.streamed:
                found.timelines.append(plain(await log.queries.timeline(entry.id)))
    return msgspec.json.decode(msgspec.json.encode(found), type=Answers)


def unpack(packed: bytes, path: Path) -> None:
    """Lay the files of a packed store out in a directory."""
    content = io.BytesIO(zstandard.ZstdDecompressor().decompress(packed))
    with tarfile.open(fileobj=content) as archive:
        for name in FILES:
            member = archive.extractfile(name)
            assert member is not None, name
            (path / name).parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            (path / name).write_bytes(member.read())


def pack(path: Path) -> bytes:
    """The files of a store, compressed."""
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w") as archive:
        for name in FILES:
            data = (path / name).read_bytes()
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return zstandard.ZstdCompressor(level=19).compress(content.getvalue())


async def made() -> tuple[bytes, Answers]:
    """A new store of this release, packed, and its answers."""
    with tempfile.TemporaryDirectory(dir=ROOT) as directory:
        path = Path(directory) / "data"
        await make(path)
        async with turnlog.open(path, read_only=True) as log:
            said = await answers(log)
        return pack(path), said


def main() -> int:
    """Write the files of this release, unless they are there."""
    folder = GOLDEN / version("turnlog")
    if (folder / "store.tar.zst").exists():
        _say(f"{folder.relative_to(ROOT)}/store.tar.zst is there already and never changes")
        return 1
    packed, said = asyncio.run(made())
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "store.json").write_bytes(msgspec.json.format(msgspec.json.encode(said), indent=1) + b"\n")
    (folder / "store.tar.zst").write_bytes(packed)
    _say(f"wrote {folder.relative_to(ROOT)}/store.tar.zst, {len(packed):,} bytes")
    return 0


def _say(text: str) -> None:
    sys.stderr.write(f"{text}\n")


if __name__ == "__main__":
    sys.exit(main())
