"""Versions, deletion, suspension and deadlines on the real cluster: payments, stored and remaining data."""

import time
from typing import Any

from contentgen_e2e.world import BUCKET, ClusterWorld

Spec = dict[str, Any]
KIND = "ImageGeneration"


def pictures(prompt: str, **more: Any) -> Spec:
    size = {"size": {"width": 512, "height": 384}}
    return {"model": "flux-dev", "prompt": prompt, "image": size} | more


def stuck(world: ClusterWorld, count: int = 1) -> None:
    """Requests that never end."""
    fault = {"provider": "fal", "model": "fal-ai/flux/dev", "fault": "stuck", "count": count}
    world.sandbox.put("/sandbox/faults", json=[fault]).raise_for_status()


def versions_of(world: ClusterWorld, uid: str) -> int:
    """Objects of a job with older versions and delete markers."""
    pages = world.s3.get_paginator("list_object_versions").paginate(Bucket=BUCKET)
    listed = (each for page in pages for name in ("Versions", "DeleteMarkers") for each in page.get(name, ()))
    return sum(f"/{uid}/" in each["Key"] for each in listed)


def gone(world: ClusterWorld, name: str, seconds: float = 30) -> float:
    """Seconds until a deleted resource is gone."""
    start = time.monotonic()
    world.kubectl("delete", KIND.lower(), name, f"--timeout={seconds:.0f}s")
    return time.monotonic() - start


def state_of(world: ClusterWorld, uid: str) -> list[str]:
    return [document["state"] for document in world.ledger_collection.find({"jobId": uid})]


def test_an_edit_during_a_run_is_the_next_version_and_both_stay(world: ClusterWorld) -> None:
    before = len(world.billed())
    uid = world.apply(KIND, "edited", pictures("version one"))
    world.wait(KIND, "edited", lambda s: s.get("phase") not in (None, "Pending"))
    world.apply(KIND, "edited", pictures("version two"))
    world.wait(KIND, "edited", lambda s: s.get("phase") == "Completed" and len(s["versions"]) == 2)
    body = world.get(KIND, "edited")
    status = body["status"]
    assert status["observedGeneration"] == body["metadata"]["generation"] == 2
    assert [version["version"] for version in status["versions"]] == [1, 2]
    folder = f"generated-images/{world.namespace}/{uid}/"
    first, second = ({file["key"] for file in version["files"]} for version in status["versions"])
    assert f"{folder}image_1.png" in first
    assert f"{folder}v2/image_1.png" in second
    assert (first | second) <= world.objects(uid).keys()
    record = world.jobs.find_one({"jobId": uid})
    assert record is not None
    stored = [(version["version"], version["images"][0]["s3Key"]) for version in record["versions"]]
    assert stored == [(1, f"{folder}image_1.png"), (2, f"{folder}v2/image_1.png")]
    assert record["config"]["prompt"] == "version two"
    assert len(world.billed()) == before + 2
    # Other edits start nothing.
    world.apply(KIND, "edited", pictures("version two", metadata={"tags": ["a"]}, paidAttempts=2))
    world.wait(KIND, "edited", lambda s: s.get("observedGeneration") == 3)
    time.sleep(2)
    assert world.get(KIND, "edited")["status"]["run"]["number"] == 2
    tagged = world.jobs.find_one({"jobId": uid})
    assert tagged is not None
    assert tagged["metadata"]["tags"] == ["a"]
    # A rerun of the same spec is paid again.
    world.kubectl("annotate", KIND.lower(), "edited", "contentgen.dev/rerun=once-more")
    world.wait(KIND, "edited", lambda s: s.get("phase") == "Completed" and len(s["versions"]) == 3)
    assert len(world.billed()) == before + 3


def test_a_deletion_cancels_what_is_in_flight_and_files_stay(world: ClusterWorld) -> None:
    stuck(world)
    uid = world.apply(KIND, "flying", pictures("never finished"))
    world.wait(KIND, "flying", lambda s: s.get("phase") == "Processing")
    assert world.get(KIND, "flying")["metadata"]["finalizers"] == ["contentgen.dev/finalizer"]
    before = len(world.billed())
    assert gone(world, "flying") < 30
    assert state_of(world, uid) == ["cancelled"]
    record = world.jobs.find_one({"jobId": uid})
    assert record is not None
    assert record["status"] == "cancelled"
    world.apply(KIND, "flying", pictures("never finished"))
    status = world.wait_for_end(KIND, "flying")["status"]
    assert (status["phase"], status["reason"]) == ("Failed", "Cancelled")
    assert len(world.billed()) == before


def test_deleted_while_it_prepares_its_job_goes_too(world: ClusterWorld, film: str) -> None:
    uid = world.apply("Transcription", "early", {"source": {"url": film}})
    world.wait("Transcription", "early", lambda s: s.get("phase") == "Preparing" and s["run"].get("job"))
    assert "finalizers" not in world.get("Transcription", "early")["metadata"], "nothing is paid yet"
    world.kubectl("delete", "transcription", "early", "--timeout=30s")
    deadline = time.monotonic() + 60
    while world.worker_pods(uid) and time.monotonic() < deadline:
        time.sleep(0.5)
    assert world.worker_pods(uid) == []
    record = world.jobs.find_one({"jobId": uid})
    assert record is not None
    assert record["status"] == "cancelled"
    assert state_of(world, uid) == []


def test_with_policy_delete_all_files_and_their_versions_go(world: ClusterWorld) -> None:
    keep = world.apply(KIND, "kept", pictures("kept"))
    uid = world.apply(KIND, "doomed", pictures("doomed", deletionPolicy="Delete"))
    world.wait_for_end(KIND, "doomed")
    world.wait_for_end(KIND, "kept")
    key = next(iter(world.objects(uid)))
    world.s3.put_object(Bucket=BUCKET, Key=key, Body=b"a newer version")
    assert versions_of(world, uid) > len(world.objects(uid)) > 0
    kept = versions_of(world, keep)
    assert gone(world, "doomed") < 30
    assert versions_of(world, uid) == 0
    assert world.jobs.find_one({"jobId": uid}) is None
    assert state_of(world, uid) == ["discarded"]
    assert versions_of(world, keep) == kept > 0
    before = len(world.billed())
    world.apply(KIND, "doomed", pictures("doomed", deletionPolicy="Delete"))
    assert world.wait_for_end(KIND, "doomed")["status"]["reason"] == "OutputsDeleted"
    assert len(world.billed()) == before


def test_suspended_it_waits_before_it_pays_and_then_goes_on(world: ClusterWorld) -> None:
    before = len(world.billed())
    world.apply(KIND, "held", pictures("held", suspend=True))
    world.kubectl("wait", f"{KIND.lower()}/held", "--for=condition=Suspended", "--timeout=60s")
    time.sleep(2)
    assert len(world.billed()) == before
    world.apply(KIND, "held", pictures("held", suspend=False))
    assert world.wait_for_end(KIND, "held")["status"]["phase"] == "Completed"
    assert len(world.billed()) == before + 1


def test_a_stuck_provider_is_cancelled_at_the_deadline(world: ClusterWorld) -> None:
    stuck(world)
    before = len(world.billed())
    world.apply(KIND, "late", pictures("late", deadlineSeconds=60))
    status = world.wait_for_end(KIND, "late", seconds=120)["status"]
    assert (status["phase"], status["reason"]) == ("Failed", "DeadlineExceeded")
    assert "spec.deadlineSeconds (60)" in status["message"]
    assert len(world.billed()) == before + 1
    assert "finalizers" not in world.get(KIND, "late")["metadata"]
