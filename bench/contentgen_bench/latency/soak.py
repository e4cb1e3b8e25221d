"""Soak test: jobs of all kinds arrive at the installed release while its operator is killed repeatedly.

Invariants: every job is Completed and was paid once; resource, record and bucket agree; no operator and no worker has
logged an error; no phase goes back; memory does not grow; nothing is left after the deletion of the resources.

An operator killed between the stored intent and the request leaves SubmissionUnknown, which a person must resolve. The
test does so: it allows another payment if the provider's bills show none. The last quarter has no kills, because memory
growth needs a long-running operator.
"""

import json
import statistics
import subprocess
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import count, pairwise
from pathlib import Path
from typing import Any

from contentgen_bench.report import Row, load
from contentgen_cluster import release
from contentgen_contract.names import RESUBMIT_ANNOTATION, Kind, Phase
from contentgen_e2e import small_jobs
from contentgen_e2e.oracle import OracleViolation, check_completed
from contentgen_e2e.settings import KEYS
from contentgen_e2e.world import ClusterWorld

_IN_FLIGHT = 6
_ARRIVAL_SECONDS = 2.0
_KILL_SECONDS = 30.0
_QUIET_SHARE = 0.25
_FILMS = 3
_RECORD_SECONDS = 1.5  # the record is written after the status
_LAST_SECONDS = 180  # for what is in flight at the end
_WARM_SECONDS = 15.0  # an operator that has just started still grows
_GROWTH_MB = 15.0
_SETTINGS = (
    *KEYS,
    "adoptionSeconds=60",  # two hours by default; afterwards SubmissionUnknown
)
_ORDER: tuple[set[Phase], ...] = (
    {Phase.PENDING},
    {Phase.PREPARING},
    {Phase.SUBMITTING, Phase.SUBMISSION_UNKNOWN},  # a person sends it back
    {Phase.PROCESSING},
    {Phase.COLLECTING},
    {Phase.COMPLETED, Phase.FAILED},
)


def install(root: Path) -> None:
    """Install the release with the soak's values."""
    release.install(root, *_SETTINGS)


def steps_back(story: Sequence[tuple[str, int]]) -> list[str]:
    """Pairs of (phase, progress) from a watch that went back."""
    ranks = {phase.value: rank for rank, phases in enumerate(_ORDER) for phase in phases}
    return [
        f"{old[0]} {old[1]} -> {new[0]} {new[1]}"
        for old, new in pairwise(story)
        if ranks[new[0]] < ranks[old[0]] or new[1] < old[1]
    ]


def errors(lines: Iterable[str]) -> list[str]:
    """Log lines with level error or a traceback."""
    return [line for line in lines if _level(line) in ("ERROR", "CRITICAL") or "Traceback" in line]


def _level(line: str) -> str:
    with suppress(ValueError):
        read = json.loads(line)
        return str(read.get("level", "")).upper() if isinstance(read, dict) else ""
    return "ERROR" if " ERROR " in line or " CRITICAL " in line else ""


def growth(samples: Sequence[float]) -> float:
    """Difference between the last and the first third."""
    third = len(samples) // 3
    if not third:
        return 0.0
    return statistics.median(samples[-third:]) - statistics.median(samples[:third])


@dataclass
class Findings:
    """Observations of the soak."""

    applied: list[tuple[Kind, str]] = field(default_factory=list)
    completed: int = 0
    asked: int = 0
    violations: list[str] = field(default_factory=list)
    stories: dict[str, list[tuple[str, int]]] = field(default_factory=dict)
    log: list[str] = field(default_factory=list)
    kills: int = 0
    memory_at_kill: list[float] = field(default_factory=list)
    memory_alive: list[float] = field(default_factory=list)
    left: list[str] = field(default_factory=list)
    seconds: float = 0


