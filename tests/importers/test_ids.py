"""Messages by their ids, and which follows which: as dictionaries say it."""

from __future__ import annotations

import tracemalloc
from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st

from turnlog.importers.job.ids import Ancestry, Ids

SOME = st.lists(st.integers(0, 1 << 127).map(lambda number: UUID(int=number)), unique=True, max_size=60)


@given(SOME, SOME)
def test_each_has_its_place(ids: list[UUID], others: list[UUID]) -> None:
    made = Ids(ids)
    assert list(made) == ids
    assert len(made) == len(ids)
    places = {each: place for place, each in enumerate(ids)}
    for each in (*ids, *others):
        assert made.place(each) == places.get(each)
        assert (each in made) == (each in places)
    assert [made.at(place) for place in range(len(ids))] == ids
    assert "no id" not in made


def test_an_id_that_comes_again_keeps_its_place() -> None:
    first, second = UUID(int=1), UUID(int=2)
    made = Ids([first, second])
    assert made.add(first) == 0
    assert list(made) == [first, second]


def test_many_ids_take_little_room() -> None:
    tracemalloc.start()
    made = Ids(UUID(int=number << 64) for number in range(50_000))
    taken, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert taken < 50_000 * 32
    assert len(made) == 50_000
    assert made.place(UUID(int=49_999 << 64)) == 49_999
    assert made.place(UUID(int=50_000 << 64)) is None


def is_ahead(head: UUID | None, current: UUID | None, parents: dict[UUID, UUID | None]) -> bool:
    """What ``Ancestry.is_ahead`` says, as a walk up."""
    while current is not None and current != head:
        current = parents.get(current)
    return current == head


@given(st.data())
def test_a_branch_is_ahead_of_every_message_before_it(data: st.DataObject) -> None:
    ids = data.draw(SOME)
    outside = [UUID(int=(1 << 127) + 1 + number) for number in range(3)]
    parents: dict[UUID, UUID | None] = {}
    made = Ancestry()
    for each in ids:
        parents[each] = data.draw(st.sampled_from([None, *outside, *parents]))
        made.add(each, parents[each])
    anything = [None, *outside, *ids]
    for head in anything:
        for current in anything:
            assert made.is_ahead(head, current) == is_ahead(head, current, parents), (head, current)
