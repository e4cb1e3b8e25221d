"""`make test`, `make test-cluster` and `make acceptance`: suites side by side where they do not disturb one another.

tools/suites.py lists them. Tests that were skipped are failures. A suite whose program this machine lacks is listed at
the end with the package to install; with CI=true it is a failure. The output of each step is in build/test; that of a
failed one is printed.
"""

import argparse
import os
import subprocess
import sys
import threading
import time
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

from suites import RUNS, Program, SuiteLane, SuiteStep

ROOT = Path(__file__).resolve().parent.parent
REPORTS = ROOT / "build/test"
PYTHON = str(ROOT / ".venv/bin/python")
_SLOWEST = 20
_KEPT_LINES = 400


@dataclass(frozen=True)
class StepResult:
    """A finished step. `seconds` is 0 where it was not run; `times` are (seconds, test) of its report."""

    name: str
    about: str
    passed: int
    failed: int
    skipped: tuple[str, ...] = ()
    missing: tuple[Program, ...] = ()
    seconds: float = 0
    times: tuple[tuple[float, str], ...] = ()


def main() -> int:
    """Exit status 0 when nothing failed and nothing was skipped."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", choices=RUNS)
    run = parser.parse_args().run
    if run == "acceptance":
        os.environ["CONTENTGEN_ACCEPTANCE"] = "all"  # the sizes of the tests
    REPORTS.mkdir(parents=True, exist_ok=True)
    start = time.monotonic()
    results = SuiteRun(RUNS[run]).all()
    return report(results, time.monotonic() - start, in_ci=os.environ.get("CI") == "true")


class SuiteRun:
    """Lanes, each on a thread of its own, which waits for its commands."""

    def __init__(self, lanes: tuple[SuiteLane, ...]) -> None:
        self._lanes = lanes
        self._succeeded: dict[str, bool] = {}
        self._ended = {name: threading.Event() for lane in lanes for name in _names(lane)}
        self._stopping = threading.Event()
        self._printing = threading.Lock()

    def all(self) -> list[StepResult]:
        """The results, lane by lane. Ctrl-C ends the commands, which got the same signal, and begins no others."""
        with ThreadPoolExecutor(len(self._lanes)) as pool:
            futures = [pool.submit(self._lane, lane) for lane in self._lanes]
            try:
                return [result for future in futures for result in future.result()]
            except BaseException:
                self._stop()
                raise

    def _lane(self, lane: SuiteLane) -> list[StepResult]:
        if lane.after:
            self._ended[lane.after].wait()
        results = [self._step(lane, step) for step in lane.steps if not self._stopping.is_set()]
        self._ended[lane.name].set()
        return results

    def _step(self, lane: SuiteLane, step: SuiteStep) -> StepResult:
        for name in step.needs:
            self._ended[name].wait()
        failed = [name for name in step.needs if not self._succeeded.get(name)]
        if missing := tuple(program for program in step.programs if program.is_missing()):
            result = StepResult(step.name, step.about, 0, 0, missing=missing)
        elif failed:
            result = StepResult(step.name, f"not run: {', '.join(failed)} failed", 0, 1)
        else:
            result = self._run(lane, step)
        self._succeeded[step.name] = not result.failed and not result.missing
        self._ended[step.name].set()
        return result

    def _run(self, lane: SuiteLane, step: SuiteStep) -> StepResult:
        self._say(f"── {step.name}: {step.about}")
        start = time.monotonic()
        _junit(step).unlink(missing_ok=True)
        log = REPORTS / f"{_slug(step)}.log"
        with log.open("wb") as output:
            code = subprocess.run(
                command(step), cwd=ROOT, env=environment(lane), stdin=subprocess.DEVNULL,
                stdout=output, stderr=subprocess.STDOUT, check=False,
            ).returncode  # fmt: skip
        result = read_result(step, code, time.monotonic() - start)
        lines = log.read_text(errors="replace").splitlines()
        shown = lines[-_KEPT_LINES:] if result.failed else lines[-1:]
        self._say(f"── {step.name}: {'FAILED' if result.failed else 'ok'}, {result.seconds:.0f} s", *shown)
        return result

    def _say(self, *lines: str) -> None:
        with self._printing:
            print(*lines, sep="\n", flush=True)

    def _stop(self) -> None:
        self._stopping.set()
        for event in self._ended.values():
            event.set()


def command(step: SuiteStep) -> list[str]:
    """The command of a step."""
    if step.make:
        return ["make", step.make]
    return [PYTHON, *step.python, *((f"--junitxml={_junit(step)}",) if step.reports else ())]


def environment(lane: SuiteLane) -> dict[str, str]:
    """The environment of a lane's steps: the release, and a namespace for its resources that is new for each step."""
    if lane.release is None:
        return dict(os.environ)
    watched = f"{lane.release}-{int(time.time())}"
    return os.environ | {"CONTENTGEN_TEST_RELEASE": lane.release, "CONTENTGEN_TEST_WATCHED": watched}


