"""Things in portions, each as large as it may be."""

from __future__ import annotations

from itertools import zip_longest

from hypothesis import given
from hypothesis import strategies as st

from eventstore.portions import portions


@given(st.lists(st.integers(0, 25), max_size=40), st.integers(0, 20), st.integers(1, 5))
def test_a_portion_is_as_large_as_it_may_be(sizes: list[int], bytes_max: int, count_max: int) -> None:
    made = list(portions(sizes, int, bytes_max, count_max))
    assert [size for portion in made for size in portion] == sizes
    for portion, following in zip_longest(made, made[1:]):
        assert 0 < len(portion) <= count_max
        assert len(portion) == 1 or sum(portion) <= bytes_max
        if following is not None:
            assert len(portion) == count_max or sum(portion) + following[0] > bytes_max


@given(st.lists(st.integers(0, 3), max_size=40))
def test_without_a_count_only_their_size_matters(sizes: list[int]) -> None:
    assert list(portions(sizes, int, sum(sizes))) == ([sizes] if sizes else [])
