"""Without keys the service listens on this machine's own addresses, and on no other."""

from __future__ import annotations

import pytest

from eventstore.errors import Refused
from turnlog.service.exposure import check_exposure, is_loopback
from turnlog.service.settings import Settings

OURS = ("127.0.0.1", "127.8.9.10", "::1", "[::1]", "::ffff:127.0.0.1", "localhost", "LOCALHOST", "localhost.")
OTHERS = (
    *("0.0.0.0", "::", "192.168.1.1", "::ffff:10.0.0.1", "fe80::1%eth0", "2001:db8::1", "", "[::]"),
    *(
        "turnlog.example",
        "localhost.example",
        "127.0.0.1.example",
        "127.1",
        "0",
        "2130706433",
        "notlocalhost",
    ),
)


@pytest.mark.parametrize("host", OURS)
def test_this_machine_needs_no_keys(host: str) -> None:
    assert is_loopback(host)
    check_exposure(Settings(host=host), has_keys=False)


@pytest.mark.parametrize("host", OTHERS)
def test_any_other_address_or_name_needs_keys(host: str) -> None:
    assert not is_loopback(host)
    with pytest.raises(Refused) as refused:
        check_exposure(Settings(host=host), has_keys=False)
    assert (refused.value.code, refused.value.fields["host"]) == ("keys_required", host)


@pytest.mark.parametrize("host", OURS + OTHERS)
def test_with_keys_every_address_will_do(host: str) -> None:
    check_exposure(Settings(host=host), has_keys=True)


@pytest.mark.parametrize("address", ["0.0.0.0", "192.168.1.1", "2001:db8::1"])
def test_a_name_of_ours_that_means_another_address_needs_keys(address: str) -> None:
    check_exposure(Settings(host="localhost"), has_keys=False, address="127.0.0.1")
    check_exposure(Settings(host="localhost"), has_keys=True, address=address)
    with pytest.raises(Refused) as refused:
        check_exposure(Settings(host="localhost"), has_keys=False, address=address)
    assert refused.value.code == "keys_required"
