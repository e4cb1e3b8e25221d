"""Benchmark of the operator on a separate control plane: throughput, requests, memory, idle CPU, start.

Operator, stores, sandbox providers, etcd, API server and controller manager are the real programs.
"""

import os
import statistics
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import cycle, islice
from pathlib import Path
from tempfile import TemporaryDirectory

import httpx

from contentgen_bench.latency import environment
from contentgen_bench.latency.control_plane import ControlPlane, control_plane
from contentgen_bench.latency.environment import BenchStores
from contentgen_bench.latency.resources import BenchResources, Body, Watcher
from contentgen_bench.processes import MeasuredProcess
from contentgen_bench.report import Row, load
from contentgen_contract.names import Kind

_WARM = 9
_MEMORY_SAMPLES_A_SECOND = 2


@dataclass(frozen=True)
class OperatorBenchSize:
    """Size of the benchmark; the goals apply to `FULL`."""

    jobs: int
    finished: int
    running: int
    starts: int
    minute: float


FULL = OperatorBenchSize(jobs=500, finished=2000, running=200, starts=3, minute=60)
SMALL = OperatorBenchSize(jobs=12, finished=40, running=6, starts=1, minute=2)


class OperatorBench:
    """One benchmark run. `profile` is a command before `-m contentgen_operator`, such as a profiler."""

    def __init__(
        self, size: OperatorBenchSize, plane: ControlPlane, at: BenchStores, profile: tuple[str, ...] = ()
    ) -> None:
        self._size = size
        self._plane = plane
        self._at = at
        self._profile = profile
        self._resources = BenchResources(plane.api)
        self._made = 0
        self.details: dict[str, object] = {}
        self.cpu: dict[str, int] = {}

    def close(self) -> None:
        """Close connections."""
        self._resources.close()

    def throughput(self, kinds: Sequence[Kind], name: str, jobs: int) -> tuple[float, float]:
        """Measure jobs per second with all applied at once, and the operator's requests per job."""
        with ExitStack() as stack:
            watcher = stack.enter_context(Watcher(self._plane.api))
            node = stack.enter_context(environment.simulated_node(self._plane, self._at.folder))
            process = stack.enter_context(
                environment.operator(self._plane, self._at, log=f"operator-{name}", wrapper=self._profile)
            )
            processes = {"operator": process, "stand-in": node}
            self._complete(watcher, _named(kinds, f"{name}-warm", _WARM), processes)
            asked = self._plane.operator_requests()
            processes |= {"this": MeasuredProcess(os.getpid())}
            processes |= self._plane.processes | {child.name(): child for child in self._at.process.children()}
            cpu, begun = _cpu(processes), time.time()
            wanted = _named(kinds, name, jobs)
            self._complete(watcher, wanted, processes)
            seconds = max(watcher.at(each, "Completed") or 0 for _, each in wanted) - begun
            time.sleep(2)  # writes after the last status: events, records
            requests = self._plane.operator_requests() - asked
            used = {part: round(1000 * (now - cpu[part]) / jobs) for part, now in _cpu(processes).items()}
            self.cpu = used
            self.details[name] = {
                "seconds": round(seconds, 2),
                "CPU ms a job": used,
                "requests": {what: round(count / jobs, 2) for what, count in requests.most_common()},
                "load": load(),
            }
            return jobs / seconds, requests.total() / jobs

    def stand(self, already: int) -> list[Row]:
        """Measure start, idle CPU and memory with many finished resources."""
        like = {kind: self._resources.get(kind, f"mixed-{number}") for number, kind in enumerate(Kind)}
        self._resources.finished(_named(list(Kind), "finished", self._size.finished - already), like)
        starts = [self._start(number) for number in range(self._size.starts)]
        with environment.operator(self._plane, self._at, log="operator-idle") as process:
            self._until_idle(process)
            cpu, begun = process.cpu_seconds(), time.monotonic()
            asked = self._plane.operator_requests()
            time.sleep(self._size.minute)
            idle = (process.cpu_seconds() - cpu) / (time.monotonic() - begun)
            self.details["idle"] = {
                "requests": dict(self._plane.operator_requests() - asked),
                "resident MB": round(process.resident_mb(), 1),
                "load": load(),
            }
            memory = self._memory(process)
        self.details["starts"] = {"seconds": [round(start, 2) for start in starts], "load": load()}
        count, running = self._size.finished, self._size.running
        return [
            Row(
                figure=f"operator memory with {count} finished and {running} running resources",
                value=round(memory, 1),
                unit="MB",
                goal=200,
            ),
            Row(
                figure=f"idle CPU of the operator, {count} finished resources",
                value=round(100 * idle, 2),
                unit="% of a core",
                goal=1,
            ),
            Row(
                figure=f"operator start with {count} resources until its first status",
                value=round(statistics.median(starts), 2),
                unit="s",
                goal=5,
            ),
        ]

    def _complete(
        self, watcher: Watcher, wanted: Sequence[tuple[Kind, str]], processes: Mapping[str, MeasuredProcess]
    ) -> None:
        """Apply resources and wait until all are Completed. Raises TimeoutError, or RuntimeError if a process ends."""
        names = [name for _, name in wanted]
        self._resources.apply(wanted)

        def completed(seen: Watcher) -> bool:
            if ended := [name for name, process in processes.items() if not process.runs()]:
                raise RuntimeError(f"ended early: {ended}; {watcher.counts(names)}; logs are in {self._at.folder}")
            return seen.counts(names).get("Completed", 0) == len(names)

        try:
            watcher.wait(completed, 60 + 2 * len(names), "all Completed")
        except TimeoutError as error:
            raise TimeoutError(f"{error}: {watcher.counts(names)}; logs are in {self._at.folder}") from None

    def _start(self, number: int) -> float:
        """Seconds from the start of the process to its first write to a waiting resource."""
        name = f"start-{number}"
        with Watcher(self._plane.api) as watcher:
            self._resources.apply([(Kind.LORA_TRAINING, name)])
            begun = time.time()
            with environment.operator(self._plane, self._at, log="operator-start"):
                watcher.wait(lambda w: w.first(name) is not None, 120, f"a status of {name}")
                return (watcher.first(name) or 0) - begun

    def _until_idle(self, process: MeasuredProcess) -> None:
        """Wait until the start is complete: less than 2 % of a core for three seconds."""
        deadline = time.monotonic() + 120
        quiet = 0
        while quiet < 3 and time.monotonic() < deadline:
            before = process.cpu_seconds()
            time.sleep(1)
            quiet = quiet + 1 if process.cpu_seconds() - before < 0.02 else 0

    def _memory(self, process: MeasuredProcess) -> float:
        """Maximum resident memory within a minute; half of the running resources are at a provider, half in Jobs."""
        half = self._size.running // 2
        httpx.put(f"{self._at.url}/sandbox/faults", json=[{"fault": "stuck", "count": half}]).raise_for_status()
        with Watcher(self._plane.api) as watcher:
            stuck = _named([Kind.LORA_TRAINING], "stuck", half)
            with environment.simulated_node(self._plane, self._at.folder):
                self._resources.apply(stuck)
                self._reach(watcher, stuck, "Processing")
            still = _named([Kind.TRANSCRIPTION], "still", half)
            self._resources.apply(still)
            self._reach(watcher, still, "Preparing")
        samples = []
        for _ in range(int(self._size.minute * _MEMORY_SAMPLES_A_SECOND)):
            samples.append(process.resident_mb())
            time.sleep(1 / _MEMORY_SAMPLES_A_SECOND)
        self.details["memory"] = {"first": samples[0], "last": samples[-1], "most": max(samples)}
        return max(samples)

    def _reach(self, watcher: Watcher, wanted: Sequence[tuple[Kind, str]], phase: str) -> None:
        names = [name for _, name in wanted]
        watcher.wait(lambda w: w.counts(names).get(phase, 0) == len(names), 30 + len(names), f"all {phase}")


