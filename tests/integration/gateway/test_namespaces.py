"""Command `contentgen namespaces` with the operators of two clusters, over a real MongoDB server."""

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from pymongo import MongoClient
from pymongo.database import Database
from typer.testing import CliRunner

from contentgen_contract.names import Kind
from contentgen_contract.records.tenancy import Tenant
from contentgen_gateway.migration.commands import app
from contentgen_operator.state.purchases import Purchase, PurchaseKey, PurchaseState
from contentgen_operator.stores.ledger import Ledger
from contentgen_runtime.tenancy import SYSTEM, Tenancy

NOW = datetime(2026, 11, 21, tzinfo=UTC)
CREATED = "2026-01-01T00:00:00Z"


class Cluster:
    """API server with the namespaces kube-system and web."""

    def __init__(self, uid: str, web: str) -> None:
        self.uids = {SYSTEM: uid, "web": web}

    async def get_namespace(self, name: str) -> dict[str, Any] | None:
        return {"metadata": {"name": name, "uid": self.uids[name], "creationTimestamp": CREATED}}


class Stores:
    """Database of two clusters, and the command."""

    def __init__(self, uri: str, name: str) -> None:
        self.client: MongoClient[dict[str, Any]] = MongoClient(uri, tz_aware=True)
        self.database: Database[dict[str, Any]] = self.client[name]
        self.one, self.two = Cluster("cluster-1", "web-1"), Cluster("cluster-2", "web-2")
        self.settings = {
            "CONTENTGEN_MONGODB_URI": uri, "CONTENTGEN_MONGODB_DATABASE": name, "CONTENTGEN_S3_BUCKET": name,
        }  # fmt: skip

    async def of(self, cluster: Cluster) -> Tenant:
        tenancy = Tenancy(cluster, self.database)
        await tenancy.followed()
        return await tenancy.of("web")

    def run(self, *arguments: str, status: int = 0) -> str:
        ran = CliRunner().invoke(app, ["namespaces", *arguments], env=self.settings)
        assert ran.exit_code == status, f"{ran.output}\n{ran.exception!r}"
        return f"{ran.output}{ran.exception or ''}"


@pytest.fixture
def world(mongo_uri: str, database_name: str) -> Iterator[Stores]:
    world = Stores(mongo_uri, database_name)
    yield world
    world.client.drop_database(database_name)
    world.client.close()


async def test_a_second_cluster_takes_over_and_the_first_takes_back(world: Stores) -> None:
    assert (await world.of(world.one)).block_reason == ""
    assert "cluster-2" in (await world.of(world.two)).block_reason
    assert "must be one of" in world.run("confirm", status=1)
    assert "cluster-1 used the database" in world.run("confirm", "--cluster", "cluster-2", status=1)
    world.run("confirm", "--cluster", "cluster-2", "--from", "cluster-1", "--force")
    assert [bool((await world.of(each)).block_reason) for each in (world.one, world.two)] == [True, False]
    listed = world.run("list")
    assert "cluster cluster-1: taken over by cluster-2" in listed
    assert "namespace cluster-1/web: uid web-1, unscoped, taken over by cluster cluster-2" in listed
    world.run("confirm", "--cluster", "cluster-1", "--force")
    assert [bool((await world.of(each)).block_reason) for each in (world.one, world.two)] == [False, True]
    assert [len(each.clusters) for each in [await Tenancy(world.two, world.database).followed()]] == [0]


async def test_a_second_cluster_begins_afresh(world: Stores) -> None:
    await world.of(world.one)
    await world.of(world.two)
    world.run("confirm", "--cluster", "cluster-2", "--fresh")
    assert [(await world.of(each)).scope for each in (world.one, world.two)] == ["", "web-2"]
    assert "cluster cluster-2: confirmed-fresh" in world.run("list")


async def test_mapped_namespace_has_its_own_and_the_earlier_purchases(world: Stores) -> None:
    await world.of(world.one)
    world.one.uids["web"] = "web-3"
    assert (await world.of(world.one)).scope == "web-3"
    ledger = Ledger(world.database["ledger"])
    for scope in ("", "web-3", "web-4"):
        key = PurchaseKey(
            namespace="web", kind=Kind.TRANSCRIPTION, name="it", run_hash="h", rerun=None, attempt=1, scope=scope
        )
        purchase = Purchase(
            state=PurchaseState.COLLECTED, job_id=scope or "first", namespace="web", tenant=scope or None,
            provider="p", model="m", correlation_key="k", created_at=NOW, changed_at=NOW,
        )  # fmt: skip
        await ledger.intend(key, purchase)
    assert "mapped" in world.run("map", "web", "--uid", "web-3", "--to", "unscoped")
    assert "already" in world.run("map", "web", "--uid", "web-3", "--to", "unscoped")
    tenant = await world.of(world.one)
    assert await ledger.job_ids(tenant, "web", Kind.TRANSCRIPTION, "it") == {"first", "web-3"}
    found = world.database["ledger"].find(tenant.filter("web"))
    assert sorted(each["jobId"] for each in found) == ["first", "web-3"]
    assert {file for file in await ledger.kept_files("web/Transcription/it/", "first") if file == "k"} == {"k"}
    assert not await ledger.kept_files("web/Transcription/other/", "first")
    assert "namespace cluster-1/web: uid web-3, unscoped and web-3" in world.run("list")
    assert "had this uid" in world.run("map", "web", "--uid", "web-3", "--to", "nobody", status=1)
