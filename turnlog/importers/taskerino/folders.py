"""One session of Taskerino in a folder of its own: metadata, documents, and items in numbered chunks."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any, Final, NamedTuple, cast

import msgspec

from eventstore.content import Json
from eventstore.spool import Spool
from turnlog.importers.conversation import Conversation, Problem
from turnlog.importers.source.fields import type_of
from turnlog.importers.source.files import Source, Unreadable
from turnlog.importers.source.notes import Notes, problem_of
from turnlog.importers.taskerino.attachments import Attachments
from turnlog.importers.taskerino.envelope import shape_inside, value
from turnlog.importers.taskerino.items import DOCUMENTS, Found, Recorded
from turnlog.importers.taskerino.sessions import conversation, is_session

_CHUNKED: Final = {
    "screenshots": ("screenshots", "screenshots"),
    "audio-segments": ("segments", "audioSegments"),
    "video-chunks": ("chunks", "videoChunks"),
}
"""By folder: the member of a chunk that holds its items, and the session's name for them."""

_PART: Final = re.compile(
    rf"(?:(?P<file>metadata|context-items|{'|'.join(DOCUMENTS)})|"
    rf"(?P<folder>{'|'.join(_CHUNKED)})/chunk-(?P<number>\d+))(?P<twin>\.compressed)?\.json"
)
_NAMED_MAX: Final = 20
"""Chunks that are missing are named up to here; a wrong count may make them billions."""

_BYTES: Final = 4
"""What an item takes in memory, roughly, for each byte of its file."""

_METADATA: Final = ("metadata.json", "metadata.compressed.json")


class Folders:
    """Which folders of a source are sessions: by their metadata, or, where it is lost, by their chunks."""

    def __init__(self, source: Source) -> None:
        self.source = source
        self._looked_at: dict[str, bool] = {}

    def of(self, name: str) -> str | None:
        """The folder of the session to which a file belongs."""
        if self.source.is_file:
            return None
        folder = name.rpartition("/")[0]
        parent = folder.rpartition("/")[0]
        self._looked_at = {
            known: is_one for known, is_one in self._looked_at.items() if known in (folder, parent)
        }
        for one in dict.fromkeys((folder, parent)):
            if one not in self._looked_at:
                self._looked_at[one] = self._is_session(one)
            if self._looked_at[one]:
                return one
        return None

    def _is_session(self, folder: str) -> bool:
        prefix, broken = f"{folder}/" if folder else "", False
        for name in _METADATA:
            if not self.source.path(prefix + name).is_file():
                continue
            try:
                seen = shape_inside(self.source, prefix + name)
            except Unreadable:
                broken = True
                continue
            if is_session(seen.keys):
                return True
            broken = not seen.keys
        within = self.source.path(folder) if folder else self.source.root
        return (broken and within.parent.name == "sessions") or any(
            _PART.fullmatch(f"{kind}/{path.name}")
            for kind in _CHUNKED
            for path in (within / kind).glob("chunk-*")
        )


class _Parts(NamedTuple):
    """The names of a session's files: documents by what they are, chunks by kind and number."""

    files: dict[str, str]
    chunks: dict[str, dict[int, str]]

    def names(self) -> Iterator[str]:
        """All of them."""
        yield from self.files.values()
        for chunks in self.chunks.values():
            yield from chunks.values()


def read_folder(
    source: Source, folder: str, names: list[str], attachments: Attachments
) -> Iterator[Conversation | Problem]:
    """The session, then what of it could not be read."""
    notes = Notes(folder or ".")
    problems: list[Problem] = []
    parts = _sorted(folder, names, problems)
    metadata = _metadata(source, folder, parts, problems, notes)
    try:
        recorded = _recorded(source, parts, metadata, problems, notes)
        done = conversation(metadata, recorded, attachments, notes, folder.rpartition("/")[2])
    except RecursionError:
        yield Problem(folder, "nested_too_deeply", "a value in it is nested too deeply")
    else:
        yield msgspec.structs.replace(done, files=tuple(sorted(parts.names())))
        # What was passed over says nothing against the session: its files may go for all that.
        problems = [
            problem if problem.warning else msgspec.structs.replace(problem, context_id=done.id)
            for problem in problems
        ]
    yield from problems


def _recorded(
    source: Source, parts: _Parts, metadata: Found, problems: list[Problem], notes: Notes
) -> Recorded:
    """The items and documents. Raises ``RecursionError``."""
    recorded = Recorded(
        {
            kind: _items(source, metadata, kind, parts.chunks.get(kind, {}), problems, notes)
            for kind in _CHUNKED
        },
        {},
    )
    for name in DOCUMENTS:
        if name in parts.files and (found := _read(source, parts.files[name], problems, notes)) is not None:
            recorded.documents[name] = Found(found, parts.files[name], "$")
    if (name := parts.files.get("context-items")) is not None:
        recorded.items["context-items"] = _context_items(source, name, problems, notes)
    return recorded


