"""A session of Taskerino, however it was stored, made a conversation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, cast

from eventstore.content import Json
from eventstore.limits import NAME_CHARACTERS_MAX
from turnlog.importers.conversation import Conversation
from turnlog.importers.source.fields import Fields, type_of
from turnlog.importers.source.files import own_id
from turnlog.importers.source.keeping import TITLE_CHARACTERS_MAX, fitted, plain
from turnlog.importers.source.notes import Notes
from turnlog.importers.taskerino.attachments import Attachments
from turnlog.importers.taskerino.items import DOCUMENTS, FORMAT, Found, Recorded, Session, messages

_TEXTS: Final = (
    "name",
    "description",
    "status",
    "trackingNoteId",
    "category",
    "subCategory",
    "activityType",
    "fullAudioAttachmentId",
)
_TIMES: Final = ("startTime", "endTime", "lastScreenshotTime", "pausedAt", "createdAt", "updatedAt")
_NUMBERS: Final = (
    "totalPausedTime",
    "screenshotInterval",
    "totalDuration",
    "version",
    "storageVersion",
    "relationshipVersion",
)
_FLAGS: Final = (
    "autoAnalysis",
    "enableScreenshots",
    "audioRecording",
    "videoRecording",
    "hasSummary",
    "hasAudioInsights",
    "hasCanvasSpec",
    "hasTranscription",
    "hasVideo",
    "hasFullAudio",
    "audioReviewCompleted",
    "transcriptUpgradeCompleted",
)
_ARRAYS: Final = ("extractedTaskIds", "extractedNoteIds")
_REQUIRED: Final = ("name", "status", "startTime")

_ITEM_FIELDS: Final = {
    "screenshots": "screenshots",
    "audioSegments": "audio-segments",
    "videoChunks": "video-chunks",
    "contextItems": "context-items",
}
"""The fields of a session of phase 3, and the kinds of items that they hold."""

_TELLING: Final = frozenset(
    ("startTime", "status", "screenshotInterval", "screenshots", "autoAnalysis", "name")
)
"""Fields by which a session is known: of these, most."""


def is_session(keys: frozenset[str]) -> bool:
    """Whether these are the members of a session."""
    return "startTime" in keys and len(keys & _TELLING) >= 3


def unfold(session: dict[str, Json], path: str, place: str, notes: Notes) -> Recorded:
    """Take the items and documents out of a session that holds them all (phase 3)."""
    fields = Fields(session, place, notes)
    items: dict[str, Sequence[Found]] = {
        kind: [
            Found(value, path, f"{place}.{name}[{index}]") for index, value in enumerate(fields.array(name))
        ]
        for name, kind in _ITEM_FIELDS.items()
    }
    documents: dict[str, Found] = {}
    for name, (field, _) in DOCUMENTS.items():
        if (value := fields.rest.pop(field, None)) is not None:
            documents[name] = Found(value, path, f"{place}.{field}")
    session.clear()
    session |= fields.rest
    return Recorded(items, documents)


def conversation(
    metadata: Found, recorded: Recorded, attachments: Attachments, notes: Notes, folder: str = ""
) -> Conversation:
    """A session of what is said of it and of what it recorded. ``folder`` names one without an id."""
    fields = Fields(cast("dict[str, Json]", metadata.value), metadata.place, notes.of(metadata.path))
    identity = fields.text("id") or _identity(fields, folder)
    context_id = own_id(FORMAT, identity)
    tags = _tags(fields)
    for name in _REQUIRED:
        fields.missing(name)
    times = {name: fields.time(name) for name in _TIMES}
    facts: dict[str, Json] = {name: fields.text(name) for name in _TEXTS}
    facts |= {name: fields.rest.pop(name) for name, time in times.items() if time is not None}
    facts |= {name: fields.number(name) for name in _NUMBERS}
    facts |= {name: fields.flag(name) for name in _FLAGS}
    facts |= {name: fields.array(name) or None for name in _ARRAYS}
    facts = {name: value for name, value in facts.items() if value is not None}
    unread: list[Json] = []
    start = times["startTime"]
    session = Session(identity, start.at if start else None, attachments, notes, unread)
    said = messages(recorded, session)
    if attachments.root is None and (count := _references(recorded)):
        reason = f"{count} items refer to attachments, and there is no store of them in the source"
        notes.say("attachments_elsewhere", reason, metadata.place)
    origin: dict[str, Json] = {"format": FORMAT, "origin": metadata.path, "place": metadata.place}
    origin["id"] = identity
    origin |= fields.left(_KNOWN)
    if unread:
        origin["unread"] = unread
    name, status, updated = facts.get("name"), facts.get("status"), times["updatedAt"]
    notes.context_id = context_id
    made = Conversation(
        id=context_id,
        origin=metadata.path,
        format=FORMAT,
        messages=said,
        branches={"main": said[-1].id if said else None},
        title=name[:TITLE_CHARACTERS_MAX] if isinstance(name, str) else None,
        attributes=cast("dict[str, Json]", plain({"session": facts, "import": origin})),
        tags=tags,
        state=status if isinstance(status, str) and 0 < len(status) <= NAME_CHARACTERS_MAX else None,
        warnings=notes.said(),
        updated_at=updated.at if updated else None,
    )
    return fitted(made)


_KNOWN: Final = ("id", "tags", *_TEXTS, *_TIMES, *_NUMBERS, *_FLAGS, *_ARRAYS)


def _identity(fields: Fields, folder: str) -> str:
    fields.missing("id")
    if folder:
        return folder
    told = (fields.rest.get("name"), fields.rest.get("startTime"))
    return f"without id: {told[0]} {told[1]}"


def _tags(fields: Fields) -> tuple[str, ...]:
    """The tags, once each; with one that is no text, the whole array is kept too."""
    array = fields.array("tags")
    for index, tag in enumerate(array):
        if not isinstance(tag, str):
            place = f"{fields.place}.tags[{index}]"
            fields.notes.say("wrong_type", f"it is {type_of(tag)}, not text", place)
            fields.rest["tags"] = array
    return tuple(dict.fromkeys(tag for tag in array if isinstance(tag, str)))


def _references(recorded: Recorded) -> int:
    values = (found.value for items in recorded.items.values() for found in items)
    return sum(
        isinstance(value, dict) and not {"attachmentId", "hash"}.isdisjoint(cast("dict[str, Json]", value))
        for value in values
    )
