"""Whether the service may listen where it is told to: without keys on this machine's own addresses only."""

from __future__ import annotations

from functools import lru_cache
from ipaddress import IPv6Address, ip_address

from eventstore.errors import Refused
from turnlog.service.settings import Settings


def check_exposure(settings: Settings, has_keys: bool, address: str | None = None) -> None:
    """Refuse an address that others reach while everybody may do everything.

    ``address`` is what the name turned out to mean, once that is known. Raises ``Refused`` with code
    ``keys_required``.
    """
    if not has_keys and not (is_loopback(settings.host) and is_loopback(address or settings.host)):
        raise Refused(
            "keys_required",
            f"without keys only this machine is served, and {settings.host} may be reached from others",
            host=settings.host,
        )


@lru_cache(maxsize=256)
def is_loopback(host: str) -> bool:
    """Whether nobody else reaches it. A name is not looked up: what it means may be another tomorrow."""
    if host.rstrip(".").lower() == "localhost":
        return True
    try:
        address = ip_address(host.strip("[]"))
    except ValueError:
        return False
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        return address.ipv4_mapped.is_loopback
    return address.is_loopback