def read_result(step: SuiteStep, code: int, seconds: float) -> StepResult:
    """The figures of a step. An exit code without a failed test is a failure too, and so is a report without tests."""
    result = StepResult(step.name, step.about, int(code == 0), int(code != 0), seconds=seconds)
    if not step.reports:
        return result
    if not _junit(step).exists():
        return replace(result, passed=0, failed=1)
    cases = list(ET.parse(_junit(step)).getroot().iter("testcase"))  # noqa: S314 - our own pytest wrote it
    failed = sum(1 for case in cases if case.find("failure") is not None or case.find("error") is not None)
    skipped = tuple(f"{case.get('name')}" for case in cases if case.find("skipped") is not None)
    broken = (code != 0 and failed == 0) or not cases
    return replace(
        result,
        passed=max(len(cases) - failed - len(skipped), 0),
        failed=failed + broken,
        skipped=skipped,
        times=tuple((float(case.get("time", 0)), f"{case.get('classname')}::{case.get('name')}") for case in cases),
    )


def report(results: list[StepResult], seconds: float, *, in_ci: bool) -> int:
    """Print the closing table; the exit status. `in_ci`: what the machine lacks is a failure."""
    print("\nwhat ran, and its seconds")
    for result in results:
        print(*row(result), sep="\n")
    print(f"\nthe {_SLOWEST} slowest tests")
    for each, name in sorted((each_time for result in results for each_time in result.times), reverse=True)[:_SLOWEST]:
        print(f"  {each:6.1f} s  {name}")
    print(f"\n{seconds / 60:.1f} minutes, load {', '.join(f'{load:.1f}' for load in os.getloadavg())}")
    missing = [result for result in results if result.missing]
    for result in missing:
        packages = " ".join(program.package for program in result.missing)
        print(f"NOT RUN on this machine: {result.name} ({result.about}): apt-get install {packages}")
    passed, failed = (
        sum(each_result.passed for each_result in results),
        sum(each_result.failed for each_result in results),
    )
    failed += len(missing) if in_ci else 0
    skipped = sum(len(each_result.skipped) for each_result in results)
    print(f"{passed} passed, {failed} failed, {skipped} skipped", flush=True)
    return int(failed > 0 or skipped > 0)


def row(result: StepResult) -> Iterator[str]:
    """The lines of one step in the closing table."""
    verdict = "FAILED" if result.failed else "NOT RUN" if result.missing else "ok"
    counted = f"{result.passed:5} passed {result.failed:3} failed {len(result.skipped):3} skipped"
    yield f"  {verdict:<7} {result.name:<18} {counted} {result.seconds:5.0f} s  {result.about}"
    for name in result.skipped:
        yield f"           skipped: {name}"


def _names(lane: SuiteLane) -> Iterator[str]:
    yield lane.name
    yield from (step.name for step in lane.steps)


def _slug(step: SuiteStep) -> str:
    return step.name.replace(" ", "-")


def _junit(step: SuiteStep) -> Path:
    return REPORTS / f"{_slug(step)}.xml"


if __name__ == "__main__":
    sys.exit(main())
