"""The document and the page as they are sent, made when they are first asked for."""

from __future__ import annotations

from functools import cached_property
from typing import Any

import msgspec
from litestar import Litestar

from turnlog.service.schema.document import document
from turnlog.service.schema.page import POLICY, page


class Described:
    """An application, described.

    To make it takes longer than the event loop may be held up, so a thread asks for it. Two that ask at once
    make the same twice.
    """

    page_policy: str = POLICY

    def __init__(self, app: Litestar, version: str) -> None:
        self._app = app
        self._version = version

    @cached_property
    def facts(self) -> dict[str, Any]:
        """The document as values."""
        return document(self._app, self._version)

    @cached_property
    def document(self) -> bytes:
        """As JSON."""
        return msgspec.json.encode(self.facts)

    @cached_property
    def page(self) -> bytes:
        """As HTML."""
        return page(self.facts)
