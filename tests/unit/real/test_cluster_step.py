"""Dry run of a worker Job: what a cluster changes and adds; kubectl is a script of the test."""

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from contentgen_real.checked import AnswerChecks
from contentgen_real.context import StepContext, StepFailed, opened_context
from contentgen_real.journal import opened
from contentgen_real.place import ProviderPlace
from contentgen_real.stand_in import SETTINGS, StandInProviders
from contentgen_real.steps.cluster import added, changed, dry_run


@pytest.mark.parametrize(
    ("sent", "answered", "differences"),
    [
        ({"a": {"b": [1, {"c": 2}]}}, {"a": {"b": [1, {"c": 2, "d": 3}]}, "e": 4}, []),
        ({"a": {"b": 1}}, {"a": {"b": 2}}, ["a.b"]),
        ({"a": {"b": 1}}, {}, ["a"]),
        ({"a": {}}, {}, []),
        ({"a": [1, 2]}, {"a": [1]}, ["a"]),
        ({"a": [{"b": 1}]}, {"a": [{"b": 2}]}, ["a[0].b"]),
    ],
)
def test_changed_values_are_named_by_path(sent: Any, answered: Any, differences: list[str]) -> None:
    assert list(changed(sent, answered)) == differences


def test_added_values_are_named_by_path() -> None:
    sent, answered = {"a": {"b": [1]}}, {"a": {"b": [1, 2], "c": 3}, "d": {}}
    assert list(added(sent, answered)) == ["a.b[1]", "a.c", "d"]


@pytest.fixture
async def context(tmp_path: Path) -> AsyncIterator[StepContext]:
    place = ProviderPlace.of({**SETTINGS, "KUBE_CONTEXT": "mine", "KUBE_NAMESPACE": "team-a"})
    with opened(tmp_path) as journal:
        transport = httpx.MockTransport(StandInProviders())
        async with opened_context(place, journal, AnswerChecks(place), lambda _: None, transport) as made:
            yield made


def kubectl(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str) -> None:
    path = tmp_path / "bin/kubectl"
    path.parent.mkdir()
    path.write_text(f'#!/bin/sh\necho "$@" > {tmp_path}/arguments\n{script}\n')
    path.chmod(0o755)
    monkeypatch.setenv("PATH", f"{path.parent}:/usr/bin:/bin")


async def test_dry_run_creates_nothing_and_accepts_additions(
    context: StepContext, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kubectl(tmp_path, monkeypatch, f"tee {tmp_path}/job.json")
    await dry_run(context)
    assert context.checks.differences == []
    arguments = (tmp_path / "arguments").read_text()
    assert "--context mine --namespace team-a create --dry-run=server" in arguments
    job = json.loads((tmp_path / "job.json").read_text())
    assert (job["kind"], "ownerReferences" in job["metadata"]) == ("Job", False)


async def test_changed_limit_is_a_difference(
    context: StepContext, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kubectl(tmp_path, monkeypatch, "sed s/24Gi/1Gi/")
    await dry_run(context)
    [difference] = context.checks.differences
    assert difference.path == "spec.template.spec.containers[0].resources.limits.ephemeral-storage"


async def test_refused_job_fails_the_step(
    context: StepContext, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kubectl(tmp_path, monkeypatch, "echo forbidden by policy >&2; exit 1")
    with pytest.raises(StepFailed, match="the cluster refuses a worker Job: forbidden by policy"):
        await dry_run(context)


async def test_missing_kubectl_fails_the_step(context: StepContext, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(StepFailed, match="kubectl is missing"):
        await dry_run(context)
