"""A source read by a process of its own: the same batches, an end to that process, and its death told."""

from __future__ import annotations

import io
import json
import os
import pickle
import re
import select
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final
from uuid import UUID, uuid5

import msgspec
import pytest
from commands import SECONDS_MAX, environment, spawn
from conversations import Plain, conversations
from hypothesis import given
from hypothesis import strategies as st
from jobs import run

from eventstore.errors import Unavailable
from turnlog.facade import Turnlog
from turnlog.importers.conversation import Conversation, Importer
from turnlog.importers.detecting import FORMATS
from turnlog.importers.job import apart
from turnlog.importers.job.apart import PIPE_BYTES, is_worth_it, reading_apart, send
from turnlog.importers.job.reading import BATCH_BYTES, Batch, Read, batches, read
from turnlog.importers.job.recording import figures_of
from turnlog.importers.source.files import Source

FIXTURES: Final = Path(__file__).resolve().parents[1] / "fixtures"
FORMAT: Final = {"copilot_chat": ("copilot_chat",), "ait42": ("ait42",), ".": ("copilot_chat", "ait42")}
STARTED: Final = "import pickle, sys; sys.path[:] = pickle.load(sys.stdin.buffer); "
STARTS: Final = """
import os, signal, sys
from pathlib import Path
from turnlog.importers.detecting import FORMATS
from turnlog.importers.job.apart import reading_apart
from turnlog.importers.source.files import Source

importers = (FORMATS["copilot_chat"].importer,)
with reading_apart(Source(Path(sys.argv[1])), importers, None, set()) as batches:
    next(batches)
    print(Path(f"/proc/self/task/{os.getpid()}/children").read_text(), flush=True)
    signal.pause()
"""


