"""`/api/lora`: requests of clients of the legacy API."""

import pytest

from contentgen_contract.names import Kind
from contentgen_simulation.gateway.server import GatewayWorld


@pytest.fixture
def world() -> GatewayWorld:
    return GatewayWorld(("ann", "*", "*", "red"), ("bob", "*", "*", "blue"))


async def test_the_status_of_a_training(world: GatewayWorld) -> None:
    """Response of `curl …/api/lora/status/{id} | jq .` in the legacy API."""
    job = world.job(1, status="processing", phase="Preparing", progress=20, stage="ExtractingFrames", completedAt=None)
    async with world.client("ann") as ann:
        told = (await ann.get(f"/api/lora/status/{job}")).json()
    assert (
        told.items()
        >= {
            "jobId": job,
            "status": "processing",
            "progress": 20,
            "stage": "ExtractingFrames",
            "startedAt": "2026-11-01T12:01:00Z",
            "completedAt": None,
        }.items()
    )


async def test_trainings_are_listed_and_nothing_else(world: GatewayWorld) -> None:
    first, failed = world.job(1), world.job(2, status="failed")
    world.job(3, Kind.TRANSCRIPTION), world.job(4, namespace="blue")
    async with world.client("ann") as ann:
        listed = (await ann.get("/api/lora/list", params={"userId": "ann"})).json()
        broken = (await ann.get("/api/lora/list", params={"status": "failed"})).json()
    assert [job["jobId"] for job in listed["jobs"]] == [failed, first]
    assert (listed["total"], broken["total"]) == (2, 1)


@pytest.mark.parametrize("path", ["/api/lora/{}", "/api/lora/status/{}"])
async def test_a_job_of_another_kind_is_no_training(world: GatewayWorld, path: str) -> None:
    mine, other = world.job(1), world.job(2, Kind.TRANSCRIPTION)
    async with world.client("ann") as ann:
        assert (await ann.get(path.format(mine))).json()["jobId"] == mine
        wrong, missing = await ann.get(path.format(other)), await ann.get(path.format("none"))
    assert wrong.status_code == missing.status_code == 404
    assert wrong.json()["detail"].replace(other, "none") == missing.json()["detail"]
