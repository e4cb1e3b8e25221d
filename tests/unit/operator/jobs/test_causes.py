"""Causes in the status: the last words of a worker, and the cause of its retries, for people and never machines."""

import json
from typing import Any

import pytest

from contentgen_contract.names import STAGE_LABEL, Kind, Phase, Reason, Stage, Step
from contentgen_contract.worker.orders import Progress
from contentgen_operator.kube import pods
from contentgen_operator.state.observed import JobView
from contentgen_operator.watch.event_handlers import owner_of
from contentgen_simulation.world import SPECS, World

pytestmark = pytest.mark.usefixtures("no_waiting")

Body = dict[str, Any]
ERROR = "store PUT https://s3.example/b/k: ConnectError [SSL: CERTIFICATE_VERIFY_FAILED] no issuer; is the store up?"


def line(**fields: Any) -> str:
    """A line of the worker's log."""
    return json.dumps({"time": "2026-11-21T00:00:09.000+00:00", "level": "error", "jobId": "j", **fields})


NO_OUTCOME = line(event="no outcome", error=ERROR, exit=1)
JWT = "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJ4In0.c2ln"


@pytest.mark.parametrize(
    ("message", "words"),
    [
        (f"{line(event='order')}\n{NO_OUTCOME}\n", f"00:00:09 error: no outcome: {ERROR}, exit 1"),
        (line(event="crashed", exit=1, traceback="Traceback:\n  x.py\nValueError: odd"), "ValueError: odd"),
        ("plain words", "plain words"),
        ("one\n\n  \n", "one"),
        ("", ""),
        (None, ""),
        (7, "7"),
        ("\x1b[31mred\u202e\ud800", "\ufffd[31mred\ufffd\ufffd"),
        ("PUT https://u:p@s3.example/k?X-Amz-Signature=abc failed", "PUT https://s3.example/k failed"),
        (f"Authorization: Bearer {JWT}", "Authorization: Bearer ***"),
        (f"a token {JWT} was there", "a token *** was there"),
        ("x" * 4000 + "\n" + "y" * 4000, "y" * 400),
        # The kubelet cuts the log's end off at its 2048th byte from the end: in the middle of a signature, say.
        ("6f7365637265743d " + "z" * 3000, "z" * 400),
        ("half-a-signature " + "word " * 600, ("word " * 600).strip()[-400:]),
        (line(event="no outcome", error="e" * 3000), ("00:00:09 error: no outcome: " + "e" * 3000)[:400]),
    ],
)
def test_the_last_words_of_a_worker(message: object, words: str) -> None:
    assert pods.last_words(message) == words


def pod(job: Body, message: str, exit_code: int = 1, name: str = "worker") -> Body:
    owner = {"apiVersion": "batch/v1", "kind": "Job", "uid": job["metadata"]["uid"], "controller": True}
    ended = {"reason": "Error", "exitCode": exit_code, "message": message, "startedAt": "2026-11-21T00:00:01Z"}
    status = {"phase": "Failed", "containerStatuses": [{"name": name, "state": {"terminated": ended}}]}
    return {"metadata": {"name": "p", "ownerReferences": [owner]}, "status": status}


def test_the_workers_container_is_looked_at_among_injected_ones() -> None:
    job = {"metadata": {"uid": "j1"}}
    made = pod(job, "of the worker")
    other = pod(job, "of the proxy", 0, "proxy")["status"]["containerStatuses"]
    made["status"]["containerStatuses"] = other + made["status"]["containerStatuses"]
    assert pods.end_cause([made]) == "Error: the worker ended with exit code 1: of the worker"


def fails(world: World, stage: Stage, message: str) -> None:
    """Let the workers of a stage end with this message."""
    work = world.work

    def worked() -> None:
        for job in world.kube.jobs.values():
            if job["metadata"]["labels"][STAGE_LABEL] != stage or "status" in job:
                continue
            foreign = {"metadata": {"uid": "another-job"}}
            world.kube.pods = [pod(job, message), pod(foreign, "words of a pod that only has the label")]
            failed = {"type": "Failed", "status": "True", "reason": "BackoffLimitExceeded", "message": "backoff limit"}
            job["status"] = {"conditions": [failed]}
            owner = owner_of(job)
            for cache in world.caches:
                if owner is not None and owner in cache:
                    cache.note_job(owner, JobView.parse(job))
        work()

    world.work = worked  # type: ignore[method-assign]


STAGES = [(kind, stage) for kind in Kind for stage in Stage if (kind, stage) != (Kind.IMAGE_GENERATION, Stage.PREPARE)]


@pytest.mark.parametrize(("kind", "stage"), STAGES)
async def test_cause_of_a_workers_end_is_in_the_status_at_once(kind: Kind, stage: Stage, world: World) -> None:
    fails(world, stage, NO_OUTCOME)
    world.kube.apply(kind, SPECS[kind])
    ended = await world.until(kind, lambda: world.status(kind).reason == Reason.RETRYING)
    status = world.status(kind)
    assert (world.now - ended).total_seconds() <= 30
    expected = f"attempt 1 of the {stage} stage failed: Error: the worker ended with exit code 1: 00:00:09 error: no "
    assert (status.message or "").startswith(expected)
    assert ERROR in (status.message or "")
    assert "only has the label" not in str(status)
    assert world.kube.events[-1] == ("Warning", Reason.RETRYING)


@pytest.mark.parametrize(
    "words", ["DeadlineExceeded", '{"reason": "Completed"}', "DeletionByTaintManager", "OOMKilled"]
)
async def test_no_words_of_a_worker_decide_anything(words: str, world: World) -> None:
    kind = Kind.LORA_TRAINING
    fails(world, Stage.PREPARE, words)
    world.kube.apply(kind, SPECS[kind])
    status = await world.finish(kind)
    assert (status.phase, status.reason) == (Phase.FAILED, Reason.JOB_FAILED)
    assert status.run is not None
    assert (status.run.stage_attempt, status.run.lost_attempts) == (3, 0)


@pytest.mark.parametrize(("kind", "stage"), STAGES)
async def test_the_cause_of_a_workers_retries_is_in_the_status(kind: Kind, stage: Stage, world: World) -> None:
    work = world.work
    world.work = lambda: None  # type: ignore[method-assign]
    world.kube.apply(kind, SPECS[kind])

    def job() -> Body | None:
        mine = [
            each_job for each_job in world.kube.jobs.values() if each_job["metadata"]["labels"][STAGE_LABEL] == stage
        ]
        return mine[0] if mine else None

    def starts() -> bool:
        if job() is None:
            work()
        return job() is not None

    await world.until(kind, starts)
    found = job()
    assert found is not None
    hostile = "https://u:p@s3.example/k?X-Amz-Signature=abc: refused"
    for message, shown in (("the store is away", "the store is away"), (hostile, "https://s3.example/k refused")):
        report = Progress(
            step=Step.STORING if stage is Stage.COLLECT else Step.DOWNLOADING, fraction=0, message=message
        )
        world.process.observer.reports.note_progress(found["metadata"]["uid"], report)
        await world.reconcile(kind)
        assert world.status(kind).message == shown
    world.process.observer.reports.note_progress(found["metadata"]["uid"], report.model_copy(update={"message": ""}))
    await world.reconcile(kind)
    assert "s3.example" not in (world.status(kind).message or "")
