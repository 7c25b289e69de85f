"""Every kind of damage, seeded into a log, is found and named; a sound log yields nothing."""

from __future__ import annotations

from collections.abc import Callable
from hashlib import sha256
from typing import cast
from uuid import UUID

import anyio
import msgspec
import pytest
from damage import flip, flip_commit, overwrite, reframe, stored
from samples import EVERY_EVENT, C, D, S, chunks, ident, message
from verified import COMMITS, MARK, found, the

from eventstore import body, frame, keys
from eventstore import verify as verify_module
from eventstore.commits import Append
from eventstore.events import ContextCreated, StreamFinalized, StreamStarted
from eventstore.findings import Finding
from eventstore.log import Log
from eventstore.store import EventStore
from eventstore.verify import verify

# -- Sound logs ---------------------------------------------------------------------------------------------


async def test_an_empty_log_is_sound(store: EventStore) -> None:
    assert found(store.log) == []


@pytest.mark.parametrize("page", [1, 2, 5, 1_000])
async def test_a_sound_log_yields_nothing_and_tells_how_far_it_is(
    sound: Log, monkeypatch: pytest.MonkeyPatch, page: int
) -> None:
    for module in ("verify", "derived"):
        monkeypatch.setattr(f"eventstore.{module}.PAGE_COMMITS", page)
    told = list[int]()
    assert list(verify(sound, progress=told.append)) == []
    assert told == sorted(told)
    assert told[-1] == COMMITS
    assert len(told) >= COMMITS // page


async def test_every_event_there_is_can_be_verified(store: EventStore) -> None:
    context = ident(0xF)
    await store.append(context, [ContextCreated(), *[MARK] * 5])
    created, *rest = (
        EVERY_EVENT[0],
        *(event for event in EVERY_EVENT if type(event).__name__ == "ContextUpdated"),
    )
    await store.append(
        C, [created, *rest, message(ident(2)), StreamStarted(ident(3)), *chunks(1, 5, ident(3))]
    )
    assert found(store.log) == []


async def test_a_log_can_be_verified_from_a_position_on(sound: Log) -> None:
    assert found(sound, after=5) == []
    assert found(sound, after=COMMITS) == found(sound, after=99) == []


