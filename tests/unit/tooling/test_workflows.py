"""The GitHub workflows only call make targets, or what CI runs; they have few rights, an end, and pinned actions."""

import itertools
import os
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from contentgen_documents.checks import targets, variables

ROOT = Path(__file__).parents[3]
FILES = {path.name: path.read_text() for path in sorted((ROOT / ".github/workflows").glob("*.yml"))}
PREREQUISITES = "apt-get update && apt-get install --yes --no-install-recommends "
"""Debian packages that a container needs before make."""

WRITE_KEY = """(umask 077 && printf '%s\\n' "$RELEASE_KEY" > "$RUNNER_TEMP/release.key")"""
"""A secret cannot be a file, which KEY= names."""

MAY_WRITE = {"release.yml": {"contents: write", "packages: write"}}
"""Workflows whose jobs may have more than `contents: read`, with those rights."""


def jobs(text: str) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = yaml.safe_load(text)["jobs"]
    return found


def commands(job: dict[str, Any]) -> Iterator[str]:
    """Lines of the job's `run` steps, once for each combination of its matrix."""
    matrix = job.get("strategy", {}).get("matrix", {})
    lists = {key: values for key, values in matrix.items() if key != "include"}
    rows = [dict(zip(lists, row, strict=True)) for row in itertools.product(*lists.values())]
    rows = [row for row in [*rows, *matrix.get("include", ())] if row] or [{}]
    for step in job["steps"]:
        lines = step.get("run", "").replace("\\\n", " ").splitlines()
        for line, row in itertools.product(lines, rows):
            yield re.sub(r"\$\{\{ matrix\.([\w-]+) }}", lambda found, row=row: str(row[found[1]]), line)  # type: ignore[misc]


def problems(name: str, text: str) -> list[str]:
    """Errors of a workflow."""
    workflow = yaml.safe_load(text)
    found = [] if workflow.get("permissions") == {} else ["the workflow's default rights are not none"]
    found += [] if "group" in workflow.get("concurrency", {}) else ["runs of it are not in a concurrency group"]
    found += ["pull_request_target has the rights of this repository"] * ("pull_request_target" in text)
    for action in re.findall(r"uses: (.*)", text):
        if not re.fullmatch(r"[\w.-]+/[\w./-]+@[0-9a-f]{40}  # v\d+\.\d+\.\d+", action):
            found.append(f"{action} is not pinned to a commit, with its version as a comment")
    for key, job in jobs(text).items():
        found += [f"{key}: {problem}" for problem in job_problems(name, job)]
    return found


def job_problems(name: str, job: dict[str, Any]) -> Iterator[str]:
    if not 0 < job.get("timeout-minutes", 0) <= 350:
        yield "no time limit below GitHub's own of six hours"
    rights = {f"{key}: {value}" for key, value in job.get("permissions", {"everything": "default"}).items()}
    if extra := rights - {"contents: read"} - MAY_WRITE.get(name, set()):
        yield f"has the rights {sorted(extra)}"
    if "secrets." in yaml.safe_dump(job) and "environment" not in job:
        yield "reads a secret outside an environment, whose reviewers would have to approve it"
    for step in job["steps"]:
        if "actions/checkout@" in step.get("uses", "") and step.get("with", {}).get("persist-credentials") is not False:
            yield "leaves the token in the working copy"
    for command in commands(job):
        yield from command_problems(command)


def command_problems(command: str) -> Iterator[str]:
    if command.startswith(PREREQUISITES) and re.fullmatch(r"[a-z0-9 -]+", command.removeprefix(PREREQUISITES)):
        return
    if command in (".ci/run", WRITE_KEY):
        return
    program, *arguments = shlex.split(command)
    if program != "make":
        yield f"{command}: not a make target"
        return
    for word in arguments:
        key, assigns, value = word.partition("=")
        if key not in (variables() if assigns else targets()):
            yield f"{command}: the Makefile has no {key}"
        if "${{" in value:
            yield f"{command}: an expression in a shell command; pass it as a variable of the environment"


