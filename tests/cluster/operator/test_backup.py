"""Backup and restore on the real cluster by the commands of docs/backup.md, with all data deleted in between."""

import json
from typing import Any

import pytest

from contentgen_e2e.admin import contentgen, stopped
from contentgen_e2e.world import BUCKET, ClusterWorld

KIND = "ImageGeneration"
# Without the number of writes: the operator may write the same status again between Completed and the backup.
CONTENTS = {"_id": False, "revision": False}
Spec = dict[str, Any]


def pictures(prompt: str) -> Spec:
    return {"model": "flux-dev", "prompt": prompt, "image": {"size": {"width": 512, "height": 384}}}


def delete_everything(world: ClusterWorld) -> None:
    """Delete the database, and the resources with their finalizers."""
    world.jobs.database.client.drop_database(world.jobs.database.name)
    for resource in json.loads(world.kubectl("get", "contentgen", "--output", "json"))["items"]:
        what = (resource["kind"].lower(), resource["metadata"]["name"])
        world.kubectl("patch", *what, "--type=merge", "--patch", '{"metadata": {"finalizers": null}}')
        world.kubectl("delete", *what, "--ignore-not-found", "--timeout=30s")


@pytest.fixture
def stuck(world: ClusterWorld) -> None:
    """Request that never ends."""
    fault = {"provider": "fal", "model": "fal-ai/flux/dev", "fault": "stuck", "count": 1}
    world.sandbox.put("/sandbox/faults", json=[fault]).raise_for_status()


@pytest.mark.usefixtures("stuck")
def test_everything_deleted_comes_back_and_nothing_is_paid_twice(world: ClusterWorld) -> None:
    world.apply(KIND, "flying", pictures("under way while the backup is made"))
    flying = world.wait(KIND, "flying", lambda s: s.get("phase") == "Processing")["status"]["run"]["requestId"]
    uid = world.apply(KIND, "kept", pictures("made before the backup"))
    kept = world.wait_for_end(KIND, "kept")["status"]
    assert kept["phase"] == "Completed"
    record, paid = world.jobs.find_one({"jobId": uid}, CONTENTS), len(world.billed())
    purchases = {document["_id"]: document["state"] for document in world.ledger_collection.find({})}
    archive, said = contentgen("backup", "-")
    assert "jobs: " in said
    with stopped():
        delete_everything(world)
        assert world.jobs.count_documents({}) == world.ledger_collection.count_documents({}) == 0
        _, said = contentgen("restore", "-", given=archive)
        assert " 0 missing, 0 different" in said
        assert {document["_id"]: document["state"] for document in world.ledger_collection.find({})} == purchases
        assert world.jobs.find_one({"jobId": uid}, CONTENTS) == record
        _, said = contentgen("restore", "-", given=archive)
        assert "jobs: 0 added, 0 replaced" in said
        for name, prompt in (("flying", "under way while the backup is made"), ("kept", "made before the backup")):
            world.apply(KIND, name, pictures(prompt))
    again = world.wait_for_end(KIND, "kept")["status"]
    assert again["phase"] == "Completed"
    assert [version["files"] for version in again["versions"]] == [version["files"] for version in kept["versions"]]
    status = world.wait(KIND, "flying", lambda s: s.get("phase") == "Processing")["status"]
    assert status["run"]["requestId"] == flying, "the request of before is waited for"
    assert len(world.billed()) == paid
    world.kubectl("delete", KIND.lower(), "flying", "--timeout=60s")


def test_a_file_that_is_gone_is_named(world: ClusterWorld) -> None:
    uid = world.apply(KIND, "lost", pictures("a file of this is lost"))
    world.wait_for_end(KIND, "lost")
    archive, _ = contentgen("backup", "-")
    key = next(key for key in world.objects(uid) if key.endswith("image_1.png"))
    world.s3.delete_object(Bucket=BUCKET, Key=key)
    _, said = contentgen("restore", "-", given=archive, status=2)
    assert f"missing: {key}" in said
