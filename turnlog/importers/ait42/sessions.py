"""A session of AIT42, as its JSON says it, made a conversation; rows of SQLite come in the same shape."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final, cast, get_args
from uuid import UUID

import msgspec

from eventstore.content import DataPart, Json, Part, Role, TextPart
from eventstore.limits import NAME_CHARACTERS_MAX
from turnlog.importers.conversation import Conversation, Message, TimeSource
from turnlog.importers.source.fields import Fields, type_of
from turnlog.importers.source.files import own_id, stable_id
from turnlog.importers.source.keeping import TITLE_CHARACTERS_MAX, fitted, plain, settled
from turnlog.importers.source.notes import Notes
from turnlog.importers.source.seen import Seen, mark_of
from turnlog.importers.source.times import ASSUMED_UTC

FORMAT: Final = "ait42"

_TEXTS: Final = ("type", "task", "status", "model")
_TIMES: Final = ("createdAt", "updatedAt", "completedAt")
_NUMBERS: Final = (
    "timeoutSeconds",
    "winnerId",
    "totalDuration",
    "totalFilesChanged",
    "totalLinesAdded",
    "totalLinesDeleted",
)
_INSTANCE_TEXTS: Final = (
    "worktreePath",
    "branch",
    "agentName",
    "status",
    "tmuxSessionId",
    "output",
    "startTime",
    "endTime",
    "runtime",
    "model",
    "runtimeLabel",
    "sessionId",
)
_INSTANCE_NUMBERS: Final = ("instanceId", "filesChanged", "linesAdded", "linesDeleted")
_INSTANCE_REQUIRED: Final = ("instanceId", "worktreePath", "branch", "agentName", "status", "tmuxSessionId")


class Workspace(msgspec.Struct, frozen=True, omit_defaults=True):
    """Where sessions were worked on; either may be unknown."""

    hash: str | None = None
    path: str | None = None
    lastAccessed: str | None = None  # noqa: N815 -- it stands in attributes, where names are the source's

    def name(self) -> str | None:
        """The path, or the hash: that which is known and short enough for a workspace's name."""
        return next((text for text in (self.path, self.hash) if text and _is_name(text)), None)


class Place(msgspec.Struct, frozen=True):
    """Where a session was found: in which file, at which JSON path or row."""

    path: str
    at: str
    workspace: Workspace


def conversation(
    session: dict[str, Json], place: Place, notes: Notes, chat: Iterable[Json] | None = None
) -> Conversation:
    """A session with all that it holds. What is not as the format says becomes a warning, and is kept.

    ``chat``: its messages, where the session itself has none.
    """
    fields = Fields(session, place.at, notes)
    identity = _identity(fields, session)
    notes.context_id = context_id = own_id(FORMAT, identity)
    unread: list[Json] = []
    participants = list(_participants(fields, unread))
    numbers = [cast("dict[str, Json]", one).get("instanceId") for one in participants]
    facts = _facts(fields)
    winner = facts.get("winnerId")
    if winner is not None and winner not in numbers:
        notes.say("dangling_winner", f"no instance has the number {winner}", f"{place.at}.winnerId")
    times = {name: fields.time(name) for name in _TIMES}
    for name in ("createdAt", "updatedAt"):
        fields.missing(name)
    facts |= {name: fields.rest.pop(name) for name, time in times.items() if time is not None}
    chat = fields.array("chatHistory") if chat is None else chat
    messages = settled(_messages(fields, chat, identity, numbers, times["createdAt"], unread))
    origin: dict[str, Json] = {"format": FORMAT, "origin": place.path, "place": place.at, "id": identity}
    assumed = [name for name, time in times.items() if time is not None and time.assumed_utc]
    origin |= {"times_assumed_utc": assumed} if assumed else {}
    origin |= {"unread": unread} if unread else {}
    origin |= fields.left(_OPTIONAL)
    attributes: dict[str, Json] = {"session": facts, "participants": participants, "import": origin}
    if workspace := msgspec.to_builtins(place.workspace):
        attributes["workspace"] = workspace
    task, status, updated = facts.get("task"), facts.get("status"), times["updatedAt"]
    made = Conversation(
        id=context_id,
        origin=place.path,
        format=FORMAT,
        messages=messages,
        branches={"main": messages[-1].id if messages else None},
        workspace=place.workspace.name(),
        title=task[:TITLE_CHARACTERS_MAX] if isinstance(task, str) else None,
        config={"model": facts["model"]} if "model" in facts else {},
        attributes=cast("dict[str, Json]", plain(attributes)),
        state=status if isinstance(status, str) and _is_name(status) else None,
        warnings=notes.said(),
        updated_at=updated.at if updated else None,
    )
    return fitted(made)


