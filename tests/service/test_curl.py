"""curl sends a stream's chunks as lines of JSON through a pipe, and is told how far they are durable."""

from __future__ import annotations

import asyncio
import shutil
import signal
import subprocess
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from typing import Any, Final
from uuid import UUID, uuid4

import msgspec
import pytest
from event_source import heard, objects
from serving import SECONDS, Served
from wires import sse

TYPE: Final = ("-H", "content-type: application/x-ndjson")
DELTAS: Final = ["潮", "汐 ", "🌊\n", "e\u0301", "\u2028", '"\\', "data: x\n\n", " "] * 25


def line(sequence: int, delta: str | None = None) -> bytes:
    """A chunk."""
    delta = DELTAS[sequence - 1] if delta is None else delta
    return msgspec.json.encode({"sequence": sequence, "delta": delta}) + b"\n"


class Curl:
    """A curl that runs: what it is given is the body, what it prints the answer."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        self.body: asyncio.StreamWriter = process.stdin
        self.answer: asyncio.StreamReader = process.stdout
        self.process: asyncio.subprocess.Process = process

    async def told(self) -> dict[str, Any]:
        """The next line of the answer."""
        return msgspec.json.decode(await self.answer.readline())

    async def until_durable(self, sequence: int) -> None:
        """Wait until chunks are acknowledged up to there."""
        while (await self.told())["sequence"] < sequence:
            pass

    async def rest(self, body: bytes = b"") -> list[dict[str, Any]]:
        """Send the last of the body; the rest of the answer, line by line."""
        self.body.write(body)
        self.body.close()
        return [msgspec.json.decode(told) for told in (await self.answer.read()).splitlines() if told]


@asynccontextmanager
async def curl(served: Served, path: str, *options: str) -> AsyncGenerator[Curl]:
    """A curl that sends its standard input."""
    executable = shutil.which("curl")
    if executable is None:
        pytest.skip("needs curl on PATH")
    process = await asyncio.create_subprocess_exec(
        *(executable, "-q", "-sS", "-N", "--noproxy", "*", *TYPE, *options),
        f"{served.address}{path}",
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(SECONDS):
            yield Curl(process)
            await process.wait()
    finally:
        with suppress(ProcessLookupError):
            process.kill()
        await process.wait()


LIVE: Final = ("-X", "POST", "-T", ".")
"""curl's way to upload from a pipe and show the answer meanwhile; ``-T -`` waits for the pipe."""


def chunks_of(message_id: UUID) -> str:
    """Where a stream's chunks go."""
    return f"/api/messages/{message_id}/chunks"


async def text_of(served: Served, message_id: UUID) -> str:
    """What is stored."""
    return (await served.json("GET", f"/api/messages/{message_id}"))["text"]


async def test_acknowledgements_come_while_the_body_goes_on(served: Served) -> None:
    message_id = await served.stream(await served.context())
    async with curl(served, chunks_of(message_id), *LIVE) as sending:
        for sequence in range(1, 11):
            sending.body.write(line(sequence))
            assert await sending.told() == {"type": "durable", "sequence": sequence}
            stored = await served.json("GET", f"/api/messages/{message_id}/chunks")
            assert stored["chunks"][-1]["sequence"] == sequence
        assert await sending.rest() == [{"type": "done", "sequence": 10, "outcome": None}]
    assert sending.process.returncode == 0
    assert await text_of(served, message_id) == "".join(DELTAS[:10])


@pytest.mark.parametrize("options", [("-X", "POST", "-T", "-"), ("--data-binary", "@-"), LIVE])
async def test_a_whole_body_is_taken_to_its_end(served: Served, options: tuple[str, ...]) -> None:
    message_id = await served.stream(await served.context())
    body = b"".join(map(line, range(1, len(DELTAS) + 1)))
    last = b'{"finalize":{"outcome":"completed","finish_reason":"stop"}}'
    async with curl(served, chunks_of(message_id), *options) as sending:
        told = await sending.rest(body + last)
    assert told[-1] == {"type": "done", "sequence": len(DELTAS), "outcome": "completed"}
    sequences = [each["sequence"] for each in told]
    assert sequences == sorted(sequences)
    stored = await served.json("GET", f"/api/messages/{message_id}")
    assert (stored["text"], stored["outcome"]) == ("".join(DELTAS), "completed")


