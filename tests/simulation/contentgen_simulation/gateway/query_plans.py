"""Recorded MongoDB commands and the server's query plans for them."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from pymongo import monitoring
from pymongo.database import Database

EXPLAINED = frozenset({"find", "count", "aggregate", "distinct", "update", "delete"})
_OF_THE_SESSION = frozenset({"lsid", "txnNumber", "$db", "$readPreference", "$clusterTime", "ordered"})
Command = dict[str, Any]


@dataclass
class Commands(monitoring.CommandListener):
    """Listener that records the commands with a filter."""

    noted: list[Command] = field(default_factory=list)

    def started(self, event: monitoring.CommandStartedEvent) -> None:
        """Record the command."""
        if event.command_name in EXPLAINED:
            self.noted.append({key: value for key, value in event.command.items() if key not in _OF_THE_SESSION})

    def succeeded(self, event: monitoring.CommandSucceededEvent) -> None:
        """Ignored."""

    def failed(self, event: monitoring.CommandFailedEvent) -> None:
        """Ignored: the caller gets the error."""


def single(command: Command) -> Iterator[Command]:
    """Split a command: a server explains one update or deletion at a time."""
    for several in ("updates", "deletes"):
        if several in command:
            for each in command[several]:
                yield command | {several: [each]}
            return
    yield command


def explained(database: Database[Any], command: Command) -> set[str]:
    """Stages of the winning plan of a command. Raises ValueError if the response has none."""
    return winning_stages(database.command("explain", command, verbosity="queryPlanner"))


def winning_stages(answer: Mapping[str, Any]) -> set[str]:
    """Stages in a response of `explain`. Raises ValueError if there are none."""
    found = set(stages(answer))
    if not found:
        raise ValueError(f"no plan in this answer: {answer}")
    return found


def stages(answer: Any) -> Iterator[str]:
    """Stages of the winning plans in a response of `explain`, without rejected plans."""
    if isinstance(answer, Mapping):
        if isinstance(stage := answer.get("stage"), str):
            yield stage
        for key, value in answer.items():
            if key != "rejectedPlans":
                yield from stages(value)
    elif isinstance(answer, list):
        for element in answer:
            yield from stages(element)
