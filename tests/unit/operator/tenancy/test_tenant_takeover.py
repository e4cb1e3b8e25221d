"""Two live clusters on one ledger, mappings with open purchases, lost bindings: each purchase has one owner."""

from datetime import datetime, timedelta
from itertools import pairwise
from typing import Any

import pytest

from contentgen_contract.names import FINALIZER, Kind, Phase, Reason
from contentgen_contract.records.tenancy import Tenant
from contentgen_gateway.migration.namespaces import CommandRefused, TenantAdministration
from contentgen_operator.state.purchases import Purchase, PurchaseKey, PurchaseState
from contentgen_operator.stores.ledger import Ledger
from contentgen_runtime.tenancy import SYSTEM, Followed, Tenancy
from contentgen_simulation.world import SPECS, UID, World

IMAGE = Kind.IMAGE_GENERATION
OTHER = "0c8d8a52-6a5e-4a1c-9f3e-2f3c7c1b9a02"
THIRD = "0c8d8a52-6a5e-4a1c-9f3e-2f3c7c1b9a03"
CAT, DOG = SPECS[IMAGE], SPECS[IMAGE] | {"prompt": "a dog"}
OLD = "2026-01-02T00:00:00Z"


class Clusters:
    """Two clusters with their own API servers and the same stores; one operator process works at a time."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._away: dict[str, Any] = {
            "namespaces": {SYSTEM: ("cluster-b", OLD), "ns": ("namespace-b", OLD)},
            "resources": {},
            "jobs": {},
        }

    def switch(self) -> None:
        """Switch to the other cluster's operator without a change of the clock."""
        kube, back = self._world.kube, self._away
        self._away = {name: getattr(kube, name) for name in back}
        for name, value in back.items():
            setattr(kube, name, value)
        self._world.restart()


def admin(world: World) -> TenantAdministration:
    return TenantAdministration(world.database, "ann", clock=lambda: world.now)


def bought(world: World, **where: Any) -> dict[str, Any]:
    (found,) = world.database["ledger"].find(where)
    return dict(found)


async def reconcile_times(world: World, count: int = 5) -> None:
    for _ in range(count):
        await world.reconcile(IMAGE)


async def rounds(world: World, count: int = 4) -> None:
    for _ in range(count):
        world.now += timedelta(minutes=10)
        await world.orphans[-1].round(world.now)


async def under_way(world: World, uid: str = UID, spec: dict[str, Any] = CAT) -> None:
    world.kube.apply(IMAGE, spec, uid=uid)
    while not [
        purchase for purchase in world.database["ledger"].find({"jobId": uid}) if purchase["state"] == "submitted"
    ]:
        await world.reconcile(IMAGE)


async def two_clusters(world: World) -> Clusters:
    """Clusters with a request of the first one in progress; the second one is registered and works now."""
    await under_way(world)
    await world.finish(IMAGE, Phase.PROCESSING)
    await world.orphans[-1].round(world.now)
    clusters = Clusters(world)
    clusters.switch()
    world.kube.apply(IMAGE, CAT, uid=OTHER)
    await reconcile_times(world)
    assert world.status(IMAGE).reason == Reason.CLUSTER_NOT_CONFIRMED
    return clusters


# Two live clusters


async def test_a_takeover_from_a_cluster_that_is_alive_is_refused(world: World) -> None:
    await under_way(world)
    clusters = Clusters(world)
    await rounds(world, 1)
    clusters.switch()
    await rounds(world, 1)
    with pytest.raises(CommandRefused, match="a-cluster used the database"):
        admin(world).confirm("cluster-b")
    world.now += timedelta(hours=1)
    assert admin(world).confirm("cluster-b")


