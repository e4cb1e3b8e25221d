"""Gateway and operator together: the operator does what HTTP requests ask for, and pays no more."""

import asyncio
import copy
from collections.abc import Iterator
from typing import Any

import pytest
import stamina

from contentgen_contract.names import GROUP, Kind, Phase
from contentgen_gateway.services.changes import actions
from contentgen_operator.state.provider_requests import RequestState, RequestView
from contentgen_runtime.kube import Body
from contentgen_simulation.api_server import copied
from contentgen_simulation.gateway.server import FakeApi, GatewayWorld
from contentgen_simulation.world import SPECS, UID, World, Writes

KINDS = {kind.plural: kind for kind in Kind}
LORA, IMAGES = Kind.LORA_TRAINING, Kind.IMAGE_GENERATION


class SharedApi(FakeApi):
    """API server of the gateway, over the operator's resources."""

    world: World

    async def get_namespace(self, name: str) -> Body | None:
        """Resources of the operator's world."""
        return await self.world.kube.get_namespace(name)

    async def call(self, method: str, path: str, body: Body | None = None) -> Body:
        """Request to the API server: reviews, else the operator's world."""
        if not path.startswith(f"/apis/{GROUP}/"):
            return await super().call(method, path, body)
        _, _, _, _, _, _, plural, name = path.split("/")
        kind, kube = KINDS[plural], self.world.kube
        if method == "PATCH":
            return kube.store.patch((kind, name), body or {})
        kept = copied(kube.store.get((kind, name)))
        if method == "DELETE":
            kube.delete(kind, self.world.now, name)
        return kept


