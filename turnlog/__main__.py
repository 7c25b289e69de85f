"""``python -m turnlog``: the command line."""

from __future__ import annotations

from turnlog.cli import main

main()
