"""Reading a source safely: regular files inside it, bounded, strict; nothing else is opened."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final
from uuid import UUID, uuid5

import msgspec

FILE_BYTES_MAX: Final = 256 * 1024 * 1024
"""A file that is read whole."""

NAMESPACE: Final = UUID("6f1c6d0e-6f0a-5a3e-9d55-0b8f6a1f7c11")
"""Of the ids that we make for what has none."""


class Unreadable(Exception):
    """A file that cannot be taken: ``code``, ``reason`` and, inside it, ``place``."""

    def __init__(self, path: str, code: str, reason: str, place: str | None = None) -> None:
        super().__init__(reason)
        self.path = path
        self.code = code
        self.reason = reason
        self.place = place


class Source:
    """A directory or a file that is imported. Paths are relative to it, with ``/``."""

    def __init__(self, root: Path) -> None:
        self.root: Path = root

    def files(self) -> Iterator[str]:
        """Every regular file, in the order of names; links and devices are left out."""
        if self.root.is_file():
            yield self.root.name
            return
        for folder, folders, names in os.walk(self.root):
            folders.sort()
            for name in sorted(names):
                path = Path(folder, name)
                if stat.S_ISREG(path.lstat().st_mode):
                    yield path.relative_to(self.root).as_posix()

    def path(self, name: str) -> Path:
        """Where a file is."""
        return self.root if self.root.is_file() else self.root / name

    def bytes(self, name: str) -> bytes:
        """A file, whole. Raises ``Unreadable``."""
        path = self.path(name)
        try:
            facts = path.lstat()
            if not stat.S_ISREG(facts.st_mode):
                raise Unreadable(name, "not_a_file", "it is no regular file")
            if facts.st_size > FILE_BYTES_MAX:
                raise Unreadable(name, "file_too_large", f"it has {facts.st_size:,} bytes")
            return path.read_bytes()
        except OSError as error:
            raise Unreadable(name, "unreadable", error.strerror or type(error).__name__) from error

    def json(self, name: str) -> Any:
        """A file as JSON. Raises ``Unreadable``."""
        try:
            return msgspec.json.decode(self.bytes(name))
        except (msgspec.DecodeError, RecursionError) as error:
            raise Unreadable(name, "not_json", str(error)) from error


def stable_id(*facts: str) -> UUID:
    """The id of what has none in its source: the same facts give the same one, for ever."""
    return uuid5(NAMESPACE, "\0".join(facts))
