"""Marks of ids: each is new once, however many there are."""

from __future__ import annotations

from random import Random
from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st

from turnlog.importers.source.seen import Seen, mark_of

MARKS = 20_000


@given(marks=st.lists(st.integers(1, 40) | st.integers(1, (1 << 64) - 1)))
def test_it_knows_what_a_set_knows(marks: list[int]) -> None:
    seen, known = Seen(), set[int]()
    for mark in marks:
        assert seen.add(mark) is (mark not in known)
        known.add(mark)


def test_many_are_new_once() -> None:
    rng, seen = Random(3), Seen()
    ids = [UUID(int=rng.getrandbits(128)) for _ in range(MARKS)]
    assert {seen.add(mark_of(each.bytes)) for each in ids} == {True}
    assert {seen.add(mark_of(each.bytes)) for each in ids} == {False}


def test_marks_that_want_one_place_are_kept_apart() -> None:
    seen = Seen()
    assert {seen.add(n << 40) for n in range(1, 500)} == {True}
    assert {seen.add(n << 40) for n in range(1, 500)} == {False}
    assert seen.add(500 << 40)


def test_a_mark_depends_on_all_of_an_id() -> None:
    assert len({mark_of(UUID(int=1 << bit).bytes) for bit in range(128)} | {0}) == 129
