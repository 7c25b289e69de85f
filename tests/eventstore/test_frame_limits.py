"""What a commit may hold at most, and what makes two requests the same."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from samples import EVERY_EVENT_BARE, M, chunk, message, run

from eventstore import body
from eventstore.commits import pack
from eventstore.errors import Refused
from eventstore.events import ChunkRun, CustomRecorded, Event, Record, tag_of
from eventstore.limits import COMMIT_BYTES_MAX, COMMIT_EVENTS_MAX, EVENT_BYTES_MAX, METADATA_BYTES_MAX

LONG = CustomRecorded("c", "x" * 2_000)
DIGEST = "e1e7409fdc5935371d0639592ecb3dcec1b8fb5166daf31ce30a840e107487dc"


def refusal(events: tuple[Record, ...], metadata: dict[str, Any] | None = None) -> tuple[str, dict[str, Any]]:
    with pytest.raises(Refused) as refused:
        body.prepare(events, metadata)
    return refused.value.code, refused.value.fields


def test_the_number_of_events_is_bounded() -> None:
    most = (run(1, *("x",) * COMMIT_EVENTS_MAX),)
    assert body.prepare(most, None).event_count == COMMIT_EVENTS_MAX
    assert refusal((*most, LONG)) == (
        "commit_too_large",
        {"limit": COMMIT_EVENTS_MAX, "actual": COMMIT_EVENTS_MAX + 1},
    )


def size(record: Record) -> int:
    return len(msgspec.msgpack.Encoder(uuid_format="bytes").encode(record))


def test_the_size_of_an_event_is_bounded() -> None:
    room = EVENT_BYTES_MAX - size(CustomRecorded("c", "x" * 70_000)) + 70_000
    assert body.prepare((CustomRecorded("c", "x" * room),), None)
    limit = {"limit": EVENT_BYTES_MAX, "actual": EVENT_BYTES_MAX + 1}
    assert refusal((CustomRecorded("c", "x" * (room + 1)),)) == ("event_too_large", limit)
    assert refusal((LONG, CustomRecorded("c", "x" * (room + 1))))[0] == "event_too_large"


def test_a_chunk_is_an_event_also_inside_a_run() -> None:
    assert refusal((run(1, "a", "x" * EVENT_BYTES_MAX),))[0] == "event_too_large"
    half = "x" * (EVENT_BYTES_MAX - 200)
    assert body.prepare((run(1, half, "a"),), None)


def test_the_size_of_a_commit_is_bounded() -> None:
    half = CustomRecorded("c", "x" * (COMMIT_BYTES_MAX // 2 - 50))
    assert body.prepare((half, half), None)
    code, fields = refusal((half, half, LONG))
    assert (code, fields["limit"]) == ("commit_too_large", COMMIT_BYTES_MAX)


def test_the_size_of_metadata_is_bounded() -> None:
    assert body.prepare((LONG,), {"by": "x" * (METADATA_BYTES_MAX - 7)})
    assert refusal((LONG,), {"by": "x" * (METADATA_BYTES_MAX - 6)}) == (
        "metadata_too_large",
        {"limit": METADATA_BYTES_MAX, "actual": METADATA_BYTES_MAX + 1},
    )


@pytest.mark.parametrize(
    "flawed",
    [
        run(1),
        ChunkRun(M, 1, 0, ("a",), ()),
        ChunkRun(M, 1, 0, ("a",), (0, 0)),
        ChunkRun(M, 1, 0, ("a",), (5,)),
        ChunkRun(M, 1, 0, ("a", "b"), (0, 0), raws=(b"",)),
        ChunkRun(M, 1 << 53, 0, ("a", "b"), (0, 0)),
        ChunkRun(M, 1, 1 << 53, ("a", "b"), (0, 1)),
        ChunkRun(M, 1, 0, ("a", "b", "c"), (0, -(1 << 53), -1)),
    ],
)
def test_a_run_whose_columns_do_not_make_chunks_is_refused(flawed: ChunkRun) -> None:
    assert refusal((flawed,)) == ("invalid_event", {})


def test_a_run_may_lead_up_to_the_last_sequence_and_time() -> None:
    last = 1 << 53
    assert body.prepare((ChunkRun(M, last - 1, last - 1, ("a", "b"), (0, 1)),), None)


def test_the_request_digest_ignores_the_order_of_dicts_and_nothing_else() -> None:
    def digest(data: object, metadata: dict[str, Any] | None = None) -> bytes:
        return body.request_digest((CustomRecorded("c", data),), metadata)

    assert digest({"a": 1, "b": [{"x": 1, "y": 2}]}) == digest({"b": [{"y": 2, "x": 1}], "a": 1})
    assert digest(1, {"a": 1, "b": 2}) == digest(1, {"b": 2, "a": 1})
    different = [
        digest(1),
        digest(2),
        digest([1]),
        digest(1, {}),
        digest(1, {"a": 1}),
        digest(1.5),
        digest("1"),
    ]
    assert len(set(different)) == len(different)


@pytest.mark.parametrize("event", EVERY_EVENT_BARE, ids=tag_of)
def test_the_request_digest_does_not_tell_a_default_from_the_same_value_given(event: Event) -> None:
    (record,) = body.prepare(pack([event]), None).records
    explicit = {
        field.name: "".join(list(field.default))  # an equal text, but another object
        for field in msgspec.structs.fields(record)
        if isinstance(field.default, str)
    }
    given = msgspec.structs.replace(record, **explicit)
    (sent,) = body.prepare((given,), None).records
    assert body.request_digest((sent,), None) == body.request_digest((record,), None)


def test_the_request_digest_never_changes() -> None:
    records = pack([message(M, parent_id=None), *(chunk(n) for n in (1, 2))])
    assert body.request_digest(records, {"b": 1, "a": 2}).hex() == DIGEST
