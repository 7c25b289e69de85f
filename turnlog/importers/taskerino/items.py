"""What a Taskerino session recorded, made messages in the order of time."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final, NamedTuple, cast
from uuid import UUID

from eventstore.content import AudioPart, DataPart, FilePart, ImagePart, Json, Part, Role, TextPart
from eventstore.limits import NAME_CHARACTERS_MAX
from eventstore.spool import Spool, View
from turnlog.importers.conversation import Message, TimeSource
from turnlog.importers.source.fields import Fields, type_of
from turnlog.importers.source.files import stable_id
from turnlog.importers.source.keeping import plain, size_of
from turnlog.importers.source.notes import Notes
from turnlog.importers.source.times import read_milliseconds
from turnlog.importers.taskerino.attachments import Attachment, Attachments

FORMAT: Final = "taskerino"

DOCUMENTS: Final[dict[str, tuple[str, Role]]] = {
    "transcription": ("fullTranscription", "user"),
    "summary": ("summary", "assistant"),
    "audio-insights": ("audioInsights", "assistant"),
    "canvas-spec": ("canvasSpec", "assistant"),
}
"""What is said of a session as a whole: the name of its file, its field in a session, and who says it."""

_MOMENT_MIN: Final = 100_000_000_000
"""From here on a number is a time in milliseconds (of 1973 or later); below, seconds since the start."""


class Found(NamedTuple):
    """A value, and where it stood."""

    value: Json
    path: str
    place: str


class Recorded(NamedTuple):
    """A session's items, by kind, and its documents, by the names of their files."""

    items: dict[str, Sequence[Found]]
    documents: dict[str, Found]


class Session(NamedTuple):
    """What the items' messages depend on. ``began`` is when the session did."""

    id: str
    began: int | None
    attachments: Attachments
    notes: Notes
    unread: list[Json]


class _Said(NamedTuple):
    id: UUID
    message_type: str
    role: Role
    parts: tuple[Part, ...]
    metadata: dict[str, Json]
    at: int | None
    time_source: TimeSource


def messages(recorded: Recorded, session: Session) -> Sequence[Message]:
    """Items by their times, each after its neighbour where it has none; then the documents."""
    said = Spool[_Said]()
    ids: list[UUID] = []
    times: list[int | None] = []

    def add(one: _Said) -> None:
        said.append(one, size_of(one.parts) + size_of(one.metadata))
        ids.append(one.id)
        times.append(one.at)

    for kind, read in _KINDS.items():
        for one in _items(kind, read, recorded, session):
            add(one)
    order = sorted(range(len(ids)), key=lambda index: (times[index] is not None, times[index]))
    last = times[order[-1]] if order else session.began
    for name, found in recorded.documents.items():
        order.append(len(ids))
        add(_document(name, found, session, last))

    def message(number: int) -> Message:
        one = said[order[number]]
        return Message(
            id=one.id,
            parent_id=ids[order[number - 1]] if number else None,
            branch="main",
            role=one.role,
            parts=one.parts,
            message_type=one.message_type,
            metadata=one.metadata,
            occurred_at=one.at,
            time_source=one.time_source,
        )

    return View(range(len(order)), message)


def _items(kind: str, read: _Reader, recorded: Recorded, session: Session) -> Iterator[_Said]:
    at, occurrences = session.began, dict[str, int]()
    for index, found in enumerate(recorded.items.get(kind, ())):
        notes = session.notes.of(found.path)
        if not isinstance(found.value, dict):
            notes.say("wrong_type", f"it is {type_of(found.value)}, not an object", found.place)
            session.unread.append({"path": found.path, "place": found.place, "value": found.value})
            continue
        one = Fields(cast("dict[str, Json]", found.value), found.place, notes)
        message_id = _message_id(one, kind, index, occurrences, session)
        owner = one.rest.get("sessionId")
        if isinstance(owner, str) and owner != session.id:
            notes.say("wrong_session", f"it names session {owner[:60]!r}", f"{found.place}.sessionId")
        time = _time(one, "startTime" if kind == "video-chunks" else "timestamp", session.began)
        at = at if time is None else time
        message_type, parts = read(one, session)
        time_source: TimeSource = "source" if time is not None else "none" if at is None else "neighbour"
        yield _Said(message_id, message_type, "user", parts, {"source": plain(one.rest)}, at, time_source)


