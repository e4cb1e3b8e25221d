"""Input of the Job runner's decision; pure."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

Body = dict[str, Any]


@dataclass(frozen=True)
class Container:
    """The process of a pod: not started, running, or ended with an exit code (negative: by that signal)."""

    started: datetime | None = None
    ended: datetime | None = None
    exit_code: int | None = None
    output: str = ""

    @property
    def runs(self) -> bool:
        """Whether the process runs."""
        return self.started is not None and self.ended is None


@dataclass(frozen=True)
class Observed:
    """A Job, its pods (oldest first), and the processes of its pods by the pod's uid."""

    job: Body
    pods: tuple[Body, ...]
    containers: dict[str, Container]
    now: datetime
