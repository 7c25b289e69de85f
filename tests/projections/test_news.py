"""Commits that nobody folds are passed by without being read, and never one that somebody does."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from projections.news import SPANS_MAX, News

WANTED = 0b100


def told(*spans: tuple[int, int, int]) -> News:
    news = News()
    for span in spans:
        news.tell(*span)
    return news


def test_what_holds_nothing_wanted_is_passed_up_to_what_does() -> None:
    news = told((0, 4, 1), (4, 5, 2), (5, 9, 1 | WANTED), (9, 12, 1))
    assert news.skip(0, 12, WANTED) == 5
    assert news.skip(5, 12, WANTED) == 5, "these must be read"
    assert news.skip(9, 12, WANTED) == 12
    assert news.skip(12, 12, WANTED) == 12


def test_one_who_is_inside_a_span_goes_to_its_end() -> None:
    assert told((0, 4, 1)).skip(2, 4, WANTED) == 4


def test_one_who_is_behind_what_is_known_reads() -> None:
    assert told((3, 9, 1)).skip(2, 9, WANTED) == 2


def test_nobody_goes_beyond_the_goal() -> None:
    news = told((0, 4, 1), (4, 8, 1))
    assert news.skip(0, 6, WANTED) == 4
    assert news.skip(4, 8, WANTED) == 8


def test_only_the_newest_are_remembered() -> None:
    news = told(*((n, n + 1, 1) for n in range(SPANS_MAX + 10)))
    assert news.skip(0, SPANS_MAX + 10, WANTED) == 0
    assert news.skip(10, SPANS_MAX + 10, WANTED) == SPANS_MAX + 10


@given(
    st.lists(st.integers(1, 5), min_size=1, max_size=20),
    st.data(),
)
def test_nothing_wanted_is_ever_passed(sizes: list[int], data: st.DataObject) -> None:
    ends = [0]
    for size in sizes:
        ends.append(ends[-1] + size)
    holds = [data.draw(st.integers(0, 7)) for _ in range(ends[-1])]
    news, position, goal = News(), data.draw(st.integers(0, ends[-1])), ends[-1]
    for after, reached in pairwise(ends):
        kinds = 0
        for held in holds[after:reached]:
            kinds |= held
        news.tell(after, reached, kinds)
        if data.draw(st.booleans()):
            goal = data.draw(st.integers(position, ends[-1]))
            skipped = news.skip(position, goal, WANTED)
            assert position <= skipped <= goal
            assert not any(held & WANTED for held in holds[position:skipped])
            position = max(skipped, data.draw(st.integers(skipped, max(skipped, reached))))
