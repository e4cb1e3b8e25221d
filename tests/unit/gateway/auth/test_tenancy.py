"""Users of a re-created namespace see nothing of the earlier one."""

from datetime import timedelta
from typing import Any

import pytest
from kubernetes.aio.client.exceptions import ApiException

from contentgen_contract.names import Kind
from contentgen_contract.records.tenancy import Tenant
from contentgen_contract.resources.prices import CostSource
from contentgen_gateway.auth.tenants import Tenants
from contentgen_gateway.migration.namespaces import TenantAdministration
from contentgen_gateway.stores.queries import in_namespaces
from contentgen_operator.state.purchases import Purchase, PurchaseState
from contentgen_runtime.tenancy import Tenancy
from contentgen_simulation.gateway.cluster import WritableWorld
from contentgen_simulation.gateway.server import START, FakeApi

ANN = ("ann", "*", "*", "red")
AGAIN = "2026-11-10T00:00:00Z"  # a while after START
NEW = "another-namespace"
BETWEEN, AFTER = START + timedelta(days=1), START + timedelta(days=20)


@pytest.fixture
def world() -> WritableWorld:
    return WritableWorld(ANN, ("bob", "*", "*", "blue"), ("root", "*", "*", "*"))


async def recreate(world: WritableWorld, name: str = "red") -> None:
    """World in which a known namespace was created again."""
    await Tenancy(world.api, world.database).of(name)
    world.api.namespaces[name] = (NEW, AGAIN)


async def get(world: WritableWorld, who: str, path: str) -> Any:
    async with world.client(who) as client:
        answer = await client.get(path)
        return answer.json() if answer.status_code == 200 else answer.status_code


async def jobs(world: WritableWorld, who: str = "ann", query: str = "") -> list[str]:
    return [job["jobId"] for job in (await get(world, who, f"/api/jobs{query}"))["jobs"]]


@pytest.mark.parametrize("query", ["", "?namespace=red", "?userId=ann"])
async def test_lists_hold_records_of_the_present_namespace_only(world: WritableWorld, query: str) -> None:
    world.job(1)
    await recreate(world)
    mine = world.job(2, tenant=NEW, createdAt=AFTER)
    assert await jobs(world, query=query or "?namespace=red") == [mine]


async def test_record_of_an_earlier_namespace_looks_missing(world: WritableWorld) -> None:
    old = world.job(1)
    assert (await get(world, "ann", f"/api/jobs/{old}"))["jobId"] == old
    await recreate(world)
    assert await get(world, "ann", f"/api/jobs/{old}") == 404
    assert (await get(world, "root", f"/api/jobs/{old}"))["jobId"] == old


@pytest.mark.parametrize(("method", "where"), [("DELETE", "jobs"), ("PATCH", "assets")])
async def test_a_record_of_the_earlier_namespace_is_not_changed(world: WritableWorld, method: str, where: str) -> None:
    old = world.job(1)
    await recreate(world)
    async with world.client("ann") as client:
        body = {"json": {"description": "mine"}} if method == "PATCH" else {}
        assert (await client.request(method, f"/api/{where}/{old}", **body)).status_code == 404
    assert "discard" not in world.database["jobs"].find_one({"jobId": old})


async def test_record_taken_over_by_another_cluster_is_not_deleted(world: WritableWorld) -> None:
    """A discard mark would make a garbage collector discard purchases that the other cluster may adopt."""
    old = world.job(1)
    await Tenancy(world.api, world.database).of("red")
    world.api.namespaces["kube-system"] = ("cluster-b", AGAIN)
    assert (await Tenancy(world.api, world.database).of("red")).block_reason
    TenantAdministration(world.database, "ann").confirm("cluster-b", force=True)
    del world.api.namespaces["kube-system"]
    async with world.client("ann") as client:
        answer = await client.delete(f"/api/jobs/{old}?force=true")
    assert (answer.status_code, "cluster-b has taken over" in answer.text) == (409, True)
    record = world.database["jobs"].find_one({"jobId": old})
    assert record is not None
    assert "discard" not in record


async def test_recreated_namespace_is_another_tenant_at_once(world: WritableWorld) -> None:
    world.job(1)
    await recreate(world)
    assert await jobs(world, query="?namespace=red") == []
    assert world.database["namespaces"].find_one({"_id": "namespace-kube-system/red"})["scope"] == NEW


async def test_usage_is_of_the_present_namespace(world: WritableWorld) -> None:
    buy(world, "red/LoraTraining/a/h/-/1", 5_000_000, created_at=BETWEEN)
    await recreate(world)
    buy(world, f"red@{NEW}/LoraTraining/a/h/-/1", 2_000_000, created_at=AFTER, tenant=NEW)
    told = await get(world, "ann", "/api/usage?namespace=red&from=2026-10-01T00:00:00Z")
    assert told["total"]["paid"] == "2.0000"


def buy(world: WritableWorld, key: str, micros: int, **fields: Any) -> None:
    purchase = Purchase.model_validate(
        {
            "state": PurchaseState.COLLECTED, "job_id": "j", "namespace": "red", "type": "lora_training",
            "user_id": "ann", "provider": "fal", "model": "m", "correlation_key": "m", "changed_at": START,
            "actual_micros": micros, "cost_source": CostSource.UNITS,
        } | fields
    )  # fmt: skip
    world.database["ledger"].insert_one({"_id": key, **purchase.model_dump(mode="python", by_alias=True)})


async def test_shares_of_the_earlier_namespace_end(world: WritableWorld) -> None:
    old = world.job(1)
    share(world, old, "user:bob")
    assert await jobs(world, "bob") == [old]
    await recreate(world)
    assert await jobs(world, "bob") == []
    assert await get(world, "bob", f"/api/jobs/{old}") == 404