async def test_earlier_cluster_leaves_everything_alone_afterwards(world: World) -> None:
    clusters = await two_clusters(world)
    admin(world).confirm("cluster-b", force=True)
    await world.finish(IMAGE, Phase.PROCESSING)
    assert bought(world)["jobId"] == OTHER
    clusters.switch()
    await reconcile_times(world)
    await rounds(world)
    status = world.status(IMAGE)
    assert status.reason == Reason.CLUSTER_NOT_CONFIRMED
    assert "cluster-b has taken" in (status.message or "")
    assert (bought(world)["jobId"], bought(world)["orphanedAt"]) == (OTHER, None)
    clusters.switch()
    assert (await world.finish(IMAGE)).phase is Phase.COMPLETED
    assert len(world.provider.posts) == 1


@pytest.mark.parametrize("how", ["confirmed", "mapped"])
async def test_after_a_takeover_orphans_are_the_later_clusters(world: World, how: str) -> None:
    """The later cluster has no such resource, so the request is an orphan there, despite the earlier cluster."""
    clusters = await two_clusters(world)
    world.kube.resources.clear()
    if how == "confirmed":
        admin(world).confirm("cluster-b", force=True)
    else:
        admin(world).map("cluster-b", "ns", "namespace-b", "unscoped", force=True)
    await rounds(world)
    noted = bought(world)["orphanedAt"]
    assert noted is not None
    clusters.switch()
    await rounds(world)
    assert bought(world)["orphanedAt"] == noted


async def test_a_takeover_from_one_cluster_leaves_another_alone(world: World) -> None:
    clusters = await two_clusters(world)
    admin(world).confirm("cluster-b", fresh=True)
    await world.finish(IMAGE)
    clusters.switch()
    world.kube.namespaces = {SYSTEM: ("cluster-c", OLD), "ns": ("namespace-c", OLD)}
    world.kube.resources.clear()
    world.kube.jobs.clear()
    world.restart()
    assert (await Tenancy(world.kube, world.database).of("ns")).block_reason
    assert admin(world).confirm("cluster-c", earlier=["a-cluster"], force=True)
    assert await finished(world, THIRD) == Reason.COMPLETED
    assert bought(world, jobId=THIRD)["_id"].startswith("ns/")
    clusters.switch()
    assert (await Tenancy(world.kube, world.database).of("ns")).block_reason == ""
    assert len(world.provider.posts) == 2


async def seen_by(world: World, cluster: str) -> tuple[Tenant, Followed]:
    """Tenant of the namespace ns in a cluster, and the tenants whose purchases its operator follows."""
    world.kube.namespaces = {SYSTEM: (cluster, OLD), "ns": (f"ns-of-{cluster}", OLD)}
    tenancy = Tenancy(world.kube, world.database)
    return await tenancy.of("ns"), await tenancy.followed()


async def in_turns(world: World, *clusters: str) -> None:
    """Each cluster takes over from the previous one, one day later."""
    for before, cluster in pairwise(clusters):
        await seen_by(world, before)
        assert (await seen_by(world, cluster))[0].block_reason
        world.now += timedelta(days=1)
        assert admin(world).confirm(cluster, earlier=[before], force=True)


async def test_a_takeover_is_of_everything_that_was_taken_over_before(world: World) -> None:
    await in_turns(world, "a", "b", "c", "d")
    for cluster, its in {"d": {"d", "c", "b", "a"}, "c": set(), "b": set(), "a": set[str]()}.items():
        tenant, followed = await seen_by(world, cluster)
        assert bool(tenant.block_reason) is (cluster != "d")
        assert {letter for letter in "abcd" if followed.includes(letter, "ns")} == its
        assert {letter for letter in "abcd" if followed.includes(letter, "never-bound")} == its


async def test_cluster_that_takes_itself_back_has_everything_again(world: World) -> None:
    await in_turns(world, "a", "b", "c")
    assert admin(world).map("c", "ns", "ns-of-c", "fresh")
    assert admin(world).confirm("a", earlier=["c"], force=True)
    tenant, followed = await seen_by(world, "a")
    assert (tenant.block_reason, tenant.scope) == ("", "ns-of-c"), "as the last one had it"
    assert {letter for letter in "abc" if followed.includes(letter, "ns")} == {"a", "b", "c"}
    assert admin(world).confirm("b", earlier=["a"], force=True)
    assert {letter for letter in "abc" if (await seen_by(world, letter))[1].includes("c", "ns")} == {"b"}


