"""Tickets: good once, for a short time, for one path, and for no longer than the key behind them."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st
from locksmith import NOW, make

from eventstore.errors import CODES, Unavailable
from turnlog.service.key_file import revoke_key
from turnlog.service.keyring import Keyring
from turnlog.service.keys import ANYBODY, Key, KeyRefused, Reason, without_secrets
from turnlog.service.tickets import Tickets

PATH: Final = "/v1/streams/0190c4f2/events"
LIFE_US: Final = 30_000_000


@pytest.fixture
def key(data_dir: Path) -> Key:
    return make(data_dir)[0]


@pytest.fixture
def keyring(data_dir: Path, key: Key) -> Keyring:
    return Keyring(data_dir)


@pytest.fixture
def tickets(keyring: Keyring) -> Tickets:
    return Tickets(keyring, life_seconds=30.0, per_key_max=3)


def refused(tickets: Tickets, text: str, reason: Reason, *, path: str = PATH, now: int = NOW) -> KeyRefused:
    with pytest.raises(KeyRefused) as raised:
        tickets.redeem(text, path, now)
    assert (raised.value.code, raised.value.reason) == ("ticket_invalid", reason)
    assert (raised.value.message, raised.value.fields) == ("the ticket is not valid", {})
    return raised.value


def test_a_ticket_is_its_key_once(tickets: Tickets, key: Key) -> None:
    text = tickets.issue(key, PATH, NOW)
    assert tickets.redeem(text, PATH, NOW + LIFE_US - 1) == key
    refused(tickets, text, "unknown")
    assert len(tickets) == 0


def test_a_ticket_is_short_lived(tickets: Tickets, key: Key) -> None:
    text = tickets.issue(key, PATH, NOW)
    assert refused(tickets, text, "expired", now=NOW + LIFE_US).key_id == key.id


def test_a_ticket_is_good_for_its_path_alone_and_used_up_at_another(tickets: Tickets, key: Key) -> None:
    text = tickets.issue(key, PATH, NOW)
    assert refused(tickets, text, "elsewhere", path=PATH + "/").key_id == key.id
    refused(tickets, text, "unknown")


def test_the_ticket_of_a_revoked_key_is_dead(
    tickets: Tickets, keyring: Keyring, key: Key, data_dir: Path
) -> None:
    text = tickets.issue(key, PATH, NOW)
    revoke_key(data_dir, key.id, NOW)
    keyring.refresh()
    assert refused(tickets, text, "revoked").key_id == key.id


def test_the_ticket_of_a_key_that_expires_before_it_is_dead(data_dir: Path) -> None:
    key, _ = make(data_dir, expires_at=NOW + 5)
    tickets = Tickets(Keyring(data_dir), life_seconds=30.0, per_key_max=3)
    refused(tickets, tickets.issue(key, PATH, NOW), "expired", now=NOW + 5)


def test_a_ticket_of_anybody_ends_with_the_first_key(data_dir: Path) -> None:
    keyring = Keyring(data_dir)
    tickets = Tickets(keyring, life_seconds=30.0, per_key_max=3)
    assert tickets.redeem(tickets.issue(ANYBODY, PATH, NOW), PATH, NOW) == ANYBODY
    text = tickets.issue(ANYBODY, PATH, NOW)
    make(data_dir)
    keyring.refresh()
    refused(tickets, text, "revoked")


def test_what_was_never_issued_is_no_ticket(tickets: Tickets, key: Key) -> None:
    text = tickets.issue(key, PATH, NOW)
    for other in ("", "tlt_", text[:-1], text + "0", text.upper(), "\ud800", "tlt_" + "0" * 64):
        refused(tickets, other, "unknown")
    assert tickets.redeem(text, PATH, NOW) == key


def test_a_key_has_so_many_tickets_and_takes_none_from_others(
    tickets: Tickets, data_dir: Path, key: Key
) -> None:
    issued = [tickets.issue(key, PATH, NOW) for _ in range(3)]
    with pytest.raises(Unavailable) as refusal:
        tickets.issue(key, PATH, NOW)
    assert (refusal.value.code, refusal.value.fields) == ("too_many_tickets", {"limit": 3})
    assert CODES["too_many_tickets"].status == 429
    assert tickets.issue(make(data_dir)[0], PATH, NOW)
    tickets.redeem(issued[0], PATH, NOW)
    assert tickets.issue(key, PATH, NOW)


def test_tickets_that_nobody_used_make_room_when_they_expire(tickets: Tickets, key: Key) -> None:
    for round_ in range(5):
        for _ in range(3):
            tickets.issue(key, PATH, NOW + round_ * LIFE_US)
        assert len(tickets) == 3


def test_a_ticket_has_256_bits_and_no_two_are_alike(tickets: Tickets, keyring: Keyring, key: Key) -> None:
    many = Tickets(keyring, life_seconds=30.0, per_key_max=100)
    texts = {many.issue(key, PATH, NOW) for _ in range(100)}
    assert len(texts) == 100
    assert {len(text) for text in texts} == {len("tlt_") + 64}
    assert {without_secrets(f"GET {PATH}?ticket={text}") for text in texts} == {f"GET {PATH}?ticket=tlt_…"}
    shown = f"{many!r} {vars(many)}"
    assert not any(text in shown for text in texts)


@given(
    steps=st.lists(
        st.tuples(st.sampled_from(["issue", "redeem", "again"]), st.integers(0, 20_000_000)), max_size=40
    )
)
def test_no_ticket_is_good_twice_or_late_and_the_count_is_kept(
    steps: list[tuple[str, int]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    tickets = Tickets(Keyring(tmp_path_factory.getbasetemp()), life_seconds=30.0, per_key_max=3)
    waiting: list[tuple[str, int]] = []
    used: list[str] = []
    now = NOW
    for step, later_us in steps:
        now += later_us
        if step == "issue":
            waiting = [(text, issued) for text, issued in waiting if now < issued + LIFE_US]
            if len(waiting) < 3:
                waiting.append((tickets.issue(ANYBODY, PATH, now), now))
            else:
                with pytest.raises(Unavailable):
                    tickets.issue(ANYBODY, PATH, now)
            assert len(tickets) == len(waiting)
        elif step == "redeem" and waiting:
            text, issued = waiting.pop()
            used.append(text)
            if now < issued + LIFE_US:
                assert tickets.redeem(text, PATH, now) is ANYBODY
            else:
                refused(tickets, text, "expired", now=now)
        elif step == "again" and used:
            refused(tickets, used[-1], "unknown", now=now)
