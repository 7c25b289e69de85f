"""Damage: whatever happens to the bytes of a source, importers read on and raise nothing."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest
from ait42_stores import HASH, SCHEMA_A, SCHEMA_B, instance, make_database, message, session
from storing import check_storable, read_with
from taskerino_stores import note, put, put_attachment, put_chunked, screenshot, video
from taskerino_stores import session as taskerino_session

from turnlog.importers.conversation import Conversation
from turnlog.importers.detecting import FORMATS, unclaimed
from turnlog.importers.source.files import Source

ROUNDS = 150


def make(root: Path) -> None:
    """Something of every form."""
    told = [
        session(instances=[instance(1, output="o" * 300)], chatHistory=[message(2, instanceId=1), message(3)])
    ]
    (root / f"{HASH}.json").write_text(json.dumps(told))
    (root / "workspace_mapping.json").write_text(json.dumps({HASH: "/project"}))
    make_database(root / "a.db", SCHEMA_A, told)
    make_database(root / "b.db", SCHEMA_B, told)
    whole = taskerino_session(
        screenshots=[screenshot(1), screenshot(2)],
        videoChunks=[video(3)],
        contextItems=[note(4)],
        summary={"a": 1},
    )
    put_chunked(root / "plain", whole)
    put_chunked(root / "packed", whole, "gzip")
    put_attachment(root / "packed", b"x", "session-1", "att-1")
    put(root / "three", "sessions", [whole, whole], "gzip")
    put(root / "old", "sessions", [whole, whole], "bare")


def damaged(content: bytes, chance: random.Random) -> bytes:
    """A byte changed, a piece cut out, doubled or put in the place of another, or the end lost."""
    if not content:
        return b"{"
    start, end = sorted(chance.randrange(len(content) + 1) for _ in range(2))
    piece = content[start : min(end, start + 40)]
    other = chance.choice(
        [b"", b"null", b"{", b'"', b"[[[", b"\xff", b"\\ud800", b"1e999", piece * 2, b"0" * 20]
    )
    return chance.choice(
        [content[:start] + other + content[start + len(piece) :], content[:start], content + other]
    )


def without(name: str, told: list[Conversation]) -> list[Conversation]:
    """The conversations of all files but one."""
    return [one for one in told if name not in (one.files or (one.origin,))]


@pytest.mark.parametrize("part", range(3))
def test_no_damage_makes_an_importer_raise(tmp_path: Path, seed: int, part: int) -> None:
    chance = random.Random(seed + part)
    make(tmp_path)
    source = Source(tmp_path)
    names = list(source.files())
    whole_told = {name: read_with(one.importer, tmp_path)[0] for name, one in FORMATS.items()}
    for _ in range(ROUNDS // 3):
        name = chance.choice(names)
        file = tmp_path / name
        whole = file.read_bytes()
        file.write_bytes(damaged(whole, chance))
        about = f"seed {seed + part}, {name}"
        for format_, one in FORMATS.items():
            one.importer.recognises(source)
            found, problems = read_with(one.importer, tmp_path)
            for conversation in found:
                check_storable(conversation)
            assert all(problem.code and problem.reason for problem in problems), about
            if "attachments" not in name and "mapping" not in name:  # which others refer to
                assert without(name, found) == without(name, whole_told[format_]), about
        left = unclaimed(source, [one.importer for one in FORMATS.values()])
        assert {problem.path for problem in left} <= {name}, about
        file.write_bytes(whole)
