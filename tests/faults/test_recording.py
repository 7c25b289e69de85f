"""The model of a disk that the power-cut explorer draws its states from."""

from __future__ import annotations

import random
from pathlib import Path

from recording import LOG, PAGE_BYTES, Disk, Operation, disk_after, load, mark

STATES = 200


def written(offset: int, data: bytes, tag: str = "W") -> Operation:
    return Operation(tag, LOG, offset, len(data), data)


SYNCED = Operation("S", LOG, 0, 0, b"")
FAILED = Operation("E", LOG, 0, 0, b"")


def contents(operations: list[Operation], cut: int | None = None) -> set[bytes]:
    disks = [disk_after(operations, cut or len(operations), random.Random(n)) for n in range(STATES)]
    return {disk.content[LOG] for disk in disks}


def test_what_was_synced_is_there() -> None:
    assert contents([written(0, b"a"), written(1, b"b"), SYNCED]) == {b"ab"}


def test_what_was_not_synced_is_there_or_not_piece_by_piece() -> None:
    assert contents([written(0, b"a"), SYNCED, written(0, b"b"), written(1, b"c")]) == {
        b"a",
        b"b",
        b"ac",
        b"bc",
    }


def test_a_long_write_may_be_torn_at_pages_or_sectors() -> None:
    blank, new = bytes(2 * PAGE_BYTES), b"x" * 2 * PAGE_BYTES
    found = contents([written(0, blank), SYNCED, written(0, new)])
    assert {blank, new, blank[:PAGE_BYTES] + new[PAGE_BYTES:], new[:PAGE_BYTES] + blank[PAGE_BYTES:]} < found


def test_a_write_through_o_dsync_is_there_once_it_has_returned_and_says_nothing_of_others() -> None:
    through = [written(0, b"a"), SYNCED, written(0, b"b"), written(1, b"c", "D"), SYNCED]
    assert contents(through, 4) == {b"a", b"b", b"ac", b"bc"}
    assert contents([*through[:4], Operation("A", "-", 0, 0, b"")]) == {b"ac", b"bc"}
    assert contents(through) == {b"bc"}


def test_after_a_failed_sync_a_later_one_may_not_save_what_was_written_before() -> None:
    failed = [written(0, b"a"), SYNCED, written(0, b"b"), FAILED, SYNCED]
    assert contents(failed) == {b"a", b"b"}
    assert contents([*failed, written(0, b"c"), SYNCED]) == {b"c"}


def test_a_name_is_certain_once_its_directory_is_synced() -> None:
    renamed = Operation("N", LOG, 0, 0, b"/data/log")
    operations = [written(0, b"a"), SYNCED, renamed, Operation("F", "-", 0, 0, b"/data")]

    def named(cut: int) -> set[frozenset[str]]:
        disks: list[Disk] = [disk_after(operations, cut, random.Random(n)) for n in range(STATES)]
        return {disk.named for disk in disks}

    assert named(2) == {frozenset()}
    assert named(3) == {frozenset(), frozenset({LOG})}
    assert named(4) == {frozenset({LOG})}


def test_records_read_back_as_they_were_written(tmp_path: Path) -> None:
    record = tmp_path / "record"
    record.write_bytes(mark("A", 7, 8) + mark("B", 9))
    assert load(record) == [Operation("A", "-", 7, 8, b""), Operation("B", "-", 9, 0, b"")]
