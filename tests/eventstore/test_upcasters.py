"""Old event shapes are read as today's, through a chain that is checked when it is loaded."""

from __future__ import annotations

from hashlib import sha256
from typing import Any

import msgspec
import pytest
import zstandard
from samples import C, ident

from eventstore import frame
from eventstore.errors import Damaged, Unavailable
from eventstore.events import ALL_BITS, BIT_OF_TAG, ContextUpdated, MessageRedacted, StateChanged, kinds_of
from eventstore.upcasters import UPCASTERS, Chain, Fields, Upcaster

OLD_BIT, OLDER_BIT = 1 << 20, 1 << 21


def keep(fields: Fields) -> Fields:
    return fields


def renamed(fields: Fields) -> Fields:
    return {"title": fields["name"], **{name: fields[name] for name in fields if name != "name"}}


def as_patch(fields: Fields) -> Fields:
    return {"changes": {"title": fields["title"]}}


NAMED = Upcaster("context.named", OLDER_BIT, "context.titled", renamed)
TITLED = Upcaster("context.titled", OLD_BIT, "context.updated", as_patch)
CHAIN = Chain([NAMED, TITLED])


def test_no_tag_has_been_retired_yet() -> None:
    assert UPCASTERS.retired_kinds == 0
    assert UPCASTERS.stored_kinds(ALL_BITS) == ALL_BITS


def test_a_chain_leads_through_every_step_to_the_current_tag() -> None:
    assert CHAIN.upcast({"type": "context.named", "name": "x"}) == {
        "type": "context.updated",
        "changes": {"title": "x"},
    }
    assert CHAIN.upcast({"type": "context.titled", "title": "x"})["changes"] == {"title": "x"}
    current: Fields = {"type": "branch.switched", "branch": "b"}
    assert CHAIN.upcast(current) is current


@pytest.mark.parametrize(
    ("steps", "why"),
    [
        ([Upcaster("a", OLD_BIT, "b", keep)], "no upcaster leads on from b: a"),
        ([Upcaster("a", OLD_BIT, "b", keep), Upcaster("b", OLDER_BIT, "a", keep)], "circle: a -> b -> a"),
        ([Upcaster("a", OLD_BIT, "a", keep)], "circle: a -> a"),
        ([TITLED, TITLED], "context.titled is retired twice or still current"),
        ([Upcaster("context.created", OLD_BIT, "context.updated", keep)], "retired twice or still current"),
        ([TITLED._replace(bit=BIT_OF_TAG["context.updated"])], "needs a bit of its own"),
        ([TITLED, NAMED._replace(bit=OLD_BIT)], "needs a bit of its own"),
        ([TITLED._replace(bit=3 << 20)], "needs a bit of its own"),
        ([TITLED._replace(bit=0)], "needs a bit of its own"),
    ],
    ids=[
        "gap",
        "cycle",
        "own cycle",
        "retired twice",
        "current",
        "bit of a current tag",
        "bit twice",
        "two bits",
        "no bit",
    ],
)
def test_a_chain_with_a_flaw_is_refused_when_it_is_loaded(steps: list[Upcaster], why: str) -> None:
    with pytest.raises(ValueError, match=why):
        Chain(steps)


def test_a_filter_for_todays_kind_also_looks_for_the_retired_ones() -> None:
    updated = BIT_OF_TAG["context.updated"]
    assert CHAIN.stored_kinds(updated) == updated | OLD_BIT | OLDER_BIT
    assert CHAIN.stored_kinds(BIT_OF_TAG["branch.moved"]) == BIT_OF_TAG["branch.moved"]


def stored(records: list[Any], kinds: int) -> bytes:
    """A frame as the log holds it, of records as they were written long ago."""
    body = msgspec.msgpack.encode([{"by": "somebody"}, records])
    framed = frame.HEADER.pack(1, 0, kinds, C.bytes, 5, len(records), 99, bytes(16)) + body
    return sha256(framed).digest() + framed


def test_a_stored_frame_with_two_generations_of_old_events_reads_as_todays() -> None:
    records = [
        {"type": "context.named", "name": "first", "language": "de"},
        {"type": "context.titled", "title": "second"},
        {"type": "context.state_changed", "state": "idle"},
        {"type": "message.redacted", "message_id": ident(1).bytes},
    ]
    kinds = OLD_BIT | OLDER_BIT | BIT_OF_TAG["context.state_changed"] | BIT_OF_TAG["message.redacted"]
    before = stored(records, kinds)
    commit = frame.decode(7, before, zstandard.ZstdDecompressor(), upcasters=CHAIN)
    assert commit.records == (
        ContextUpdated({"title": "first"}),
        ContextUpdated({"title": "second"}),
        StateChanged("idle"),
        MessageRedacted(ident(1)),
    )
    assert commit.kinds == kinds_of(commit.records)
    assert (commit.metadata, commit.first_version, commit.last_version) == ({"by": "somebody"}, 5, 8)
    assert commit.digest == before[:32]


def test_without_its_upcaster_an_old_frame_is_refused_not_silent() -> None:
    old = stored([{"type": "context.named", "name": "first"}], OLDER_BIT)
    with pytest.raises(Unavailable, match="position 7") as unknown:
        frame.decode(7, old, zstandard.ZstdDecompressor())
    assert (unknown.value.code, unknown.value.fields) == ("directory_newer", {"position": 7})


def test_an_upcaster_that_fails_is_damage_at_that_position() -> None:
    with pytest.raises(Damaged, match="position 7"):
        frame.decode(
            7,
            stored([{"type": "context.named"}], OLDER_BIT),
            zstandard.ZstdDecompressor(),
            upcasters=CHAIN,
        )
