"""Stores of Taskerino made for tests: the envelope, both phases, attachments, and sessions at random."""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
from pathlib import Path
from typing import Any, Final

from hypothesis import strategies as st
from storing import read_with

from turnlog.importers.conversation import Conversation, Problem
from turnlog.importers.taskerino.importer import Taskerino

DIGITS: Final = "0123456789abcdefghijklmnopqrstuvwxyz"
ITEMS: Final = {
    "screenshots": "screenshots",
    "audio-segments": "audioSegments",
    "video-chunks": "videoChunks",
}
MEMBERS: Final = {"screenshots": "screenshots", "audio-segments": "segments", "video-chunks": "chunks"}
SIZES: Final = {"screenshots": 20, "audio-segments": 100, "video-chunks": 100}
DOCUMENTS: Final = {
    "transcription": "fullTranscription",
    "summary": "summary",
    "audio-insights": "audioInsights",
    "canvas-spec": "canvasSpec",
}


def checksum(text: str) -> str:
    """As the program has it: a 32-bit rolling hash over UTF-16, in base 36 with its sign."""
    rolled = 0
    units = text.encode("utf-16-le", "surrogatepass")
    for low, high in zip(units[::2], units[1::2], strict=True):
        rolled = ((rolled << 5) - rolled + low + 256 * high) & 0xFFFFFFFF
    signed = rolled - (1 << 32) if rolled >= 1 << 31 else rolled
    digits, rest = "", abs(signed)
    while rest:
        digits, rest = DIGITS[rest % 36] + digits, rest // 36
    return ("-" if signed < 0 else "") + (digits or "0")


def envelope(value: Any, form: str = "plain") -> str:
    """A file: with the envelope, ``plain`` or ``gzip``, or ``bare`` as the oldest are."""
    text = json.dumps(value, indent=2, ensure_ascii=False)
    if form == "bare":
        return text
    data = text
    if form == "gzip":
        data = "GZIP_V1:" + base64.b64encode(gzip.compress(text.encode(), 9)).decode()
    told: dict[str, Any] = {"version": 1, "checksum": checksum(text), "timestamp": 1_762_000_000_000}
    return json.dumps(told | {"compressed": form == "gzip", "data": data})


def put(root: Path, key: str, value: Any, form: str = "plain") -> Path:
    """Store a value under its key."""
    file = root / f"{key}.json"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(envelope(value, form), "utf-8")
    return file


def put_chunked(root: Path, told: dict[str, Any], form: str = "plain") -> None:
    """A session as phase 4 stores it."""
    key = f"sessions/{told['id']}"
    metadata = dict(told)
    context = metadata.pop("contextItems", None)
    chunks: dict[str, Any] = {}
    for kind, name in ITEMS.items():
        items = metadata.pop(name, [])
        pieces = [items[start : start + SIZES[kind]] for start in range(0, len(items), SIZES[kind])]
        for index, piece in enumerate(pieces):
            chunk = {"sessionId": told["id"], "chunkIndex": index, MEMBERS[kind]: piece}
            put(root, f"{key}/{kind}/chunk-{index:03d}", chunk, form)
        chunks[name] = {"count": len(items), "chunkCount": len(pieces), "chunkSize": SIZES[kind]}
    for name, field in DOCUMENTS.items():
        if field in metadata:
            put(root, f"{key}/{name}", metadata.pop(field), form)
    if context is not None:
        put(root, f"{key}/context-items", context, form)
    put(root, f"{key}/metadata", metadata | {"chunks": chunks}, form)


def put_attachment(root: Path, content: bytes, session: str, attachment: str, form: str = "plain") -> str:
    """Store bytes under their hash; the hash."""
    hash_ = hashlib.sha256(content).hexdigest()
    about = {
        "hash": hash_,
        "mimeType": "image/png",
        "size": len(content),
        "type": "screenshot",
        "refCount": 1,
    }
    references = [{"sessionId": session, "attachmentId": attachment, "addedAt": 1_762_000_000_000}]
    put(root, f"attachments-ca/{hash_[:2]}/{hash_}/metadata", about | {"references": references}, form)
    put(root, f"attachments-ca/{hash_[:2]}/{hash_}/data", base64.b64encode(content).decode(), form)
    return hash_


