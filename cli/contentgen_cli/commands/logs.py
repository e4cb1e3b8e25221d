"""Logs of a run by attempt, from the pod if it exists, else from the status."""

import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from contentgen_cli.cluster import ClusterClient
from contentgen_cli.commands.why import describe_pod
from contentgen_cli.errors import ResourceNotFound, Waiting
from contentgen_cli.item import Item
from contentgen_contract.names import Stage
from contentgen_contract.worker.log import LogLine, parse_line

Body = dict[str, Any]
_NAME = re.compile(r"-r(\d+)-(prepare|collect)-(\d+)$")  # of a Job: run, stage, attempt
_PAUSE = 1.0


@dataclass(frozen=True)
class AttemptLog:
    """One attempt of one stage."""

    stage: Stage
    attempt: int
    pod: Body | None = None
    stored: str = ""

    @property
    def title(self) -> str:
        """Heading: `prepare, attempt 1 (pod …)`."""
        place = f"pod {self.pod['metadata']['name']}" if self.pod else "from the status; its pod is deleted"
        return f"{self.stage}, attempt {self.attempt} ({place})"

    @property
    def started(self) -> bool:
        """True unless the pod's phase is Pending, which the kubelet may report for seconds after the worker ended."""
        return self.pod is None or (self.pod["status"].get("phase") or "Pending") != "Pending"


def attempt_logs(item: Item, pods: list[Body], stage: Stage | None) -> tuple[AttemptLog, ...]:
    """Attempts of the run, oldest first: prepare before collect."""
    run = item.status.run
    if run is None:
        return ()
    found = {(log.stage, log.attempt): AttemptLog(log.stage, log.attempt, stored=log.text) for log in run.logs}
    for pod in pods:
        named = _NAME.search(str((pod["metadata"].get("labels") or {}).get("batch.kubernetes.io/job-name", "")))
        if named and int(named[1]) == run.number:
            key = (Stage(named[2]), int(named[3]))
            found[key] = AttemptLog(*key, pod=pod, stored=found[key].stored if key in found else "")
    order = list(Stage)
    return tuple(
        found[key] for key in sorted(found, key=lambda key: (order.index(key[0]), key[1])) if stage in (None, key[0])
    )


def log_lines(cluster: ClusterClient, part: AttemptLog, *, follow: bool, raw: bool) -> Iterator[LogLine]:
    """Lines of the log of one attempt."""
    if part.pod is None or not part.started:  # the API server returns an empty log for a pod without a node
        yield from _stored_lines(part)
        return
    try:
        for line in cluster.log(part.pod["metadata"]["name"], follow=follow):
            yield LogLine(line) if raw else parse_line(line)
    except Waiting:
        yield from _stored_lines(part)
    except ResourceNotFound:  # the pod was deleted after it was listed
        yield from map(LogLine, part.stored.splitlines())


def _stored_lines(part: AttemptLog) -> Iterator[LogLine]:
    if part.pod is not None and not part.stored:
        yield LogLine(f"(no log yet; the pod is {describe_pod(part.pod)})")
    yield from map(LogLine, part.stored.splitlines())


def follow_attempts(
    cluster: ClusterClient, item: Item, stage: Stage | None, sleep: Callable[[float], None] = time.sleep
) -> Iterator[AttemptLog]:
    """New attempts until the run is over, each once, after its container has started."""
    seen: set[tuple[Stage, int]] = set()
    while True:
        for part in attempt_logs(item, cluster.pods(item.uid), stage):
            if (part.started or part.stored) and (part.stage, part.attempt) not in seen:
                seen.add((part.stage, part.attempt))
                yield part
        if item.idle:
            return
        sleep(_PAUSE)
        item = cluster.get(item.kind, item.name)