async def test_namespace_mapped_back_is_not_taken_over(world: World) -> None:
    await seen_by(world, "a")
    await in_turns(world, "a", "b")
    assert admin(world).map("a", "ns", "ns-of-a", "unscoped", force=True)
    assert (await seen_by(world, "b"))[0].block_reason
    assert not (await seen_by(world, "a"))[0].block_reason
    await in_turns(world, "b", "c")
    unbound = await Tenancy(world.kube, world.database).followed()
    assert not unbound.includes("a", "ns")
    assert {letter for letter in "abc" if not (await seen_by(world, letter))[0].block_reason} == {"a"}
    for cluster, its in {"a": {"a", "b", "c"}, "b": set(), "c": set[str]()}.items():
        followed = (await seen_by(world, cluster))[1]
        assert {letter for letter in "abc" if followed.includes(letter, "ns")} == its, cluster
        assert followed.includes("a", "another") is (cluster == "c")


async def test_mapped_namespace_goes_with_its_cluster(world: World) -> None:
    """Cluster b is unconfirmed and has the mapped namespace only."""
    await seen_by(world, "a")
    await seen_by(world, "b")
    assert admin(world).map("b", "ns", "ns-of-b", "unscoped", force=True)
    await in_turns(world, "b", "c")
    followed = (await seen_by(world, "c"))[1]
    assert followed.includes("a", "ns")
    assert not followed.includes("a", "another")


@pytest.mark.parametrize("taken", [False, True])
async def test_message_maps_to_the_scope_of_the_earlier_clusters(world: World, taken: bool) -> None:
    await seen_by(world, "a")
    assert (await seen_by(world, "b"))[0].block_reason.endswith("--uid ns-of-b --to unscoped`")
    await recreate(world)
    world.kube.namespaces |= {SYSTEM: ("a", OLD)}
    assert (await Tenancy(world.kube, world.database).of("ns")).scope == "another-namespace"
    assert (await seen_by(world, "b"))[0].block_reason.endswith("--uid ns-of-b --to another-namespace`")
    if taken:  # the next cluster has the same namespace under another uid
        admin(world).confirm("b", earlier=["a"], force=True)
        assert (await seen_by(world, "b"))[0].scope == "another-namespace"
        held = (await seen_by(world, "c"))[0].block_reason
        assert held.endswith("--uid ns-of-c --to another-namespace`")
        assert admin(world).map("c", "ns", "ns-of-c", "another-namespace", force=True)
        assert (await seen_by(world, "c"))[0].scope == "another-namespace"


async def test_the_message_names_no_scope_where_clusters_differ(world: World) -> None:
    await seen_by(world, "a")
    await seen_by(world, "b")
    assert admin(world).confirm("b", fresh=True)
    await seen_by(world, "b")
    held = (await seen_by(world, "c"))[0].block_reason
    assert "--uid ns-of-c --to` and one of the uids that `contentgen namespaces list` shows" in held
    for to, scope in (("ns-of-a", ""), ("ns-of-b", "ns-of-b")):
        admin(world).map("c", "ns", "ns-of-c", to, force=True)
        assert ((await seen_by(world, "c"))[0].scope, (await seen_by(world, "c"))[0].block_reason) == (scope, "")


