"""What an import takes in memory: under 300 MB for the largest file that is read, and less for many files."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Final

import msgspec
import pytest
from legacy import write_json

RESIDENT_BYTES_MAX: Final = 300_000_000
POOL_BYTES_MIN: Final = 90_000_000
POOL_RESIDENT_BYTES_MAX: Final = 100_000_000
"""Of the process that writes. One that held the conversation would take as much for its chunks alone."""

FILE_BYTES_MIN: Final = 60_000_000

IMPORTING: Final = """
import atexit, sys
from turnlog.cli import main

def tell():
    (line,) = [line for line in open("/proc/self/status") if line.startswith("VmHWM:")]
    print("resident", line.split()[1])

atexit.register(tell)
sys.exit(main(["import", sys.argv[1], "--data", sys.argv[2], "--yes"]))
"""
"""The kernel counts it from the program's own beginning, unlike ``ru_maxrss``, which has its parent's too."""


def stream(chunks: int) -> tuple[str, str]:
    """A stream's text and its rows, as the program writes them, a millisecond apart."""
    rows = [
        f'{{"sequence":{n + 1},"delta":" w{n % 10}","timestamp":"{moment(n)}","accumulated_chars":{3 * n + 3}'
        + (',"interval_ms":1}' if n else "}")
        for n in range(chunks)
    ]
    return "".join(f" w{n % 10}" for n in range(chunks)), ",".join(rows)


def moment(millisecond: int) -> str:
    """A time of the hour."""
    second, of_it = divmod(millisecond, 1_000)
    return f"2025-11-15T17:{second // 60:02}:{second % 60:02}.{of_it:03}000Z"


def answers(streams: int, chunks: int) -> dict[str, str]:
    """So many answers of so many chunks, one after the other, by their ids."""
    text, rows = stream(chunks)
    ids = [f"11111111-1111-4111-8111-{n:012}" for n in range(streams)]
    nodes = [
        f'{{"id":"{own}","parent_id":{parent},"message":{{"role":"Assistant","content":'
        f'[{{"type":"text","text":"{text}"}}],"metadata":null,"message_type":"text","rich_type":'
        f'{{"kind":"streaming_response","data":{{"content":"{text}","started_at":"{moment(0)}",'
        f'"chunks":[{rows}]}}}}}}}}'
        for own, parent in zip(ids, ["null", *[f'"{each}"' for each in ids]], strict=False)
    ]
    return dict(zip(ids, nodes, strict=True))


def context(ids: list[str], pool: str) -> str:
    """A context of these messages, in one branch; ``pool``: its member with the messages, if any."""
    branch = msgspec.json.encode({"main": {"name": "main", "message_ids": ids}}).decode()
    config = '{"model_id":"m","mode":"chat","parameters":{},"agent_role":"actor"}'
    return (
        f'{{"id":"22222222-2222-4222-8222-222222222222","config":{config},{pool}'
        f'"branches":{branch},"active_branch_name":"main","current_state":"idle"}}'
    )


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="only Linux tells")
@pytest.mark.parametrize(("streams", "chunks"), [(1, 490_000), (500, 1_060)])
def test_a_file_of_60_mb_takes_300(tmp_path: Path, data_dir: Path, streams: int, chunks: int) -> None:
    path = write_json(tmp_path / "source" / "22222222-2222-4222-8222-222222222222.json", None)
    nodes = answers(streams, chunks)
    members = ",".join(f'"{own}":{node}' for own, node in nodes.items())
    path.write_text(context(list(nodes), f'"message_pool":{{{members}}},'))
    assert path.stat().st_size > FILE_BYTES_MIN
    assert resident(path.parent, data_dir, streams * chunks) < RESIDENT_BYTES_MAX


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="only Linux tells")
def test_a_conversation_of_many_files_is_not_held(tmp_path: Path, data_dir: Path) -> None:
    folder = tmp_path / "source" / "contexts" / "22222222-2222-4222-8222-222222222222"
    nodes = answers(750, 1_060)
    (folder / "messages_pool").mkdir(parents=True)
    (folder / "context.json").write_text(context(list(nodes), ""))
    for own, node in nodes.items():
        (folder / "messages_pool" / f"{own}.json").write_text(node)
    assert sum(map(len, nodes.values())) > POOL_BYTES_MIN
    assert resident(tmp_path / "source", data_dir, 750 * 1_060) < POOL_RESIDENT_BYTES_MAX


def resident(source: Path, data_dir: Path, chunks: int) -> int:
    """The most bytes that the process had which imported a source of so many chunks."""
    command = [sys.executable, "-c", IMPORTING, str(source), str(data_dir / "log")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{chunks:,} chunks" in done.stdout + done.stderr
    return int(done.stdout.rpartition("resident ")[2]) * 1_024
