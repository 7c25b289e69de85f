"""Paths from a message up to the root of its tree: any node, or any bound, in O(log depth) steps.

Each row names its parent and one ancestor further up (see ``messages.py``). Along a path depth, position,
recording time and version only grow, so a bound on any of them splits it in two.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple
from uuid import UUID

from projections.layout import MessageRow
from projections.snapshot import Snapshot


class Node(NamedTuple):
    """A message on a path."""

    id: UUID
    row: MessageRow


class Path:
    """The messages from a root, of depth 0, to ``head``."""

    def __init__(self, snapshot: Snapshot, head_id: UUID) -> None:
        self._snapshot = snapshot
        self.head: Node = self._node(head_id)

    def _node(self, message_id: UUID) -> Node:
        return Node(message_id, self._snapshot.message(message_id))

    def _parent(self, node: Node) -> Node:
        assert node.row.parent_id is not None, "a root has no parent"
        return self._node(node.row.parent_id)

    def at(self, depth: int) -> Node:
        """The node of a depth from 0 to the head's."""
        node = self.head
        while node.row.depth > depth:
            node = self._node(node.row.jump_id) if node.row.jump_depth >= depth else self._parent(node)
        return node

    def first(self, holds: Callable[[MessageRow], bool]) -> int:
        """The least depth at which ``holds``, which holds from some depth on; beyond the head if nowhere."""
        node = self.head
        if not holds(node.row):
            return node.row.depth + 1
        while node.row.depth:
            jump = self._node(node.row.jump_id)
            if holds(jump.row):
                node = jump
                continue
            parent = self._parent(node)
            if not holds(parent.row):
                break
            node = parent
        return node.row.depth

    def between(self, low: int, high: int) -> list[Node]:
        """The nodes of these depths, both inclusive, the deepest first."""
        nodes: list[Node] = []
        if low <= high:
            nodes.append(self.at(high))
            while nodes[-1].row.depth > low:
                nodes.append(self._parent(nodes[-1]))
        return nodes