async def test_the_message_keeps_what_was_bought_under_several_scopes(world: World) -> None:
    await seen_by(world, "a")
    await recreate(world)
    world.kube.namespaces |= {SYSTEM: ("a", OLD)}
    assert (await Tenancy(world.kube, world.database).of("ns")).scope == "another-namespace"
    admin(world).map("a", "ns", "another-namespace", "unscoped")
    assert (await seen_by(world, "b"))[0].block_reason.endswith("--uid ns-of-b --to another-namespace`")
    admin(world).map("b", "ns", "ns-of-b", "another-namespace", force=True)
    assert (await seen_by(world, "b"))[0].scopes == ("", "another-namespace")


async def test_older_etcd_does_not_restore_a_scope_mapped_elsewhere(world: World) -> None:
    await finished(world, UID)
    was = world.kube.namespaces["ns"]
    await recreate(world)
    await finished(world, OTHER)
    clusters = Clusters(world)
    clusters.switch()
    await Tenancy(world.kube, world.database).of("ns")
    admin(world).map("cluster-b", "ns", "namespace-b", "unscoped")
    clusters.switch()
    assert (await Tenancy(world.kube, world.database).of("ns")).block_reason == ""
    world.kube.namespaces["ns"] = was
    assert (await Tenancy(world.kube, world.database).of("ns")).block_reason


@pytest.mark.parametrize("policy", ["Retain", "Delete"])
async def test_deletion_in_the_earlier_cluster_spares_adopted_files(world: World, policy: str) -> None:
    clusters = await two_clusters(world)
    admin(world).confirm("cluster-b", force=True)
    world.provider._polls.clear()  # the request runs for a while
    while bought(world)["jobId"] != OTHER:
        await world.reconcile(IMAGE)
    assert bought(world)["state"] == "submitted"
    clusters.switch()
    world.kube.resources[IMAGE, "it"]["spec"] = CAT | {"deletionPolicy": policy}
    await world.until_gone(IMAGE)
    assert world.provider.cancelled == []
    assert bought(world)["discardAsked"] is False
    clusters.switch()
    assert (await world.finish(IMAGE)).phase is Phase.COMPLETED
    assert len(world.provider.posts) == 1


async def test_new_namespace_of_a_taken_over_cluster_pays_nothing(world: World) -> None:
    clusters = await two_clusters(world)
    admin(world).confirm("cluster-b", force=True)
    clusters.switch()
    world.kube.namespaces["new"] = ("namespace-new", OLD)
    assert (await Tenancy(world.kube, world.database).of("new")).block_reason


async def test_a_cluster_takes_back_what_was_taken_over(world: World) -> None:
    clusters = await two_clusters(world)
    admin(world).confirm("cluster-b", force=True)
    await world.finish(IMAGE)
    assert admin(world).confirm("a-cluster", force=True)
    await reconcile_times(world)
    assert (await Tenancy(world.kube, world.database).of("ns")).block_reason
    clusters.switch()
    assert (await world.finish(IMAGE)).phase is Phase.COMPLETED
    assert len(world.provider.posts) == 1
    assert (await Tenancy(world.kube, world.database).of("ns")).block_reason == ""


async def test_a_second_cluster_can_go_on_beside_the_first(world: World) -> None:
    clusters = await two_clusters(world)
    assert admin(world).confirm("cluster-b", fresh=True)
    assert (await world.finish(IMAGE)).reason == Reason.COMPLETED
    tenant = await Tenancy(world.kube, world.database).of("ns")
    assert tenant.scope == "namespace-b"
    assert [purchase["jobId"] for purchase in world.database["ledger"].find(tenant.filter("ns"))] == [OTHER]
    await rounds(world)
    assert bought(world, jobId=UID)["orphanedAt"] is None
    clusters.switch()
    assert (await world.finish(IMAGE)).reason == Reason.COMPLETED
    assert len(world.provider.posts) == 2
    with pytest.raises(CommandRefused, match="with purchases of its own"):
        admin(world).confirm("cluster-b")


