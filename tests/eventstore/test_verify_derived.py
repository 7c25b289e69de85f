"""Damage to what follows from the commits: indexes, the head, snapshots. Each is found and named."""

from __future__ import annotations

import tracemalloc
from hashlib import sha256
from pathlib import Path
from typing import Any

import msgspec
import pytest
from damage import flip, flip_commit, overwrite, reframe, stored
from samples import C, D, M, S, chunks, ident, message
from verified import COMMITS, found, the

from eventstore import body, frame, keys
from eventstore.commits import Append, Commit, pack
from eventstore.context import WriteModel
from eventstore.events import ContextCreated, StreamStarted
from eventstore.log import Log
from eventstore.store import EventStore
from eventstore.verify import verify

LONG = ident(0xE)
"""The context that has a snapshot, at version 1,201."""

ENTRIES = (
    (keys.BY_CONTEXT, keys.context_version(D.bytes, 4), 7),
    (keys.COMMIT_IDS, C.bytes + ident(2).bytes, 3),
    (keys.MESSAGES, M.bytes, 1),
    (keys.MESSAGES, S.bytes, 3),
)
"""Entries of the sound log, with the position of the commit that they follow from."""


@pytest.mark.parametrize(("name", "key", "position"), ENTRIES)
async def test_a_missing_index_entry_is_found(sound: Log, name: bytes, key: bytes, position: int) -> None:
    overwrite(sound, name, key, None)
    finding = the("index_missing", sound)
    assert (finding.position, finding.fields) == (position, {"index": name.decode(), "key": key.hex()})


@pytest.mark.parametrize(("name", "key", "position"), ENTRIES)
async def test_an_index_entry_that_says_something_else_is_found(
    sound: Log, name: bytes, key: bytes, position: int
) -> None:
    whole = stored(sound, name, key)
    for changed in (flip(whole, 7), whole + b"x", whole[:-1], b"x"):
        overwrite(sound, name, key, changed)
        assert the("index_differs", sound).position == position
    overwrite(sound, name, key, whole)
    assert found(sound) == []


async def test_a_messages_entry_knows_whether_it_was_streamed_and_at_which_version(sound: Log) -> None:
    for value in (keys.message_value(C.bytes, 3, False), keys.message_value(C.bytes, 4, True)):
        overwrite(sound, keys.MESSAGES, S.bytes, value)
        assert ("index_differs", 3) in found(sound)


@pytest.mark.parametrize(
    ("name", "key", "value"),
    [
        (keys.BY_CONTEXT, keys.context_version(D.bytes, 99), keys.pack_u64(7)),
        (keys.BY_CONTEXT, keys.context_version(ident(0x77).bytes, 1), keys.pack_u64(7)),
        (keys.BY_CONTEXT, keys.context_version(ident(0x77).bytes, 1), keys.pack_u64(999)),
        (keys.BY_CONTEXT, b"strange", b"strange"),
        (keys.COMMIT_IDS, D.bytes + ident(2).bytes, keys.commit_id_value(3, bytes(32))),
        (keys.COMMIT_IDS, C.bytes + ident(3).bytes, keys.commit_id_value(3, bytes(32))),
        (keys.COMMIT_IDS, C.bytes + ident(3).bytes, keys.commit_id_value(4, bytes(32))),
        (keys.COMMIT_IDS, C.bytes + ident(3).bytes, keys.commit_id_value(0, bytes(32))),
        (keys.COMMIT_IDS, C.bytes + ident(3).bytes, keys.commit_id_value(999, bytes(32))),
        (keys.COMMIT_IDS, b"strange", b"strange"),
        (keys.MESSAGES, ident(0x77).bytes, keys.message_value(C.bytes, 2, False)),
        (keys.MESSAGES, ident(0x77).bytes, keys.message_value(C.bytes, 999, False)),
        (keys.MESSAGES, ident(0x77).bytes, keys.message_value(ident(0x78).bytes, 1, False)),
        (keys.MESSAGES, b"strange", b"strange"),
    ],
)
async def test_an_index_entry_that_follows_from_no_commit_is_found(
    sound: Log, name: bytes, key: bytes, value: bytes
) -> None:
    overwrite(sound, name, key, value)
    assert found(sound) == [("index_surplus", None)]
    assert the("index_surplus", sound).fields == {"index": name.decode(), "key": key.hex()}
    assert found(sound, after=2) == [], "which only the whole log can tell"


