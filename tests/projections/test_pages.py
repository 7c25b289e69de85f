"""Portions of messages whose bodies are read at once."""

from __future__ import annotations

from itertools import zip_longest

from hypothesis import given
from hypothesis import strategies as st

from projections.pages import BODIES_AT_ONCE, BODIES_BYTES, portions


@given(st.lists(st.integers(0, BODIES_BYTES * 2) | st.integers(0, 100), max_size=100))
def test_a_portion_is_as_large_as_it_may_be(sizes: list[int]) -> None:
    made = list(portions(sizes, lambda size: size))
    assert [size for portion in made for size in portion] == sizes
    for portion, following in zip_longest(made, made[1:]):
        assert 0 < len(portion) <= BODIES_AT_ONCE
        assert len(portion) == 1 or sum(portion) <= BODIES_BYTES
        if following is not None:
            assert len(portion) == BODIES_AT_ONCE or sum(portion) + following[0] > BODIES_BYTES
