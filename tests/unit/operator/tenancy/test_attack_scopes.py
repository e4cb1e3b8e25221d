"""Attacks: mappings, rebuilt clusters, lost bindings, orphans, retrained LoRAs. Each is a promise of the docs."""

import re
from datetime import timedelta

import pytest

from contentgen_contract.names import COLLECT_ANNOTATION, RERUN_ANNOTATION, Phase, Reason
from contentgen_gateway.services.orphans import orphan
from contentgen_operator.providers.base import Busy
from contentgen_operator.state.provider_requests import GONE, RequestView
from contentgen_simulation.tenancy import (
    CAT,
    FIRST,
    FOURTH,
    IMAGES,
    LORA,
    LORA_UID,
    OTHER,
    PICTURE,
    SECOND,
    THIRD,
    admin,
    applied,
    ended,
    gone,
    mapped,
    rebuilt,
    recreated,
    rounds,
    states,
)
from contentgen_simulation.world import UID, World

DOG = CAT | {"prompt": "a dog"}


# Mapped namespaces: what was bought is adopted


async def test_unpaid_purchase_of_an_earlier_namespace_hides_no_paid(world: World) -> None:
    """install.md: what the namespace has bought since it was created again stays its own; decision 0022: is adopted."""
    world.provider.refuses = Busy("too many requests")
    world.kube.apply(IMAGES, CAT, UID)
    for _ in range(6):
        await world.reconcile(IMAGES)
    assert states(world) == ["refused"]
    world.provider.refuses = None
    await recreated(world)
    await applied(world, OTHER)
    assert len(world.provider.posts) == 1
    mapped(world)
    await gone(world)
    status = await applied(world, THIRD)
    assert (status.reason, len(world.provider.posts)) == (Reason.ADOPTED_FINISHED_RUN, 1)


async def test_unpaid_purchase_of_another_scope_hides_no_paid_one(world: World) -> None:
    """The same where the mapping is to a uid: the marker of this namespace's own scope is not asked for then."""
    await applied(world, FOURTH, DOG)  # of the first namespace
    await recreated(world)
    world.provider.refuses = Busy("too many requests")
    world.kube.apply(IMAGES, CAT, UID)
    for _ in range(6):
        await world.reconcile(IMAGES)
    assert "refused" in states(world)
    world.provider.refuses = None
    await recreated(world, "third-namespace")
    await applied(world, OTHER)
    posts = len(world.provider.posts)
    assert admin(world).map("a-cluster", "ns", "third-namespace", "another-namespace")
    await gone(world)
    status = await applied(world, THIRD)
    assert (status.reason, len(world.provider.posts)) == (Reason.ADOPTED_FINISHED_RUN, posts)


@pytest.mark.parametrize("attempts", [1, 2])
async def test_failed_purchase_of_an_earlier_namespace_hides_none(world: World, attempts: int) -> None:
    """The same; with paidAttempts 2 it is even paid again by itself."""
    world.provider.fails = {1}
    await applied(world, UID)
    await recreated(world)
    spec = CAT | {"paidAttempts": attempts}
    await applied(world, OTHER, spec)
    assert len(world.provider.posts) == 2
    mapped(world)
    await gone(world)
    status = await applied(world, THIRD, spec)
    assert (status.reason, len(world.provider.posts)) == (Reason.ADOPTED_FINISHED_RUN, 2)


async def test_mapped_deletion_with_files_leaves_no_purchase(world: World) -> None:
    """concepts.md, Deletion: all its files go, ... applied again it says OutputsDeleted."""
    await applied(world, UID, DOG)
    await recreated(world)
    delete = {"deletionPolicy": "Delete"}
    await applied(world, OTHER, CAT | delete)
    mapped(world)
    status = await applied(world, OTHER, CAT | delete | {"prompt": "a cow"})
    assert status.reason == Reason.COMPLETED
    await gone(world)
    for spec in (CAT | delete, CAT | delete | {"prompt": "a cow"}):
        status = await applied(world, THIRD, spec)
        assert status.reason == Reason.OUTPUTS_DELETED
    assert len(world.provider.posts) == 3
    assert [key for key in world.storage.files if OTHER in key] == []


# Rebuilt clusters


async def test_command_in_the_message_keeps_the_tenant(world: World) -> None:
    """reasons.md, ClusterNotConfirmed: run the command of the message; pays nothing. Here it takes what the earlier
    namespace had, and buys again what this one has bought.
    """
    await applied(world, UID)  # the earlier namespace's cat
    await recreated(world)
    await applied(world, OTHER, DOG)
    rebuilt(world)
    world.kube.apply(IMAGES, DOG, THIRD)
    for _ in range(5):
        await world.reconcile(IMAGES)
    message = world.status(IMAGES).message or ""
    found = re.search(r"namespaces map (\S+) --cluster (\S+) --uid (\S+) --to ([^\s`]+)", message)
    assert found is not None, message
    namespace, cluster, uid, to = found.groups()
    assert admin(world).map(cluster, namespace, uid, to)
    status = await ended(world)
    assert (status.reason, len(world.provider.posts)) == (Reason.ADOPTED_FINISHED_RUN, 2)