def run(
    size: OperatorBenchSize, folder: Path, profile: tuple[str, ...] = (), *, standing: bool = True
) -> tuple[list[Row], Body]:
    """Measure all figures that need no node."""
    with ExitStack() as stack:
        plane = stack.enter_context(control_plane(folder))
        at = stack.enter_context(environment.stores(folder))
        with plane.api.client() as client:
            environment.prepare(client)
        bench = OperatorBench(size, plane, at, profile)
        stack.callback(bench.close)
        rate, requests = bench.throughput(list(Kind), "mixed", size.jobs)
        rows = [
            Row(
                figure=f"jobs a second through the operator, {size.jobs} at a time, all kinds",
                value=round(rate, 2),
                unit="jobs/s",
                goal=10,
                bound="at least",
                note=f"load {load()}",
            ),
            Row(
                figure="of that, CPU time of the operator for a job",
                value=bench.cpu["operator"],
                unit="ms",
                note="one process: its bound",
            ),
            Row(
                figure="of that, CPU time of everything for a job",
                value=sum(bench.cpu.values()),
                unit="ms",
                note=f"{os.cpu_count()} cores: the machine's bound",
            ),
            Row(figure="API requests per job, all kinds", value=round(requests, 1), unit="requests", goal=25),
        ]
        if standing:
            rows += bench.stand(size.jobs + _WARM)
        return rows, bench.details


def _named(kinds: Sequence[Kind], prefix: str, count: int) -> list[tuple[Kind, str]]:
    return [(kind, f"{prefix}-{number}") for number, kind in enumerate(islice(cycle(kinds), count))]


def _cpu(processes: dict[str, MeasuredProcess]) -> dict[str, float]:
    return {name: process.cpu_seconds() for name, process in processes.items()}


def temporary() -> TemporaryDirectory[str]:
    """Benchmark run in a temporary folder."""
    return TemporaryDirectory(prefix="contentgen-bench-")
