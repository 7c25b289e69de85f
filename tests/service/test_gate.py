"""Whose request it is: keys in headers, tickets in queries, and where a request without a key comes from."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import pytest

from eventstore.errors import Refused
from turnlog.service.gate import Gate
from turnlog.service.key_file import create_key, revoke_key
from turnlog.service.keyring import Keyring
from turnlog.service.keys import ANYBODY, Key, KeyRefused
from turnlog.service.tickets import Tickets

NOW: Final = 1_800_000_000_000_000
PATH: Final = "/api/events"
NEAR: Final = {"host": "127.0.0.1:7411"}


class Door:
    """A gate whose time stands still, and what stands before it."""

    def __init__(self, directory: Path, *origins: str) -> None:
        self.directory: Path = directory
        self.now: int = NOW
        self.keyring: Keyring = Keyring(directory)
        tickets = Tickets(self.keyring, life_seconds=30.0, per_key_max=20)
        self.gate: Gate = Gate(self.keyring, tickets, origins=origins, clock=lambda: self.now)

    def new_key(self, expires_at: int | None = None) -> tuple[Key, str]:
        """A key, and its text."""
        made = create_key(
            self.directory, name=None, workspace="w", role="reader", expires_at=expires_at, now=NOW
        )
        self.keyring.refresh()
        return made

    def ask(self, headers: dict[str, str], *, query: str = "", method: str = "GET", path: str = PATH) -> Key:
        """Whose request that is."""
        scope = {"query_string": query.encode(), "method": method, "path": path}
        return self.gate.key_of(scope, headers)

    def refused(self, headers: dict[str, str], **more: Any) -> str:
        """The code and the reason of a refusal."""
        with pytest.raises(KeyRefused) as raised:
            self.ask(headers, **more)
        return f"{raised.value.code} {raised.value.reason}"


@pytest.fixture
def door(data_dir: Path) -> Door:
    return Door(data_dir)


def test_a_key_comes_in_either_header(door: Door) -> None:
    key, text = door.new_key()
    for headers in (
        {"authorization": f"Bearer {text}"},
        {"authorization": f"BEARER   {text} "},
        {"authorization": text},
        {"x-api-key": text},
    ):
        assert door.ask(headers) == key


@pytest.mark.parametrize(
    ("headers", "code"),
    [
        ({}, "key_missing missing"),
        ({"authorization": ""}, "key_missing missing"),
        ({"authorization": "Bearer"}, "key_missing missing"),
        ({"authorization": "Bearer "}, "key_missing missing"),
        ({"authorization": "Basic dXNlcjpwYXNz"}, "key_invalid malformed"),
        ({"authorization": "Bearer tl_0badcafe"}, "key_invalid malformed"),
        ({"x-api-key": f"tl_0badcafe_{'0' * 64}"}, "key_invalid unknown"),
        ({"x-api-key": "sk-ant-api03-something"}, "key_invalid malformed"),
    ],
)
def test_what_is_no_key_opens_nothing(headers: dict[str, str], code: str, door: Door) -> None:
    door.new_key()
    assert door.refused(headers) == code


def test_with_a_wrong_key_a_right_one_elsewhere_does_not_help(door: Door) -> None:
    key, text = door.new_key()
    ticket, _ = door.gate.ticket(key, PATH)
    wrong = {"authorization": "Bearer nonsense"}
    assert door.refused(wrong | {"x-api-key": text}) == "key_invalid malformed"
    assert door.refused(wrong, query=f"ticket={ticket}") == "key_invalid malformed"
    assert door.ask({}, query=f"ticket={ticket}") == key


def test_a_ticket_is_its_key_for_one_get_of_its_path(door: Door) -> None:
    key, _ = door.new_key()

    def ticket() -> str:
        return f"after=3&ticket={door.gate.ticket(key, PATH)[0]}"

    used = ticket()
    assert door.ask({}, query=used) == key
    assert door.refused({}, query=used) == "ticket_invalid unknown"
    assert door.refused({}, query=ticket(), path="/api/sse") == "ticket_invalid elsewhere"
    for method in ("POST", "PUT", "PATCH", "DELETE", "HEAD"):
        assert door.refused({}, query=ticket(), method=method) == "ticket_invalid elsewhere"


def test_a_ticket_ends_with_its_time_and_with_its_key(door: Door) -> None:
    key, _ = door.new_key(expires_at=NOW + 5_000_000)
    late, expires_at = door.gate.ticket(key, PATH)
    assert expires_at == NOW + 30_000_000
    door.now = NOW + 5_000_000
    assert door.refused({}, query=f"ticket={late}") == "ticket_invalid expired"

    door.now = NOW
    other, _ = door.new_key()
    early, late = door.gate.ticket(other, PATH)[0], door.gate.ticket(other, PATH)[0]
    door.now = NOW + 30_000_000
    assert door.refused({}, query=f"ticket={early}") == "ticket_invalid expired"
    door.now = NOW
    revoke_key(door.directory, other.id, NOW)
    door.keyring.refresh()
    assert door.refused({}, query=f"ticket={late}") == "ticket_invalid revoked"
    assert (door.gate.state(key.id), door.gate.state(other.id)) == ("live", "revoked")


@pytest.mark.parametrize("query", ["ticket=", "ticket", "tickets=tlt_1", "xticket=tlt_1"])
def test_a_query_without_a_ticket_has_none(query: str, door: Door) -> None:
    door.new_key()
    assert door.refused({}, query=query) == "key_missing missing"


@pytest.mark.parametrize("query", ["ticket=nonsense", "ticket=%ff", "ticket=tlt_1&ticket=tlt_2"])
def test_what_is_no_ticket_opens_nothing(query: str, door: Door) -> None:
    door.new_key()
    assert door.refused({}, query=query) == "ticket_invalid unknown"


@pytest.mark.parametrize(
    "host",
    ["127.0.0.1", "127.0.0.1:7411", "localhost", "localhost:7411", "LOCALHOST:80", "[::1]:7411", "[::1]"],
)
def test_without_keys_this_machine_is_let_in_under_its_own_names(host: str, door: Door) -> None:
    assert door.ask({"host": host}) is ANYBODY


@pytest.mark.parametrize(
    "host",
    [
        "",
        "evil.example",
        "evil.example:7411",
        "localhost.evil.example",
        "127.0.0.1.evil.example:7411",
        "192.168.1.10:7411",
        "0.0.0.0:7411",
        "[::]:7411",
        "[2001:db8::1]:7411",
        "evil.example@127.0.0.1",
    ],
)
def test_without_keys_a_name_that_was_made_to_point_here_is_refused(host: str, door: Door) -> None:
    for method in ("GET", "POST"):
        with pytest.raises(Refused, match="Host") as raised:
            door.ask({"host": host} if host else {}, method=method)
        assert raised.value.code == "invalid_header"


@pytest.mark.parametrize(
    "origin",
    [
        "https://evil.example",
        "null",
        "http://127.0.0.1:8000",
        "http://127.0.0.1",
        "http://localhost:7411",
        "",
    ],
)
def test_without_keys_a_page_of_another_site_may_not_write(origin: str, door: Door) -> None:
    for method in ("POST", "PUT", "PATCH", "DELETE"):
        with pytest.raises(Refused, match="Origin") as raised:
            door.ask(NEAR | {"origin": origin}, method=method)
        assert raised.value.code == "invalid_header"
    assert door.ask(NEAR | {"origin": origin}) is ANYBODY, "what it reads its browser does not give it"


def test_without_keys_its_own_pages_and_those_that_were_named_may_write(data_dir: Path) -> None:
    named = Door(data_dir, "https://chat.example")
    for origin in ("http://127.0.0.1:7411", "https://chat.example"):
        assert named.ask(NEAR | {"origin": origin}, method="POST") is ANYBODY
    anywhere = Door(data_dir, "*")
    assert anywhere.ask(NEAR | {"origin": "https://evil.example"}, method="POST") is ANYBODY
    with pytest.raises(Refused, match="Host"):
        anywhere.ask({"host": "evil.example", "origin": "https://evil.example"}, method="POST")


def test_with_keys_names_and_origins_say_nothing(door: Door) -> None:
    key, text = door.new_key()
    headers = {"host": "evil.example", "origin": "https://evil.example", "x-api-key": text}
    assert door.ask(headers, method="POST") == key


def test_without_keys_whoever_sends_one_is_anybody(door: Door) -> None:
    assert door.ask(NEAR | {"authorization": "Bearer nonsense"}) is ANYBODY
