"""The facts named ``import.kept``: how a value stands in them, which of them hold, and what they put back."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Final, Literal, cast
from uuid import UUID

import msgspec

from eventstore.content import DataPart, Json, Part, TextPart
from turnlog.importers.conversation import Kept

KEPT: Final = "import.kept"
"""The name of the custom events that hold what has no place in a context's metadata or in one event."""

PIECE_CHARACTERS: Final = 1024 * 1024
"""Of a kept text in one event: at most 4 MiB, half of what an event can have."""

TAGS_PLACE: Final = "$.tags"

_PLAIN_NAME: Final = re.compile(r'[^.\[\]"]+')
_UNTAKEN: Final = "$.untaken."
_ID: Final = r"([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})"
_OF_MESSAGE: Final = re.compile(rf"\$\.messages\.{_ID}(?=[.\[])")
_OF_UNTAKEN: Final = re.compile(re.escape(_UNTAKEN) + _ID)


class Piece(msgspec.Struct, frozen=True, omit_defaults=True):
    """What one fact says: a part of the text of the value that stood at ``place``, the first is 1.

    ``message_id``: of the message that the place is in, where an import gave it another id than its source.
    """

    place: str
    form: Literal["text", "json"]
    piece: int
    pieces: int
    text: str
    message_id: UUID | None = None


def inside(place: str, name: str | int) -> str:
    """The place of a member or an item; no two have the same."""
    if isinstance(name, int):
        return f"{place}[{name}]"
    if _PLAIN_NAME.fullmatch(name):
        return f"{place}.{name}"
    return f"{place}[{msgspec.json.encode(name).decode()}]"


def message_place(message_id: UUID) -> str:
    """The place of a message."""
    return f"$.messages.{message_id}"


def cuts_place(place: str) -> str:
    """Where it is kept of a message how many chunks stand for each that its source had."""
    return f"{place}.chunks"


def stand_in(place: str, size: int) -> dict[str, Json]:
    """What stands at a place whose value of so many bytes is kept."""
    return {"kept": place, "bytes": size}


def facts_of(place: str, value: Json) -> Iterator[Kept]:
    """A value as facts."""
    form = "text" if isinstance(value, str) else "json"
    text = value if isinstance(value, str) else msgspec.json.encode(value).decode()
    count = max(1, -(-len(text) // PIECE_CHARACTERS))
    for index in range(count):
        cut = text[index * PIECE_CHARACTERS : (index + 1) * PIECE_CHARACTERS]
        yield Kept(KEPT, msgspec.to_builtins(Piece(place, form, index + 1, count, cut)))


def untaken_facts(message_id: UUID, value: Json) -> Iterator[Kept]:
    """A message of a source that is none here, as facts."""
    return facts_of(f"{_UNTAKEN}{message_id}", value)


def piece_of(name: str, data: Json) -> Piece | None:
    """What a custom event says, if it is such a fact."""
    if name != KEPT:
        return None
    try:
        return msgspec.convert(data, Piece)
    except msgspec.ValidationError:
        return None


def owner_of(name: str, data: Json) -> UUID | None:
    """The message of which something is kept; None for a context's, and for a message that is none here."""
    piece = piece_of(name, data)
    if piece is None:
        return None
    found = _OF_MESSAGE.match(piece.place)
    return piece.message_id or (UUID(found[1]) if found else None)


def renamed(kept: Kept, message_id: UUID) -> Kept:
    """A fact of a message that gets another id: its place stays, because what is kept may name it too."""
    return Kept(kept.name, kept.data | {"message_id": str(message_id)})


def in_force(facts: Iterable[tuple[str, Json]]) -> list[tuple[str, Json]]:
    """Of what was kept at a place, the last word; of other facts all."""
    others: list[tuple[str, Json]] = []
    by_place: dict[str, dict[int, tuple[str, Json]]] = {}
    shapes: dict[str, tuple[str, int]] = {}
    for name, data in facts:
        piece = piece_of(name, data)
        if piece is None:
            others.append((name, data))
            continue
        shape = piece.form, piece.pieces
        if shapes.get(piece.place) != shape:
            shapes[piece.place], by_place[piece.place] = shape, {}
        by_place[piece.place][piece.piece] = name, data
    return others + [fact for pieces in by_place.values() for fact in pieces.values()]


class Values:
    """The values that facts hold, by their places. They are joined and decoded when they are asked for."""

    def __init__(self, facts: Iterable[tuple[str, Json]]) -> None:
        self._pieces: dict[str, list[Piece]] = {}
        self._roots: dict[UUID, str] = {}
        for name, data in in_force(facts):
            if (piece := piece_of(name, data)) is None:
                continue
            self._pieces.setdefault(piece.place, []).append(piece)
            found = _OF_MESSAGE.match(piece.place)
            if piece.message_id is not None and found:
                self._roots[piece.message_id] = found[0]

    def root(self, message_id: UUID) -> str:
        """The place that a message had when it was kept."""
        return self._roots.get(message_id, message_place(message_id))

    def at(self, place: str) -> Json | msgspec.UnsetType:
        """The value that is kept of a place; unset if none is, or not all of it."""
        pieces = sorted(self._pieces.get(place, ()), key=lambda piece: piece.piece)
        if [piece.piece for piece in pieces] != list(range(1, pieces[0].pieces + 1 if pieces else 2)):
            return msgspec.UNSET
        text = "".join([piece.text for piece in pieces])
        if pieces[0].form == "text":
            return text
        try:
            return msgspec.json.decode(text)
        except (msgspec.DecodeError, RecursionError):
            return msgspec.UNSET

    def put_back(self, value: Json, place: str) -> Json:
        """A value as it was before something of it was kept elsewhere."""
        if stands_in(value, place) and (kept := self.at(place)) is not msgspec.UNSET:
            value = kept
        if isinstance(value, dict):
            members = cast("dict[str, Json]", value)
            return {name: self.put_back(member, inside(place, name)) for name, member in members.items()}
        if isinstance(value, list):
            items = enumerate(cast("list[Json]", value))
            return [self.put_back(item, inside(place, index)) for index, item in items]
        return value

    def part(self, part: Part, place: str) -> Part:
        """A part of a message as it was."""
        if not isinstance(part, DataPart) or not stands_in(part.data, place):
            return part
        kept = self.at(place)
        if isinstance(kept, str):
            return TextPart(kept)
        try:
            return part if kept is msgspec.UNSET else msgspec.convert(kept, Part)
        except msgspec.ValidationError:
            return part

    def untaken(self) -> Iterator[tuple[UUID, Json]]:
        """The messages that could not be taken, with all that their source says of each."""
        for place in self._pieces:
            found = _OF_UNTAKEN.fullmatch(place)
            if found and (value := self.at(place)) is not msgspec.UNSET:
                yield UUID(found[1]), value


def stands_in(value: Json, place: str | None = None) -> bool:
    """Whether a value may stand for one that is kept; of that place, if one is named."""
    if not isinstance(value, dict) or value.keys() != {"kept", "bytes"}:
        return False
    members = cast("dict[str, Json]", value)
    kept, size = members["kept"], members["bytes"]
    return isinstance(kept, str) and type(size) is int and place in (None, kept)


def holds_stand_in(value: Json) -> bool:
    """Whether anything in a value may stand for what is kept."""
    if isinstance(value, dict):
        members = cast("dict[str, Json]", value)
        return stands_in(members) or any(map(holds_stand_in, members.values()))
    return isinstance(value, list) and any(map(holds_stand_in, cast("list[Json]", value)))