@pytest.mark.parametrize("to", ["namespace:blue", "user:system:serviceaccount:blue:robot"])
async def test_shares_with_the_earlier_namespace_end(world: WritableWorld, to: str) -> None:
    old = world.job(1)
    share(world, old, to)
    robot = "system:serviceaccount:blue:robot"
    assert (await get(world, robot, f"/api/jobs/{old}"))["jobId"] == old
    await recreate(world, "blue")
    assert await get(world, robot, f"/api/jobs/{old}") == 404


def share(world: WritableWorld, job: str, to: str) -> None:
    world.database["shares"].insert_one(
        {
            "_id": f"{job}/{to}", "jobId": job, "namespace": "red", "type": "lora_training", "to": to,
            "sharedBy": "ann", "sharedAt": BETWEEN,
        }
    )  # fmt: skip


async def test_collections_of_the_earlier_namespace_are_not_seen(world: WritableWorld) -> None:
    async with world.client("ann") as client:
        body = {"name": "faces", "namespace": "red"}
        made = (await client.post("/api/collections", json=body)).json()["collectionId"]
    assert (await get(world, "ann", f"/api/collections/{made}"))["name"] == "faces"
    await recreate(world)
    assert await get(world, "ann", f"/api/collections/{made}") == 404
    assert (await get(world, "ann", "/api/collections?namespace=red"))["collections"] == []


async def test_namespace_recreated_before_this_release_has_own_records(world: WritableWorld) -> None:
    world.job(1)
    mine = world.job(2, createdAt=AFTER)
    world.api.namespaces["red"] = (NEW, AGAIN)
    assert await jobs(world, query="?namespace=red") == [mine]
    assert (await get(world, "ann", f"/api/jobs/{mine}"))["jobId"] == mine


async def test_records_of_a_deleted_namespace_need_cluster_wide_rights(
    world: WritableWorld,
) -> None:
    old = world.job(1)
    await Tenancy(world.api, world.database).of("red")

    async def gone(name: str) -> Any:
        return await FakeApi.get_namespace(world.api, name) if name == "kube-system" else None

    world.api.get_namespace = gone  # type: ignore[method-assign]
    assert await jobs(world, "root", "?namespace=red") == [old]


async def test_without_the_right_to_read_namespaces_no_record_is_shown(world: WritableWorld) -> None:
    world.job(1)

    async def forbidden(_: str) -> Any:
        raise ApiException(status=403, reason="Forbidden")

    world.api.get_namespace = forbidden  # type: ignore[method-assign]
    assert await get(world, "ann", "/api/jobs?namespace=red") == 503


async def test_a_recreated_namespace_is_noticed_after_some_seconds(world: WritableWorld) -> None:
    now = [0.0]
    tenants = Tenants(Tenancy(world.api, world.database), clock=lambda: now[0])
    assert (await tenants.of("red")).scope == ""
    world.api.namespaces["red"] = (NEW, AGAIN)
    now[0] = 4.9
    assert (await tenants.of("red")).scope == ""
    now[0] = 5.0
    assert (await tenants.of("red")).scope == NEW


def test_in_namespaces_builds_the_filter() -> None:
    tenants = {"b": Tenant(scope="u"), "c": Tenant(scope="v", since=BETWEEN), "e": Tenant(other_scopes=("w",))}
    assert in_namespaces(["a", "b", "c", "d", "e"], tenants) == [
        {"namespace": {"$in": ["a", "d"]}, "tenant": None},
        {"namespace": "b", "tenant": "u"},
        {
            "$or": [
                {"namespace": "c", "tenant": "v"},
                {"namespace": "c", "tenant": None, "createdAt": {"$gte": BETWEEN}},
            ]
        },
        {"namespace": "e", "tenant": {"$in": [None, "w"]}},
    ]


async def test_an_import_goes_to_the_present_namespace(world: WritableWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(world.dependencies.files, "sizes_now", lambda *_: {})
    await recreate(world)
    document = {
        "jobId": "job-1", "userId": "red", "type": Kind.TRANSCRIPTION.record_type, "status": "failed",
        "createdAt": {"$date": "2025-01-01T00:00:00Z"}, "versions": [],
    }  # fmt: skip
    async with world.client("ann") as client:
        answer = await client.post("/api/admin/import", json={"namespace": "red", "jobs": [document]})
    assert answer.status_code == 200, answer.text
    found = world.database["jobs"].find_one({"namespace": "red"})
    assert found is None or found["tenant"] == NEW
    assert found is not None, answer.text


async def test_files_adopted_under_another_scope_are_shown(world: WritableWorld) -> None:
    """The later run uses the mapped scope; the first version is from an earlier job, purchased under the uid."""
    earlier, kind = "00000000-0000-4000-8000-000000000077", Kind.LORA_TRAINING
    key = f"loras/ann/{earlier}/v1/model.safetensors"
    version = {"version": 1, "modelUrl": f"http://s3.test/assets/{key}", "s3Key": key, "sizeBytes": 9, "config": {}}
    world.lists_adopted = False
    buy(world, f"red@{NEW}/{kind}/a/h/-/1", 1, created_at=AFTER, tenant=NEW, former_owners=(earlier,))
    about = {"userId": "ann", "name": "a", "versions": [version]}
    world.job(2, kind, scopes=["", NEW], **about)
    world.job(3, kind, **about)
    records = [await world.dependencies.records.get(f"00000000-0000-4000-8000-{number:012}") for number in (2, 3)]
    assert [(record or {})["versions"][0]["s3Key"] for record in records] == [key, None]