_OPTIONAL: Final = (
    *_TEXTS,
    *_TIMES,
    *_NUMBERS,
    "preserveWorktrees",
    "runtimeMix",
    "instances",
    "chatHistory",
)


def _is_name(text: str) -> bool:
    return 0 < len(text) <= NAME_CHARACTERS_MAX


def _identity(fields: Fields, session: dict[str, Json]) -> str:
    """The session's own id, or one made of what else tells it apart."""
    if own := fields.text("id"):
        return own
    fields.notes.say(
        "missing_field", "there is no id: one is made of when, how and what", f"{fields.place}.id"
    )
    told = [session.get(name) for name in ("createdAt", "type", "task")]
    return f"without id: {msgspec.json.encode(told).decode()}"


def _facts(fields: Fields) -> dict[str, Json]:
    """What a session is and what came of it, under the source's names."""
    for name in ("type", "task", "status"):
        fields.missing(name)
    found: dict[str, Json] = {name: fields.text(name) for name in _TEXTS}
    found |= {name: fields.number(name) for name in _NUMBERS}
    found["preserveWorktrees"] = fields.flag("preserveWorktrees")
    found["runtimeMix"] = fields.array("runtimeMix") or None
    return {name: value for name, value in found.items() if value is not None}


def _participants(fields: Fields, unread: list[Json]) -> Iterator[Json]:
    """The instances, with all that they say; what changed their status is told by their times."""
    seen = set[object]()
    for index, instance in enumerate(fields.array("instances")):
        place = f"{fields.place}.instances[{index}]"
        if not isinstance(instance, dict):
            fields.notes.say("wrong_type", f"it is {type_of(instance)}, not an object", place)
            unread.append({"place": place, "value": instance})
            continue
        one = Fields(cast("dict[str, Json]", instance), place, fields.notes)
        for name in _INSTANCE_REQUIRED:
            one.missing(name)
        started, ended = one.time("startTime"), one.time("endTime")
        known: dict[str, Json] = {name: one.text(name) for name in _INSTANCE_TEXTS}
        known |= {name: one.number(name) for name in _INSTANCE_NUMBERS}
        known = {name: value for name, value in known.items() if value is not None}
        rest = {name: value for name, value in one.rest.items() if value is not None or name not in _INSTANCE}
        number = known.get("instanceId")
        if number is not None and number in seen:
            fields.notes.say(
                "repeated_id", f"another instance has the number {number}", f"{place}.instanceId"
            )
        seen.add(number)
        changes: list[Json] = []
        if started:
            changes.append({"status": "running", "at": known["startTime"]})
        if known.get("status") not in (None, "running") or not started:
            changes.append({"status": known.get("status")} | ({"at": known["endTime"]} if ended else {}))
        yield {"statusChanges": changes} | known | rest


_INSTANCE: Final = (*_INSTANCE_TEXTS, *_INSTANCE_NUMBERS)


_MESSAGE: Final = ("id", "role", "content", "timestamp", "instanceId")


