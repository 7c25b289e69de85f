"""Taskerino's attachments: which one an item means, wherever their store lies, and what of it is broken."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
from taskerino_stores import codes, put, put_attachment, put_chunked, read, screenshot, segment, session

from eventstore.content import AudioPart, ImagePart


@pytest.mark.parametrize("form", ["bare", "plain", "gzip"])
def test_attachments_are_referred_to_by_their_hash(tmp_path: Path, form: str) -> None:
    db = tmp_path / "app" / "db"
    by_hash = put_attachment(db, b"one", "session-1", "a", form)
    by_reference = put_attachment(db, b"two", "session-1", "att-2", form)
    by_index = put_attachment(db, b"three", "other", "x", form)
    gone = "f" * 64
    put(db, "ca-attachment-index", {"att-3": by_index}, form)
    shots = [
        screenshot(1, hash=by_hash),
        screenshot(2),
        screenshot(3),
        screenshot(4),
        screenshot(5, hash=gone),
    ]
    put_chunked(db, session(screenshots=shots, audioSegments=[segment(6, hash=by_hash.upper())]), form)
    (conversation,), problems = read(tmp_path)
    wanted = [
        ImagePart(attachment=f"sha256:{one}", media_type="image/png")
        for one in (by_hash, by_reference, by_index)
    ]
    wanted += [ImagePart(attachment="att-4"), ImagePart(attachment=f"sha256:{gone}")]
    assert [one.parts[0] for one in conversation.messages[:5]] == wanted
    assert conversation.messages[5].parts[0] == AudioPart(
        attachment=f"sha256:{by_hash}", media_type="image/png"
    )
    assert conversation.messages[1].metadata["source"]["attachmentId"] == "att-2"
    assert [(code, place) for _, code, place in codes(conversation)] == [
        ("attachment_missing", "$.screenshots[3].attachmentId"),
        ("attachment_missing", "$.screenshots[4].hash"),
    ]
    assert [problem.code for problem in problems] == ["skipped"]


def test_no_attachment_is_looked_for_behind_a_link(tmp_path: Path) -> None:
    hash_ = put_attachment(tmp_path / "outside", b"x", "session-1", "a")
    put_chunked(
        tmp_path / "db", session(screenshots=[screenshot(1, hash=hash_), screenshot(2, hash="../../x")])
    )
    (tmp_path / "db" / "attachments-ca").symlink_to(tmp_path / "outside" / "attachments-ca")
    (conversation,), _ = read(tmp_path / "db")
    assert conversation.messages[0].parts[0] == ImagePart(attachment=f"sha256:{hash_}")
    assert [code for _, code, _ in codes(conversation)] == ["attachments_elsewhere"]


def test_a_collection_finds_the_attachments_that_lie_beside_it(tmp_path: Path) -> None:
    db = tmp_path / "app" / "db"
    put_attachment(db, b"one", "session-1", "att-1")
    put(db, "sessions", [session(screenshots=[screenshot(1)])])
    (conversation,), _ = read(tmp_path)
    assert codes(conversation) == []
    assert conversation.messages[0].parts[0] == ImagePart(
        attachment=f"sha256:{hashlib.sha256(b'one').hexdigest()}", media_type="image/png"
    )


def test_an_index_of_attachments_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    hash_ = put_attachment(tmp_path, b"one", "session-1", "att-1")
    (tmp_path / "ca-attachment-index.json").write_text("{")
    (tmp_path / "attachments-ca" / hash_[:2] / hash_ / "metadata.json").write_text("[")
    put_chunked(tmp_path, session(screenshots=[screenshot(1, hash=hash_), screenshot(2)]))
    (conversation,), problems = read(tmp_path)
    assert conversation.messages[0].parts[0] == ImagePart(attachment=f"sha256:{hash_}")
    assert [(problem.path, problem.code) for problem in problems if not problem.warning] == [
        (f"attachments-ca/{hash_[:2]}/{hash_}/metadata.json", "truncated"),
        ("ca-attachment-index.json", "truncated"),
    ]


@pytest.mark.parametrize("depth", [1, 2])
def test_an_attachment_behind_a_link_in_the_store_is_not_stored_here(tmp_path: Path, depth: int) -> None:
    hash_ = put_attachment(tmp_path / "outside", b"x", "session-1", "att-1")
    place = "/".join(("attachments-ca", hash_[:2], hash_)[: depth + 1])
    put_chunked(tmp_path / "db", session(screenshots=[screenshot(1, hash=hash_)]))
    (tmp_path / "db" / place).parent.mkdir(parents=True)
    (tmp_path / "db" / place).symlink_to(tmp_path / "outside" / place)
    (conversation,), _ = read(tmp_path / "db")
    assert conversation.messages[0].parts[0] == ImagePart(attachment=f"sha256:{hash_}")
    assert [code for _, code, _ in codes(conversation)] == ["attachment_missing"]