class Both:
    """Operator and gateway with one MongoDB and one Kubernetes."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.operator = World(monkeypatch, Writes())

        class Gateway(GatewayWorld):
            api_class = SharedApi
            api: SharedApi

        self.gateway = Gateway(("ann", "*", "*", "ns"), database=self.operator.database)
        self.gateway.api.world = self.operator

    async def ask(self, method: str, path: str) -> Any:
        async with self.gateway.client("ann") as ann:
            return await ann.request(method, path)

    async def cancel(self, kind: Kind) -> Any:
        """Response to a request that is sent while the operator reconciles."""
        asked = asyncio.create_task(self.ask("POST", f"/api/jobs/{UID}/cancel?wait=25"))
        async with asyncio.timeout(60):
            while not asked.done():
                await asyncio.sleep(0.005)
                await self.operator.reconcile(kind)
        return await asked


@pytest.fixture
def both(monkeypatch: pytest.MonkeyPatch) -> Iterator[Both]:
    monkeypatch.setattr(actions, "_POLL_SECONDS", 0)
    with stamina.set_testing(True, attempts=8):
        yield Both(monkeypatch)


async def running_for_ever(model: str, request_id: str) -> RequestView:
    return RequestView(state=RequestState.RUNNING, message="running")


async def begun(both: Both, kind: Kind, *phases: Phase) -> None:
    """Reconcile to this state, with a record so that the job is visible."""
    both.operator.kube.apply(kind, copy.deepcopy(SPECS[kind]))
    await both.operator.finish(kind, *phases)


async def test_cancelled_while_it_prepares_it_costs_nothing(both: Both, monkeypatch: pytest.MonkeyPatch) -> None:
    await begun(both, LORA, Phase.PREPARING)
    answer = await both.cancel(LORA)
    assert (answer.status_code, answer.json()["status"], answer.json()["billed"]) == (200, "cancelled", False)
    assert both.operator.provider.posts == []
    assert (await both.ask("GET", f"/api/jobs/{UID}")).json()["status"] == "cancelled"


@pytest.mark.parametrize("cancels", [True, False])
async def test_cancelled_at_the_provider_the_answer_is_the_providers(both: Both, cancels: bool) -> None:
    both.operator.provider.poll = running_for_ever  # type: ignore[method-assign]
    both.operator.provider.cancels = cancels
    await begun(both, IMAGES, Phase.PROCESSING)
    answer = await both.cancel(IMAGES)
    assert (answer.json()["status"], answer.json()["billed"]) == ("cancelled", None if cancels else True)
    pays = {action["action"]: action["pays"] for action in answer.json()["actions"]}
    assert pays["retry"]
    assert pays.get("collect") is (None if cancels else False)
    assert both.operator.provider.cancelled == ["request-1"]
    again = await both.ask("POST", f"/api/jobs/{UID}/cancel")
    assert (again.status_code, again.json()) == (200, answer.json())


async def test_run_again_after_it_was_cancelled_it_is_bought_once(both: Both) -> None:
    await begun(both, LORA, Phase.PREPARING)
    await both.cancel(LORA)
    for _ in range(3):
        assert (await both.ask("POST", f"/api/jobs/{UID}/retry")).status_code == 202
    for _ in range(60):
        await both.operator.reconcile(LORA)
    assert both.operator.status(LORA).phase is Phase.COMPLETED
    assert len(both.operator.provider.posts) == 1


async def test_adopted_again_and_again_a_lora_is_listed_once(both: Both) -> None:
    """The record of each earlier resource stays, and refers to the same files."""
    world = both.operator
    await begun(both, LORA)
    for uid in ("second-uid", "third-uid"):
        await world.until_gone(LORA)
        world.kube.apply(LORA, copy.deepcopy(SPECS[LORA]), uid=uid)
        assert (await world.finish(LORA)).reason == "AdoptedFinishedRun"
        listed = (await both.ask("GET", "/api/assets/loras")).json()
        assert (listed["total"], [lora["loraId"] for lora in listed["loras"]]) == (1, [uid])
    assert len(world.provider.posts) == 1
    assert (await both.ask("GET", f"/api/jobs/{UID}")).status_code == 200, "as a job it is still there"


async def test_without_the_one_that_adopted_it_a_lora_is_listed_again(both: Both) -> None:
    """A record that is deleted after its resource deletes only its own files."""
    world = both.operator
    await begun(both, LORA)
    await world.until_gone(LORA)
    world.kube.apply(LORA, copy.deepcopy(SPECS[LORA]), uid="second-uid")
    await world.finish(LORA)
    await world.until_gone(LORA)
    assert (await both.ask("DELETE", "/api/jobs/second-uid")).status_code == 202
    listed = (await both.ask("GET", "/api/assets/loras")).json()
    assert [lora["loraId"] for lora in listed["loras"]] == [UID]


@pytest.mark.parametrize("phase", [Phase.PREPARING, Phase.PROCESSING, Phase.COMPLETED])
async def test_deleted_nothing_is_left(both: Both, phase: Phase) -> None:
    """With the policy Retain the operator has no finalizer on a finished resource."""
    world = both.operator
    if phase is Phase.PROCESSING:
        world.provider.poll = running_for_ever  # type: ignore[method-assign]
    await begun(both, LORA, phase)
    assert (await both.ask("DELETE", f"/api/jobs/{UID}")).status_code == 202
    assert (await both.ask("GET", f"/api/jobs/{UID}")).status_code == 404
    for _ in range(20):
        await world.reconcile(LORA)
    assert not world.there(LORA)
    assert (world.kube.jobs, world.storage.files, world.database["jobs"].count_documents({})) == ({}, {}, 0)
    assert world.provider.cancelled == (["request-1"] if phase is Phase.PROCESSING else [])


async def test_deleted_after_its_resource_the_janitor_leaves_nothing(both: Both) -> None:
    world = both.operator
    await begun(both, LORA)
    await world.until_gone(LORA)
    assert world.storage.files != {}
    assert (await both.ask("DELETE", f"/api/jobs/{UID}")).status_code == 202
    await world.sweep()
    assert (world.storage.files, world.database["jobs"].count_documents({})) == ({}, 0)
    world.kube.apply(LORA, copy.deepcopy(SPECS[LORA]), uid="another-uid")
    assert (await world.finish(LORA)).reason == "OutputsDeleted", "and nothing is bought again by itself"
    assert len(world.provider.posts) == 1


async def test_a_mark_that_cannot_be_read_holds_nobody_up(both: Both) -> None:
    world = both.operator
    await begun(both, LORA)
    await world.until_gone(LORA)
    world.database["jobs"].insert_one({"jobId": "odd", "discard": {"uid": "odd", "prefixes": 7}})
    await both.ask("DELETE", f"/api/jobs/{UID}")
    assert set(await world.marks()) == {"odd", UID}
    await world.sweep()
    assert (world.storage.files, await world.marks()) == ({}, ["odd"])


async def test_deleted_before_the_operator_has_seen_it_nothing_is_left(both: Both) -> None:
    world = both.operator
    world.kube.apply(LORA, copy.deepcopy(SPECS[LORA]))
    both.gateway.dependencies.live.add(LORA, copy.deepcopy(world.kube.resources[LORA, "it"]))
    assert (await both.ask("DELETE", f"/api/jobs/{UID}")).status_code == 202
    for _ in range(5):
        await world.reconcile(LORA)
    assert (world.there(LORA), world.kube.jobs, world.provider.posts) == (False, {}, [])
    assert world.database["jobs"].count_documents({}) == 0