async def test_scope_bound_by_two_clusters_at_once_pays_nothing(world: World) -> None:
    """A namespace is mapped in the second cluster before the first one has bound its own."""
    await Tenancy(world.kube, world.database).of(SYSTEM)
    clusters = Clusters(world)
    clusters.switch()
    await Tenancy(world.kube, world.database).of("ns")
    assert admin(world).map("cluster-b", "ns", "namespace-b", "unscoped")
    assert (await Tenancy(world.kube, world.database).of("ns")).block_reason == ""
    clusters.switch()
    assert (await Tenancy(world.kube, world.database).of("ns")).block_reason


# Mappings


async def test_mapping_to_a_scope_in_use_is_refused(world: World) -> None:
    clusters = await two_clusters(world)
    with pytest.raises(CommandRefused, match="a-cluster used the database"):
        admin(world).map("cluster-b", "ns", "namespace-b", "unscoped")
    assert admin(world).map("cluster-b", "ns", "namespace-b", "unscoped", force=True)
    assert not admin(world).map("cluster-b", "ns", "namespace-b", "unscoped")
    assert (await world.finish(IMAGE)).phase is Phase.COMPLETED
    clusters.switch()
    await reconcile_times(world)
    assert world.status(IMAGE).reason == Reason.CLUSTER_NOT_CONFIRMED
    assert bought(world)["jobId"] == OTHER
    assert (await Tenancy(world.kube, world.database).of(SYSTEM)).block_reason == "", "its other namespaces go on"
    assert admin(world).map("a-cluster", "ns", "a-namespace", "unscoped", force=True)
    assert (await world.finish(IMAGE)).phase is Phase.COMPLETED
    assert len(world.provider.posts) == 1
    clusters.switch()
    assert (await Tenancy(world.kube, world.database).of("ns")).block_reason


async def recreate(world: World, uid: str = "another-namespace") -> None:
    if world.there(IMAGE):
        await world.until_gone(IMAGE)
    world.now += timedelta(days=2)
    world.kube.namespaces["ns"] = (uid, f"{world.now:%Y-%m-%dT%H:%M:%SZ}")


async def finished(world: World, uid: str, spec: dict[str, Any] = CAT) -> str | None:
    world.kube.apply(IMAGE, spec, uid=uid)
    return (await world.finish(IMAGE)).reason


@pytest.mark.parametrize("to", ["unscoped", "a-namespace"])
async def test_open_requests_continue_after_a_forced_mapping(world: World, to: str) -> None:
    await finished(world, UID)
    await recreate(world)
    await under_way(world, OTHER)
    admin(world).map("a-cluster", "ns", "another-namespace", to, force=True)
    assert (await world.finish(IMAGE)).reason == Reason.COMPLETED
    assert bought(world, jobId=OTHER)["state"] == "collected"
    assert bought(world, jobId=UID)["state"] == "collected"
    assert len(world.provider.posts) == 2


async def test_purchase_before_a_mapping_is_adopted_after_it(world: World) -> None:
    await finished(world, UID)
    await recreate(world)
    await finished(world, OTHER, DOG)
    admin(world).map("a-cluster", "ns", "another-namespace", "unscoped")
    for uid, spec in ((THIRD, DOG), (f"{UID[:-1]}4", CAT)):
        await world.until_gone(IMAGE)
        assert await finished(world, uid, spec) == Reason.ADOPTED_FINISHED_RUN
    assert len(world.provider.posts) == 2


async def test_orphan_from_before_a_mapping_is_kept(world: World) -> None:
    await finished(world, UID)
    await recreate(world)
    await under_way(world, OTHER, DOG)
    world.kube.resources.clear()
    world.kube.jobs.clear()
    await rounds(world)
    admin(world).map("a-cluster", "ns", "another-namespace", "unscoped", force=True)
    world.kube.apply(IMAGE, DOG, uid=THIRD)
    await rounds(world, 1)
    assert bought(world, jobId=OTHER)["orphanedAt"] is None, "a resource of this namespace asks for it"
    assert (await world.finish(IMAGE)).phase is Phase.COMPLETED
    assert len(world.provider.posts) == 2


