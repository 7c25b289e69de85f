"""Whether this is still the process that opened something, asked before every use of it.

LMDB lets a forked child use what it inherited, and loses data. Asking the system for the process id costs a
quarter of a microsecond, an append in thirty; a number that each fork raises in the child costs nothing.
"""

from __future__ import annotations

import os

forks: int = 0
"""Forks that lie between the first process that imported this and the present one."""


def _forked() -> None:
    global forks
    forks += 1


os.register_at_fork(after_in_child=_forked)
