"""What LMDB's map of a file holds resident: pages that were read stay mapped, up to all that is stored.

The kernel takes them back when it needs the room, but until then they count as the process's own, and whoever
reads a log of a gigabyte appears to need one. So a process that reads much of it once, as an import, gives
pages back meanwhile: they stay in the system's cache, and reading one again takes a microsecond. A service
keeps them, as it reads the same ones again. Only Linux tells what is resident.
"""

from __future__ import annotations

import ctypes
import mmap
import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final

from eventstore import process

RESIDENT_BYTES_MAX: Final = 64 * 1024 * 1024
"""Mapped bytes of this process, its program's among them (some 30 MB), beyond which pages are given back."""

READ_BYTES: Final = 8 * 1024 * 1024
"""Read through a map between two looks at what is resident, which take some 10 us."""

_AROUND_BYTES: Final = 256 * 1024
"""What Linux maps for one thing that is looked up: a page or a few, and 16 pages of 4 KiB around each."""

_MADVISE: Final = getattr(ctypes.CDLL(None), "madvise", None)


class Mapped:
    """The map of an environment's file, whose pages a process that ``spares`` gives back."""

    def __init__(self, path: Path) -> None:
        self._file = path / "data.mdb"
        self._read = 0

    def touched(self, size: int) -> None:
        """So many bytes were read through the map; call it while nobody can close the environment.

        On any thread: pages that another one reads meanwhile are mapped anew.
        """
        if process.spares:
            self._read += max(size, _AROUND_BYTES)
            if self._read >= READ_BYTES:
                self.look()

    def rows_touched(self, count: int) -> None:
        """So many rows were read, each perhaps on a page of its own. As ``touched``."""
        self.touched(count * _AROUND_BYTES)

    def look(self) -> None:
        """Give pages back if much is resident. As ``touched``."""
        self._read = 0
        if process.spares and mapped_bytes() > RESIDENT_BYTES_MAX:
            self.give_back()
            process.trim()

    def give_back(self) -> None:
        """Unmap what is resident of the file; it is mapped again where it is read. As ``touched``."""
        if _MADVISE is None:
            return
        with suppress(OSError):  # no descriptor is left, perhaps: then they stay
            for start, size in _places(os.path.realpath(self._file)):
                _MADVISE(ctypes.c_void_p(start), ctypes.c_size_t(size), mmap.MADV_DONTNEED)


def mapped_bytes() -> int:
    """The bytes of files that this process has mapped and resident; 0 where nothing tells."""
    try:
        with open("/proc/self/statm", "rb") as file:
            return int(file.read().split()[2]) * mmap.PAGESIZE
    except OSError:
        return 0


def _places(file: str) -> Iterator[tuple[int, int]]:
    """Where a file is mapped to be read and never written: the start and the size of each place."""
    with open("/proc/self/maps", "rb") as maps:
        lines = maps.read().splitlines()
    for line in lines:
        place, modes, *_, name = line.split(None, 5)
        if name == os.fsencode(file) and modes == b"r--s":
            start, end = (int(number, 16) for number in place.split(b"-"))
            yield start, end - start