@pytest.mark.parametrize("name", FILES)
def test_a_workflow_is_as_agreed(name: str) -> None:
    assert problems(name, FILES[name]) == []


def test_commands_of_each_workflow() -> None:
    run = {name: [command for job in jobs(text).values() for command in commands(job)] for name, text in FILES.items()}
    assert "make test" in run["pull-request.yml"]
    assert ".ci/run" in run["main.yml"]
    assert {"make audit", "make audit-base", "make fuzz MINUTES=20", "make test-hostile"} <= set(run["weekly.yml"])
    targets = [command.split()[1] for command in run["release.yml"] if command.startswith("make ")]
    assert targets == ["test-unit", "release", "release-verify", "release-check", "publish"]
    assert any("check" in job["needs"] for name, job in jobs(FILES["release.yml"]).items() if name == "publish")
    assert all("environment" in jobs(FILES["release.yml"])[name] for name in ("build", "publish"))


def test_make_check_leaves_out_suites_that_exist() -> None:
    """pytest says nothing of a path to ignore that is not there: the suite would be back in `make check`."""
    (listed,) = re.findall(r"^CAMPAIGNS = ((?:.*\\\n)*.*)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    campaigns = listed.replace("\\\n", " ").split()
    assert len(campaigns) > 5
    assert [campaign for campaign in campaigns if not (ROOT / "tests/unit" / campaign).exists()] == []


def test_ci_calls_programs_that_run_the_tests() -> None:
    assert os.access(ROOT / ".ci/run", os.X_OK)
    assert "\nmake test || status=1\nmake test-cluster || status=1\n" in (ROOT / ".ci/run").read_text()


def test_an_action_has_one_pin() -> None:
    pins = set(re.findall(r"uses: (\S+)@(\w+)", "".join(FILES.values())))
    assert len(pins) == len({action for action, _ in pins}) >= 2


def test_updates_of_pins_are_proposed() -> None:
    settings = yaml.safe_load((ROOT / ".github/dependabot.yml").read_text())
    assert {"pip", "github-actions"} <= {update["package-ecosystem"] for update in settings["updates"]}


GOOD = FILES["weekly.yml"]


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ("permissions: {}", "permissions: {contents: read}", "default rights"),
        ("      contents: read", "      contents: write", "contents: write"),
        ("    permissions:\n      contents: read\n", "", "everything: default"),
        ("concurrency:\n  group: weekly\n  cancel-in-progress: false\n", "", "concurrency"),
        ("    timeout-minutes: 30\n", "", "time limit"),
        ("timeout-minutes: 340", "timeout-minutes: 400", "time limit"),
        ("run: make audit", "run: make audti", "no audti"),
        ("run: make audit", "run: make audit && curl example.com", "no &&"),
        ("run: make audit", "run: python tools/audit.py", "not a make target"),
        ("run: make audit", "run: make fuzz MINUTE=2", "no MINUTE"),
        ("run: make audit", "run: make fuzz MINUTES=${{ github.event.inputs.minutes }}", "expression"),
        ("fuzz MINUTES=20", "fuz MINUTES=20", "no fuz"),
        ("ca-certificates git", "ca-certificates; curl example.com", "not a make target"),
        ("persist-credentials: false", "persist-credentials: true", "leaves the token"),
        ("@3d3c42e5aac5ba805825da76410c181273ba90b1", "@v7", "not pinned"),
        ("  # v7.0.1", "", "not pinned"),
        ("workflow_dispatch:", "pull_request_target:", "pull_request_target"),
        ("run: make audit", "run: make audit\n        env:\n          KEY: ${{ secrets.KEY }}", "reads a secret"),
    ],
)  # fmt: skip
def test_a_change_for_the_worse_is_found(old: str, new: str, problem: str) -> None:
    assert old in GOOD
    found = problems("weekly.yml", GOOD.replace(old, new, 1))
    assert any(problem in each for each in found), found