def _sorted(folder: str, names: list[str], problems: list[Problem]) -> _Parts:
    """What each file is. A compressed twin serves only where the file itself is lost."""
    parts = _Parts({}, {})
    twins = 0
    for name in sorted(names, key=lambda name: (name.endswith(".compressed.json"), name)):
        match = _PART.fullmatch(name.removeprefix(f"{folder}/") if folder else name)
        if match is None:
            problems.append(Problem(name, "unrecognised", "it is no part of a session"))
            continue
        file, number = match["file"], int(match["number"] or 0)
        known: dict[Any, str] = parts.files if file else parts.chunks.setdefault(match["folder"], {})
        if known.setdefault(file or number, name) != name:
            twins += match["twin"] is not None
            if match["twin"] is None:
                problems.append(Problem(name, "repeated_chunk", f"chunk {number} has another file too"))
    if twins:
        reason = f"{twins:,} compressed twins of files that are there"
        problems.append(Problem(folder or ".", "skipped", reason, warning=True))
    return parts


def _read(source: Source, name: str, problems: list[Problem], notes: Notes) -> Any:
    try:
        return value(source, name, notes.of(name))
    except Unreadable as unreadable:
        problems.append(problem_of(unreadable))
        return None


def _object(found: Json, name: str, problems: list[Problem]) -> dict[str, Json]:
    if isinstance(found, dict):
        return cast("dict[str, Json]", found)
    problems.append(Problem(name, "wrong_type", f"it is {type_of(found)}, not an object", "$"))
    return {}


def _metadata(source: Source, folder: str, parts: _Parts, problems: list[Problem], notes: Notes) -> Found:
    name = parts.files.get("metadata")
    if name is None:
        problems.append(Problem(folder or ".", "metadata_missing", "there are chunks, but no metadata.json"))
        return Found({}, folder or ".", "$")
    before = len(problems)
    found = _read(source, name, problems, notes)
    return Found(_object(found, name, problems) if len(problems) == before else {}, name, "$")


def _items(
    source: Source,
    metadata: Found,
    kind: str,
    chunks: dict[int, str],
    problems: list[Problem],
    notes: Notes,
) -> Sequence[Found]:
    """The items of every chunk, in order; chunks and items that the metadata counts and are not there."""
    member, counted = _CHUNKED[kind]
    items = Spool[Found]()
    for number, name in sorted(chunks.items()):
        before = len(problems)
        found = _read(source, name, problems, notes)
        if len(problems) > before:
            continue
        array: Any = found
        if not isinstance(found, list):
            array = _object(found, name, problems).get(member)
        if not isinstance(array, list):
            if len(problems) == before:
                reason = f"it is {type_of(array)}, not an array"
                problems.append(Problem(name, "wrong_type", reason, f"$.{member}"))
            continue
        if isinstance(found, dict) and (index := cast("Any", found).get("chunkIndex")) != number:
            notes.of(name).say("wrong_chunk", f"it says that it is chunk {index}", "$.chunkIndex")
        place = "$" if isinstance(found, list) else f"$.{member}"
        size = _BYTES * source.size(name) // max(1, len(cast("list[Json]", array)))
        for index, item in enumerate(cast("list[Json]", array)):
            items.append(Found(item, name, f"{place}[{index}]"), size)
    _count(metadata, counted, set(chunks), len(items), notes)
    return items.settled()


def _count(metadata: Found, counted: str, numbers: set[int], items: int, notes: Notes) -> None:
    facts: dict[str, Any] = metadata.value
    for name in ("chunks", counted):
        told = facts.get(name)
        facts = cast("dict[str, Any]", told) if isinstance(told, dict) else {}
    of, place = notes.of(metadata.path), f"$.chunks.{counted}"
    count = facts.get("chunkCount")
    first = 1 if 0 not in numbers and count in numbers else 0  # its comments say 1, its code begins at 0
    end = max([0, *(number + 1 for number in numbers), first + count if type(count) is int else 0])
    if lacking := end - first - len(numbers):
        some = islice((number for number in range(first, end) if number not in numbers), _NAMED_MAX)
        reason = f"{lacking:,} chunks are not there: {', '.join(f'{number:03d}' for number in some)}"
        of.say("chunk_missing", reason + (" ..." if lacking > _NAMED_MAX else ""), place)
    if type(facts.get("count")) is int and facts["count"] != items:
        of.say("count_mismatch", f"it counts {facts['count']}, and there are {items}", place)


def _context_items(source: Source, name: str, problems: list[Problem], notes: Notes) -> list[Found]:
    """An array, or an object that holds it."""
    before = len(problems)
    found = _read(source, name, problems, notes)
    place = "$"
    if isinstance(found, dict):
        members = cast("dict[str, Json]", found)
        member = next((one for one in ("contextItems", "items") if one in members), "contextItems")
        found, place = members.get(member), f"$.{member}"
    if isinstance(found, list):
        return [
            Found(item, name, f"{place}[{index}]") for index, item in enumerate(cast("list[Json]", found))
        ]
    if len(problems) == before:
        problems.append(Problem(name, "wrong_type", f"it is {type_of(found)}, not an array", place))
    return []
