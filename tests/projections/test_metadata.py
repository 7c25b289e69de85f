"""Merge patches as RFC 7396 says, and the changes between two rows of metadata."""

from __future__ import annotations

import random
from typing import Any, cast

from hypothesis import given
from hypothesis import strategies as st

from projections.layout import MetadataRow
from projections.metadata import FieldChange, changes_between, merge_patch, updated

json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.text("abc", max_size=2),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from("abc"), inner, max_size=3),
    max_leaves=6,
)


@given(json_values, json_values)
def test_a_merge_patch_does_what_rfc_7396_says(target: Any, patch: Any) -> None:
    assert merge_patch(target, patch) == _rfc(target, patch)


def _rfc(target: Any, patch: Any) -> Any:
    """The pseudo code of the RFC's section 2, literally."""
    if isinstance(patch, dict):
        result: dict[str, Any] = cast("dict[str, Any]", target).copy() if isinstance(target, dict) else {}
        for name, value in cast("dict[str, Any]", patch).items():
            if value is None:
                result.pop(name, None)
            else:
                result[name] = _rfc(result.get(name), value)
        return result
    return cast("object", patch)


def test_an_update_of_the_wrong_type_leaves_its_place_as_it_was() -> None:
    row = MetadataRow("t", {"a": 1}, {"b": 2}, ["x"])
    changes = {"title": 5, "config": [1], "attributes": "no", "tags": [1], "other": 1}
    assert updated(row, changes) == row
    assert updated(row, dict.fromkeys(("title", "config", "attributes", "tags"))) == MetadataRow()


@given(st.integers(0, 2**32))
def test_the_changes_between_two_rows_lead_from_one_to_the_other(seed: int) -> None:
    rng = random.Random(seed)

    def config() -> dict[str, Any]:
        values = [1, True, "a/b", None, [1, {"x": 1}], {"n": {"m": 1}, "o": 2}, {"n": 3}, {}]
        return {name: rng.choice(values) for name in "ab~/" if rng.random() < 0.7}

    before = MetadataRow(rng.choice([None, "t"]), config(), config(), rng.choice([[], ["x"]]))
    after = MetadataRow(rng.choice([None, "t"]), config(), config(), rng.choice([[], ["x"]]))
    changes = changes_between(before, after)
    assert changes == sorted(changes, key=lambda change: change.path)
    assert not changes_between(before, before)
    backwards = changes_between(after, before)
    assert backwards == [FieldChange(change.path, change.after, change.before) for change in changes]
    for change in changes:
        for side, row in ((change.before, before), (change.after, after)):
            if change.path.count("/") == 1 and not isinstance(side, type(FieldChange("").before)):
                assert getattr(row, change.path[1:]) == side
