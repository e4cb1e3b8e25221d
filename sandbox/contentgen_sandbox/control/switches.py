"""Switches that stop, freeze and restart one store for outage tests, while the others run.

The HTTP endpoint is in the providers' process and the stores belong to the supervisor, so the requested and the
actual state are two small files in the data folder.
"""

import time
from pathlib import Path
from typing import Literal, cast, get_args

State = Literal["running", "hung", "stopped"]
"""hung: it takes connections and does not answer. The data is kept in each."""

STORES = ("s3", "mongo")
_POLL_S = 0.05


class Switches:
    """Requested and actual states: `wish`, `wait_for` for the endpoint; `open`, `wanted`, `tell` for the supervisor."""

    def __init__(self, data: Path) -> None:
        self._folder = data / "switches"

    def open(self) -> None:
        """Reset all switches to on, because requests do not survive a restart."""
        self._folder.mkdir(parents=True, exist_ok=True)
        for store in STORES:
            self._write(store, "wanted", "running")
            self._write(store, "now", "running")

    def wanted(self, store: str) -> State:
        return self._read(store, "wanted") or "running"

    def tell(self, store: str, state: State) -> None:
        self._write(store, "now", state)

    def now(self, store: str) -> State | None:
        """Actual state of a store; None if it is not supervised."""
        return self._read(store, "now")

    def wish(self, store: str, state: State) -> None:
        self._write(store, "wanted", state)

    def wait_for(self, store: str, state: State, seconds: float) -> bool:
        deadline = time.monotonic() + seconds
        while self.now(store) != state:
            if time.monotonic() > deadline:
                return False
            time.sleep(_POLL_S)
        return True

    def _read(self, store: str, what: str) -> State | None:
        try:
            text = (self._folder / f"{store}.{what}").read_text()
        except FileNotFoundError:
            return None
        return cast("State", text) if text in get_args(State) else None

    def _write(self, store: str, what: str, state: State) -> None:
        new = self._folder / f"{store}.{what}.new"
        new.write_text(state)
        new.replace(self._folder / f"{store}.{what}")