async def test_what_was_acknowledged_is_stored_when_curl_is_killed(
    served: Served, caplog: pytest.LogCaptureFixture
) -> None:
    message_id = await served.stream(await served.context())
    path = f"/api/messages/{message_id}/chunks?limit=1000"
    async with curl(served, chunks_of(message_id), *LIVE) as sending:
        for sequence in range(1, 101):
            sending.body.write(line(sequence))
        await sending.until_durable(40)
        sending.body.write(line(101)[:9])  # and in the middle of a line
        await sending.body.drain()
        sending.process.send_signal(signal.SIGKILL)
    page = await served.json("GET", path)
    stored = [chunk["sequence"] for chunk in page["chunks"]]
    assert stored == list(range(1, len(stored) + 1))
    assert len(stored) >= 40
    assert page["outcome"] is None, "who goes away has not finished"

    async with curl(served, chunks_of(message_id), *LIVE) as again:
        for sequence in range(1, len(DELTAS) + 1):
            again.body.write(line(sequence))
        await again.rest(b'{"finalize":{}}\n')
    assert again.process.returncode == 0
    assert await text_of(served, message_id) == "".join(DELTAS)
    page = await served.json("GET", path)
    assert [chunk["sequence"] for chunk in page["chunks"]] == list(range(1, len(DELTAS) + 1))
    assert page["outcome"] == "completed"
    assert not caplog.records, "somebody who goes away is no error"


async def test_a_provider_stream_that_breaks_off_is_interrupted(
    served: Served, caplog: pytest.LogCaptureFixture
) -> None:
    context_id, message_id = await served.context(), uuid4()
    path = f"/api/contexts/{context_id}/ingest?dialect=openai_chat&message_id={message_id}"
    async with curl(served, path, *LIVE) as sending:
        for delta in DELTAS[:5]:
            sending.body.write(sse({"model": "m", "choices": [{"index": 0, "delta": {"content": delta}}]}))
        assert (await sending.told())["message_id"] == str(message_id)
        await sending.until_durable(5)
        sending.process.send_signal(signal.SIGKILL)
    end = objects(await heard(served.client, f"/api/messages/{message_id}/stream"))[-1]
    assert (end["type"], end["outcome"]) == ("stream.finalized", "interrupted")
    assert await text_of(served, message_id) == "".join(DELTAS[:5])
    assert not caplog.records, "somebody who goes away is no error"


async def test_a_gap_is_refused_and_says_what_was_expected(served: Served) -> None:
    message_id = await served.stream(await served.context())
    await served.chunks(message_id, *DELTAS[:3])
    async with curl(served, chunks_of(message_id), *LIVE, "-w", "%{http_code}") as sending:
        sending.body.write(line(6) + line(7))
        sending.body.close()
        answer = (await sending.answer.read()).decode()
    problem, status = msgspec.json.decode(answer[:-3]), answer[-3:]
    assert (status, problem["code"]) == ("409", "sequence_gap")
    assert (problem["expected"], problem["received"]) == (4, 6)
    assert await text_of(served, message_id) == "".join(DELTAS[:3])


async def test_a_gap_after_an_acknowledgement_ends_the_answer(served: Served) -> None:
    message_id = await served.stream(await served.context())
    async with curl(served, chunks_of(message_id), *LIVE) as sending:
        sending.body.write(line(1))
        assert (await sending.told())["sequence"] == 1
        sending.body.write(line(2) + line(5))
        error = await sending.told()
        while error["type"] == "durable":
            error = await sending.told()
        assert (error["type"], error["error"]["type"]) == ("error", "sequence_gap")
        assert (error["problem"]["expected"], error["problem"]["received"]) == (3, 5)
        assert await sending.rest() == []
    assert await text_of(served, message_id) == "".join(DELTAS[:2])


@pytest.mark.parametrize(
    ("sent", "code", "status"),
    [
        (line(1, "other"), "chunk_conflict", "409"),
        (b"{}\n", "invalid_request", "400"),
        (b'{"sequence":4,"delta":"x","more":1}\n', "invalid_request", "400"),
        (b"\xff\n", "invalid_request", "400"),
    ],
)
async def test_what_is_no_next_chunk_is_refused(served: Served, sent: bytes, code: str, status: str) -> None:
    message_id = await served.stream(await served.context())
    await served.chunks(message_id, *DELTAS[:3])
    async with curl(served, chunks_of(message_id), *LIVE, "-w", "%{http_code}") as sending:
        sending.body.write(sent)
        sending.body.close()
        answer = (await sending.answer.read()).decode()
    assert (msgspec.json.decode(answer[:-3])["code"], answer[-3:]) == (code, status)
    assert await text_of(served, message_id) == "".join(DELTAS[:3])
