"""Kueue: its labels on Jobs, Jobs that are created suspended, and Jobs that are suspended from outside.

Kueue itself is not available to this project: `Kueue` is a stand-in that suspends and resumes Jobs as it does.
"""

from datetime import timedelta
from typing import Any

import pytest

from contentgen_contract.names import QUEUE_LABEL, QUEUE_PRIORITY_LABEL, Kind, Phase, Reason, Stage
from contentgen_operator.kube.cache import trimmed
from contentgen_operator.kube.job_manifests import WorkerPod, job_manifest
from contentgen_operator.state.observed import JobView, Resource
from contentgen_operator.watch.event_handlers import owner_of
from contentgen_simulation.world import SPECS, TEMPLATE, UID, World

TRANSCRIPT = Kind.TRANSCRIPTION
LABELS = {QUEUE_LABEL: "team-a", QUEUE_PRIORITY_LABEL: "low"}


class Kueue:
    """Stand-in: workers start when their Job is resumed; `suspend` preempts a running one."""

    def __init__(self, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
        self._world = world
        self._work = world.work
        monkeypatch.setattr(world, "work", self.work)

    def work(self) -> None:
        """Let the workers of Jobs that are not suspended complete."""
        held = {name: job for name, job in self._world.kube.jobs.items() if job["spec"].get("suspend")}
        for name in held:
            del self._world.kube.jobs[name]
        self._work()
        self._world.kube.jobs.update(held)

    def resume(self) -> None:
        """Admit all Jobs, as Kueue does: suspend false and a start time."""
        for job in self._world.kube.jobs.values():
            if job["spec"].get("suspend"):
                job["spec"]["suspend"] = False
                self._deliver(job)

    def suspend(self) -> None:
        """Preempt all running Jobs."""
        for job in self._world.kube.jobs.values():
            if "status" not in job:
                job["spec"]["suspend"] = True
                self._deliver(job)

    def _deliver(self, job: dict[str, Any]) -> None:
        owner = owner_of(job)
        for cache in self._world.caches:
            if owner is not None and owner in cache:
                cache.note_job(owner, JobView.parse(job))


def apply(world: World, labels: dict[str, str], **spec: Any) -> None:
    metadata = {"name": "it", "namespace": "ns", "uid": UID, "annotations": {}, "labels": labels}
    world.kube.store.apply((TRANSCRIPT, "it"), metadata, SPECS[TRANSCRIPT] | spec)


def made(labels: dict[str, str], pod: WorkerPod | None = None) -> dict[str, Any]:
    template = TEMPLATE.model_copy(update={"pod": pod or WorkerPod()})
    meta = {"name": "it", "namespace": "ns", "uid": UID, "creationTimestamp": "2026-01-01T00:00:00Z", "labels": labels}
    meta["resourceVersion"] = "1"
    resource = Resource.parse(TRANSCRIPT, {"metadata": meta, "spec": {}})
    return job_manifest(resource.ref, 1, Stage.PREPARE, 1, template, queue_labels=resource.queue_labels)


def test_kueues_labels_are_copied_and_the_job_is_suspended() -> None:
    job = made(LABELS | {"contentgen.dev/uid": "another", "team": "x"})
    assert job["spec"]["suspend"] is True
    assert {name: job["metadata"]["labels"].get(name) for name in LABELS} == LABELS
    assert job["metadata"]["labels"]["contentgen.dev/uid"] == UID
    assert "team" not in job["metadata"]["labels"]
    assert not LABELS.keys() & job["spec"]["template"]["metadata"]["labels"].keys()


def test_a_priority_without_a_queue_suspends_nothing() -> None:
    assert "suspend" not in made({QUEUE_PRIORITY_LABEL: "low"})["spec"]
    assert "suspend" not in made({})["spec"]


def test_the_administrators_queue_is_that_of_all_resources() -> None:
    pod = WorkerPod(job_labels={QUEUE_LABEL: "default"})
    assert made({}, pod)["spec"]["suspend"] is True
    assert made({}, pod)["metadata"]["labels"][QUEUE_LABEL] == "default"
    assert made(LABELS, pod)["metadata"]["labels"][QUEUE_LABEL] == "default"
    assert made(LABELS, pod)["metadata"]["labels"][QUEUE_PRIORITY_LABEL] == "low"


def test_the_cache_keeps_kueues_labels_only() -> None:
    body = {"metadata": {"name": "it", "labels": LABELS | {"x": "y" * 60}}}
    assert trimmed(body)["metadata"]["labels"] == LABELS


def test_a_job_starts_when_it_is_resumed() -> None:
    meta = {"name": "j", "uid": "u", "creationTimestamp": "2026-01-01T00:00:00Z"}
    later = {"metadata": meta, "spec": {"suspend": False}, "status": {"startTime": "2026-01-02T00:00:00Z"}}
    assert JobView.parse(later).started_at.day == 2
    assert JobView.parse({"metadata": meta, "spec": {"suspend": True}, "status": {}}).started_at.day == 1


async def test_suspended_job_is_queued_without_failure_or_timeout(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    kueue = Kueue(world, monkeypatch)
    apply(world, LABELS)
    for _ in range(50):
        await world.reconcile(TRANSCRIPT)
    world.now += timedelta(days=3)
    await world.reconcile(TRANSCRIPT)
    status = world.status(TRANSCRIPT)
    assert (status.phase, status.reason) == (Phase.PREPARING, Reason.QUEUED)
    assert "is suspended: a queue holds it" in (status.message or "")
    assert status.run is not None
    assert status.run.stage_attempt == 1
    assert len(world.kube.jobs) == 1
    for _ in range(40):
        kueue.resume()  # the collect Job is suspended too
        await world.reconcile(TRANSCRIPT)
    assert world.status(TRANSCRIPT).phase is Phase.COMPLETED
    assert len(world.provider.posts) == 1


async def test_a_job_that_is_preempted_is_queued_again(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    kueue = Kueue(world, monkeypatch)
    monkeypatch.setattr(world, "work", lambda: None)  # the worker does not finish
    apply(world, {})
    for _ in range(3):
        await world.reconcile(TRANSCRIPT)
    assert world.status(TRANSCRIPT).reason == Reason.PREPARING
    kueue.suspend()
    for _ in range(3):
        await world.reconcile(TRANSCRIPT)
    assert world.status(TRANSCRIPT).reason == Reason.QUEUED
    kueue.resume()
    monkeypatch.setattr(world, "work", kueue.work)
    assert (await world.finish(TRANSCRIPT)).phase is Phase.COMPLETED


async def test_cancelling_deletes_a_suspended_job(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    Kueue(world, monkeypatch)
    apply(world, LABELS)
    for _ in range(3):
        await world.reconcile(TRANSCRIPT)
    metadata = {"name": "it", "namespace": "ns", "uid": UID, "annotations": {"contentgen.dev/cancel": "1"}}
    world.kube.store.apply((TRANSCRIPT, "it"), metadata | {"labels": LABELS}, SPECS[TRANSCRIPT])
    for _ in range(3):
        await world.reconcile(TRANSCRIPT)
    assert world.status(TRANSCRIPT).reason == Reason.CANCELLED
    assert world.kube.jobs == {}