async def mixed(world: World) -> datetime:
    """Namespace that was created again and purchased a dog without a scope before its binding was lost.

    Returns the time before that purchase.
    """
    await finished(world, UID)
    await recreate(world, "a-namespace")
    since = world.now
    await finished(world, OTHER, DOG)
    await world.until_gone(IMAGE)
    world.kube.namespaces["ns"] = ("another-namespace", world.kube.namespaces["ns"][1])
    for name in ("clusters", "namespaces"):
        world.database[name].delete_many({})
    world.restart()
    await Tenancy(world.kube, world.database).of("ns")
    return since


@pytest.mark.parametrize("to", ["unscoped", "another-namespace"])
async def test_mapping_keeps_purchases_without_a_scope(world: World, to: str) -> None:
    since = await mixed(world)
    admin(world).map("a-cluster", "ns", "another-namespace", "unscoped")
    admin(world).map("a-cluster", "ns", "another-namespace", to)
    tenant = await Tenancy(world.kube, world.database).of("ns")
    assert (tenant.scope, tenant.since) == (("", None) if to == "unscoped" else (to, since.replace(microsecond=0)))
    assert await finished(world, THIRD, DOG) == Reason.ADOPTED_FINISHED_RUN
    assert len(world.provider.posts) == 2


# Changes during a downtime of the operator


async def test_namespace_recreated_while_the_operator_was_down(world: World) -> None:
    """The earlier resource and its finalizer are gone, its Job still exists, and the resource was created again."""
    await under_way(world)
    world.kube.resources.clear()
    world.now += timedelta(hours=2)
    world.kube.namespaces["ns"] = ("another-namespace", f"{world.now:%Y-%m-%dT%H:%M:%SZ}")
    world.kube.apply(IMAGE, CAT, uid=OTHER)
    world.restart()
    assert (await world.finish(IMAGE)).reason == Reason.COMPLETED
    await rounds(world)
    earlier = bought(world, jobId=UID)
    assert (earlier["state"], earlier["orphanedAt"] is not None) == ("succeeded", True)
    assert bought(world, jobId=OTHER)["_id"].startswith("ns@another-namespace/")
    assert len(world.provider.posts) == 2


async def test_deletion_keeps_files_listed_under_another_scope(world: World) -> None:
    """The deleted resource made purchases under two scopes, and another resource adopted the first one."""
    ledger = Ledger(world.database["ledger"])
    for name, scope, owner in (
        ("it", "another-namespace", THIRD),
        ("it2", "another-namespace", THIRD),
        ("it", "", OTHER),
    ):
        key = PurchaseKey(namespace="ns", kind=IMAGE, name=name, run_hash="h", rerun=None, attempt=1, scope=scope)
        purchase = Purchase(
            state=PurchaseState.COLLECTED, job_id=owner, provider="p", model="m",
            correlation_key=f"marker-{name}-{owner}",
            created_at=world.now, changed_at=world.now, outputs={"files": [{"key": f"{name}-of-{owner}"}]},
        )  # fmt: skip
        await ledger.intend(key, purchase)
    kept = await ledger.kept_files("ns/ImageGeneration/it/", OTHER)
    assert {each for each in kept if "-of-" in each} == {f"it-of-{THIRD}"}


async def test_the_record_of_a_mapped_namespace_names_its_scopes(world: World) -> None:
    await finished(world, UID)
    assert "scopes" not in (world.database["jobs"].find_one({"jobId": UID}) or {})
    await recreate(world)
    await finished(world, OTHER, DOG)
    assert "scopes" not in (world.database["jobs"].find_one({"jobId": OTHER}) or {})
    admin(world).map("a-cluster", "ns", "another-namespace", "unscoped")
    await world.until_gone(IMAGE)
    await finished(world, THIRD, DOG)
    record = world.database["jobs"].find_one({"jobId": THIRD}) or {}
    assert (record["tenant"], record["scopes"]) == ("another-namespace", ["", "another-namespace"])


