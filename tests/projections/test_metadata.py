"""The changes between the metadata of two moments lead from one to the other."""

from __future__ import annotations

import random
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from eventstore.metadata import Metadata
from projections.metadata import FieldChange, changes_between


@given(st.integers(0, 2**32))
def test_the_changes_between_two_rows_lead_from_one_to_the_other(seed: int) -> None:
    rng = random.Random(seed)

    def config() -> dict[str, Any]:
        values = [1, True, "a/b", None, [1, {"x": 1}], {"n": {"m": 1}, "o": 2}, {"n": 3}, {}]
        return {name: rng.choice(values) for name in "ab~/" if rng.random() < 0.7}

    before = Metadata(rng.choice([None, "t"]), config(), config(), rng.choice([[], ["x"]]))
    after = Metadata(rng.choice([None, "t"]), config(), config(), rng.choice([[], ["x"]]))
    changes = changes_between(before, after)
    assert changes == sorted(changes, key=lambda change: change.path)
    assert not changes_between(before, before)
    backwards = changes_between(after, before)
    assert backwards == [FieldChange(change.path, change.after, change.before) for change in changes]
    for change in changes:
        for side, row in ((change.before, before), (change.after, after)):
            if change.path.count("/") == 1 and not isinstance(side, type(FieldChange("").before)):
                assert getattr(row, change.path[1:]) == side
