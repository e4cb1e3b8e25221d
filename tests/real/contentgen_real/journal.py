"""Journal of paid steps: `journal.jsonl`, one JSON object per line, written to the disk before the first request of a
step. It bounds what all runs may cost together, and prevents a second purchase.
"""

import fcntl
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from enum import StrEnum
from pathlib import Path
from typing import IO, Any


class JournalBusy(Exception):
    """Another run has the journal."""


class StepState(StrEnum):
    """State of a step in the journal."""

    NEW = "new"
    INTERRUPTED = "interrupted"  # begun and not ended: it may have been paid
    PASSED = "passed"
    FAILED = "failed"  # ended with an error or a difference: it may have been paid


@dataclass(frozen=True)
class RecordedRequest:
    """An accepted request. `arguments` are JSON as in the operator's ledger, without signatures; times are ours."""

    step: str
    provider: str
    model: str
    request_id: str
    arguments: str
    sent_after: datetime
    sent_before: datetime


@dataclass
class Journal:
    """Entries of all runs, oldest first."""

    file: IO[str]
    entries: list[Mapping[str, Any]] = field(default_factory=list)

    @property
    def spent(self) -> Decimal:
        """Sum of the bounds of all begun steps, in US dollars; a repeated step counts again."""
        return sum((Decimal(entry["usd"]) for entry in self.entries if entry["event"] == "begun"), Decimal(0))

    def bound(self, step: str) -> Decimal:
        """Sum of the bounds of all runs of a step, in US dollars."""
        begun = (entry for entry in self.entries if entry["event"] == "begun" and entry["step"] == step)
        return sum((Decimal(entry["usd"]) for entry in begun), Decimal(0))

    def state(self, step: str) -> StepState:
        """State of a step by its last run."""
        events = [entry for entry in self.entries if entry["step"] == step and entry["event"] in ("begun", "ended")]
        if not events:
            return StepState.NEW
        return StepState(events[-1]["state"]) if events[-1]["event"] == "ended" else StepState.INTERRUPTED

    def requests(self, provider: str, step: str | None = None) -> list[RecordedRequest]:
        """Accepted requests at a provider, of one step or of all."""
        return [
            _request(entry)
            for entry in self.entries
            if entry["event"] == "request" and entry["provider"] == provider and step in (None, entry["step"])
        ]

    def begin(self, step: str, usd: Decimal) -> None:
        """Record that a step begins, with its bound. Raises OSError: then nothing may be sent."""
        self._write({"event": "begun", "step": step, "usd": f"{usd:f}"})

    def add(self, request: RecordedRequest) -> None:
        """Record an accepted request."""
        times = {name: getattr(request, name).isoformat() for name in ("sent_after", "sent_before")}
        self._write({"event": "request", **vars(request), **times})

    def end(self, step: str, state: StepState) -> None:
        """Record the end of a step."""
        self._write({"event": "ended", "step": step, "state": state.value})

    def _write(self, entry: dict[str, Any]) -> None:
        entry = {"at": datetime.now(UTC).isoformat(timespec="seconds")} | entry
        self.file.write(json.dumps(entry) + "\n")
        self.file.flush()
        os.fsync(self.file.fileno())
        self.entries.append(entry)


@contextmanager
def opened(folder: Path) -> Iterator[Journal]:
    """The journal of a folder, for one run at a time. Raises JournalBusy, OSError, ValueError for a damaged line."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "journal.jsonl").open("a+", encoding="utf-8") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise JournalBusy(f"another run uses {folder}") from None
        file.seek(0)
        text = file.read()
        # A last line without its end was cut off before the request that it announces.
        whole, _, torn = text.rpartition("\n")
        if torn:
            file.truncate(len((whole + "\n").encode()) if whole else 0)
        yield Journal(file, [json.loads(line) for line in whole.splitlines()])


def _request(entry: Mapping[str, Any]) -> RecordedRequest:
    return RecordedRequest(
        step=entry["step"],
        provider=entry["provider"],
        model=entry["model"],
        request_id=entry["request_id"],
        arguments=entry["arguments"],
        sent_after=datetime.fromisoformat(entry["sent_after"]),
        sent_before=datetime.fromisoformat(entry["sent_before"]),
    )
