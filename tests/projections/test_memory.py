"""Rows in memory, and rows that wait in memory: what a fold reads is what it wrote."""

from __future__ import annotations

from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from witness import EVERYTHING, Journal

from eventstore.commits import Commit
from eventstore.errors import NotFound, Refused
from eventstore.events import BITS, ContextCreated, CustomRecorded, Record, kinds_of
from projections.memory import MemoryPast, MemoryRows, MemoryViews
from projections.rows import KEY_BYTES_MAX, BufferedRows

KEYS = st.lists(st.sampled_from([0, 1, 255]), min_size=1, max_size=3).map(bytes)
VALUES = st.binary(max_size=3)
CHANGES = st.lists(st.tuples(KEYS, st.none() | VALUES), max_size=40)


def change(rows: MemoryRows | BufferedRows, key: bytes, value: bytes | None) -> None:
    """Put, or delete when there is no value."""
    if value is None:
        rows.delete("t", key)
    else:
        rows.put("t", key, value)


def changed(changes: list[tuple[bytes, bytes | None]]) -> dict[bytes, bytes]:
    """The model: a dictionary."""
    model: dict[bytes, bytes] = {}
    for key, value in changes:
        if value is None:
            model.pop(key, None)
        else:
            model[key] = value
    return model


def commit(position: int, *records: Record, context: int = 1, first_version: int = 1) -> Commit:
    """A commit as a fold sees it."""
    count, kinds = len(records), kinds_of(records)
    return Commit(
        position, UUID(int=context), first_version, count, kinds, 0, None, None, records, b"%032d" % position
    )


@given(CHANGES, KEYS, KEYS, st.booleans())
def test_rows_in_memory_are_a_sorted_dictionary(
    changes: list[tuple[bytes, bytes | None]], start: bytes, stop: bytes, reverse: bool
) -> None:
    rows, model = MemoryRows(["t"]), changed(changes)
    for key, value in changes:
        change(rows, key, value)
    expected = sorted(item for item in model.items() if start <= item[0] < stop)
    assert list(rows.scan("t", start, stop, reverse)) == (expected[::-1] if reverse else expected)
    assert rows.dump() == {"t": sorted(model.items())}
    assert rows.get("t", start) == model.get(start)


@given(CHANGES, st.binary(max_size=2), KEYS)
def test_the_floor_is_the_last_row_at_or_below_a_key_within_a_prefix(
    changes: list[tuple[bytes, bytes | None]], prefix: bytes, key: bytes
) -> None:
    rows, model = MemoryRows(["t"]), changed(changes)
    for changed_key, value in changes:
        change(rows, changed_key, value)
    below = max((item for item in model.items() if item[0] <= key), default=None)
    expected = below if below is not None and below[0].startswith(prefix) else None
    assert rows.floor("t", prefix, key) == expected


@given(st.dictionaries(KEYS, VALUES), CHANGES, CHANGES)
def test_buffered_rows_read_their_own_changes_and_take_back_those_of_a_fold_that_raised(
    stored: dict[bytes, bytes],
    kept: list[tuple[bytes, bytes | None]],
    undone: list[tuple[bytes, bytes | None]],
) -> None:
    rows = BufferedRows(["t"], lambda _, key: stored.get(key))
    for key, value in kept:
        change(rows, key, value)
    rows.keep()
    for key, value in undone:
        change(rows, key, value)
        assert rows.get("t", key) == value
    rows.undo()
    model = changed([*stored.items(), *kept])
    for key in {*stored, *dict(kept), *dict(undone)}:
        assert rows.get("t", key) == model.get(key)
    written = dict(stored)
    for _, puts, deletes in rows.changes():
        assert puts == sorted(puts)
        written |= dict(puts)
        for key in deletes:
            written.pop(key, None)
    assert written == model
    assert rows.changed == bool(kept)


def test_buffered_rows_forget_what_was_stored() -> None:
    rows = BufferedRows(["t"], lambda _table, _key: None)
    rows.put("t", b"k", b"v")
    rows.keep()
    assert rows.bytes > 0
    rows.clear()
    assert (rows.changed, rows.bytes, rows.get("t", b"k")) == (False, 0, None)
    rows.undo()
    assert rows.get("t", b"k") is None


@pytest.mark.parametrize("key", [b"", b"k" * (KEY_BYTES_MAX + 1), "text", 1, bytearray(b"k")])
def test_a_key_that_cannot_be_stored_is_refused_while_folding(key: bytes) -> None:
    for rows in (MemoryRows(["t"]), BufferedRows(["t"], lambda _table, _key: None)):
        with pytest.raises(Refused, match="key"):
            rows.put("t", key, b"")
        with pytest.raises(Refused, match="key"):
            rows.delete("t", key)


def test_a_value_that_is_not_bytes_is_refused_while_folding() -> None:
    value: bytes = memoryview(b"v")  # pyright: ignore[reportAssignmentType] -- the wrong type is the test
    for rows in (MemoryRows(["t"]), BufferedRows(["t"], lambda _table, _key: None)):
        with pytest.raises(Refused, match="value"):
            rows.put("t", b"k", value)


def test_a_table_that_a_projection_does_not_have_is_an_error() -> None:
    for rows in (MemoryRows(["t"]), BufferedRows(["t"], lambda _table, _key: None)):
        with pytest.raises(KeyError):
            rows.get("other", b"k")
        with pytest.raises(KeyError):
            rows.put("other", b"k", b"v")


def test_views_in_memory_fold_only_the_kinds_that_a_projection_asks_for() -> None:
    journal = Journal(kinds=BITS[CustomRecorded])
    views = MemoryViews([journal])
    views.apply(commit(1, ContextCreated()))
    views.apply(commit(2, CustomRecorded("n"), first_version=2))
    assert journal.folded == [2]
    with views.reading() as reader:
        ((key, value),) = reader.scan("journal", "events", b"", EVERYTHING)
        assert reader.get("journal", "events", key) == value == b"CustomRecorded"
        assert reader.floor("journal", "events", b"", EVERYTHING) == (key, value)
    with pytest.raises(NotFound) as caught:
        views.get("nobody", "events", b"k")
    assert caught.value.code == "unknown_projection"


def test_a_past_in_memory_gives_the_commits_that_hold_the_versions() -> None:
    commits = [
        commit(1, ContextCreated(), CustomRecorded("a")),
        commit(2, ContextCreated(), context=2),
        commit(3, CustomRecorded("b"), CustomRecorded("c"), first_version=3),
        commit(4, CustomRecorded("d"), first_version=5),
    ]
    past = MemoryPast(commits)
    assert [c.position for c in past.context(UUID(int=1), 2, 4)] == [1, 3]
    assert [c.position for c in past.context(UUID(int=1), 5, 9)] == [4]
    assert list(past.context(UUID(int=3), 1, 9)) == []
