"""Purchases on the real cluster with a lost response, ledger, collect Job or result: each completes, paid once."""

import time
import zlib
from typing import Any

import pytest

from contentgen_contract.names import Kind
from contentgen_e2e.admin import contentgen, stopped
from contentgen_e2e.oracle import check_completed, check_stored
from contentgen_e2e.world import Body, ClusterWorld

KIND = Kind.IMAGE_GENERATION
MODEL = {"provider": "fal", "model": "fal-ai/flux/dev"}
UNPAID_SECONDS = 10  # several reconciles, enough for a second POST


class Picture:
    """ImageGeneration whose requests in the sandbox's ledger are identified by its seed."""

    def __init__(self, world: ClusterWorld, name: str, **spec: Any) -> None:
        self.world, self.name = world, name
        self.seed = zlib.crc32(f"{world.namespace}{name}".encode()) >> 1
        image = {"size": {"width": 256, "height": 256}, "seed": self.seed}
        world.apply(KIND, name, {"model": "flux-dev", "prompt": name, "image": image} | spec)

    def paid(self) -> list[str]:
        """Ids of its billed requests."""
        return [request["request_id"] for request in self.world.billed() if request["marker"] == f"seed:{self.seed}"]

    def says(self, reason: str) -> Body:
        """Wait for the reason; returns the status."""
        status: Body = self.world.wait(KIND, self.name, lambda seen: seen.get("reason") == reason)["status"]
        return status

    def completes(self) -> Body:
        """Wait for completion and check the outputs and the single payment; returns the resource."""
        self.world.wait_for_end(KIND, self.name)
        assert len(self.paid()) == 1
        return check_completed(self.world, KIND, self.name)


def arm(world: ClusterWorld, *faults: str) -> None:
    armed = [MODEL | {"fault": fault, "count": 1} for fault in faults]
    world.sandbox.put("/sandbox/faults", json=armed).raise_for_status()


def let_finish(world: ClusterWorld, request: str) -> None:
    world.sandbox.delete(f"/sandbox/jobs/{request}/faults").raise_for_status()


def test_backup_from_before_a_lost_reply_pays_nothing_again(world: ClusterWorld) -> None:
    before, _ = contentgen("backup", "-")
    arm(world, "stuck", "reply_lost")  # one request without a response, and not in the history while it runs
    picture = Picture(world, "rewound")
    picture.says("LookingForRequest")
    (request,) = picture.paid()
    after, _ = contentgen("backup", "-")
    with stopped():
        world.ledger_collection.delete_many({})
        contentgen("restore", "-", given=before)
    status = picture.says("SubmissionUnknown")
    assert "restore the ledger" in status["message"]
    time.sleep(UNPAID_SECONDS)
    assert picture.paid() == [request]
    with stopped():
        contentgen("restore", "-", given=after)
    let_finish(world, request)
    assert picture.completes()["status"]["run"]["requestId"] == request


def test_collect_job_refused_by_a_quota_reports_the_payment(world: ClusterWorld) -> None:
    arm(world, "stuck")
    picture = Picture(world, "refused")
    request = world.wait(KIND, picture.name, lambda s: s.get("phase") == "Processing")["status"]["run"]["requestId"]
    world.kubectl("create", "quota", "no-jobs", "--hard=count/jobs.batch=0")
    let_finish(world, request)
    status = picture.says("JobRefused")
    assert f"Request {request} of fal was paid" in status["message"]
    assert status["phase"] == "Collecting"
    world.kubectl("delete", "quota", "no-jobs")
    picture.completes()


@pytest.mark.parametrize("fault", ["result_expired", "result_deleted", "result_moved"])
def test_result_missing_in_fals_queue_comes_from_the_history(world: ClusterWorld, fault: str) -> None:
    arm(world, fault)
    picture = Picture(world, fault.replace("_", "-"))
    body = world.wait_for_end(KIND, picture.name)
    assert (body["status"]["phase"], len(picture.paid())) == ("Completed", 1)
    assert body["status"]["cost"]["display"].startswith("~"), "the history does not tell what was billed"
    check_stored(world, KIND, body)


def test_result_missing_everywhere_is_read_again_unpaid(
    world: ClusterWorld,
) -> None:
    """fal's history may lag, so the run continues for an hour before it fails; tests/unit covers that failure."""
    arm(world, "result_expired", "history_bare")
    picture = Picture(world, "nowhere", paidAttempts=3)
    world.wait(KIND, picture.name, lambda seen: seen.get("phase") == "Processing")
    time.sleep(UNPAID_SECONDS)
    (request,) = picture.paid()
    status = world.get(KIND, picture.name)["status"]
    assert (status["phase"], status["run"]["requestId"]) == ("Processing", request)
    assert status["message"]