async def test_surplus_entries_are_found_on_every_page(sound: Log, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("eventstore.derived.PAGE_COMMITS", 3)
    for number in range(0x1000, 0x1014):
        overwrite(sound, keys.MESSAGES, ident(number).bytes, keys.message_value(C.bytes, 1, False))
    assert found(sound) == [("index_surplus", None)] * 20


async def test_of_a_sound_index_each_commit_is_decoded_once(
    sound: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    decoded: list[int] = []
    decode = frame.decode_checked

    def no_snapshots(log: Log) -> tuple[()]:
        del log
        return ()  # they are folded of all commits once more

    def counted(position: int, *given: Any) -> Commit:
        decoded.append(position)
        return decode(position, *given)

    monkeypatch.setattr(frame, "decode_checked", counted)
    monkeypatch.setattr("eventstore.verify.check_snapshots", no_snapshots)
    assert found(sound) == []
    assert decoded == [*range(1, COMMITS + 1)]


async def test_a_surplus_entry_is_found_while_others_are_stored(
    data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One entry too many, and one that is stored after the log was begun to be looked at."""
    monkeypatch.setattr("eventstore.verify.PAGE_COMMITS", 1)
    async with await EventStore.open(data_dir) as store:
        for number in range(2):
            await store.append(ident(number + 1), [ContextCreated()])
    async with await EventStore.open(data_dir) as store:
        await store.append(ident(3), [ContextCreated()])
        log = store.log
        with log.reading() as txn:
            assert log.head(txn).indexed == 2
        overwrite(log, keys.BY_CONTEXT, b"strange", b"strange")

        def store_more(position: int) -> None:
            if position == 1:
                overwrite(log, keys.BY_CONTEXT, keys.context_version(ident(3).bytes, 1), keys.pack_u64(3))
                with log.env.begin(write=True) as txn:
                    txn.put(keys.HEAD, keys.head_value(*log.head(txn)._replace(indexed=3)))

        assert [f.code for f in verify(log, progress=store_more)] == ["index_surplus"]


async def test_a_damaged_commit_does_not_make_its_index_entries_surplus(sound: Log) -> None:
    flip_commit(sound, 3, 70)
    assert found(sound) == [("digest_differs", 3)]


# -- The head -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("further", "later", "flipped", "findings"),
    [
        (-1, 0, False, {"commit_beyond_head", "chain_differs"}),
        (2, 0, False, {"commit_missing"}),
        (0, 1, False, {"head_differs"}),
        (0, 0, True, {"chain_differs"}),
    ],
)
async def test_a_head_that_is_not_the_end_of_the_log_is_found(
    sound: Log, further: int, later: int, flipped: bool, findings: set[str]
) -> None:
    position, at, chain, indexed = keys.split_head_value(stored(sound, b"", keys.HEAD))
    chain = flip(chain, 0) if flipped else chain
    changed = keys.head_value(position + further, at + later, chain, min(indexed, position + further))
    overwrite(sound, b"", keys.HEAD, changed)
    assert {code for code, _ in found(sound)} == findings


async def test_a_missing_or_unreadable_head_is_found(sound: Log) -> None:
    overwrite(sound, b"", keys.HEAD, None)
    assert ("commit_beyond_head", COMMITS) in found(sound)
    overwrite(sound, b"", keys.HEAD, b"strange")
    assert found(sound) == [("head_unreadable", None)]


# -- Snapshots ----------------------------------------------------------------------------------------------


def snapshot(log: Log) -> WriteModel:
    value = stored(log, keys.WRITE_MODELS, LONG.bytes)
    return msgspec.msgpack.decode(value[keys.DIGEST_BYTES :], type=WriteModel)


def put_snapshot(log: Log, key: bytes, model: WriteModel) -> None:
    encoded = msgspec.msgpack.Encoder(uuid_format="bytes").encode(model)
    overwrite(log, keys.WRITE_MODELS, key, sha256(encoded).digest() + encoded)


async def test_a_snapshot_with_a_flipped_bit_is_a_warning(sound: Log) -> None:
    assert snapshot(sound).version == 1_201
    whole = stored(sound, keys.WRITE_MODELS, LONG.bytes)
    for changed in (flip(whole, 3), flip(whole, 40), whole[:20], b"", sha256(b"x").digest() + b"x"):
        overwrite(sound, keys.WRITE_MODELS, LONG.bytes, changed)
        finding = the("snapshot_damaged", sound)
        assert (finding.severity, finding.fields) == ("warning", {"context_id": LONG.hex})
        assert len(found(sound)) == 1


async def test_a_snapshot_that_is_not_the_fold_of_its_context_is_a_warning(sound: Log) -> None:
    model = snapshot(sound)
    changes: tuple[dict[str, object], ...] = (
        {"version": 1_200},
        {"version": 901},
        {"version": 9_999},
        {"deleted": True},
        {"branches": {}},
        {"active_branch": "other"},
        {"context_id": C},
    )
    for change in changes:
        put_snapshot(sound, LONG.bytes, msgspec.structs.replace(model, **change))
        sound_after_all = change == {
            "version": 901
        }  # what the model was then: nothing else has changed since
        assert found(sound) == ([] if sound_after_all else [("snapshot_differs", None)]), change
    assert the("snapshot_differs", sound).severity == "warning"


async def test_a_snapshot_of_a_context_that_does_not_exist_is_a_warning(sound: Log) -> None:
    put_snapshot(sound, ident(0x77).bytes, WriteModel(ident(0x77), version=5))
    overwrite(sound, keys.WRITE_MODELS, b"strange", stored(sound, keys.WRITE_MODELS, LONG.bytes))
    assert sorted(found(sound)) == [("snapshot_damaged", None), ("snapshot_differs", None)]


async def test_a_snapshot_of_a_long_context_is_folded_in_pages(
    data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("eventstore.derived.PAGE_COMMITS", 7)
    async with await EventStore.open(data_dir) as store:
        await store.append(C, [ContextCreated(), message(M), StreamStarted(S)])
        for first in range(1, 2_500, 100):
            await store.append(C, chunks(first, first + 99))
        assert found(store.log) == []
        flip_commit(store.log, 5, 80)
        assert found(store.log) == [("digest_differs", 5)], "a fold that meets damage says nothing more"


async def test_a_history_that_cannot_have_happened_is_found_where_a_snapshot_needs_it(sound: Log) -> None:
    framed = stored(sound, keys.COMMITS, keys.pack_u64(13))[keys.DIGEST_BYTES :]
    prepared = body.prepare(pack(chunks(1, 300)), None)
    header = list(frame.HEADER.unpack_from(framed))
    header[1], header[2] = 0, prepared.kinds
    reframe(sound, 13, frame.HEADER.pack(*header) + prepared.body)
    assert found(sound) == [("chain_differs", COMMITS), ("history_impossible", 13)]


async def test_memory_does_not_grow_with_the_log(store: EventStore, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("verify", "derived"):
        monkeypatch.setattr(f"eventstore.{module}.PAGE_COMMITS", 50)
    await store.append(C, [ContextCreated(), message(M), StreamStarted(S)])

    def most() -> int:
        tracemalloc.start()
        try:
            assert list(verify(store.log)) == []
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    sizes = list[int]()
    for number in range(4):
        first = number * 1_000
        await store.append_many([Append(C, (chunk,)) for chunk in chunks(first + 1, first + 1_000)])
        sizes.append(most())
    assert sizes[-1] < 1.2 * sizes[0]
