"""Values in memory or in a file: the same come back, here and in another process, or it is said why not."""

from __future__ import annotations

import errno
import io
import os
import pickle
import tempfile
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eventstore import spool
from eventstore.errors import Unavailable
from eventstore.spool import HELD_BYTES_MAX, VALUE_BYTES, Spool, View, chosen, pickle_into

LARGE = HELD_BYTES_MAX // 4 - VALUE_BYTES


def spooled(values: list[Any], size: int) -> Spool[Any]:
    """A spool of values that are said to take so many bytes each."""
    made = Spool[Any]()
    made.extend((value, size) for value in values)
    return made


def files() -> set[str]:
    """What this process has open."""
    return {os.readlink(path) for path in Path("/proc/self/fd").iterdir() if path.is_symlink()}


def test_a_few_values_are_a_tuple() -> None:
    assert spooled([1, 2, 3], 1).settled() == (1, 2, 3)
    assert type(spooled([1, 2, 3], 1).settled()) is tuple
    assert Spool[int]().settled() == ()


@pytest.mark.parametrize("size", [1, LARGE])
def test_they_come_back_in_any_order(size: int) -> None:
    values = [{"text": "x" * n, "id": UUID(int=n)} for n in range(20)]
    made = spooled(values, size)
    assert len(made) == 20
    assert list(made) == values
    assert [made[n] for n in (19, 0, -1, 7)] == [values[n] for n in (19, 0, -1, 7)]
    assert made[3:9:2] == values[3:9:2]
    with pytest.raises(IndexError):
        made[20]


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="only Linux tells what is open")
def test_what_is_large_is_in_a_file_without_a_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    made = spooled(["x"] * 4, LARGE)
    assert not [name for name in files() if name.startswith(str(tmp_path))]
    made.append("y", 1)
    assert [name for name in files() if name.startswith(str(tmp_path)) and name.endswith("(deleted)")]
    assert list(tmp_path.iterdir()) == []
    assert made.settled() is made
    assert list(made) == [*"xxxxy"]
    del made
    assert not [name for name in files() if name.startswith(str(tmp_path))]


def test_many_small_values_are_in_a_file_too() -> None:
    values = [{"n": n} for n in range(HELD_BYTES_MAX // VALUE_BYTES + 1)]
    made = spooled(values, 0)
    assert made.settled() is made
    assert made == values


def test_it_equals_what_has_the_same_values() -> None:
    made = spooled([1, 2, 3, 4, 5], LARGE)
    assert made == (1, 2, 3, 4, 5)
    assert made != (1, 2, 3, 4)
    assert made != (1, 2, 3, 4, 6)
    assert made != 5


def test_a_view_makes_each_value_when_it_is_asked_for() -> None:
    made: list[int] = []

    def double(value: int) -> int:
        made.append(value)
        return 2 * value

    view = View([1, 2, 3], double)
    assert (len(view), made) == (3, [])
    assert (view[1], made) == (4, [2])
    assert list(view) == [2, 4, 6]
    assert list(chosen(view, [2, 0])) == [6, 2]


def test_it_goes_to_another_process_with_what_is_in_its_file() -> None:
    made = spooled([str(n) * 100_000 for n in range(30)], LARGE)
    sent = io.BytesIO()
    made.send(sent)
    there: Spool[str] = pickle.loads(pickle.dumps(made))
    there.receive(io.BytesIO(sent.getvalue() + b"what follows"))
    assert list(there) == list(made)
    cut: Spool[str] = pickle.loads(pickle.dumps(made))
    with pytest.raises(EOFError):
        cut.receive(io.BytesIO(sent.getvalue()[:-1]))


def test_without_a_folder_for_it_that_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "nowhere"))
    made = spooled(["x"] * 4, LARGE)
    with pytest.raises(Unavailable, match="No such file") as refused:
        made.append("y", 1)
    assert refused.value.code == "spool_failed"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no disk that is full")
def test_on_a_full_disk_that_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(**_: object) -> Any:
        return open("/dev/full", "r+b", buffering=0)

    monkeypatch.setattr(spool.tempfile, "TemporaryFile", full)
    with pytest.raises(Unavailable, match="No space left") as refused:
        spooled(["x"] * 5, LARGE)
    assert refused.value.code == "spool_failed"


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="only Linux tells what is open")
def test_a_file_that_was_cut_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    made = spooled(["x" * 100] * 5, LARGE)
    opened = [path for path in Path("/proc/self/fd").iterdir() if path.is_symlink()]
    (path,) = [path for path in opened if os.readlink(path).startswith(str(tmp_path))]
    os.truncate(path, 100)
    with pytest.raises(Unavailable, match="too early"):
        list(made)


def test_without_any_folder_for_it_that_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    def none() -> str:
        raise FileNotFoundError(errno.ENOENT, "No usable temporary directory found")

    monkeypatch.setattr(tempfile, "gettempdir", none)
    with pytest.raises(Unavailable) as refused:
        spooled(["x"] * 5, LARGE)
    assert refused.value.code == "spool_failed"


def test_where_the_disks_folder_is_not_there_the_other_serves(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(spool, "_MEMORY", str(tmp_path))
    monkeypatch.setattr(spool, "_DISK", str(tmp_path / "nowhere"))
    assert list(spooled(["x"] * 5, LARGE)) == ["x"] * 5


@given(
    sizes=st.lists(st.sampled_from([0, 100, 70_000, 2_000_000]), max_size=60),
    held=st.sampled_from([0, 5_000, HELD_BYTES_MAX]),
    order=st.lists(st.integers(0, 59), max_size=30),
)
def test_blocks_hold_what_was_appended(sizes: list[int], held: int, order: list[int]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(spool, "HELD_BYTES_MAX", held)
        made = Spool[tuple[int, str]]()
        values = [(number, "x" * (size // 100)) for number, size in enumerate(sizes)]
        for number, (value, size) in enumerate(zip(values, sizes, strict=True)):
            made.append(value, size)
            assert made[number] == value
            assert len(made) == number + 1
    assert made == values
    assert [made[n] for n in order if n < len(values)] == [values[n] for n in order if n < len(values)]
    if not isinstance(settled := made.settled(), tuple):
        sent = io.BytesIO()
        pickle_into(sent, settled, is_long=True)
        made.send(sent)
        sent.seek(0)
        received = pickle.load(sent)
        received.receive(sent)
        assert received == values
        assert sent.read() == b""
