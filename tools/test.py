"""`make test`: every suite, one after another, and at its end what ran where.

A suite that cannot run is a failure, not a skip; tests that were skipped are counted and named.
"""

import os
import subprocess
import sys
import time
import xml.etree.ElementTree as ET
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
REPORTS = ROOT / "build/test"
PYTHON = str(ROOT / ".venv/bin/python")


@dataclass(frozen=True)
class Suite:
    """A folder or files of tests, and where they run."""

    name: str
    where: str
    paths: tuple[str, ...]


@dataclass(frozen=True)
class Result:
    """One line of the closing table."""

    name: str
    where: str
    passed: int
    failed: int
    skipped: tuple[str, ...]
    seconds: float


SUITES = (
    Suite("unit", "in this process, stores and providers in memory", ("tests/unit",)),
    Suite("hostile", "a sample of hostile and broken files, in confined children", ("tests/hostile",)),
    Suite("pages", "Chromium goes through every page, over made-up jobs", ("tests/pages",)),
    Suite("integration", "real store servers and the sandbox over HTTP", ("tests/integration",)),
    Suite(
        "chart",
        "helm 3 and 4, helm-unittest, promtool, rendered",
        ("tests/cluster/test_chart.py", "tests/cluster/monitoring"),
    ),
    Suite("chart installs", "helm 3 and 4, on the real cluster", ("tests/cluster/test_chart_install.py",)),
    Suite("crds", "the real API server", ("tests/cluster/test_crds_api_server.py", "tests/cluster/test_admission.py")),
    Suite("end to end", "the real cluster, images as built", ("tests/cluster/test_end_to_end.py",)),
    Suite("gitops", "kstatus and Argo CD's Lua, over real watches", ("tests/cluster/test_gitops.py",)),
    Suite("kubectl", "the plugin on the real cluster", ("tests/cluster/test_cli.py",)),
    Suite("metrics", "the real cluster: a scrape through the Service", ("tests/cluster/test_metrics.py",)),
    Suite("desk", "the real cluster: tokens, certificates, an operator that is away", ("tests/cluster/test_desk.py",)),
    Suite(
        "gateway",
        "the real cluster: HTTP and Chromium alone",
        ("tests/cluster/test_gateway_pages.py", "tests/cluster/test_gateway.py"),
    ),
    Suite("backup", "the real cluster: all deleted, and restored", ("tests/cluster/test_backup.py",)),
    Suite("bad input", "the real cluster: sources, results, providers, keys", ("tests/cluster/test_bad_input.py",)),
    Suite("outages", "the real cluster: S3 and MongoDB away", ("tests/cluster/test_outages.py",)),
    Suite("lifecycle", "the real cluster: versions, deletion, deadlines", ("tests/cluster/test_lifecycle.py",)),
    Suite("soak", "the real cluster: a minute of jobs and killed operators", ("tests/cluster/test_soak.py",)),
)
ON_YOURS = (Suite("explain", "your MongoDB (MONGODB_URI): how it would answer", ("tests/explain",)),)
_ALONE = 3  # of them need neither stores nor a cluster


def main() -> int:
    """Exit status 0 when nothing failed and nothing was skipped."""
    REPORTS.mkdir(parents=True, exist_ok=True)
    results = [run_command("verify", "ruff, mypy, import contracts, generated files", ["make", "verify"])]
    results += [run_suite(suite) for suite in SUITES[:_ALONE]]
    results += [run_suite(suite) for suite in ON_YOURS if os.environ.get("MONGODB_URI")]
    cluster = run_command("cluster", "brought up or found running", [PYTHON, "-m", "contentgen_cluster", "up"])
    results.append(cluster)
    if not cluster.failed:
        results.append(
            run_command(
                "chart tools",
                "helm 3, helm-unittest, kstatus, promtool",
                [PYTHON, "-m", "contentgen_cluster", "chart-tools"],
            )
        )
        results += [run_suite(suite) for suite in SUITES[_ALONE:]]
    else:
        results += [Result(suite.name, "not run: there is no cluster", 0, 1, (), 0) for suite in SUITES[_ALONE:]]
    return report(results)


def run_command(name: str, where: str, command: list[str]) -> Result:
    """A step without tests of its own: it counts as one."""
    start = time.monotonic()
    print(f"── {name}: {where}", flush=True)
    failed = subprocess.run(command, cwd=ROOT, check=False).returncode != 0
    return Result(name, where, 1 - failed, int(failed), (), time.monotonic() - start)


def run_suite(suite: Suite) -> Result:
    """One pytest run, counted from its JUnit report."""
    start = time.monotonic()
    print(f"── {suite.name}: {suite.where}", flush=True)
    path = REPORTS / f"{suite.name.replace(' ', '-')}.xml"
    path.unlink(missing_ok=True)
    command = [PYTHON, "-m", "pytest", "-q", f"--junitxml={path}", "--durations=5", *suite.paths]
    code = subprocess.run(command, cwd=ROOT, check=False).returncode
    seconds = time.monotonic() - start
    if not path.exists():
        return Result(suite.name, suite.where, 0, 1, (), seconds)
    return count(suite, path, code, seconds)


def count(suite: Suite, path: Path, code: int, seconds: float) -> Result:
    """The figures of a JUnit report; an exit code without a failed test is a failure too."""
    cases = list(ET.parse(path).getroot().iter("testcase"))  # noqa: S314 - our own pytest wrote it
    failed = sum(1 for case in cases if case.find("failure") is not None or case.find("error") is not None)
    skipped = tuple(f"{case.get('name')}" for case in cases if case.find("skipped") is not None)
    passed = max(len(cases) - failed - len(skipped), 0)
    broken = (code != 0 and failed == 0) or not cases
    return Result(suite.name, suite.where, passed, failed + broken, skipped, seconds)


def report(results: list[Result]) -> int:
    """The closing lines."""
    print("\nwhat ran where")
    for each in results:
        verdict = "ok    " if not each.failed else "FAILED"
        figures = f"{each.passed:4} passed {each.failed:3} failed {len(each.skipped):3} skipped {each.seconds:6.0f} s"
        print(f"  {verdict} {each.name:<12} {figures}  {each.where}")
        for name in each.skipped:
            print(f"           skipped: {name}")
    passed, failed = sum(r.passed for r in results), sum(r.failed for r in results)
    skipped = sum(len(r.skipped) for r in results)
    print(f"{passed} passed, {failed} failed, {skipped} skipped", flush=True)
    return int(failed > 0 or skipped > 0)


if __name__ == "__main__":
    sys.exit(main())
