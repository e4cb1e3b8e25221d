"""Spreading a choice over all there is."""

from collections.abc import Sequence
from typing import TypeVar

T = TypeVar("T")


def evenly(items: Sequence[T], count: int) -> tuple[T, ...]:
    """At most `count` of the items, spread over all of them."""
    if len(items) <= count:
        return tuple(items)
    return tuple(items[int((index + 0.5) * len(items) / count)] for index in range(count))
