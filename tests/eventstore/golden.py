"""Commits of each release as stored bytes, with what they must read as for ever: ``tests/golden/VERSION``.

``scripts/golden`` runs this file to add those of the release at hand; it never overwrites any.
"""

from __future__ import annotations

import sys
import tomllib
from hashlib import sha256
from pathlib import Path
from typing import Any, Final
from uuid import UUID

import msgspec
import zstandard
from samples import EVERY_EVENT, EVERY_EVENT_BARE, START, C, chunks, ident

from eventstore import body, frame
from eventstore.commits import Commit, pack
from eventstore.events import CustomRecorded, Event, Record, tag_of

ROOT: Final = Path(__file__).resolve().parents[2]
GOLDEN: Final = ROOT / "tests" / "golden"


class Golden(msgspec.Struct):
    """One stored commit. ``stored`` is hexadecimal: digest, then frame; ``events`` are rows as JSON."""

    name: str
    stored: str
    context_id: UUID
    first_version: int
    recorded_at: int
    commit_id: UUID | None
    metadata: dict[str, Any] | None
    kinds: int
    events: list[dict[str, Any]]


def release() -> str:
    """The version in pyproject.toml."""
    with (ROOT / "pyproject.toml").open("rb") as file:
        return tomllib.load(file)["project"]["version"]


def file_of(version: str) -> Path:
    """Where a release's commits lie."""
    return GOLDEN / version / "commits.json"


def read(path: Path) -> list[Golden]:
    """The commits in one file."""
    return msgspec.json.decode(path.read_bytes(), type=list[Golden])


def decode(golden: Golden) -> Commit:
    """As today's code reads it."""
    return frame.decode(1, bytes.fromhex(golden.stored), zstandard.ZstdDecompressor())


def rows(records: tuple[Event, ...]) -> list[dict[str, Any]]:
    """Events as JSON."""
    return msgspec.json.decode(msgspec.json.encode(records))


def written_today() -> list[Golden]:
    """Every kind of event full and bare, a run, a compressed body, metadata and a commit id."""
    cases: list[tuple[str, tuple[Event, ...], dict[str, Any] | None, UUID | None]] = [
        *((f"{tag_of(event)}, full", (event,), None, None) for event in EVERY_EVENT),
        *((f"{tag_of(event)}, bare", (event,), None, None) for event in EVERY_EVENT_BARE),
        ("a run of chunks", tuple(chunks(4, 40)), None, None),
        ("all events in one commit", EVERY_EVENT, {"actor": "ann", "n": [1, 2.5]}, ident(0xEE)),
        ("a compressed body", (CustomRecorded("long", "many words " * 400),), None, None),
    ]
    return [
        _golden(name, pack(events), number, metadata, commit_id)
        for number, (name, events, metadata, commit_id) in enumerate(cases, 1)
    ]


def _golden(
    name: str,
    records: tuple[Record, ...],
    number: int,
    metadata: dict[str, Any] | None,
    commit_id: UUID | None,
) -> Golden:
    prepared, compressor = body.prepare(records, metadata), zstandard.ZstdCompressor(level=1)
    at = START + number
    framed = frame.encode(prepared, C.bytes, number, at, commit_id.bytes if commit_id else None, compressor)
    stored = (sha256(framed).digest() + framed).hex()
    events = rows(tuple(event for record in prepared.records for event in pack_rows(record)))
    return Golden(name, stored, C, number, at, commit_id, metadata, prepared.kinds, events)


def pack_rows(record: Record) -> tuple[Event, ...]:
    """The events that a record stands for."""
    return tuple(record.chunks()) if tag_of(record) == "stream.chunks" else (record,)  # pyright: ignore[reportAttributeAccessIssue, reportUnknownMemberType, reportUnknownVariableType, reportReturnType, reportUnknownArgumentType] -- a run


def main() -> int:
    """Write the file of this release, unless it is there."""
    path = file_of(release())
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with path.open("xb") as file:
            file.write(msgspec.json.format(msgspec.json.encode(written_today()), indent=1) + b"\n")
    except FileExistsError:
        _say(f"{path.relative_to(ROOT)} is there already and never changes")
        return 1
    _say(f"wrote {path.relative_to(ROOT)}")
    return 0


def _say(text: str) -> None:
    sys.stderr.write(f"{text}\n")


if __name__ == "__main__":
    sys.exit(main())
