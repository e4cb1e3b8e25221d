"""Position of a run in the operator's queue before its payment, computed from the resources of its namespace. Pure.

The order is the operator's (priority, start of the run, uid), per provider. The position is an approximation: the
operator's queue is in the memory of its leader, resources are read a moment later, and an open circuit lets runs of
other endpoints pass. Other namespaces take turns with this one and are not counted: nobody sees their numbers.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from contentgen_contract.names import Kind, Phase, Reason
from contentgen_contract.resources.parsing import ResourceBody
from contentgen_contract.resources.providers import PROVIDERS

PREPARATION = "preparation"
"""Name of the queue before the prepare stage, in place of a provider's."""
_PHASES = (Phase.PENDING, Phase.SUBMITTING)  # in another phase a queue such as Kueue has suspended the run's Job
_REASONS = (Reason.QUEUED, Reason.CIRCUIT_OPEN)


@dataclass(frozen=True, slots=True, order=True)
class QueueEntry:
    """Waiting run. Entries sort by provider, then by their order in the queue."""

    provider: str  # or PREPARATION
    urgency: int  # negative priority
    since: datetime
    uid: str

    @classmethod
    def parse(cls, kind: Kind, body: Mapping[str, Any]) -> "QueueEntry | None":
        """From the API server's JSON object; None if the run does not wait in the operator's queue."""
        given = ResourceBody.parse(body)
        if given.phase not in _PHASES or given.reason not in _REASONS or given.metadata.uid is None:
            return None
        run, priority = given.status.get("run"), given.spec.get("priority")
        try:
            since = datetime.fromisoformat(str((run if isinstance(run, dict) else {}).get("startedAt")))
        except ValueError:
            return None
        if since.tzinfo is None:
            return None
        prepared = not kind.prepares or given.status["run"].get("facts") is not None
        return cls(
            provider=PROVIDERS.of_kind(kind) if prepared else PREPARATION,
            urgency=-priority if isinstance(priority, int) else 0,
            since=since,
            uid=given.metadata.uid,
        )


@dataclass(frozen=True, slots=True)
class QueuePosition:
    """Position in the queue of one namespace and provider, from 1."""

    position: int
    waiting: int
    provider: str

    def __str__(self) -> str:
        return f"position {self.position} of {self.waiting} in this namespace's queue for {self.provider}"


def position_of(uid: str, entries: Iterable[QueueEntry]) -> QueuePosition | None:
    """Position of a run among the waiting runs of its namespace; None if it does not wait."""
    listed = list(entries)
    mine = next((waiting for waiting in listed if waiting.uid == uid), None)
    if mine is None:
        return None
    line = [waiting for waiting in listed if waiting.provider == mine.provider]
    return QueuePosition(sum(waiting <= mine for waiting in line), len(line), mine.provider)
