"""What ``verify`` finds: one kind of value, and the list of its codes."""

from __future__ import annotations

from typing import Any, Literal, TypeAlias

import msgspec

FindingCode: TypeAlias = Literal[
    # of commits
    "commit_missing",
    "commit_beyond_head",
    "commit_key_malformed",
    "digest_differs",
    "commit_unreadable",
    "header_differs",
    "time_backwards",
    "version_gap",
    "order_differs",
    "group_broken",
    # of what follows from them
    "index_missing",
    "index_differs",
    "index_surplus",
    "history_impossible",
    "snapshot_damaged",
    "snapshot_differs",
    # of the head
    "head_unreadable",
    "head_differs",
    "chain_differs",
]

Severity: TypeAlias = Literal["error", "warning"]
"""``warning``: only a cache, which the log ignores and makes anew."""


class Finding(msgspec.Struct, frozen=True):
    """One thing that is not as it must be, at ``position`` when it belongs to a commit."""

    code: FindingCode
    position: int | None
    message: str
    fields: dict[str, Any] = {}
    severity: Severity = "error"
