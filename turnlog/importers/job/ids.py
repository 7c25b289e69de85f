"""The messages of a conversation by their ids: of a million, in a tenth of what a dictionary takes."""

from __future__ import annotations

from array import array
from collections.abc import Collection, Iterable, Iterator
from typing import Final
from uuid import UUID

_ID_BYTES: Final = 16
_SLOTS: Final = 8
_FULL: Final = 2 / 3
"""Of the slots; beyond it there are twice as many."""


class Ids(Collection[UUID]):
    """Ids in the order in which they came, each of which has a place: 0, 1, 2 ...

    Some 24 bytes an id: its own, and a slot or two of a table that leads to its place.
    """

    def __init__(self, ids: Iterable[UUID] = ()) -> None:
        self._ids = bytearray()
        self._slots = array("I", bytes(4 * _SLOTS))
        for each in ids:
            self.add(each)

    def add(self, given: UUID) -> int:
        """Add an id that is new; its place."""
        key = given.bytes
        slot, place = self._find(key)
        if place is not None:
            return place
        self._ids += key
        self._slots[slot] = len(self)
        if len(self) > _FULL * len(self._slots):
            self._grow()
        return len(self) - 1

    def place(self, given: UUID) -> int | None:
        """The place of an id; None when it is not there."""
        return self._find(given.bytes)[1]

    def at(self, place: int) -> UUID:
        """The id at a place."""
        return UUID(bytes=self._key(place))

    def __contains__(self, given: object) -> bool:
        return isinstance(given, UUID) and self.place(given) is not None

    def __len__(self) -> int:
        return len(self._ids) // _ID_BYTES

    def __iter__(self) -> Iterator[UUID]:
        return map(self.at, range(len(self)))

    def _key(self, place: int) -> bytes:
        return bytes(self._ids[_ID_BYTES * place : _ID_BYTES * (place + 1)])

    def _find(self, key: bytes) -> tuple[int, int | None]:
        """The slot of an id, or the free one where it belongs, and its place.

        A slot holds the place and 1; of a free one it holds 0.
        """
        slots = self._slots
        slot = hash(key) % len(slots)
        while number := slots[slot]:
            if self._key(number - 1) == key:
                return slot, number - 1
            slot = (slot + 1) % len(slots)
        return slot, None

    def _grow(self) -> None:
        self._slots = array("I", bytes(self._slots.itemsize * 2 * len(self._slots)))
        for place in range(len(self)):
            slot, _ = self._find(self._key(place))
            self._slots[slot] = place + 1


class Ancestry:
    """The messages of a context, and which each of them follows; parents come before children."""

    def __init__(self) -> None:
        self.ids: Ids = Ids()
        self._parents = array("q")
        self._outside: dict[int, UUID] = {}  # parents in the context that this one was forked from

    def add(self, message_id: UUID, parent_id: UUID | None) -> None:
        """Add the next message."""
        parent = None if parent_id is None else self.ids.place(parent_id)
        place = self.ids.add(message_id)
        if parent is None and parent_id is not None:
            self._outside[place] = parent_id
        self._parents.append(-1 if parent is None else parent)

    def parent_of(self, message_id: UUID) -> UUID | None:
        """What a message follows; None for a first one, and for one that is not there."""
        place = self.ids.place(message_id)
        if place is None:
            return None
        return self._outside.get(place) if self._parents[place] < 0 else self.ids.at(self._parents[place])

    def is_ahead(self, head: UUID | None, current: UUID | None) -> bool:
        """Whether a branch that is at ``current`` went on from ``head``."""
        if head is None or head == current:
            return True
        wanted = self.ids.place(head)
        place = None if current is None else self.ids.place(current)
        while place is not None and place != wanted:
            if self._parents[place] < 0:
                return self._outside.get(place) == head
            place = self._parents[place]
        return place is not None
