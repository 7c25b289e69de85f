"""The disk under a running log: whether its file is still there, and whether there is room."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Final

from eventstore.errors import Unavailable

CHECK_SECONDS: Final = 0.1
"""How often the disk is looked at: a commit every 200 us should not pay two system calls for it."""


class Disk:
    """The directory of a log, as it was when it was opened. ``free_bytes_low`` 0: room is not looked at."""

    def __init__(self, path: Path, free_bytes_low: int) -> None:
        self._path = path
        self._free_bytes_low = free_bytes_low
        self._data_file = path / "data.mdb"
        found = os.stat(self._data_file)
        self._inode, self._bytes = found.st_ino, found.st_size
        self._checked = -CHECK_SECONDS
        self.lost = False

    def check(self) -> None:
        """Look, unless that was a moment ago.

        Raises ``Unavailable``: ``log_read_only`` once the file was removed, replaced or truncated (``lost``),
        ``disk_full`` while too little is free; or ``OSError`` when the disk cannot be looked at.
        """
        now = time.monotonic()
        if now - self._checked < CHECK_SECONDS:
            return
        try:
            found = os.stat(self._data_file)
        except FileNotFoundError:
            found = None
        if found is None or found.st_ino != self._inode or found.st_size < self._bytes:  # it never shrinks
            self.lost = True
            raise Unavailable(
                "log_read_only", "data.mdb was removed, replaced or truncated under the running store"
            )
        self._bytes = found.st_size
        if self._free_bytes_low:
            disk = os.statvfs(self._path)
            if disk.f_bavail * disk.f_frsize < self._free_bytes_low:
                raise Unavailable(
                    "disk_full",
                    f"less than {self._free_bytes_low} bytes are free on the disk of the log",
                    path=str(self._path),
                    limit=self._free_bytes_low,
                )
        self._checked = now
