"""What this process is: the one that opened something still, and whether it is to spare memory.

LMDB lets a forked child use what it inherited, and loses data; so every use first asks which this is. Asking
the system for the process id costs a quarter of a microsecond, an append in thirty; a number that each fork
raises in the child costs nothing.
"""

from __future__ import annotations

import os

forks: int = 0
"""Forks that lie between the first process that imported this and the present one."""

spares: bool = False
"""Whether it takes little memory: a job, which does much once. A service keeps what it will use again."""


def _forked() -> None:
    global forks
    forks += 1


os.register_at_fork(after_in_child=_forked)
