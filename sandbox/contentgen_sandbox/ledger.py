"""Ledger of simulated charges: one entry per accepted paid POST, even if its response was lost.

The file is append-only JSONL, synced per line, so it survives restarts. A later line with the same id replaces
the entry, because a transcription's duration is known only after the download.
"""

import json
import os
import threading
from collections.abc import Mapping
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict


class LedgerEntry(BaseModel):
    model_config = ConfigDict(frozen=True)

    id: str
    provider: str
    model: str
    created_at: datetime
    what: str
    amount_usd: Decimal
    request_id: str
    account: str = ""
    """Account of the key that was used; empty: the default one."""
    marker: str | None
    """Identity of a purchase in the provider's history: the path of its input's URL, or its seed."""


class SandboxLedger:
    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._entries: dict[str, LedgerEntry] = {}
        if path.exists():
            for line in path.read_text().splitlines():
                self._read(line)

    def _read(self, line: str) -> None:
        try:
            entry = LedgerEntry.model_validate_json(line)
        except ValueError:
            return  # the torn last line of a kill while writing: it was never acknowledged
        self._entries[entry.id] = entry

    def write(self, entry: LedgerEntry) -> None:
        with self._lock:
            with self._path.open("a") as file:
                file.write(entry.model_dump_json() + "\n")
                file.flush()
                os.fsync(file.fileno())
            self._entries[entry.id] = entry

    def settle(self, entry_id: str, amount_usd: Decimal, what: str) -> None:
        """Set the amount of an entry when it is known; deleted entries stay deleted."""
        entry = self._entries.get(entry_id)
        if entry is not None:
            self.write(entry.model_copy(update={"amount_usd": amount_usd, "what": what}))

    def backdate(self, entry_id: str, earlier: timedelta) -> None:
        """Move an entry into the past; deleted entries stay deleted."""
        entry = self._entries.get(entry_id)
        if entry is not None:
            self.write(entry.model_copy(update={"created_at": entry.created_at - earlier}))

    def entries(self) -> list[LedgerEntry]:
        with self._lock:
            return list(self._entries.values())

    def clear(self) -> None:
        with self._lock:
            self._path.unlink(missing_ok=True)
            self._entries.clear()

    def report(self) -> Mapping[str, Any]:
        entries = self.entries()
        total = sum((entry.amount_usd for entry in entries), Decimal(0))
        return {
            "total_usd": str(total),
            "entries": [json.loads(entry.model_dump_json()) for entry in entries],
        }
