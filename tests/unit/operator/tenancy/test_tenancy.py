"""Namespaces that were created again, and rebuilt clusters: adoption and payment, in memory."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from kubernetes.aio.client.exceptions import ApiException

from contentgen_contract.names import Kind, Phase, Reason
from contentgen_gateway.migration.backup import BACKED_UP
from contentgen_gateway.migration.namespaces import CommandRefused, TenantAdministration
from contentgen_operator.kube.selection import Selection
from contentgen_operator.state.purchases import PurchaseKey
from contentgen_operator.stores.ledger import Ledger
from contentgen_runtime.kube import Conflict
from contentgen_runtime.namespaces import Namespaces
from contentgen_runtime.tenancy import SYSTEM, Tenancy
from contentgen_simulation.world import SPECS, UID, World

IMAGE = Kind.IMAGE_GENERATION
OTHER = "0c8d8a52-6a5e-4a1c-9f3e-2f3c7c1b9a02"
THIRD = "0c8d8a52-6a5e-4a1c-9f3e-2f3c7c1b9a03"
LATER = "2026-11-22T00:00:00Z"


async def finished(world: World, uid: str) -> str | None:
    world.kube.apply(IMAGE, SPECS[IMAGE], uid=uid)
    return (await world.finish(IMAGE)).reason


TWO_DAYS = timedelta(days=2)
SOON = timedelta(hours=2)  # before the provider's longest runtime has passed


async def recreate(world: World, uid: str = "another-namespace", after: timedelta = TWO_DAYS) -> None:
    """Delete the namespace with the resource in it, and create it again some time later."""
    if world.there(IMAGE):
        await world.until_gone(IMAGE)
    world.now += after
    world.kube.namespaces["ns"] = (uid, f"{world.now:%Y-%m-%dT%H:%M:%SZ}")


def rebuild(world: World, after: timedelta = TWO_DAYS) -> None:
    """Another cluster with the same stores; GitOps applies the same resources there."""
    stamp = f"{world.now + after / 2:%Y-%m-%dT%H:%M:%SZ}"
    world.now += after
    world.kube.namespaces = {SYSTEM: ("another-cluster", stamp), "ns": ("its-namespace", stamp)}
    world.kube.resources.clear()
    world.kube.jobs.clear()
    world.restart()


def ids(world: World) -> list[str]:
    return sorted(purchase["_id"] for purchase in world.database["ledger"].find())


async def test_the_first_namespace_buys_under_keys_without_a_scope(world: World) -> None:
    await finished(world, UID)
    (key,) = ids(world)
    assert key.startswith("ns/ImageGeneration/it/")
    (purchase,) = world.database["ledger"].find()
    assert (purchase["tenant"], purchase["namespaceUid"], purchase["clusterUid"]) == (None, "a-namespace", "a-cluster")
    assert world.database["jobs"].find_one({"jobId": UID})["tenant"] is None


async def test_a_recreated_namespace_adopts_nothing(world: World) -> None:
    await finished(world, UID)
    await recreate(world)
    assert await finished(world, OTHER) == Reason.COMPLETED
    assert len(world.provider.posts) == 2
    assert ids(world)[1].startswith("ns@another-namespace/ImageGeneration/it/")
    assert world.database["jobs"].find_one({"jobId": OTHER})["tenant"] == "another-namespace"


async def test_a_recreated_namespace_adopts_what_it_bought_itself(world: World) -> None:
    await finished(world, UID)
    await recreate(world)
    await finished(world, OTHER)
    await world.until_gone(IMAGE)
    assert await finished(world, THIRD) == Reason.ADOPTED_FINISHED_RUN
    assert len(world.provider.posts) == 2


async def test_files_of_an_earlier_namespace_are_not_the_names(world: World) -> None:
    await finished(world, UID)
    first = await Tenancy(world.kube, world.database).of("ns")
    await recreate(world)
    present = await Tenancy(world.kube, world.database).of("ns")
    ledger = Ledger(world.database["ledger"])
    found = [
        (
            await ledger.job_ids(tenant, "ns", IMAGE, "it"),
            len(await ledger.collected(tenant, "ns", IMAGE, "it")),
            await ledger.highest_version(tenant, "ns", IMAGE, "it", UID),
        )
        for tenant in (first, present)
    ]
    assert found == [({UID}, 1, 1), (set(), 0, 0)]


async def test_stale_process_does_not_use_the_earlier_uid(world: World) -> None:
    """Without a restart, the process reads the namespace's uid again after the first event of each resource."""
    await finished(world, UID)
    process = world.process
    await recreate(world)
    await finished(world, OTHER)
    assert world.process is process
    assert len(ids(world)) == 2
    assert all(identifier.startswith("ns@") for identifier in ids(world)[1:])


