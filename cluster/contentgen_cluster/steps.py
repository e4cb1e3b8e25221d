"""Parallel execution of named steps in dependency order.

A first `up` mostly waits for compilers and downloads, so sequential execution would take minutes longer.
"""

import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from typing import Protocol

from contentgen_cluster.commands import ClusterError


@dataclass(frozen=True)
class BuildStep:
    """Named step; `action` returns a short note to print, or an empty text."""

    name: str
    action: Callable[[], str]
    after: tuple[str, ...] = ()


class StepObserver(Protocol):
    """Callbacks for the start and end of steps."""

    def started(self, name: str) -> None: ...
    def finished(self, name: str, seconds: float, note: str) -> None: ...
    def failed(self, name: str, seconds: float, error: BaseException) -> None: ...


class StepsError(ClusterError):
    """Some steps failed; the message has the error of each."""

    def __init__(self, failures: Sequence[BaseException]) -> None:
        super().__init__("\n".join(str(failure) or repr(failure) for failure in failures))
        self.failures = tuple(failures)


def plan(steps: Iterable[BuildStep]) -> dict[str, BuildStep]:
    """Steps by name. Raises ValueError for duplicate names, unknown dependencies and cycles."""
    by_name: dict[str, BuildStep] = {}
    for step in steps:
        if step.name in by_name:
            raise ValueError(f"two steps are named {step.name}")
        by_name[step.name] = step
    for step in by_name.values():
        if unknown := set(step.after) - by_name.keys():
            raise ValueError(f"{step.name} needs {', '.join(sorted(unknown))}, which are unknown steps")
    try:
        TopologicalSorter({step.name: step.after for step in by_name.values()}).prepare()
    except CycleError as error:
        raise ValueError(f"steps depend on each other: {' → '.join(error.args[1])}") from None
    return by_name


def run_steps(steps: Iterable[BuildStep], observer: StepObserver, clock: Callable[[], float] = time.monotonic) -> None:
    """Run every step after its dependencies. After a failure, independent steps still run; then all failures are
    raised as one StepsError."""
    by_name = plan(steps)
    order = TopologicalSorter({step.name: step.after for step in by_name.values()})
    order.prepare()
    running: dict[Future[str], tuple[str, float]] = {}
    failures: list[BaseException] = []
    with ThreadPoolExecutor(max_workers=max(1, len(by_name))) as pool:
        while True:
            for name in order.get_ready():
                observer.started(name)
                running[pool.submit(by_name[name].action)] = (name, clock())
            if not running:
                break
            done, _ = wait(running, return_when=FIRST_COMPLETED)
            for future in done:
                name, since = running.pop(future)
                error = future.exception()
                if error is None:
                    observer.finished(name, clock() - since, future.result())
                    order.done(name)
                else:  # dependent steps never become ready
                    observer.failed(name, clock() - since, error)
                    failures.append(error)
    if failures:
        raise StepsError(failures)
