"""Whether the views of a log are what its fold says: as a crash left them, and once they have caught up."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TypeAlias

import lmdb
from msgspec.structs import replace

from eventstore.commits import Commit
from projections.generations import PROJECTIONS, Generation, decode_entry, tables_of
from projections.memory import MemoryViews
from projections.projection import Projection
from projections.reading import ViewReader
from projections.staging import merged

_Rows: TypeAlias = Mapping[str, list[tuple[bytes, bytes]]]
_AFTER_ALL_KEYS = b"\xff" * 500


def stored_findings(
    directory: Path, projections: Sequence[Projection], commits: Sequence[Commit]
) -> Iterator[str]:
    """Judge the views of a directory that nobody has open: each generation against its checkpoint."""
    path = directory / "views"
    if not path.exists():
        return
    by_name = {projection.name: projection for projection in projections}
    for name, generation, stored in _stored(path):
        projection = by_name.get(name)
        if projection is None or not generation.fits(projection):
            continue
        checkpoint = generation.checkpoint
        if checkpoint > len(commits) or (
            checkpoint > 0 and commits[checkpoint - 1].digest != generation.digest
        ):
            yield f"a view is not of this log\n{name} at {checkpoint}, head {len(commits)}"
        elif checkpoint < len(commits) and commits[checkpoint].together:
            yield f"a view was stored between commits that stand together\n{name} at {checkpoint}"
        elif stored != _folded(projection, commits[:checkpoint]):
            yield f"a view differs from the fold of its checkpoint\n{name} at {checkpoint}"


def live_findings(
    reader: ViewReader, projections: Sequence[Projection], commits: Sequence[Commit]
) -> Iterator[str]:
    """Judge views that have caught up with these commits."""
    for projection in projections:
        rows = {
            table: list(reader.scan(projection.name, table, b"", _AFTER_ALL_KEYS))
            for table in projection.tables
        }
        if rows != _folded(projection, commits):
            yield f"a view that caught up differs from the fold\n{projection.name} at {len(commits)}"


def checkpoints(directory: Path) -> dict[tuple[str, int], int]:
    """What is stored of views that nobody has open: the checkpoint of each (projection, version)."""
    return {(name, g.version): g.checkpoint for name, g, _ in _stored(directory / "views")}


def _folded(projection: Projection, commits: Sequence[Commit]) -> _Rows:
    return MemoryViews((projection,), commits).dump()[projection.name]


def _stored(path: Path) -> Iterator[tuple[str, Generation, _Rows]]:
    env = lmdb.open(str(path), readonly=True, max_dbs=256, lib_version=0)
    try:
        registry = env.open_db(PROJECTIONS, create=False)
        with env.begin() as txn:
            entries = list(txn.cursor(registry))
        for name, stored in entries:
            entry = decode_entry(name, stored)
            for generation in (entry.live, entry.building):
                if generation is not None:
                    yield name.decode(), generation, _rows(env, name.decode(), generation)
    finally:
        env.close()


def _rows(env: lmdb.Environment, name: str, generation: Generation) -> _Rows:
    found: dict[str, list[tuple[bytes, bytes]]] = {}
    shown = replace(generation, staged="none") if generation.staged == "hidden" else generation
    tables = tables_of(name, shown, lambda database: env.open_db(database, create=False))
    for table, (rows, staged) in tables.items():
        with env.begin() as txn:
            over = txn.cursor(staged) if staged is not None else ()
            found[table] = list(merged(iter(txn.cursor(rows)), iter(over), reverse=False))
    return found