async def test_a_log_that_grows_meanwhile_is_sound(
    store: EventStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(verify_module, "PAGE_COMMITS", 5)
    await store.append_many([Append(C, (ContextCreated(),)), *[Append(C, (MARK,))] * 50])

    def check() -> list[Finding]:
        return list(verify(store.log))

    async with anyio.create_task_group() as tasks:
        for _ in range(20):
            tasks.start_soon(store.append, C, [MARK])
        for _ in range(5):
            assert await anyio.to_thread.run_sync(check) == []


# -- Commits ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("position", [1, 6, COMMITS])
@pytest.mark.parametrize("offset", [32, 34, 38, 54, 62, 66, 100, 90])
async def test_a_flipped_bit_is_found_at_its_position(sound: Log, position: int, offset: int) -> None:
    size = len(stored(sound, keys.COMMITS, keys.pack_u64(position)))
    flip_commit(sound, position, min(offset, size - 1))
    assert ("digest_differs", position) in found(sound)
    assert {at for _, at in found(sound)} <= {position, None}, "and nothing else is blamed"


async def test_every_flipped_bit_of_a_frame_is_found(sound: Log) -> None:
    whole = stored(sound, keys.COMMITS, keys.pack_u64(3))
    for offset in range(len(whole)):
        overwrite(sound, keys.COMMITS, keys.pack_u64(3), flip(whole, offset))
        assert ("digest_differs", 3) in found(sound, after=2), offset


async def test_a_flipped_bit_in_a_digest_also_breaks_the_chain(sound: Log) -> None:
    flip_commit(sound, 6, 5)
    assert found(sound) == [("digest_differs", 6), ("chain_differs", COMMITS)]


async def test_one_damage_does_not_hide_another(sound: Log) -> None:
    for position in (2, 6, 7, 16):
        flip_commit(sound, position, 80)
    assert found(sound) == [("digest_differs", position) for position in (2, 6, 7, 16)]


@pytest.mark.parametrize(("missing", "last"), [((5,), 5), ((5, 6, 7), 7), ((1,), 1), ((COMMITS,), COMMITS)])
async def test_missing_commits_are_found_as_one_gap(sound: Log, missing: tuple[int, ...], last: int) -> None:
    for position in missing:
        overwrite(sound, keys.COMMITS, keys.pack_u64(position), None)
    finding = the("commit_missing", sound)
    assert (finding.position, finding.fields) == (missing[0], {"last": last})
    assert ("chain_differs", COMMITS) in found(sound)


@pytest.mark.parametrize("value", [b"", b"short", bytes(60), sha256(b"").digest()])
async def test_a_commit_that_is_too_short_is_found(sound: Log, value: bytes) -> None:
    overwrite(sound, keys.COMMITS, keys.pack_u64(6), value)
    assert ("digest_differs", 6) in found(sound)


async def test_commits_beyond_the_head_are_found(sound: Log) -> None:
    whole = stored(sound, keys.COMMITS, keys.pack_u64(1))
    for key in (keys.pack_u64(COMMITS + 3), b"strange"):
        overwrite(sound, keys.COMMITS, key, whole)
    finding = the("commit_beyond_head", sound)
    assert (finding.position, finding.fields) == (COMMITS + 3, {"head": COMMITS})


async def test_commits_under_strange_keys_are_found(sound: Log) -> None:
    whole = stored(sound, keys.COMMITS, keys.pack_u64(1))
    strange = (b"strange", keys.pack_u64(5) + b"x", keys.pack_u64(0))
    for key in strange:
        overwrite(sound, keys.COMMITS, key, whole)
    assert found(sound) == [("commit_key_malformed", None)] * len(strange)


def reencoded(log: Log, position: int, change: Callable[[list[object]], object]) -> None:
    """Replace a commit by one whose header was changed, with a digest that matches."""
    framed = stored(log, keys.COMMITS, keys.pack_u64(position))[keys.DIGEST_BYTES :]
    header: list[object] = list(frame.HEADER.unpack_from(framed))
    change(header)
    reframe(log, position, frame.HEADER.pack(*header) + framed[frame.HEADER.size :])


async def test_another_format_is_found(sound: Log) -> None:
    reencoded(sound, 5, lambda header: header.__setitem__(0, 9))
    finding = the("commit_unreadable", sound)
    assert (finding.position, "format is 9" in finding.message) == (5, True)


async def test_a_header_that_does_not_fit_its_records_is_found(sound: Log) -> None:
    reencoded(sound, 5, lambda header: header.__setitem__(2, 1))
    assert the("header_differs", sound).fields == {"field": "kinds", "stored": 1, "actual": 1 << 13}
    reencoded(sound, 5, lambda header: (header.__setitem__(2, 1 << 13), header.__setitem__(5, 3)))
    finding = the("header_differs", sound)
    assert (finding.position, finding.fields) == (5, {"field": "event_count", "stored": 3, "actual": 2})
    assert ("version_gap", 7) in found(sound), "the next commit of the context no longer follows"


async def test_a_body_that_is_no_body_is_found(sound: Log) -> None:
    framed = stored(sound, keys.COMMITS, keys.pack_u64(5))[keys.DIGEST_BYTES :]
    for content in (b"", b"\xc1", b"\x92\xc0\x91\x81\xa4type\xa4what"):
        reframe(sound, 5, framed[:58] + content)
        assert ("commit_unreadable", 5) in found(sound)


async def test_a_run_with_columns_of_different_lengths_is_found(sound: Log) -> None:
    framed = stored(sound, keys.COMMITS, keys.pack_u64(4))[keys.DIGEST_BYTES :]
    _, (run,) = msgspec.msgpack.decode(framed[58:])
    flaws: tuple[dict[str, object], ...] = ({"g": run["g"][1:]}, {"d": []}, {"r": [None]})
    for columns in flaws:
        reframe(sound, 4, framed[:58] + msgspec.msgpack.encode([None, [run | columns]]))
        assert ("commit_unreadable", 4) in found(sound)


async def test_a_time_that_goes_back_is_found(sound: Log) -> None:
    reencoded(sound, 6, lambda header: header.__setitem__(6, 5))
    finding = the("time_backwards", sound)
    assert (finding.position, finding.fields["recorded_at"]) == (6, 5)


@pytest.mark.parametrize(
    ("position", "other"),
    [(1, None), (5, C), (6, D), (7, C), (9, C)],
)
async def test_a_commit_that_stands_together_with_one_of_another_context_is_found(
    sound: Log, position: int, other: UUID | None
) -> None:
    reencoded(sound, position, lambda header: header.__setitem__(1, int(cast("int", header[1])) | 4))
    finding = the("group_broken", sound)
    assert (finding.position, finding.fields.get("other")) == (position, other)
    assert ("group_broken", position) in found(sound, after=position - 1), "where the walk begins there, too"


async def test_a_commit_of_a_group_with_a_time_of_its_own_is_found(sound: Log) -> None:
    reencoded(sound, 20, lambda header: header.__setitem__(6, int(cast("int", header[6])) + 5))
    finding = the("group_broken", sound)
    assert finding.position == 20
    assert finding.fields["recorded_at"] == cast("int", finding.fields["before"]) + 5


@pytest.mark.parametrize("missing", [False, True])
async def test_a_group_is_not_blamed_for_damage_before_its_commit(sound: Log, missing: bool) -> None:
    if missing:
        overwrite(sound, keys.COMMITS, keys.pack_u64(18), None)
    else:
        flip_commit(sound, 18, 50)
    assert {at for _, at in found(sound)} <= {18, None, COMMITS}
    assert "group_broken" not in {code for code, _ in found(sound)}


async def test_a_commit_that_was_exchanged_with_a_valid_digest_breaks_the_chain(sound: Log) -> None:
    framed = stored(sound, keys.COMMITS, keys.pack_u64(10))[keys.DIGEST_BYTES :]
    prepared = body.prepare((StreamFinalized(S, "aborted"), message(ident(9), "x", parent_id=S)), None)
    reframe(sound, 10, framed[:1] + b"\0" + framed[2:58] + prepared.body)
    assert found(sound) == [("chain_differs", COMMITS)]
    assert found(sound, after=9) == [], "which only the whole log can tell"


async def test_versions_that_do_not_follow_are_found(sound: Log) -> None:
    reencoded(sound, 9, lambda header: header.__setitem__(4, 7))
    key = keys.context_version(D.bytes, 6)
    overwrite(sound, keys.BY_CONTEXT, key, None)
    overwrite(sound, keys.BY_CONTEXT, keys.context_version(D.bytes, 7), keys.pack_u64(9))
    gaps = [finding for finding in verify(sound) if finding.code == "version_gap"]
    assert [(gap.position, gap.fields["expected"], gap.fields["actual"]) for gap in gaps] == [
        (9, 6, 7),
        (11, 9, 8),
    ]


async def test_a_context_that_does_not_begin_with_version_one_is_found(sound: Log) -> None:
    overwrite(sound, keys.BY_CONTEXT, keys.context_version(D.bytes, 1), None)
    finding = the("version_gap", sound)
    assert (finding.position, finding.fields["expected"], finding.fields["actual"]) == (5, 1, 2)
    assert ("index_missing", 2) in found(sound)


async def test_a_commit_that_was_given_to_another_context_is_found(sound: Log) -> None:
    reencoded(sound, 2, lambda header: header.__setitem__(3, ident(0xAB).bytes))
    assert set(found(sound)) == {("index_missing", 2), ("chain_differs", COMMITS), ("index_surplus", None)}


async def test_versions_in_another_order_than_positions_are_found(sound: Log) -> None:
    whole = {position: stored(sound, keys.COMMITS, keys.pack_u64(position)) for position in (5, 7)}
    for position, other, first in ((5, 7, 4), (7, 5, 2)):
        overwrite(sound, keys.COMMITS, keys.pack_u64(position), whole[other])
        overwrite(sound, keys.BY_CONTEXT, keys.context_version(D.bytes, first), keys.pack_u64(position))
    assert ("order_differs", 5) in found(sound)