def _message_id(one: Fields, kind: str, index: int, occurrences: dict[str, int], session: Session) -> UUID:
    own = one.rest.get("id")
    if not isinstance(own, str) or not own:
        one.text("id")
        one.missing("id")
        return stable_id(FORMAT, session.id, kind, "", str(index))
    occurrence = occurrences[own] = occurrences.get(own, 0) + 1
    if occurrence == 1:
        return stable_id(FORMAT, session.id, kind, own)
    one.notes.say("repeated_id", f"{own[:60]!r} is the id of {occurrence} items so far", f"{one.place}.id")
    return stable_id(FORMAT, session.id, kind, own, str(occurrence))


def _time(one: Fields, name: str, began: int | None) -> int | None:
    """When an item was taken: a time, or, of a piece of video, the seconds since the start."""
    number: Any = one.rest.get(name)
    if type(number) not in (int, float):
        one.missing(name)
        moment = one.time(name)
    elif abs(number) >= _MOMENT_MIN:
        moment = read_milliseconds(number)
    elif name == "startTime":
        return None if began is None else began + round(number * 1_000_000)
    else:
        one.text(name)
        return None
    return moment.at if moment else None


def _attachment(one: Fields, session: Session) -> Attachment | None:
    """What an item refers to; its ids stay in what is kept."""
    told = [one.rest.get(name) for name in ("attachmentId", "hash")]
    attachment_id, hash_ = one.text("attachmentId"), one.text("hash")
    one.rest |= {name: value for name, value in zip(("attachmentId", "hash"), told, strict=True) if value}
    attachment = session.attachments.find(session.id, attachment_id, hash_)
    if attachment is not None and not attachment.stored and session.attachments.root is not None:
        reason = f"{attachment.reference} is not stored here"
        one.notes.say("attachment_missing", reason, f"{one.place}.{'hash' if hash_ else 'attachmentId'}")
    return attachment


def _text(text: str | None) -> tuple[Part, ...]:
    return () if text is None else (TextPart(text),)


def _screenshot(one: Fields, session: Session) -> tuple[str, tuple[Part, ...]]:
    found = _attachment(one, session)
    image = () if found is None else (ImagePart(attachment=found.reference, media_type=found.media_type),)
    return "screenshot", (*image, *_text(one.text("userComment")))


def _audio(one: Fields, session: Session) -> tuple[str, tuple[Part, ...]]:
    found = _attachment(one, session)
    audio = () if found is None else (AudioPart(attachment=found.reference, media_type=found.media_type),)
    return "audio_segment", (*audio, *_text(one.text("transcription")))


def _video(one: Fields, session: Session) -> tuple[str, tuple[Part, ...]]:
    found = _attachment(one, session)
    video = () if found is None else (FilePart(attachment=found.reference, media_type=found.media_type),)
    return "video_chunk", (*video, *_text(one.text("description")))


def _context_item(one: Fields, session: Session) -> tuple[str, tuple[Part, ...]]:
    del session
    one.missing("type")
    kind = one.text("type")
    if not kind or len(kind) > NAME_CHARACTERS_MAX:
        if kind is not None:
            one.rest["type"] = kind
        kind = "context_item"
    one.missing("content")
    return kind, _text(one.text("content"))


_Reader = Callable[[Fields, Session], tuple[str, tuple[Part, ...]]]

_KINDS: Final[dict[str, _Reader]] = {
    "screenshots": _screenshot,
    "audio-segments": _audio,
    "video-chunks": _video,
    "context-items": _context_item,
}
"""The kinds of items by the names of their folders; of one moment, in this order."""


def _document(name: str, found: Found, session: Session, at: int | None) -> _Said:
    content: Part = TextPart(found.value) if isinstance(found.value, str) else DataPart(plain(found.value))
    time_source: TimeSource = "none" if at is None else "neighbour"
    message_id = stable_id(FORMAT, session.id, "documents", name)
    kind = name.replace("-", "_")
    return _Said(message_id, kind, DOCUMENTS[name][1], (content,), {}, at, time_source)
