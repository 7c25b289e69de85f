"""``turnlog serve``, once its settings are known: whether the service can run here, then its run."""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING, Final

from eventstore.errors import Unavailable
from turnlog.service.settings import Settings

if TYPE_CHECKING:
    from turnlog.service.running import Started

NEEDED: Final = ("httptools", "litestar", "prometheus_client", "uvicorn")
"""What the extra ``service`` installs."""


def check_installed() -> None:
    """Raise ``Unavailable`` (``service_missing``) unless all that the service needs is there."""
    missing = [module for module in NEEDED if find_spec(module) is None]
    if missing:
        raise Unavailable("service_missing", f"the service needs {', '.join(missing)}", missing=missing)


def serve(settings: Settings, started: Started | None = None) -> int:
    """Serve until a signal, and return the exit code. ``started`` is told the address and the log.

    Raises ``Unavailable`` (``service_missing``, ``cannot_listen``) or what ``turnlog.open`` raises.
    """
    check_installed()
    from turnlog.service.running import run  # it imports what may be missing

    return run(settings, started)