KILLED: Final = """
import os, signal, sys
from turnlog.cli import main
from turnlog.importers.job import batches

compare, left = batches.compare, iter(range(0 if sys.argv[1] == "none" else int(sys.argv[1])))

async def counted(*given, **named):
    if sys.argv[1] != "none" and next(left, None) is None:
        os.kill(os.getpid(), signal.SIGKILL)
    return await compare(*given, **named)

batches.compare = counted
main(sys.argv[2:])
"""
COPIES: Final = 60
DEPTHS: Final = (50, 70, 300, 480, 500, 600, 700)
_ID: Final = re.compile("[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


def importers_of(*names: str) -> tuple[Importer, ...]:
    return tuple(FORMATS[name].importer for name in names)


@pytest.mark.parametrize("folder", FORMAT)
@pytest.mark.parametrize("asks", [False, True])
def test_another_process_reads_the_same(folder: str, *, asks: bool) -> None:
    source, importers = Source(FIXTURES / folder), importers_of(*FORMAT[folder])
    every = list(batches(read(source, importers, None, set())))
    ids = [context_id for batch in every for context_id in batch.conversations]
    only = {each: str(each) for each in (*ids[::2], UUID(int=1))} if asks else None
    here, there = set[str](), set[str]()
    expected = list(batches(read(source, importers, only, here)))
    with reading_apart(source, importers, only, there) as found:
        assert list(found) == expected
    assert there == here
    assert bool(here) == asks


def test_what_nests_deeper_than_a_pickle_can_comes_over(tmp_path: Path) -> None:
    session: dict[str, Any] = {"task": "t", "createdAt": "2025-01-13T10:00:00Z", "instances": []}
    text = json.dumps([session | {"id": str(depth), "odd": "@"} for depth in DEPTHS])
    for depth in DEPTHS:
        text = text.replace('"@"', '{"a":' * depth + "1" + "}" * depth, 1)
    (tmp_path / "sessions.json").write_text(text)
    source, importers = Source(tmp_path), importers_of("ait42")
    expected = list(batches(read(source, importers, None, set())))
    assert sum(len(batch.conversations) for batch in expected) == len(DEPTHS)
    with reading_apart(source, importers, None, set()) as found:
        assert list(found) == expected


@given(one=conversations(), size=st.sampled_from([1, BATCH_BYTES + 1]))
def test_what_it_says_comes_as_it_was(one: Conversation, size: int) -> None:
    batch = Batch([], {one.id: Read(one, figures_of(one.messages), size, "a digest")}, size)
    written = io.BytesIO()
    send(batch, written)
    assert pickle.loads(written.getvalue()) == batch


async def test_an_import_is_the_same(log: Turnlog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = tmp_path / "source"
    shutil.copytree(FIXTURES / "copilot_chat", source)
    importers = importers_of("copilot_chat")
    asked: list[int] = []

    def is_worth(_: tuple[Importer, ...], size: int) -> bool:
        asked.append(size)
        return True

    monkeypatch.setattr("turnlog.importers.job.running.is_worth_it", is_worth)
    apart_ = await run(log, source, importers)
    assert asked == [sum(path.stat().st_size for path in source.rglob("*") if path.is_file())]
    assert apart_.summary.verified == apart_.summary.contexts > 0
    monkeypatch.undo()
    again = await run(log, source, importers)
    assert [line.context_id for line in again.contexts] == [line.context_id for line in apart_.contexts]
    assert again.summary.unchanged == again.summary.contexts


def test_only_large_sources_of_known_formats_are_worth_a_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: 2)
    known = importers_of("copilot_chat")
    assert is_worth_it(known, apart.WORTH_BYTES)
    assert not is_worth_it(known, apart.WORTH_BYTES - 1)
    assert not is_worth_it((*known, Plain()), apart.WORTH_BYTES)
    monkeypatch.setattr(os, "cpu_count", lambda: 1)
    assert not is_worth_it(known, apart.WORTH_BYTES)


@pytest.mark.parametrize(
    ("program", "how"),
    [
        (f"{STARTED}import os; os.kill(os.getpid(), {int(signal.SIGKILL)})", "by signal SIGKILL"),
        (f"{STARTED}sys.exit(3)", "with 3"),
        (f"{STARTED}sys.stdout.buffer.write(pickle.dumps([1, 2])[:-1])", "with 0"),
        ("import sys; sys.exit(4)", "with 4"),
    ],
)
def test_its_death_is_told(program: str, how: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(apart, "_START", program)
    with (
        reading_apart(Source(FIXTURES / "ait42"), importers_of("ait42"), None, set()) as found,
        pytest.raises(Unavailable, match=f"ended too early, {how}") as refused,
    ):
        next(found)
    assert refused.value.code == "reader_died"


@pytest.mark.skipif(
    not Path("/proc/self/syscall").exists(), reason="only Linux tells what a process waits for"
)
@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_stopped_in_the_middle_of_a_write_it_goes_on(
    tmp_path: Path, unbuffered: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The system ends a write early when the process is stopped, as by Ctrl-Z."""
    monkeypatch.setenv("PYTHONUNBUFFERED", unbuffered)
    sessions = [{"id": str(n), "task": "t", "instances": [], "chatHistory": [said(n)]} for n in range(2)]
    (tmp_path / "sessions.json").write_text(json.dumps(sessions))
    source, importers = Source(tmp_path), importers_of("ait42")
    before = children_of(os.getpid())
    with reading_apart(source, importers, None, set()) as found:
        (child,) = children_of(os.getpid()) - before
        wait_for(child, lambda: is_writing(child))
        os.kill(child, signal.SIGSTOP)
        wait_for(child, lambda: state_of(child) == "T")
        os.kill(child, signal.SIGCONT)
        there = list(found)
    assert there == list(batches(read(source, importers, None, set())))


def said(number: int) -> dict[str, str]:
    """A message that is longer than a pipe."""
    text = f"{number} " * PIPE_BYTES
    return {"id": "m", "role": "user", "content": text, "timestamp": "2025-01-13T10:00:00Z"}


def wait_for(process: int, holds: Callable[[], bool]) -> None:
    """Until something is so of a process; it is looked at as often as can be."""
    until = time.monotonic() + SECONDS_MAX
    while not holds():
        assert time.monotonic() < until, Path(f"/proc/{process}/status").read_text()


def state_of(process: int) -> str:
    return Path(f"/proc/{process}/stat").read_text().rpartition(") ")[2][0]


def is_writing(process: int) -> bool:
    """Whether it waits in a call for its standard output and more bytes than a pipe holds: a write."""
    call = Path(f"/proc/{process}/syscall").read_text().split()
    return len(call) > 3 and int(call[1], 16) == 1 and int(call[3], 16) > PIPE_BYTES


def test_it_ends_when_no_more_is_asked_for(tmp_path: Path) -> None:
    """Left early, and with the pipe full: it is gone at once."""
    source, before = long_source(tmp_path), children_of(os.getpid())
    with reading_apart(source, importers_of("copilot_chat"), None, set()) as found:
        assert isinstance(next(found), Batch)
        (child,) = children_of(os.getpid()) - before
    with pytest.raises(ProcessLookupError):
        os.kill(child, 0)


def test_it_ends_with_the_process_that_started_it(tmp_path: Path) -> None:
    source = long_source(tmp_path)
    with subprocess.Popen(
        [sys.executable, "-c", STARTS, source.root], env=environment(), stdout=subprocess.PIPE, text=True
    ) as parent:
        assert parent.stdout is not None, "it was asked for"
        reader = os.pidfd_open(int(parent.stdout.readline()))
        parent.kill()
        ended, _, _ = select.select([reader], [], [], SECONDS_MAX)
        os.close(reader)
    assert ended


def test_killed_and_run_again_it_is_as_if_nothing_had_been(tmp_path: Path) -> None:
    """The process that reads was a batch ahead of the one that was killed."""
    (tmp_path / "source").mkdir()
    long_source(tmp_path / "source")
    found: list[list[Any]] = []
    for data, end in (("whole", "none"), ("cut", "20"), ("cut", "none")):
        done = subprocess.run(
            [
                *(sys.executable, "-c", KILLED, end, "import", "source", "--yes", "--json"),
                *("--data", data, "--backup-dir", f"{data}-backup"),
            ],
            cwd=tmp_path,
            env=environment(),
            capture_output=True,
            timeout=SECONDS_MAX,
            check=False,
        )
        if end != "none":
            assert done.returncode == -signal.SIGKILL, done.stderr
            continue
        assert done.returncode == 0, done.stdout[-2_000:] + done.stderr
        summary = msgspec.json.decode(done.stdout.splitlines()[-1])
        assert (summary["contexts"], summary["verified"]) == (COPIES, COPIES)
        lines = spawn("events", "--json", "--data", tmp_path / data).lines
        found.append(sorted((line["context_id"], line["version"], line["commit_id"]) for line in lines))
    assert found[0] == found[1]


def children_of(process: int) -> set[int]:
    """The processes that it started."""
    tasks = Path(f"/proc/{process}/task").iterdir()
    return {int(child) for task in tasks for child in (task / "children").read_text().split()}


def long_source(directory: Path) -> Source:
    """More than a pipe holds: copies of one conversation, each with ids of its own."""
    (original,) = (FIXTURES / "copilot_chat" / "conversations").glob("3142b167-*.json")
    text = original.read_text()
    for number in range(COPIES):
        namespace = UUID(int=number)
        changed = _ID.sub(lambda found, of=namespace: str(uuid5(of, found[0])), text)
        (directory / f"{uuid5(namespace, original.stem)}.json").write_text(changed)
    return Source(directory)
