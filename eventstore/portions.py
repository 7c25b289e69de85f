"""What is handled some at a time: things in portions, each as large as it may be."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

T = TypeVar("T")


def portions(
    items: Iterable[T], size_of: Callable[[T], int], bytes_max: int, count_max: int = sys.maxsize
) -> Iterator[list[T]]:
    """Lists of items in their order, none empty. One that is larger than ``bytes_max`` is alone."""
    portion: list[T] = []
    bytes_left = bytes_max
    for item in items:
        size = size_of(item)
        if portion and (size > bytes_left or len(portion) == count_max):
            yield portion
            portion, bytes_left = [], bytes_max
        portion.append(item)
        bytes_left -= size
    if portion:
        yield portion
