"""Cleanup on the real cluster: finished resources expire, nothing that was bought is lost, failed ones are labelled."""

import json
import time
from typing import Any

from contentgen_cluster.release import CommandFailed
from contentgen_e2e.world import BUCKET, ClusterWorld, until

Spec = dict[str, Any]
KIND, LORA = "ImageGeneration", "LoraTraining"
SELECTOR = "contentgen.dev/given-up=true"


def pictures(prompt: str, **more: Any) -> Spec:
    size = {"size": {"width": 512, "height": 384}}
    return {"model": "flux-dev", "prompt": prompt, "image": size} | more


def is_gone(world: ClusterWorld, kind: str, name: str) -> bool:
    return not world.kubectl("get", kind.lower(), name, "--ignore-not-found", "--output", "name").strip()


def has_logged(world: ClusterWorld, text: str) -> bool:
    try:
        return text in world.operator_log()
    except CommandFailed:  # the container of the replaced pod is being created
        return False


def test_expired_resource_keeps_its_files_and_is_adopted(world: ClusterWorld) -> None:
    spec = pictures("an expired picture", ttlSecondsAfterFinished=10, deletionPolicy="Delete")
    uid = world.apply(KIND, "expired", spec)
    assert world.wait_for_end(KIND, "expired")["status"]["phase"] == "Completed"
    files, billed = world.objects(uid), len(world.billed())
    assert files
    until(lambda: is_gone(world, KIND, "expired"))
    jobs = world.kubectl("get", "jobs", "--selector", f"contentgen.dev/uid={uid}", "--output", "name")
    until(lambda: not jobs.strip() or not world.kubectl("get", *jobs.split(), "--ignore-not-found").strip())
    time.sleep(3)  # the garbage collector would have begun
    assert world.objects(uid) == files
    assert [document["state"] for document in world.ledger_collection.find({"jobId": uid})] == ["collected"]
    record = world.jobs.find_one({"jobId": uid})
    assert record is not None
    assert record["status"] == "completed"
    world.apply(KIND, "expired", pictures("an expired picture", deletionPolicy="Delete"))
    status = world.wait_for_end(KIND, "expired")["status"]
    assert (status["reason"], len(world.billed())) == ("AdoptedFinishedRun", billed)
    world.kubectl("delete", KIND.lower(), "expired", "--timeout=60s")
    until(lambda: not world.objects(uid))


def test_a_picture_uses_a_lora_that_has_expired(world: ClusterWorld, film: str) -> None:
    training = {
        "loraName": "expiring", "triggerWord": "xp", "source": {"url": film}, "dataset": {"minImages": 8},
        "training": {"steps": 500}, "ttlSecondsAfterFinished": 0,
    }  # fmt: skip
    uid = world.apply(LORA, "expiring", training)
    until(lambda: is_gone(world, LORA, "expiring"), seconds=240)
    picture = {"prompt": "a photo of xp", "loras": [{"loraRef": {"name": "expiring"}}]}
    world.apply(KIND, "of-the-expired", picture)
    assert world.wait_for_end(KIND, "of-the-expired")["status"]["phase"] == "Completed"
    bought = world.ledger_collection.find_one({"type": "image-generation", "_id": {"$regex": "/of-the-expired/"}})
    assert bought is not None
    assert [uid in lora for lora in bought["loras"]] == [True]


def test_a_failed_run_is_found_by_its_label_until_it_goes_on(world: ClusterWorld) -> None:
    fault = {"provider": "fal", "model": "fal-ai/flux/dev", "fault": "model_error", "count": 1}
    world.sandbox.put("/sandbox/faults", json=[fault]).raise_for_status()
    world.apply(KIND, "given-up", pictures("given up"))
    assert world.wait_for_end(KIND, "given-up")["status"]["phase"] == "Failed"
    listed = json.loads(world.kubectl("get", KIND.lower(), "--selector", SELECTOR, "--output", "json"))["items"]
    assert "given-up" in [resource["metadata"]["name"] for resource in listed]
    world.kubectl("annotate", KIND.lower(), "given-up", "contentgen.dev/rerun=again")
    world.wait(KIND, "given-up", lambda status: status.get("phase") == "Completed")
    assert "contentgen.dev/given-up" not in (world.get(KIND, "given-up")["metadata"].get("labels") or {})


def test_operator_deletes_temporary_files_where_rules_lack(world: ClusterWorld) -> None:
    """versitygw answers 501: the operator goes on, and deletes nothing that is younger than a day."""
    world.s3.put_object(Bucket=BUCKET, Key="temp/young/file", Body=b"1")
    world.kill_operator()
    world.wait_for_leader()
    until(lambda: has_logged(world, "no lifecycle rule"))
    assert world.s3.head_object(Bucket=BUCKET, Key="temp/young/file")["ContentLength"] == 1
    world.s3.delete_object(Bucket=BUCKET, Key="temp/young/file")
