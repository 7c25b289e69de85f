"""What this process is: the one that opened something still, and whether it is to spare memory.

LMDB lets a forked child use what it inherited, and loses data; so every use first asks which this is. Asking
the system for the process id costs a quarter of a microsecond, an append in thirty; a number that each fork
raises in the child costs nothing.
"""

from __future__ import annotations

import ctypes
import os
from typing import Final

_MALLOPT: Final = getattr(ctypes.CDLL(None), "mallopt", None)
_MALLOC_TRIM: Final = getattr(ctypes.CDLL(None), "malloc_trim", None)
_MALLOC: Final = ((-1, 128 * 1024), (-3, 256 * 1024), (-8, 2))
"""For malloc of glibc, as its malloc.h numbers them: M_TRIM_THRESHOLD, M_MMAP_THRESHOLD and M_ARENA_MAX. Left
alone it keeps what large values took, up to 32 MiB each, and in a place of its own for each thread."""

forks: int = 0
"""Forks that lie between the first process that imported this and the present one."""

spares: bool = False
"""Whether it takes little memory: a job, which does much once. A service keeps what it will use again."""


def spare() -> None:
    """From now on take little memory; what is not used any more goes back to the system."""
    global spares
    spares = True
    if _MALLOPT is not None:
        for option, value in _MALLOC:
            _MALLOPT(option, value)


def trim() -> None:
    """Give back what lies between things that are still used: some milliseconds."""
    if _MALLOC_TRIM is not None:
        _MALLOC_TRIM(0)


def _forked() -> None:
    global forks
    forks += 1


os.register_at_fork(after_in_child=_forked)
