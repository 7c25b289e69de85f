"""Running the service until it is told to stop."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.util import find_spec
from typing import Final

from eventstore.errors import Unavailable
from turnlog.service.configuration import Source
from turnlog.service.settings import Settings

NEEDED: Final = ("httptools", "litestar", "prometheus_client", "uvicorn")
"""What the extra ``service`` installs."""


def serve(settings: Settings, sources: Mapping[str, Source]) -> int:
    """Serve until a signal, and return the exit code. ``sources`` say where each setting comes from.

    Raises ``Unavailable`` with code ``service_missing``.
    """
    missing = [module for module in NEEDED if find_spec(module) is None]
    if missing:
        raise Unavailable("service_missing", f"the service needs {', '.join(missing)}", missing=missing)
    raise Unavailable("service_missing", "this Turnlog has no HTTP application")
