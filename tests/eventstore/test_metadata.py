"""Merge patches as RFC 7396 says, over what a context has."""

from __future__ import annotations

from typing import Any, cast

from hypothesis import given
from hypothesis import strategies as st

from eventstore.metadata import EMPTY, Metadata, decode, encode, merge_patch, updated

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
    before = Metadata("t", {"a": 1}, {"b": 2}, ["x"])
    changes = {"title": 5, "config": [1], "attributes": "no", "tags": [1], "other": 1}
    assert updated(before, changes) == before
    assert updated(before, dict.fromkeys(("title", "config", "attributes", "tags"))) == Metadata()


def test_metadata_is_kept_as_it_is() -> None:
    metadata = Metadata("t", {"a": [1, 1.5, None, {"b": "é"}]}, {"c": True}, ["x"])
    assert decode(encode(metadata)) == metadata
    assert decode(EMPTY) == Metadata()