async def test_a_stale_uid_does_not_bind_the_namespace_again(world: World) -> None:
    """A process reads the namespace, pauses while it is created again and bound, and continues."""
    await finished(world, UID)
    await recreate(world)
    kube = Frozen(world)
    reading = asyncio.create_task(Tenancy(kube, world.database).of("ns"))
    await kube.reached.wait()
    await recreate(world, "a-third-namespace")
    await Tenancy(world.kube, world.database).of("ns")
    kube.goes_on.set()
    assert (await reading).scope == "a-third-namespace"
    binding = world.database["namespaces"].find_one({"_id": "a-cluster/ns"})
    assert (binding["uid"], [each["uid"] for each in binding["history"]]) == ("a-third-namespace", ["a-namespace"])


class Frozen:
    """API server whose first response about the namespace is delayed."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.reached, self.goes_on = asyncio.Event(), asyncio.Event()
        self.asked: list[str] = []

    async def get_namespace(self, name: str) -> Any:
        self.asked.append(name)
        answer = await self._world.kube.get_namespace(name)
        if name == "ns" and not self.reached.is_set():
            self.reached.set()
            await self.goes_on.wait()
        return answer


async def test_concurrent_resources_share_a_read_begun_after_them(world: World) -> None:
    await Tenancy(world.kube, world.database).of("ns")
    kube = Frozen(world)
    tenancy = Tenancy(kube, world.database)
    first = asyncio.create_task(tenancy.of_resource("ns", "a"))
    await kube.reached.wait()
    others = [asyncio.create_task(tenancy.of_resource("ns", uid)) for uid in "bcd"]
    await asyncio.sleep(0)
    world.kube.namespaces["ns"] = ("another-namespace", LATER)
    kube.goes_on.set()
    assert (await first).uid == "a-namespace"
    assert {each.uid for each in await asyncio.gather(*others)} == {"another-namespace"}
    assert kube.asked.count("ns") == 3  # the first read, one that binds again, and one that finds the new binding


async def test_a_resource_of_a_namespace_that_is_gone_is_a_conflict(world: World) -> None:
    del world.kube.namespaces["ns"]
    with pytest.raises(Conflict):
        await Tenancy(world.kube, world.database).of("ns")


# Lost bindings


def unbound(world: World) -> None:
    """Delete the bindings, as a restore of a part of the database does."""
    for name in ("clusters", "namespaces"):
        world.database[name].delete_many({})
    world.restart()


async def test_purchases_younger_than_the_namespace_are_its_own(world: World) -> None:
    await finished(world, UID)
    await world.until_gone(IMAGE)
    unbound(world)
    assert await finished(world, OTHER) == Reason.ADOPTED_FINISHED_RUN
    assert len(world.provider.posts) == 1


async def test_purchases_older_than_the_namespace_are_an_earlier_ones(world: World) -> None:
    await finished(world, UID)
    await recreate(world)
    unbound(world)
    assert await finished(world, OTHER) == Reason.COMPLETED
    assert len(world.provider.posts) == 2


async def test_mixed_namespace_separates_own_and_earlier_purchases(world: World) -> None:
    """The namespace was created again, was mapped to the first one, and made another purchase."""
    cat, dog = SPECS[IMAGE], SPECS[IMAGE] | {"prompt": "a dog"}
    await finished(world, UID)
    await recreate(world, "a-namespace")  # as if mapped: the first one's scope
    world.kube.apply(IMAGE, dog, uid=OTHER)
    await world.finish(IMAGE)
    await world.until_gone(IMAGE)
    world.kube.namespaces["ns"] = ("another-namespace", world.kube.namespaces["ns"][1])
    unbound(world)
    world.kube.apply(IMAGE, dog, uid=THIRD)
    assert (await world.finish(IMAGE)).reason == Reason.ADOPTED_FINISHED_RUN
    assert len(world.provider.posts) == 2
    await world.until_gone(IMAGE)
    world.kube.apply(IMAGE, cat, uid=UID.replace("0c", "0d"))
    assert (await world.finish(IMAGE)).reason == Reason.COMPLETED
    assert len(world.provider.posts) == 3


async def test_a_run_under_way_in_a_mixed_namespace_goes_on(world: World) -> None:
    await finished(world, UID)
    await recreate(world, "a-namespace")
    world.kube.apply(IMAGE, SPECS[IMAGE] | {"prompt": "a dog"}, uid=OTHER)
    await world.finish(IMAGE, Phase.PROCESSING)
    world.kube.namespaces["ns"] = ("another-namespace", world.kube.namespaces["ns"][1])
    unbound(world)
    assert (await world.finish(IMAGE)).reason == Reason.COMPLETED
    assert len(world.provider.posts) == 2


async def test_imported_record_is_no_evidence_of_a_namespace(world: World) -> None:
    record = {"jobId": "old", "namespace": "ns", "imported": True, "createdAt": datetime(2020, 1, 1, tzinfo=UTC)}
    world.database["jobs"].insert_one(record)
    assert (await Tenancy(world.kube, world.database).of("ns")).scope == ""


async def test_a_forged_status_does_not_take_the_scope_off_another_run(world: World) -> None:
    """The forged status names a run that this tenant purchased under a key without a scope, unlike the run document."""
    cat, dog = SPECS[IMAGE], SPECS[IMAGE] | {"prompt": "a dog"}
    await finished(world, UID)
    await recreate(world, "a-namespace")  # as if mapped: the first one's scope
    world.kube.apply(IMAGE, dog, uid=OTHER)
    own = (await world.finish(IMAGE)).run
    assert own is not None
    await world.until_gone(IMAGE)
    world.kube.namespaces["ns"] = ("another-namespace", world.kube.namespaces["ns"][1])
    unbound(world)
    world.kube.apply(IMAGE, cat, uid=THIRD)
    await world.reconcile(IMAGE)
    run = world.kube.resources[IMAGE, "it"]["status"]["run"]
    forged = run | {"runHash": own.run_hash, "spec": dog}
    for _ in range(3):
        world.kube.resources[IMAGE, "it"]["status"]["run"] = forged
        await world.reconcile(IMAGE)
    assert [purchase["jobId"] for purchase in world.database["ledger"].find({"formerOwners": THIRD})] == []
    assert {purchase["jobId"] for purchase in world.database["ledger"].find({"tenant": None})} == {UID, OTHER}


# Orphans


async def orphaned(world: World, uid: str) -> None:
    """Send a request whose resource is deleted with its namespace, with or without its finalizer."""
    world.kube.apply(IMAGE, SPECS[IMAGE], uid=uid)
    while not [
        purchase for purchase in world.database["ledger"].find({"jobId": uid}) if purchase["state"] == "submitted"
    ]:
        await world.reconcile(IMAGE)
    world.kube.resources.clear()
    world.kube.jobs.clear()


async def rounds(world: World, count: int, every: timedelta = timedelta(minutes=10)) -> None:
    for _ in range(count):
        world.now += every
        await world.orphans[-1].round(world.now)


def bought(world: World, **where: Any) -> dict[str, Any]:
    (found,) = world.database["ledger"].find(where)
    return dict(found)


async def test_orphan_of_an_earlier_namespace_stays_an_orphan(world: World) -> None:
    await orphaned(world, UID)
    await recreate(world, after=SOON)
    world.kube.apply(IMAGE, SPECS[IMAGE], uid=OTHER)
    await world.finish(IMAGE, Phase.PROCESSING)
    await rounds(world, 4)
    earlier = bought(world, jobId=UID)
    assert (earlier["state"], earlier["orphanedAt"] is not None) == ("succeeded", True)
    assert (await world.finish(IMAGE)).reason == Reason.COMPLETED
    await rounds(world, 32, timedelta(days=1))
    assert bought(world, jobId=UID)["state"] == "discarded"
    assert bought(world, jobId=OTHER)["state"] == "collected"
    assert len(world.provider.posts) == 2


@pytest.mark.parametrize("watched", ["", "ns"])
async def test_orphan_of_a_recreated_namespace_is_kept(world: World, watched: str) -> None:
    await finished(world, UID)
    await recreate(world)
    await orphaned(world, OTHER)
    world.orphans[-1].selection = Selection(namespaces=Namespaces((watched,) if watched else ()))
    await rounds(world, 4)
    kept = bought(world, jobId=OTHER)
    assert (kept["state"], kept["orphanedAt"] is not None) == ("succeeded", True)
    assert (kept["namespace"], kept["tenant"]) == ("ns", "another-namespace")
    world.kube.apply(IMAGE, SPECS[IMAGE], uid=THIRD)
    await rounds(world, 1)
    assert bought(world, jobId=OTHER)["orphanedAt"] is None, "a resource of this namespace asks for it"
    assert (await world.finish(IMAGE)).phase is Phase.COMPLETED
    assert bought(world, jobId=THIRD)["state"] == "collected"
    assert len(world.provider.posts) == 2


async def test_unconfirmed_cluster_leaves_requests_of_others_alone(world: World) -> None:
    await orphaned(world, UID)
    rebuild(world, SOON)
    await rounds(world, 4)
    assert (bought(world)["state"], bought(world)["orphanedAt"]) == ("submitted", None)
    TenantAdministration(world.database, "ann").confirm("another-cluster")
    await rounds(world, 4)
    assert bought(world)["state"] == "succeeded"


async def test_unconfirmed_cluster_deletes_no_response_of_others(world: World) -> None:
    await orphaned(world, UID)
    await rounds(world, 4)
    ended = {"state": "discarded", "orphanedAt": world.now}
    world.database["ledger"].update_one({}, {"$set": ended})
    rebuild(world)
    await rounds(world, 1)
    assert [key for key in world.storage.files if key.endswith("response.json")]


# Lost bindings after a restore of the database


async def test_a_lost_binding_of_a_recreated_namespace_is_made_again(world: World) -> None:
    await finished(world, UID)
    await recreate(world)
    await finished(world, OTHER)
    await world.until_gone(IMAGE)
    for name in ("clusters", "namespaces"):
        world.database[name].delete_many({})
    world.restart()
    assert await finished(world, THIRD) == Reason.ADOPTED_FINISHED_RUN
    assert len(world.provider.posts) == 2


@pytest.mark.parametrize("reconciles", range(1, 9))
async def test_database_without_bindings_pays_nothing_again(world: World, reconciles: int) -> None:
    """The database is restored to before the first purchase, during a run in the re-created namespace."""
    await finished(world, UID)
    await recreate(world)
    world.kube.apply(IMAGE, SPECS[IMAGE], uid=OTHER)
    for _ in range(reconciles):
        await world.reconcile(IMAGE)
    posts = len(world.provider.posts)
    for name in ("ledger", "clusters", "namespaces", "request_bindings"):
        world.database[name].delete_many({})
    world.restart()
    status = await world.finish(IMAGE, Phase.SUBMISSION_UNKNOWN)
    planned = posts == 1  # nothing was sent before
    assert len(world.provider.posts) <= 2
    assert planned or status.phase in (Phase.SUBMISSION_UNKNOWN, Phase.COMPLETED)


# Clusters


async def held(world: World, uid: str) -> None:
    world.kube.apply(IMAGE, SPECS[IMAGE], uid=uid)
    for _ in range(5):
        await world.reconcile(IMAGE)
    status = world.status(IMAGE)
    assert (status.phase, status.reason) == (Phase.PENDING, Reason.CLUSTER_NOT_CONFIRMED)
    assert "contentgen namespaces confirm --cluster another-cluster" in (status.message or "")


async def test_rebuilt_cluster_pays_nothing_until_confirmed(world: World) -> None:
    await finished(world, UID)
    rebuild(world)
    await held(world, OTHER)
    assert len(world.provider.posts) == 1
    assert world.database["ledger"].find_one()["jobId"] == UID


async def test_cluster_younger_than_the_purchases_is_not_the_first(world: World) -> None:
    """The bindings are lost together with the move to another cluster."""
    await finished(world, UID)
    unbound(world)
    rebuild(world)
    await held(world, OTHER)
    assert len(world.provider.posts) == 1


async def test_of_two_clusters_that_begin_at_once_one_is_registered(world: World) -> None:
    one, two = Tenancy(world.kube, world.database), Tenancy(Elsewhere(world), world.database)
    tenants = await asyncio.gather(one.of("ns"), two.of("ns"))
    assert sorted(bool(tenant.block_reason) for tenant in tenants) == [False, True]
    assert world.database["clusters"].count_documents({}) == 3


class Elsewhere:
    """Another cluster."""

    def __init__(self, world: World) -> None:
        self._world = world

    async def get_namespace(self, name: str) -> Any:
        body = await self._world.kube.get_namespace(name)
        return {"metadata": body["metadata"] | {"uid": f"other-{name}"}}


async def test_a_resource_of_an_unconfirmed_cluster_can_be_deleted(world: World) -> None:
    await finished(world, UID)
    rebuild(world)
    world.kube.apply(IMAGE, SPECS[IMAGE] | {"deletionPolicy": "Delete"}, uid=OTHER)
    await world.reconcile(IMAGE)
    await world.until_gone(IMAGE)
    assert world.database["ledger"].find_one()["state"] == "collected"


async def test_no_payment_without_the_right_to_read_namespaces(world: World, caplog: Any) -> None:
    async def forbidden(_: str) -> Any:
        raise ApiException(status=403, reason="Forbidden")

    await finished(world, UID)
    await world.until_gone(IMAGE)
    world.restart()
    world.kube.get_namespace = forbidden  # type: ignore[method-assign]
    world.kube.apply(IMAGE, SPECS[IMAGE], uid=OTHER)
    for _ in range(5):
        await world.reconcile(IMAGE)
    assert world.status(IMAGE).reason == Reason.CLUSTER_NOT_CONFIRMED
    assert len(world.provider.posts) == 1
    assert bought(world)["jobId"] == UID, "and nothing is adopted"
    assert sum("cannot be read" in log_record.message for log_record in caplog.records) == 1


# An administrator's commands


async def test_gitops_into_a_confirmed_cluster_adopts_everything(world: World) -> None:
    await finished(world, UID)
    rebuild(world)
    await held(world, OTHER)
    assert TenantAdministration(world.database, "ann").confirm("another-cluster")
    assert (await world.finish(IMAGE)).reason == Reason.ADOPTED_FINISHED_RUN
    assert len(world.provider.posts) == 1
    assert (bought(world)["clusterUid"], bought(world)["namespaceUid"]) == ("another-cluster", "its-namespace")
    assert not TenantAdministration(world.database, "ann").confirm("another-cluster")
    assert world.database["clusters"].find_one({"_id": "another-cluster"})["by"] == "ann"


async def test_confirmed_cluster_takes_over_unnamed_purchases(world: World) -> None:
    await finished(world, UID)
    unbound(world)
    rebuild(world)
    await held(world, OTHER)
    TenantAdministration(world.database, "ann").confirm("another-cluster")
    assert (await world.finish(IMAGE)).reason == Reason.ADOPTED_FINISHED_RUN


async def test_confirmed_cluster_takes_over_a_recreated_scope(world: World) -> None:
    await finished(world, UID)
    await recreate(world)
    await finished(world, OTHER)
    rebuild(world)
    await held(world, THIRD)
    TenantAdministration(world.database, "ann").confirm("another-cluster")
    assert (await world.finish(IMAGE)).reason == Reason.ADOPTED_FINISHED_RUN
    assert (await Tenancy(world.kube, world.database).of("ns")).scope == "another-namespace"


async def test_namespace_of_an_unconfirmed_cluster_can_be_mapped(world: World) -> None:
    await finished(world, UID)
    rebuild(world)
    await held(world, OTHER)
    assert TenantAdministration(world.database, "ann").map("another-cluster", "ns", "its-namespace", "a-namespace")
    assert (await world.finish(IMAGE)).reason == Reason.ADOPTED_FINISHED_RUN
    assert len(world.provider.posts) == 1


async def test_backup_in_a_new_cluster_waits_for_a_confirmation(world: World) -> None:
    """The operator starts before the restore with an empty database, so its cluster registers as the first one."""
    await finished(world, UID)
    kept = {name: list(world.database[name].find()) for name in ("ledger", "jobs", "clusters", "namespaces")}
    for name in kept:
        world.database[name].delete_many({})
    rebuild(world)
    assert (await Tenancy(world.kube, world.database).of("ns")).block_reason == ""
    world.database["namespaces"].delete_many({})  # as if the binding were another namespace's
    restored = {cluster["_id"]: cluster for cluster in kept["clusters"]}
    for name in ("ledger", "jobs", "namespaces"):
        world.database[name].insert_many(kept[name])
    for given in restored.values():
        stored = world.database["clusters"].find_one({"_id": given["_id"]})
        if (made := next(each for each in BACKED_UP if each.name == "clusters").merge(stored, given)) is not None:
            world.database["clusters"].replace_one({"_id": given["_id"]}, dict(made), upsert=True)
    await held(world, OTHER)
    assert len(world.provider.posts) == 1


async def test_a_recreated_namespace_that_is_mapped_adopts(world: World) -> None:
    await finished(world, UID)
    await recreate(world)
    tenancy = Tenancy(world.kube, world.database)
    assert (await tenancy.of("ns")).scope == "another-namespace"
    known = TenantAdministration(world.database, "ann")
    assert known.map("a-cluster", "ns", "another-namespace", "unscoped")
    assert not known.map("a-cluster", "ns", "another-namespace", "unscoped")
    assert await finished(world, OTHER) == Reason.ADOPTED_FINISHED_RUN
    assert len(world.provider.posts) == 1
    (binding,) = known.bindings()
    assert binding["by"] == "ann"
    assert [each["uid"] for each in binding["history"]] == ["a-namespace", "another-namespace"]


async def test_a_mapping_is_refused_while_purchases_are_under_way(world: World) -> None:
    await finished(world, UID)
    await recreate(world)
    world.kube.apply(IMAGE, SPECS[IMAGE], uid=OTHER)
    await world.finish(IMAGE, Phase.PROCESSING)
    known = TenantAdministration(world.database, "ann")
    with pytest.raises(CommandRefused, match="1 purchases of ns are unfinished"):
        known.map("a-cluster", "ns", "another-namespace", "unscoped")
    with pytest.raises(CommandRefused, match="had this uid"):
        known.map("a-cluster", "ns", "another-namespace", "no-such-uid")
    with pytest.raises(CommandRefused, match="must be one of: a-cluster"):
        known.cluster("no-such-cluster")
    assert known.cluster(None) == "a-cluster"


async def test_jobs_made_before_a_mapping_stay_visible(world: World) -> None:
    await finished(world, UID)
    await recreate(world)
    await finished(world, OTHER)
    TenantAdministration(world.database, "ann").map("a-cluster", "ns", "another-namespace", "a-namespace")
    tenant = await Tenancy(world.kube, world.database).of("ns")
    assert world.database["jobs"].count_documents(tenant.filter("ns")) == 2


def test_a_scope_is_a_part_of_the_key_and_none_is_not() -> None:
    key = PurchaseKey(namespace="ns", kind=IMAGE, name="it", run_hash="h", rerun=None, attempt=1)
    assert str(key) == "ns/ImageGeneration/it/h/-/1"
    assert str(key.model_copy(update={"scope": "u"})) == "ns@u/ImageGeneration/it/h/-/1"
