"""MongoDB collection with writes of another process between two operations of one method."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from contentgen_simulation.frozen import traced_collection


@dataclass
class Interleaving:
    """Calls `meanwhile` before operation number `at` (from 0). `done`: names of the operations so far."""

    at: int
    meanwhile: Callable[[], None]
    done: list[str] = field(default_factory=list)

    @property
    def struck(self) -> bool:
        """Whether the other process has written."""
        return len(self.done) > self.at

    def point(self, name: str) -> None:
        """Count an operation."""
        self.done.append(name)
        if len(self.done) == self.at + 1:
            self.meanwhile()

    def collection(self, collection: Any) -> Any:
        """The collection, whose commands are counted."""
        return traced_collection(collection, self.point)
