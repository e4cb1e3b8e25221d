"""Runs named steps as early as what they need is done, several at a time.

Most of a first `up` is waiting for a compiler or for a download, so that running in order would cost minutes.
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
    """One named part of the work; `action` returns a short note for people, or an empty text."""

    name: str
    action: Callable[[], str]
    after: tuple[str, ...] = ()


class StepObserver(Protocol):
    """Who is told what happens."""

    def started(self, name: str) -> None: ...
    def finished(self, name: str, seconds: float, note: str) -> None: ...
    def failed(self, name: str, seconds: float, error: BaseException) -> None: ...


class StepsError(ClusterError):
    """Some steps failed; its text has what each said."""

    def __init__(self, failures: Sequence[BaseException]) -> None:
        super().__init__("\n".join(str(each) or repr(each) for each in failures))
        self.failures = tuple(failures)


def plan(steps: Iterable[BuildStep]) -> dict[str, BuildStep]:
    """The steps by name; ValueError for a name given twice, an unknown need or a circle."""
    by_name: dict[str, BuildStep] = {}
    for step in steps:
        if step.name in by_name:
            raise ValueError(f"two steps are named {step.name}")
        by_name[step.name] = step
    for step in by_name.values():
        if unknown := set(step.after) - by_name.keys():
            raise ValueError(f"{step.name} needs {', '.join(sorted(unknown))}, which no step is named")
    try:
        TopologicalSorter({step.name: step.after for step in by_name.values()}).prepare()
    except CycleError as error:
        raise ValueError(f"steps need each other: {' → '.join(error.args[1])}") from None
    return by_name


def run_steps(steps: Iterable[BuildStep], observer: StepObserver, clock: Callable[[], float] = time.monotonic) -> None:
    """Run every step after those it needs. Where one fails, all that can do without it is still done; then all
    failures are raised as one."""
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
                else:  # what needs it is never ready
                    observer.failed(name, clock() - since, error)
                    failures.append(error)
    if failures:
        raise StepsError(failures)
