"""Records of namespaces that the installation no longer serves: listed, and not treated as jobs without a resource."""

from typing import Any

import pytest

from contentgen_contract.names import GROUP, Kind
from contentgen_simulation.api_server import rejection
from contentgen_simulation.gateway.cluster import WritableWorld

ANN = ("ann", "*", "*", "red")


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> WritableWorld:
    """World without the gateway's own Role in the namespace `red`."""
    made = WritableWorld(ANN, watch_namespaces=("blue",))
    answered = made.api.call

    async def call(method: str, path: str, body: Any = None) -> Any:
        if path.startswith(f"/apis/{GROUP}/") and "/namespaces/red/" in path:
            raise rejection(403, "forbidden")
        return await answered(method, path, body)

    monkeypatch.setattr(made.api, "call", call)
    return made


async def test_page_of_a_namespace_is_shown(world: WritableWorld) -> None:
    job = world.job(1, Kind.TRANSCRIPTION, namespace="red")
    async with world.client("ann") as ann:
        assert (await ann.get(f"/api/jobs/{job}")).status_code == 200
        page = await ann.get(f"/jobs/{job}", headers={"Accept": "text/html"})
    assert page.status_code == 200


async def test_job_of_an_earlier_namespace_is_not_deleted(world: WritableWorld) -> None:
    job = world.job(1, Kind.TRANSCRIPTION, namespace="red")
    before = world.database["jobs"].find_one({"jobId": job})
    async with world.client("ann") as ann:
        answer = await ann.delete(f"/api/jobs/{job}")
    assert (answer.status_code, "watchNamespaces" in answer.json()["detail"]) == (409, True)
    assert world.database["jobs"].find_one({"jobId": job}) == before
