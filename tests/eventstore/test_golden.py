"""What any release has written, every later one reads, and reads the same."""

from __future__ import annotations

import typing
from pathlib import Path

import golden
import msgspec
import pytest
from golden import GOLDEN, Golden, file_of, read

from eventstore.content import Part
from eventstore.events import BIT_OF_TAG, Event
from eventstore.upcasters import UPCASTERS

RELEASES = sorted(path.parent.name for path in GOLDEN.glob("*/commits.json"))
COMMITS = [(release, commit) for release in RELEASES for commit in read(file_of(release))]


def test_there_is_a_golden_file_of_the_first_release_and_of_this_one() -> None:
    assert "0.1.0" in RELEASES
    assert golden.release() in RELEASES, "run scripts/golden"


@pytest.mark.parametrize(("release", "stored"), COMMITS, ids=[f"{r}: {c.name}" for r, c in COMMITS])
def test_a_stored_commit_of_any_release_reads_as_it_did_then(release: str, stored: Golden) -> None:
    commit = golden.decode(stored)
    assert (commit.context_id, commit.first_version) == (stored.context_id, stored.first_version)
    assert (commit.recorded_at, commit.commit_id) == (stored.recorded_at, stored.commit_id)
    assert commit.metadata == stored.metadata
    current = [msgspec.json.encode(UPCASTERS.upcast(dict(event))) for event in stored.events]
    assert list(commit.events()) == [msgspec.json.decode(event, type=Event) for event in current]
    assert commit.event_count == len(current)
    if not stored.kinds & UPCASTERS.retired_kinds:
        assert commit.kinds == stored.kinds


def test_every_event_and_every_part_is_in_a_golden_file() -> None:
    events = [event for _, stored in COMMITS for event in stored.events]
    assert {event["type"] for event in events} >= BIT_OF_TAG.keys()
    parts = {part["type"] for event in events for part in event.get("parts") or ()}
    assert parts >= {str(part.__struct_config__.tag) for part in typing.get_args(Part)}


def test_this_release_still_writes_what_its_golden_file_says() -> None:
    today = {commit.name: commit for commit in golden.written_today()}
    for stored in read(file_of(golden.release())):
        if "compressed" not in stored.name:  # which bytes zstd makes is its own affair
            assert today[stored.name].stored == stored.stored


def test_a_golden_file_is_never_overwritten(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(golden, "GOLDEN", tmp_path / "golden")
    monkeypatch.setattr(golden, "ROOT", tmp_path)
    monkeypatch.setattr(golden, "release", lambda: "9.9.9")
    assert golden.main() == 0
    before = golden.file_of("9.9.9").read_bytes()
    assert read(golden.file_of("9.9.9")) == golden.written_today()
    assert golden.main() == 1
    assert golden.file_of("9.9.9").read_bytes() == before