def read(root: Path) -> tuple[list[Conversation], list[Problem]]:
    """What the importer says of a folder or file."""
    return read_with(Taskerino(), root)


def codes(conversation: Conversation) -> list[tuple[str, str, str | None]]:
    """Path, code and place of each warning."""
    return [(warning.path, warning.code, warning.place) for warning in conversation.warnings]


def session(**fields: Any) -> dict[str, Any]:
    """A session as small as the format allows."""
    told: dict[str, Any] = {
        "id": "session-1",
        "name": "Morning",
        "description": "What I did",
        "status": "completed",
        "startTime": "2025-11-09T10:00:00.000Z",
        "screenshotInterval": 2,
        "autoAnalysis": True,
        "tags": ["work"],
    }
    return told | fields


def at(second: float) -> str:
    """A time that many seconds after the session's start."""
    return f"2025-11-09T10:{int(second) // 60:02d}:{second % 60:06.3f}Z"


def screenshot(number: int, **fields: Any) -> dict[str, Any]:
    """A screenshot."""
    told: dict[str, Any] = {"id": f"shot-{number}", "sessionId": "session-1", "timestamp": at(number)}
    return told | {"attachmentId": f"att-{number}", "analysisStatus": "complete"} | fields


def segment(number: int, **fields: Any) -> dict[str, Any]:
    """A piece of sound."""
    told: dict[str, Any] = {"id": f"seg-{number}", "sessionId": "session-1", "timestamp": at(number)}
    return (
        told | {"duration": 10, "transcription": f"said {number}", "transcriptionQuality": "draft"} | fields
    )


def video(number: int, **fields: Any) -> dict[str, Any]:
    """A piece of video; its times are seconds."""
    told: dict[str, Any] = {"id": f"vid-{number}", "sessionId": "session-1", "videoId": "v"}
    times = {"startTime": number, "endTime": number + 5, "analyzed": True}
    return told | times | {"topic": "t", "description": f"seen {number}"} | fields


def note(number: int, **fields: Any) -> dict[str, Any]:
    """A note."""
    told: dict[str, Any] = {"id": f"note-{number}", "sessionId": "session-1", "timestamp": at(number)}
    return told | {"type": "note", "content": f"note {number}"} | fields


TEXTS: Final = st.text(st.characters(codec="utf-8"), max_size=20)


@st.composite
def sessions(draw: st.DrawFn) -> dict[str, Any]:
    """A session that the format allows, whole."""
    optional: dict[str, st.SearchStrategy[Any]] = {
        "endTime": st.just(at(3_599)),
        "totalDuration": st.floats(0, 1e6),
        "category": TEXTS,
        "enrichmentConfig": st.dictionaries(TEXTS, st.integers(0, 9), max_size=3),
        "hasSummary": st.booleans(),
        "fullTranscription": TEXTS,
        "summary": st.fixed_dictionaries({"narrative": TEXTS}),
        "audioInsights": st.lists(TEXTS, min_size=1, max_size=3),
        "canvasSpec": st.fixed_dictionaries({"theme": TEXTS}),
    }
    told = session(name=draw(TEXTS), tags=draw(st.lists(TEXTS, max_size=3, unique=True)))
    told |= draw(st.fixed_dictionaries({}, optional=optional))
    seconds = st.lists(st.integers(0, 3_000), max_size=25, unique=True)
    told["screenshots"] = [
        screenshot(number, aiAnalysis={"summary": draw(TEXTS)}) for number in draw(seconds)
    ]
    told["audioSegments"] = [segment(number, transcription=draw(TEXTS)) for number in draw(seconds)]
    told["videoChunks"] = [video(number, description=draw(TEXTS)) for number in draw(seconds)]
    told["contextItems"] = [
        note(number, content=draw(TEXTS), type=draw(st.sampled_from(["note", "task", "marker"])))
        for number in draw(seconds)
    ]
    return told
