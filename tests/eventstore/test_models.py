"""The write models in memory are bounded by what they weigh, not by their number alone."""

from __future__ import annotations

import tracemalloc
from typing import Final
from uuid import uuid4

import pytest
from samples import ident

from eventstore import models, process
from eventstore.context import OpenStream, WriteModel
from eventstore.limits import BRANCHES_MAX, NAME_CHARACTERS_MAX, OPEN_STREAMS_MAX
from eventstore.models import Models, size_of

SMALL: Final = WriteModel(ident(1), 1, branches={"main": None})


def large(entries: int) -> WriteModel:
    """A model with so many more branches."""
    return WriteModel(ident(2), 1, branches={f"b{n}": None for n in range(entries + 1)})


@pytest.fixture
def kept(monkeypatch: pytest.MonkeyPatch) -> Models:
    """Room for ten small models."""
    monkeypatch.setattr(models, "WRITE_MODELS_BYTES_MAX", 10 * size_of(SMALL))
    return Models()


def keys_in(kept: Models) -> list[int]:
    return [n for n in range(100) if kept.get(bytes([n])) is not None]


def test_those_that_were_put_longest_ago_leave_first(kept: Models) -> None:
    for n in range(12):
        kept.put(bytes([n]), SMALL)
    assert keys_in(kept) == [*range(2, 12)]
    kept.put(bytes([2]), SMALL)
    kept.put(bytes([12]), SMALL)
    assert keys_in(kept) == [2, *range(4, 13)]


def test_a_process_that_spares_keeps_fewer(kept: Models, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "spares", True)
    monkeypatch.setattr(models, "SPARED_MODELS_BYTES_MAX", 3 * size_of(SMALL))
    for n in range(12):
        kept.put(bytes([n]), SMALL)
    assert keys_in(kept) == [9, 10, 11]


def test_a_large_one_takes_the_room_of_many(kept: Models) -> None:
    for n in range(10):
        kept.put(bytes([n]), SMALL)
    kept.put(bytes([50]), large(10))
    assert keys_in(kept) == [5, 6, 7, 8, 9, 50]


def test_one_that_grew_is_weighed_anew_and_one_that_shrank_gives_room(kept: Models) -> None:
    for n in range(10):
        kept.put(bytes([n]), SMALL)
    kept.put(bytes([0]), large(10))
    assert keys_in(kept) == [0, 5, 6, 7, 8, 9]
    kept.put(bytes([0]), SMALL)
    for n in range(20, 24):
        kept.put(bytes([n]), SMALL)
    assert keys_in(kept) == [0, 5, 6, 7, 8, 9, 20, 21, 22, 23]


def test_the_one_in_use_stays_however_large_it_is(kept: Models) -> None:
    kept.put(b"a", SMALL)
    kept.put(b"b", large(1_000))
    assert (kept.get(b"a"), kept.get(b"b")) == (None, large(1_000))
    kept.put(b"a", SMALL)
    assert (kept.get(b"a"), kept.get(b"b")) == (SMALL, None)


def test_after_a_clear_all_the_room_is_there_again(kept: Models) -> None:
    for _ in range(3):
        for n in range(10):
            kept.put(bytes([n]), SMALL)
        assert len(keys_in(kept)) == 10
        kept.clear()
        assert keys_in(kept) == []


@pytest.mark.parametrize("entries", [(1, 0), (BRANCHES_MAX, OPEN_STREAMS_MAX), (BRANCHES_MAX, 0), (1, 100)])
def test_no_model_takes_more_memory_than_it_weighs(entries: tuple[int, int]) -> None:
    branches, streams = entries
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        kept = [
            WriteModel(
                uuid4(),
                1 << 40,
                branches={f"{n:04}".ljust(NAME_CHARACTERS_MAX, "😀"): uuid4() for n in range(branches)},
                streams={uuid4(): OpenStream(1 << 40, 1 << 40, 1 << 40) for _ in range(streams)},
                metadata=bytes(100_000),
            )
            for _ in range(3)
        ]
        after, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert (after - before) / len(kept) <= size_of(kept[0]) * 1.1
