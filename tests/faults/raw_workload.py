"""A tiny log on plain LMDB, recorded to see that the power-cut explorer finds what it should. A program.

    raw_workload.py DIRECTORY COMMITS SEED MODE        MODE: safe, nometasync or nosync

Each commit puts entry i and counts it in another table. `FAULT_RECORD` gets an `A` after each.
"""

from __future__ import annotations

import os
import random
import sys
from pathlib import Path

import lmdb
import recording


def open_raw(directory: Path, *, sync: bool = True, metasync: bool = True) -> lmdb.Environment:
    """The environment at `directory/log`."""
    path = directory / "log"
    return lmdb.open(str(path), map_size=64 << 20, max_dbs=2, lib_version=0, sync=sync, metasync=metasync)


def main(directory: Path, commits: int, seed: int, mode: str) -> None:
    """Write the log."""
    acknowledged = os.open(os.environ["FAULT_RECORD"], os.O_WRONLY | os.O_APPEND)
    rng = random.Random(seed)
    env = open_raw(directory, sync=mode != "nosync", metasync=mode != "nometasync")
    entries, counts = env.open_db(b"entries"), env.open_db(b"counts")
    for i in range(1, commits + 1):
        with env.begin(write=True) as txn:
            key = i.to_bytes(8, "big")
            txn.put(key, key + rng.randbytes(rng.choice((20, 200, 900, 6000))), db=entries, append=True)
            room = b"room%d" % rng.randrange(40)
            count = int.from_bytes(txn.get(room, default=b"", db=counts), "big") + 1
            txn.put(room, count.to_bytes(8, "big"), db=counts)
        os.write(acknowledged, recording.mark("A", i))


def judge(directory: Path, acknowledged: int) -> list[str]:
    """What is wrong with the log at `directory`; empty when nothing is."""
    try:
        env = open_raw(directory)
    except lmdb.InvalidError:
        # LMDB does not create its file at once: a cut then leaves half of one. The store renames a whole one.
        return ["acknowledged entries are lost"] if acknowledged else []
    try:
        try:
            entries = env.open_db(b"entries", create=False)
            counts = env.open_db(b"counts", create=False)
        except lmdb.NotFoundError:
            return ["acknowledged entries are lost"] if acknowledged else []
        with env.begin() as txn:
            rows = list(txn.cursor(entries))
            counted = sum(int.from_bytes(value, "big") for _, value in txn.cursor(counts))
    finally:
        env.close()
    findings: list[str] = []
    if [key for key, _ in rows] != [i.to_bytes(8, "big") for i in range(1, len(rows) + 1)]:
        findings.append("entries are not dense")
    if any(not value.startswith(key) for key, value in rows):
        findings.append("an entry holds another's value")
    if counted != len(rows):
        findings.append("the tables disagree")
    if len(rows) < acknowledged:
        findings.append("acknowledged entries are lost")
    return findings


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), sys.argv[4])