# Restored stores


async def test_mapping_lost_in_a_restore_buys_nothing_again(world: World) -> None:
    await finished(world, UID)
    await recreate(world)
    await Tenancy(world.kube, world.database).of("ns")
    older = list(world.database["namespaces"].find())
    admin(world).map("a-cluster", "ns", "another-namespace", "unscoped")
    await finished(world, OTHER)
    await world.until_gone(IMAGE)
    world.database["namespaces"].delete_many({})
    world.database["namespaces"].insert_many(older)
    world.restart()
    assert await finished(world, THIRD) == Reason.ADOPTED_FINISHED_RUN
    assert len(world.provider.posts) == 1


async def test_bucket_remembers_purchases_of_a_recreated_namespace(world: World) -> None:
    """MongoDB and etcd were restored to a time before any purchase, so the namespace counts as the first one."""
    await finished(world, UID)
    await recreate(world)
    await finished(world, OTHER, DOG)
    world.kube.resources.clear()
    world.kube.jobs.clear()
    for name in world.database.list_collection_names():
        world.database[name].delete_many({})
    world.restart()
    world.kube.apply(IMAGE, DOG, uid=THIRD)
    status = await world.finish(IMAGE, Phase.SUBMISSION_UNKNOWN)
    assert status.phase is Phase.SUBMISSION_UNKNOWN
    assert len(world.provider.posts) == 2


async def test_older_etcd_restores_the_earlier_namespace(world: World) -> None:
    await finished(world, UID)
    was = world.kube.namespaces["ns"]
    await recreate(world)
    await finished(world, OTHER)
    await world.until_gone(IMAGE)
    world.kube.namespaces["ns"] = was
    world.restart()
    assert await finished(world, THIRD) == Reason.ADOPTED_FINISHED_RUN
    assert bought(world, jobId=THIRD)["_id"].startswith("ns/")
    assert bought(world, jobId=OTHER)["state"] == "collected"
    assert len(world.provider.posts) == 2


async def test_resource_that_outlived_its_namespace_pays_nothing(world: World) -> None:
    """The namespace was removed by force (its finalizer taken off), the operator was down."""
    await under_way(world)
    world.now += timedelta(hours=2)
    world.kube.namespaces["ns"] = ("another-namespace", f"{world.now:%Y-%m-%dT%H:%M:%SZ}")
    world.restart()
    await world.finish(IMAGE, Phase.SUBMISSION_UNKNOWN)
    assert len(world.provider.posts) == 1


# A slow API server


async def test_unreadable_namespace_waits_unpaid(world: World) -> None:
    read = world.kube.get_namespace

    async def slow(_: str) -> Any:
        raise TimeoutError

    world.kube.get_namespace = slow  # type: ignore[method-assign]
    world.kube.apply(IMAGE, CAT)
    for _ in range(5):
        with pytest.raises(TimeoutError):
            await world.reconcile(IMAGE)
    assert (world.provider.posts, world.database["ledger"].count_documents({})) == ([], 0)
    world.kube.get_namespace = read  # type: ignore[method-assign]
    assert (await world.finish(IMAGE)).phase is Phase.COMPLETED


async def test_status_of_a_backup_writes_no_purchase_unconfirmed(world: World) -> None:
    """A tool restored the resource with its status into another cluster, and it is deleted there."""
    await under_way(world)
    status = world.kube.resources[IMAGE, "it"]["status"]
    clusters = Clusters(world)
    clusters.switch()
    world.kube.apply(IMAGE, CAT, uid=OTHER)
    world.kube.resources[IMAGE, "it"]["status"] = status
    world.kube.resources[IMAGE, "it"]["metadata"]["finalizers"] = [FINALIZER]
    await world.until_gone(IMAGE)
    assert bought(world)["jobId"] == UID
    assert world.provider.cancelled == []