class Soak:
    """One soak in one namespace."""

    def __init__(self, world: ClusterWorld, *, kill_seconds: float = _KILL_SECONDS) -> None:
        self._world = world
        self._kill_seconds = kill_seconds
        self._open: dict[str, Kind] = {}
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._told: dict[str, float] = {}
        self._answered: set[str] = set()
        self._since = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        self.found = Findings()

    def run(self, minutes: float) -> Findings:
        """Create jobs for `minutes`, wait for the running ones, then check the final state."""
        begun = time.monotonic()
        films = [self._film(number) for number in range(_FILMS)]
        with ExitStack() as stack:
            for work in (self._watch, self._follow_operators):
                stack.enter_context(_thread(work))
            stack.callback(self._stop.set)
            end = begun + 60 * minutes
            quiet = end - 60 * minutes * _QUIET_SHARE
            self._arrive(films, begun, quiet, end)
            self._finish(time.monotonic() + _LAST_SECONDS)
            time.sleep(2)  # the last lines of the logs
        self._clean()
        self.found.seconds = time.monotonic() - begun
        return self.found

    def _arrive(self, films: list[str], begun: float, quiet: float, end: float) -> None:
        numbers = count()
        kill_at, sample_at = begun + self._kill_seconds, quiet + _WARM_SECONDS
        arrive_at = begun
        while (now := time.monotonic()) < end:
            # Also where a slow machine makes it late. An operator that is being restarted is killed afterwards.
            if now >= kill_at and kill_at < quiet and self._kill():
                kill_at += self._kill_seconds
                sample_at = max(sample_at, time.monotonic() + _WARM_SECONDS)
            if now >= sample_at:
                self._sample(self.found.memory_alive)
                sample_at = now + 3
            if now >= arrive_at and len(self._open) < _IN_FLIGHT:
                self._apply(next(numbers), films)
                arrive_at = now + _ARRIVAL_SECONDS
            self._check_finished()
            self._answer()
            time.sleep(0.2)

    def _finish(self, deadline: float) -> None:
        while self._open and time.monotonic() < deadline:
            self._check_finished()
            self._answer()
            time.sleep(0.5)
        for name, kind in self._open.items():
            body = self._world.get(kind, name)
            status = body.get("status") or {}
            self.found.violations.append(f"{kind} {name} never ended: {status.get('phase')} {status.get('message')}")

    def _apply(self, number: int, films: list[str]) -> None:
        kind = list(Kind)[number % len(Kind)]
        name = f"{kind.short_name}-{number}"
        with self._lock:
            self._open[name] = kind
        self.found.applied.append((kind, name))
        self._world.apply(kind, name, small_jobs.spec(kind, name, films[number % len(films)]))

    def _check_finished(self) -> None:
        for name in [name for name in self._open if self._ended(name)]:
            kind = self._open[name]
            try:
                body = check_completed(self._world, kind, name)
                self._worker_logs(body["metadata"]["uid"])
                self.found.completed += 1
            except OracleViolation as violation:
                self.found.violations.append(f"{kind} {name}: {violation}")
            self._world.kubectl("delete", kind.lower(), name, "--wait=false")
            with self._lock:
                del self._open[name]

    def _ended(self, name: str) -> bool:
        story = self.found.stories.get(name)
        if not story or not Phase(story[-1][0]).terminal:
            return False
        return time.monotonic() - self._told[name] > _RECORD_SECONDS

    def _answer(self) -> None:
        """Answer SubmissionUnknown as a user does: check the provider's bills."""
        for name, kind in list(self._open.items()):
            story = self.found.stories.get(name)
            if name in self._answered or not story or story[-1][0] != Phase.SUBMISSION_UNKNOWN:
                continue
            body = self._world.get(kind, name)
            token = body["status"]["run"].get("resubmitToken")
            if token is None:  # a store is unavailable
                continue
            self._answered.add(name)
            self.found.asked += 1
            purchase = self._world.ledger_collection.find_one({"jobId": body["metadata"]["uid"]}) or {}
            if any(each["marker"] == purchase["marker"] for each in self._world.billed()):
                self.found.violations.append(f"{kind} {name} was paid for and its request was not found again")
            self._world.kubectl("annotate", kind.lower(), name, f"{RESUBMIT_ANNOTATION}={token}")

    def _worker_logs(self, uid: str) -> None:
        for pod in self._world.worker_pods(uid):
            log = self._world.kubectl("logs", pod["metadata"]["name"])
            self.found.log += [f"{pod['metadata']['name']}: {line}" for line in errors(log.splitlines())]

    def _kill(self) -> bool:
        """Kill the operator; False: it is being restarted."""
        self._sample(self.found.memory_at_kill)
        try:
            self._world.kill_operator()
        except release.CommandFailed:
            return False
        self.found.kills += 1
        return True

    def _sample(self, samples: list[float]) -> None:
        with suppress(release.CommandFailed, StopIteration):
            where = ("--namespace", release.NAMESPACE, "exec", self._world.operator_pod(), "--")
            read = ("python3", "-c", "print(open('/proc/1/status').read())")  # the image has no cat
            status = release.kubectl(self._world.root, *where, *read)
            line = next(line for line in status.splitlines() if line.startswith("VmRSS:"))
            samples.append(int(line.split()[1]) / 1024)

    def _film(self, number: int) -> str:
        name = f"soak-{number}.mp4"
        self._world.sandbox.put(f"/media/{name}", content=small_jobs.film(number)).raise_for_status()
        return f"{release.SANDBOX}/media/{name}"

    def _watch(self) -> None:
        """Watch every version of every resource."""
        with ExitStack() as stack:
            for kind in Kind:
                stack.enter_context(_thread(self._watch_kind, kind))
            self._stop.wait()

    def _watch_kind(self, kind: Kind) -> None:
        fields = "{.metadata.name} {.status.phase} {.status.progress}{'\\n'}"
        arguments = ("get", kind.lower(), "--watch", "--output", f"jsonpath={fields}")
        with _kubectl(self._world, self._world.namespace, *arguments) as lines:
            stopper = threading.Thread(target=self._end_with, args=(lines,), daemon=True)
            stopper.start()
            for line in _lines(lines):
                name, _, rest = line.strip().partition(" ")
                phase, _, progress = rest.partition(" ")
                if phase:
                    story = self.found.stories.setdefault(name, [])
                    if not story or story[-1] != (phase, int(progress or 0)):
                        story.append((phase, int(progress or 0)))
                        self._told[name] = time.monotonic()

    def _follow_operators(self) -> None:
        """Follow the complete log of every operator."""
        followed: set[str] = set()
        with ExitStack() as stack:
            while not self._stop.wait(0.5):
                with suppress(release.CommandFailed):
                    pod = self._world.operator_pod()
                    if pod and pod not in followed:
                        followed.add(pod)
                        stack.enter_context(_thread(self._follow, pod))

    def _follow(self, pod: str) -> None:
        with _kubectl(
            self._world, release.NAMESPACE, "logs", "--follow", f"--since-time={self._since}", pod
        ) as process:
            threading.Thread(target=self._end_with, args=(process,), daemon=True).start()
            lines = list(_lines(process))
        self.found.log += [f"{pod}: {line}" for line in errors(lines)]

    def _end_with(self, process: "subprocess.Popen[str]") -> None:
        self._stop.wait()
        process.terminate()

    def _clean(self) -> None:
        """Check that nothing of the jobs remains in the cluster after the deletion of their resources."""
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            listed = self._world.kubectl("get", "contentgen,jobs,pods", "--output", "name").split()
            if not listed:
                return
            self.found.left = listed
            time.sleep(1)