class _Clock:
    """When a message was said; where it does not say so, when the one before was, or the session began."""

    def __init__(self, began: int | None) -> None:
        self.at = began

    def tell(self, at: int | None) -> tuple[int | None, TimeSource]:
        if at is None:
            return self.at, "none" if self.at is None else "neighbour"
        self.at = at
        return at, "source"


class _Occurrences:
    """How often an id has come: those that come once, as nearly all do, take eight bytes."""

    def __init__(self) -> None:
        self._seen = Seen()
        self._again: dict[str, int] = {}

    def next(self, own: str) -> int:
        if self._seen.add(mark_of(own.encode("utf-8", "surrogatepass"))):
            return 1
        occurrence = self._again[own] = self._again.get(own, 1) + 1
        return occurrence


def _messages(
    fields: Fields,
    chat: Iterable[Json],
    identity: str,
    numbers: list[Json],
    began: tuple[int, bool] | None,
    unread: list[Json],
) -> Iterator[Message]:
    """The chat, in the order of the array: times are text of several forms and do not sort."""
    clock, occurrences, parent = _Clock(began[0] if began else None), _Occurrences(), None
    for index, value in enumerate(chat):
        place = f"{fields.place}.chatHistory[{index}]"
        if not isinstance(value, dict):
            fields.notes.say("wrong_type", f"it is {type_of(value)}, not an object", place)
            unread.append({"place": place, "value": value})
            continue
        one = Fields(cast("dict[str, Json]", value), place, fields.notes)
        own: dict[str, Json] = {name: one.rest[name] for name in ("id",) if name in one.rest}
        message_id = _message_id(one, identity, index, occurrences)
        parts, role, instance = _content(one), _role(one), one.whole("instanceId")
        if instance is not None and instance not in numbers:
            fields.notes.say(
                "dangling_instance", f"no instance has the number {instance}", f"{place}.instanceId"
            )
        one.missing("timestamp")
        time = one.time("timestamp")
        at, time_source = clock.tell(time.at if time else None)
        rest = {name: it for name, it in one.rest.items() if it is not None or name not in _MESSAGE}
        metadata: dict[str, Json] = {"source": plain(own | rest)}
        metadata |= {} if instance is None else {"instanceId": instance}
        metadata |= {ASSUMED_UTC: True} if time and time.assumed_utc else {}
        yield Message(
            message_id,
            parent,
            "main",
            role,
            parts,
            metadata=metadata,
            occurred_at=at,
            time_source=time_source,
        )
        parent = message_id


def _message_id(one: Fields, identity: str, index: int, occurrences: _Occurrences) -> UUID:
    """Ids are ``msg-`` and a millisecond, so they tell messages apart inside their session alone."""
    own = one.text("id")
    if not own:
        one.notes.say(
            "missing_field", "there is no id: its place in the session stands for it", f"{one.place}.id"
        )
        return stable_id(FORMAT, identity, "", str(index))
    occurrence = occurrences.next(own)
    if occurrence == 1:
        return stable_id(FORMAT, identity, own)
    one.notes.say("repeated_id", f"{own!r} is the id of {occurrence} messages so far", f"{one.place}.id")
    return stable_id(FORMAT, identity, own, str(occurrence))


def _content(one: Fields) -> tuple[Part, ...]:
    content = one.rest.get("content")
    if content is None:
        one.missing("content")
        return ()
    text = one.text("content")
    if text is not None:
        return (TextPart(text),)
    del one.rest["content"]
    return (DataPart(plain(content)),)


def _role(one: Fields) -> Role:
    """Its role, in whatever case. One that we do not know is an instance's or the user's, and is noted."""
    one.missing("role")
    text = one.text("role")
    if text is not None and text.lower() in get_args(Role):
        if text != text.lower():
            one.rest["role"] = text
        return cast("Role", text.lower())
    if text is not None:
        one.notes.say("unknown_role", f"{text[:60]!r} is no role", f"{one.place}.role")
        one.rest["role"] = text
    return "user" if one.rest.get("instanceId") is None else "assistant"
