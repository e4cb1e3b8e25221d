"""Bucket that reports deletions and overwrites to the oracles."""

from collections.abc import Callable
from typing import Any

from contentgen_contract.records import keys
from contentgen_simulation.world import MemoryStorage


class Objects(dict[str, Any]):
    """Objects by key."""

    def __init__(self, lost: Callable[[str, Any, Any], None]) -> None:
        super().__init__()
        self._lost = lost

    def __setitem__(self, key: str, value: Any) -> None:
        before = self.get(key)
        super().__setitem__(key, value)
        if before is not None and before != value:
            self._lost(key, before, value)

    def __delitem__(self, key: str) -> None:
        self.pop(key)

    def pop(self, key: str, *default: Any) -> Any:
        """Delete an object."""
        before = super().pop(key, *default)
        if key not in self and before is not None:
            self._lost(key, before, None)
        return before


class RehearsalBucket(MemoryStorage):
    """In-memory bucket with such objects."""

    def __init__(self, lost: Callable[[str, Any, Any], None]) -> None:
        async def write(_: str, call: Any) -> Any:
            return await call()

        writes: Any = write
        super().__init__(writes)
        self._lost = lost
        self.objects = Objects(lost)

    def lose(self, what: str) -> None:
        """Lose the newest object of a kind: `marker`, `send` or `end` of a try."""
        there = (key for key in self.objects if key.startswith(keys.EVIDENCE) and "/purchases/" not in key)
        kinds = {key: keys.send_of(key) for key in there}
        named = {key: "marker" if of is None else "end" if of.is_end else "send" for key, of in kinds.items()}
        found = [key for key, kind in named.items() if kind == what]
        if found:
            dict.pop(self.objects, max(found, key=lambda key: kinds[key] or (0,)))  # unseen by the oracles

    def restore(self, objects: dict[str, Any]) -> None:
        """Restore an older state."""
        self.objects = Objects(self._lost)
        self.objects.update(objects)