async def test_second_takeover_follows_what_the_first_took_over(world: World) -> None:
    """install.md: --from takes over from one cluster. concepts.md: an orphan is found, followed and stored."""
    world.kube.apply(IMAGES, CAT, UID)
    while states(world) != ["submitted"]:
        await world.reconcile(IMAGES)
    world.provider._polls["request-1"] = 1  # it has succeeded before the next cluster looks: no request lasts for days
    rebuilt(world, "cluster-b", "namespace-b")
    await rounds(world, 1)
    assert admin(world).confirm("cluster-b")
    rebuilt(world, "cluster-c", "namespace-c")
    await rounds(world, 1)
    assert admin(world).confirm("cluster-c", earlier=["cluster-b"])
    await rounds(world, 6)
    assert states(world) == ["succeeded"]


# Restored stores


async def test_empty_database_beside_markers_pays_nothing(world: World) -> None:
    """decision 0019: a new installation over an old bucket with an empty database pays for nothing that the bucket
    has markers of, until a person allows it. The namespace is the same.
    """
    await applied(world, UID, DOG)
    await recreated(world)
    await applied(world, OTHER)
    for name in world.database.list_collection_names():
        world.database[name].delete_many({})
    await gone(world)
    world.restart()
    status = await applied(world, THIRD)
    assert (status.phase, len(world.provider.posts)) == (Phase.SUBMISSION_UNKNOWN, 2)


async def test_purchase_of_a_mapping_lost_in_a_restore_is_kept(world: World) -> None:
    """backup.md: the ledger pays for nothing twice; the markers in the bucket tell of purchases since."""
    await applied(world, UID, DOG)
    await recreated(world)
    await applied(world, OTHER, DOG)
    kept = {name: list(world.database[name].find()) for name in world.database.list_collection_names()}
    mapped(world)
    await applied(world, OTHER, CAT)  # under the key without a scope
    posts = len(world.provider.posts)
    for name in world.database.list_collection_names():
        world.database[name].delete_many({})
        if kept.get(name):
            world.database[name].insert_many(kept[name])
    await gone(world)
    world.restart()
    status = await applied(world, THIRD, CAT)
    assert (status.phase, len(world.provider.posts)) == (Phase.SUBMISSION_UNKNOWN, posts)


# LoRAs that are trained again


@pytest.mark.parametrize("retrained", [False, True])
async def test_orphan_applied_again_pays_only_as_advised(world: World, retrained: bool) -> None:
    """troubleshooting.md, The resource was deleted after payment: apply it again; it pays nothing, except for a LoRA
    that was trained again.
    """
    await applied(world, LORA_UID, FIRST, LORA)
    world.kube.apply(IMAGES, PICTURE, UID)
    while states(world, type=IMAGES.record_type) != ["submitted"]:
        await world.reconcile(IMAGES)
    del world.kube.resources[IMAGES, "it"]
    await rounds(world, 4)
    assert states(world, type=IMAGES.record_type) == ["succeeded"]
    (document,) = world.database["ledger"].find({"type": IMAGES.record_type})
    found = orphan(document, timedelta(days=30))
    assert found is not None
    assert found.advice.endswith("; if a LoRA of it was trained again since, it is generated and paid again")
    if retrained:
        await applied(world, LORA_UID, SECOND, LORA)
    posts = len(world.provider.posts)
    await applied(world, OTHER, PICTURE)
    assert len(world.provider.posts) == posts + retrained


async def test_a_collect_pays_nothing_whatever_was_trained_since(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """concepts.md: collect never pays."""
    await applied(world, LORA_UID, FIRST, LORA)
    await applied(world, UID, PICTURE)
    await world.until_gone(IMAGES)
    saved = dict(world.storage.objects)
    for key in [text for text in saved if text.startswith(("generated", "purchases/")) and "by-key" not in text]:
        del world.storage.objects[key]

    async def gone(model: str, request_id: str) -> RequestView:
        return GONE

    with monkeypatch.context() as patched:
        patched.setattr(world.provider, "poll", gone)
        failed = await applied(world, OTHER, PICTURE)
    assert failed.reason == Reason.OUTPUTS_DELETED
    await applied(world, LORA_UID, SECOND, LORA)
    posts = len(world.provider.posts)
    for key, value in saved.items():
        world.storage.objects.setdefault(key, value)
    world.kube.apply(IMAGES, PICTURE, OTHER, **{COLLECT_ANNOTATION: "1"})
    await world.reconcile(IMAGES)
    status = await ended(world)
    assert (status.phase, len(world.provider.posts)) == (Phase.COMPLETED, posts)


async def test_clock_set_back_adopts_no_images_of_an_earlier_training(world: World) -> None:
    """concepts.md, the table: or edit it and take the edit back: it is drawn with the newer training."""
    await applied(world, LORA_UID, FIRST, LORA)
    await applied(world, UID, PICTURE)
    await applied(world, UID, PICTURE | {"prompt": "jf and a dog"})
    await applied(world, LORA_UID, SECOND, LORA)
    world.now -= timedelta(hours=1)
    posts = len(world.provider.posts)
    await applied(world, UID, PICTURE)
    assert len(world.provider.posts) == posts + 1


async def test_a_rerun_that_stays_in_git_pays_once(world: World) -> None:
    """Annotations set at creation: deleted and applied again with the same rerun."""
    world.kube.apply(IMAGES, CAT, UID, **{RERUN_ANNOTATION: "x"})
    await ended(world)
    await gone(world)
    world.kube.apply(IMAGES, CAT, OTHER, **{RERUN_ANNOTATION: "x"})
    status = await ended(world)
    assert (status.reason, len(world.provider.posts)) == (Reason.ADOPTED_FINISHED_RUN, 1)