def rows(found: Findings, minutes: float) -> list[Row]:
    """Result rows of the soak."""
    back = [step for story in found.stories.values() for step in steps_back(story)]
    note = f"{minutes:g} min, {found.kills} kills, load {load()}"
    failed = len(found.applied) - found.completed
    return [
        _row(
            "jobs not Completed, paid once, stored and recorded", failed, "jobs", 0, f"of {len(found.applied)}, {note}"
        ),
        Row(figure="soak: jobs that became SubmissionUnknown", value=found.asked, unit="jobs"),
        _row("errors in the logs of operators and workers", len(found.log), "lines", 0),
        _row("decreases of phase or progress", len(back), "steps", 0, f"in {len(found.stories)} status histories"),
        _row("objects left when the resources are gone", len(found.left), "objects", 0),
        _growth_row("in the last quarter, without kills", found.memory_alive),
        _growth_row("at equal age, over all kills", found.memory_at_kill),
    ]


def _growth_row(when: str, samples: Sequence[float]) -> Row:
    grown = round(growth(samples), 1)
    return _row(f"growth of the operator's memory {when}", grown, "MB", _GROWTH_MB, f"{len(samples)} samples")


def _row(figure: str, value: float, unit: str, goal: float, note: str = "") -> Row:
    return Row(figure=f"soak: {figure}", value=value, unit=unit, goal=goal, note=note)


@contextmanager
def _thread(work: Any, *arguments: Any) -> Iterator[None]:
    thread = threading.Thread(target=work, args=arguments, daemon=True)
    thread.start()
    try:
        yield
    finally:
        thread.join(20)


@contextmanager
def _kubectl(world: ClusterWorld, namespace: str, *arguments: str) -> "Iterator[subprocess.Popen[str]]":
    tool, config = world.root / ".cluster/bin/kubectl", world.root / ".cluster/kubeconfig"
    command = [str(tool), "--kubeconfig", str(config), "--namespace", namespace, *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        try:
            yield process
        finally:
            process.terminate()


def _lines(process: "subprocess.Popen[str]") -> Iterator[str]:
    assert process.stdout is not None  # noqa: S101 - started with stdout=PIPE
    yield from process.stdout
