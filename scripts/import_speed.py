"""How long an import takes, verification included: of contexts that are made, or of a source's files."""

from __future__ import annotations

import argparse
import asyncio
import resource
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from uuid import UUID

import turnlog
from eventstore.content import TextPart
from turnlog.importers.conversation import Chunk, Conversation, Message, Problem, Streamed
from turnlog.importers.detecting import detect
from turnlog.importers.job.backup import back_up
from turnlog.importers.job.report import Line
from turnlog.importers.job.running import Order, run_import
from turnlog.importers.source.files import Source, stable_id

START = 1_760_000_000_000_000


class Made:
    """Conversations that are made as they are asked for: what reading files costs is left out."""

    format: str = "made"

    def __init__(self, contexts: int, messages: int, chunks: int) -> None:
        self._contexts, self._messages, self._chunks = contexts, messages, chunks

    def recognises(self, source: Source) -> bool:
        """Never asked."""
        return True

    def claims(self, source: Source, name: str) -> bool:
        """Never asked."""
        return True

    def read(self, source: Source) -> Iterator[Conversation | Problem]:
        """One at a time."""
        for number in range(self._contexts):
            yield self._conversation(str(number))

    def _conversation(self, name: str) -> Conversation:
        messages: list[Message] = []
        parent_id: UUID | None = None
        for index in range(self._messages):
            message_id = stable_id(name, str(index))
            messages.append(self._message(message_id, parent_id, index))
            parent_id = message_id
        attributes = {"import": {"origin": name, "format": "made"}}
        config = {"model_id": "gpt-5", "mode": "chat", "agent_role": "actor"}
        return Conversation(
            stable_id(name),
            name,
            "made",
            tuple(messages),
            {"main": parent_id},
            title=f"Context {name}",
            config=config,
            attributes=attributes,
            state="idle",
        )

    def _message(self, message_id: UUID, parent_id: UUID | None, index: int) -> Message:
        at = START + index * 1_000_000
        if self._chunks and index % 2:
            chunks = tuple(Chunk(f" wrd{n % 10}", at + n * 150) for n in range(self._chunks))
            ended = at + self._chunks * 150
            stream = Streamed(at, chunks, "gpt-5", ended, "completed", "stop")
            return Message(message_id, parent_id, "main", "assistant", (), streamed=stream)
        text = TextPart(f"Message {index}: " + "some words of a chat, as they are. " * 5)
        return Message(message_id, parent_id, "main", "user", (text,), occurred_at=at)


async def measure(source: Source, made: Made | None, directory: Path) -> None:
    """Import into a new store below ``directory``, and say what it took, from looking for formats on."""
    size = sum(source.path(name).stat().st_size for name in source.files())
    began = time.perf_counter()
    order = Order(source, (made,) if made else tuple(detect(source)))
    backup = back_up(source, directory / "backups")

    def hear(line: Line) -> None:
        del line

    async with turnlog.open(directory / "data") as log:
        summary = await run_import(log, order, backup, hear)
        seconds = time.perf_counter() - began
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    reader = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024  # 0 where none was worth it
    contexts, chunks = summary.contexts, summary.chunks
    print(f"{contexts:,} contexts: {seconds:.1f} s, {contexts / seconds:,.0f} a second,")
    print(f"{chunks / seconds:,.0f} chunks/s, {size / seconds / 1e6:.1f} MB/s of files,")
    print(f"{summary.verified:,} verified; {peak:,.0f} MiB resident, {reader:,.0f} MiB where it is read")


def main() -> None:
    """Parse the arguments and measure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--contexts", type=int, default=10_000)
    parser.add_argument("--messages", type=int, default=10)
    parser.add_argument("--chunks", type=int, default=0, help="of each answer")
    parser.add_argument("--directory", type=Path, default=None, help="on the disk to measure")
    parser.add_argument("--source", type=Path, default=None, help="files to import in place of made ones")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=given.directory) as directory:
        made, source = None, given.source
        if source is None:
            made, source = Made(given.contexts, given.messages, given.chunks), Path(directory, "source")
            source.mkdir()
        asyncio.run(measure(Source(source), made, Path(directory)))


if __name__ == "__main__":
    main()
