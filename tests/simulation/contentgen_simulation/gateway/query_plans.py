"""Commands to a MongoDB server as they were sent, and what the server says of how it would carry them out."""

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
    """Notes those that look for something."""

    noted: list[Command] = field(default_factory=list)

    def started(self, event: monitoring.CommandStartedEvent) -> None:
        """As it goes out."""
        if event.command_name in EXPLAINED:
            self.noted.append({key: value for key, value in event.command.items() if key not in _OF_THE_SESSION})

    def succeeded(self, event: monitoring.CommandSucceededEvent) -> None:
        """Nothing."""

    def failed(self, event: monitoring.CommandFailedEvent) -> None:
        """Nothing: whoever asked gets the error."""


def single(command: Command) -> Iterator[Command]:
    """A server explains one update or deletion at a time."""
    for several in ("updates", "deletes"):
        if several in command:
            for each in command[several]:
                yield command | {several: [each]}
            return
    yield command


def explained(database: Database[Any], command: Command) -> set[str]:
    """The stages of the plan that a real MongoDB would carry out. Raises ValueError where the answer shows none."""
    return shown(database.command("explain", command, verbosity="queryPlanner"))


def shown(answer: Mapping[str, Any]) -> set[str]:
    """The stages in an answer of `explain`. Raises ValueError without any: nothing could be told from it."""
    found = set(stages(answer))
    if not found:
        raise ValueError(f"no plan in this answer: {answer}")
    return found


def stages(answer: Any) -> Iterator[str]:
    """The stages of winning plans in an answer of `explain`; those that were rejected do not count."""
    if isinstance(answer, Mapping):
        if isinstance(stage := answer.get("stage"), str):
            yield stage
        for key, value in answer.items():
            if key != "rejectedPlans":
                yield from stages(value)
    elif isinstance(answer, list):
        for each in answer:
            yield from stages(each)
