"""Attacks: clusters confirmed at once, rewound stores with retrained LoRAs, deletions. Promises of the docs."""

from contextlib import ExitStack
from datetime import timedelta
from typing import Any

import pytest

from contentgen_contract.names import ADOPT_ANNOTATION, CANCEL_ANNOTATION, COLLECT_ANNOTATION, Phase, Reason
from contentgen_gateway.migration.backup import BACKED_UP
from contentgen_gateway.migration.namespaces import CommandRefused
from contentgen_runtime.tenancy import SYSTEM, Tenancy
from contentgen_simulation.tenancy import (
    CAT,
    FIRST,
    IMAGES,
    LORA,
    LORA_UID,
    OTHER,
    OTHER_LORA_UID,
    PICTURE,
    SECOND,
    THIRD,
    admin,
    applied,
    ended,
    gone,
    rebuilt,
    rounds,
    states,
)
from contentgen_simulation.world import UID, World, copied

# Clusters


async def test_concurrent_confirmations_give_one_cluster_the_scope(world: World) -> None:
    """decision 0022: one namespace has a scope; two live clusters with it would adopt from each other in turns."""
    await applied(world, UID)
    for cluster in ("cluster-b", "cluster-c"):
        rebuilt(world, cluster, f"ns-of-{cluster}")
        assert (await Tenancy(world.kube, world.database).of("ns")).block_reason
    one, two = admin(world), admin(world)
    confirm = one._confirm

    def late(*given: Any) -> bool:
        with pytest.raises(CommandRefused, match="another administrator's command is under way since"):
            two.confirm("cluster-c", force=True)
        with pytest.raises(CommandRefused, match="another administrator's command is under way since"):
            two.map("cluster-c", "ns", "ns-of-cluster-c", "unscoped", force=True)
        return confirm(*given)

    one._confirm = late  # type: ignore[method-assign]
    assert one.confirm("cluster-b", force=True)
    assert await unheld(world) == {"cluster-b"}
    assert two.confirm("cluster-c", force=True)
    assert await unheld(world) == {"cluster-c"}


async def unheld(world: World) -> set[str]:
    tenants = []
    for cluster in ("cluster-b", "cluster-c", "cluster-b"):
        created = "2026-01-02T00:00:00Z"
        world.kube.namespaces = {SYSTEM: (cluster, created), "ns": (f"ns-of-{cluster}", created)}
        tenants.append(await Tenancy(world.kube, world.database).of("ns"))
    return {tenant.cluster for tenant in tenants[1:] if not tenant.block_reason}


async def test_interrupted_command_expires_after_ten_minutes(world: World) -> None:
    await Tenancy(world.kube, world.database).of("ns")
    rebuilt(world, "cluster-b", "ns-b")
    assert (await Tenancy(world.kube, world.database).of("ns")).block_reason
    interrupted, at = ExitStack(), world.now
    interrupted.enter_context(admin(world)._locked())
    lock = world.database["clusters"].find_one({"_id": "command"})
    assert lock is not None
    assert next(each for each in BACKED_UP if each.name == "clusters").merge(None, lock) is None, (
        "no restore brings it back"
    )
    assert {cluster["_id"] for cluster in admin(world).clusters()} == {"a-cluster", "cluster-b"}
    world.now += timedelta(minutes=10)
    with pytest.raises(CommandRefused, match=f"since {at:%H:%M:%S} UTC"):
        admin(world).confirm("cluster-b", force=True)
    world.now += timedelta(minutes=1)
    with admin(world)._locked():
        interrupted.close()  # it comes back, and leaves the lock of the other one alone
        with pytest.raises(CommandRefused, match="under way"):
            admin(world).confirm("cluster-b", force=True)
    assert admin(world).confirm("cluster-b", force=True)
    assert world.database["clusters"].find_one({"_id": "command"}) is None


async def test_commands_given_twice_and_in_the_wrong_order_pay_nothing(world: World) -> None:
    await applied(world, UID)
    rebuilt(world, "cluster-b", "ns-b")
    world.kube.apply(IMAGES, CAT, OTHER)
    await world.reconcile(IMAGES)
    known = admin(world)
    assert known.map("cluster-b", "ns", "ns-b", "unscoped")
    assert known.confirm("cluster-b")
    assert not known.confirm("cluster-b")
    known.map("cluster-b", "ns", "ns-b", "fresh")
    known.map("cluster-b", "ns", "ns-b", "unscoped")
    status = await ended(world)
    assert (status.reason, len(world.provider.posts)) == (Reason.ADOPTED_FINISHED_RUN, 1)


async def test_cluster_that_takes_itself_back_has_the_others_purchases(world: World) -> None:
    """install.md: `confirm --cluster` with the earlier one takes everything back."""
    await applied(world, UID)
    before, resources = dict(world.kube.namespaces), copied(list(world.kube.resources.values()))
    rebuilt(world, "cluster-b", "ns-b")
    world.kube.apply(IMAGES, CAT, OTHER)
    await world.reconcile(IMAGES)
    assert admin(world).confirm("cluster-b", force=True)
    await ended(world)
    await applied(world, OTHER, CAT | {"prompt": "a dog"})
    world.kube.namespaces = before
    world.kube.resources.clear()
    world.kube.resources[IMAGES, "it"] = resources[0]
    world.restart()
    assert admin(world).confirm("a-cluster", force=True)
    status = await applied(world, UID, CAT | {"prompt": "a dog"})
    assert (status.reason, len(world.provider.posts)) == (Reason.ADOPTED_FINISHED_RUN, 2)


# Rewound stores


async def test_an_etcd_of_before_a_training_pays_nothing(world: World) -> None:
    """backup.md: what it asks for was bought, so it is adopted."""
    await applied(world, LORA_UID, FIRST, LORA)
    await applied(world, UID, PICTURE)
    saved = {key: copied(value) for key, value in world.kube.resources.items()}
    await applied(world, LORA_UID, SECOND, LORA)
    await applied(world, UID, PICTURE | {"prompt": "jf and a dog"})
    posts = len(world.provider.posts)
    for key, value in saved.items():
        value["metadata"]["resourceVersion"] = "9999"
        world.kube.resources[key] = value
    world.restart()
    for _ in range(40):
        for kind in (LORA, IMAGES):
            await world.reconcile(kind)
    assert (world.status(LORA).phase, world.status(IMAGES).phase) == (Phase.COMPLETED, Phase.COMPLETED)
    assert len(world.provider.posts) == posts


async def test_older_mongodb_draws_with_the_training_that_it_knows(world: World) -> None:
    """backup.md, Stores restored to an earlier moment: the LoraTraining is Completed as version 2, which
    MongoDB has lost.
    """
    await applied(world, LORA_UID, FIRST, LORA)
    kept = {name: list(world.database[name].find()) for name in world.database.list_collection_names()}
    await applied(world, LORA_UID, SECOND, LORA)
    posts = len(world.provider.posts)
    for name in world.database.list_collection_names():
        world.database[name].delete_many({})
        if kept.get(name):
            world.database[name].insert_many(kept[name])
    world.restart()
    world.kube.apply(IMAGES, PICTURE, UID)
    for _ in range(30):
        for kind in (LORA, IMAGES):
            await world.reconcile(kind)
    drawn_with = [str(post.arguments["loras"][0]["path"]) for post in world.provider.posts[posts:]]
    assert (["/v1/" in each for each in drawn_with], world.status(LORA).phase) == ([True], Phase.COMPLETED)


# LoRAs


async def test_a_lora_renamed_and_edited_back_is_not_paid_again(world: World) -> None:
    """concepts.md, Versions: a new loraName alone is a rename, and no part of the provider's request."""
    await applied(world, LORA_UID, FIRST, LORA)
    renamed = {"loraName": "bob"}
    await applied(world, LORA_UID, FIRST | renamed, LORA)
    await applied(world, LORA_UID, SECOND | renamed, LORA)
    assert len(world.provider.posts) == 2
    again = await applied(world, LORA_UID, FIRST | renamed, LORA)
    assert (again.reason, len(world.provider.posts)) == (Reason.ADOPTED_SAME_REQUEST, 2)


async def test_all_pictures_of_all_trainings_go_with_a_deletion(world: World) -> None:
    delete = PICTURE | {"deletionPolicy": "Delete"}
    await applied(world, LORA_UID, FIRST, LORA)
    await applied(world, UID, delete)
    await applied(world, UID, delete | {"prompt": "jf and a dog"})
    await applied(world, LORA_UID, SECOND, LORA)
    await applied(world, UID, delete)
    posts = len(world.provider.posts)
    assert posts == 5
    await gone(world, IMAGES)
    assert [key for key in world.storage.files if "generated" in key] == []
    assert (await applied(world, OTHER, delete)).reason == Reason.OUTPUTS_DELETED
    await applied(world, LORA_UID, FIRST, LORA)
    await gone(world, IMAGES)
    assert (await applied(world, THIRD, delete)).reason == Reason.OUTPUTS_DELETED
    assert len(world.provider.posts) == posts


async def test_orphan_of_a_waiting_image_outlives_the_retention(world: World) -> None:
    """concepts.md: applied again within that time, the resource takes the result."""
    await applied(world, LORA_UID, FIRST, LORA)
    world.kube.apply(IMAGES, PICTURE, UID)
    while states(world, type=IMAGES.record_type) != ["submitted"]:
        await world.reconcile(IMAGES)
    del world.kube.resources[IMAGES, "it"]
    await rounds(world, 4)
    await rounds(world, 28, timedelta(days=1))
    await gone(world, LORA)
    world.kube.apply(LORA, SECOND | {"suspend": True}, OTHER_LORA_UID)
    for _ in range(3):
        await world.reconcile(LORA)
    world.kube.apply(IMAGES, PICTURE, OTHER)
    for _ in range(3):
        await world.reconcile(IMAGES)
    assert world.status(IMAGES).reason == Reason.WAITING_FOR_LORA
    await rounds(world, 4, timedelta(days=1))
    world.kube.apply(LORA, FIRST, OTHER_LORA_UID)
    for _ in range(20):
        await world.reconcile(LORA)
    status = await ended(world)
    # The LoRA's frozen run of the other steps is paid before the edit's run adopts; the pictures are paid once.
    drawn = [post.model for post in world.provider.posts].count("fal-ai/flux-lora")
    assert (status.phase, drawn) == (Phase.COMPLETED, 1), status.message


@pytest.mark.parametrize("points", range(0, 40, 2))
async def test_crash_during_a_retraining_under_a_planned_purchase(points: int, world: World) -> None:
    """Image planned and not sent, the LoRA changes, a crash at each write: one more payment, with the right LoRA."""
    await applied(world, LORA_UID, FIRST, LORA)
    world.kube.apply(IMAGES, PICTURE, UID)
    while not states(world, type=IMAGES.record_type):
        await world.reconcile(IMAGES)
    busy = states(world, type=IMAGES.record_type) == ["intent"] and len(world.provider.posts) == 1
    assert busy
    await applied(world, LORA_UID, SECOND, LORA)
    world.writes._points = (2 * len(world.writes.done) + points, 2 * len(world.writes.done) + points + 5)
    status = await ended(world)
    await world.recover(IMAGES)
    if {"before POST", "before evidence", "after evidence"} & {*world.writes.fired}:  # it may have been sent
        assert (status.phase, len(world.provider.posts)) == (Phase.SUBMISSION_UNKNOWN, 2)
        return
    assert (status.phase, len(world.provider.posts)) == (Phase.COMPLETED, 3)
    assert "/v2/" in str(world.provider.posts[2].arguments["loras"][0]["path"])


# Annotations


async def test_annotations_set_at_creation_cost_nothing(world: World) -> None:
    """adopt of another's request, collect and cancel of a run that is not there yet."""
    await applied(world, UID)
    await gone(world)
    dog = CAT | {"prompt": "a dog"}
    given = {ADOPT_ANNOTATION: "request-1", COLLECT_ANNOTATION: "1"}
    status = await applied(world, OTHER, dog, **given)
    assert (status.phase, len(world.provider.posts)) == (Phase.COMPLETED, 2)
    await gone(world)
    status = await applied(world, THIRD, CAT | {"prompt": "a cow"}, **{CANCEL_ANNOTATION: "1"})
    assert (status.reason, len(world.provider.posts)) == (Reason.CANCELLED, 2)


async def test_request_id_of_an_earlier_namespace_gives_no_access(world: World) -> None:
    spec = CAT | {"image": {"count": 2, "seed": 7}}
    await applied(world, UID, spec)
    await gone(world)
    world.now += timedelta(minutes=1)
    world.kube.namespaces["ns"] = ("another-namespace", f"{world.now:%Y-%m-%dT%H:%M:%SZ}")
    world.provider.lose_replies = {2}
    status = await applied(world, OTHER, spec, **{ADOPT_ANNOTATION: "request-1"})
    owners = {purchase["jobId"] for purchase in world.database["ledger"].find({"requestId": "request-1"})}
    assert (owners, status.run and status.run.request_id) == ({UID}, "request-2")


async def test_cancelled_run_that_finishes_is_collected(world: World) -> None:
    """concepts.md, Cancelling: once it has finished, collect takes its result. The cancel annotation stays."""
    world.provider.cancels = False
    world.kube.apply(IMAGES, CAT)
    while states(world) != ["submitted"]:
        await world.reconcile(IMAGES)
    poll = world.provider.poll

    async def running(model: str, request_id: str) -> Any:
        world.provider._polls.pop(request_id, None)
        return await poll(model, request_id)

    world.provider.poll = running  # type: ignore[method-assign]
    world.kube.apply(IMAGES, CAT, **{CANCEL_ANNOTATION: "1"})
    assert (await ended(world)).reason == Reason.CANCELLED
    world.kube.apply(IMAGES, CAT, **{CANCEL_ANNOTATION: "1", COLLECT_ANNOTATION: "1"})
    await world.reconcile(IMAGES)  # too early
    world.provider.poll = poll  # type: ignore[method-assign]
    for _ in range(20):
        world.now += timedelta(minutes=30)
        await world.reconcile(IMAGES)
    assert states(world) == ["succeeded"]
    world.kube.apply(IMAGES, CAT, **{CANCEL_ANNOTATION: "1", COLLECT_ANNOTATION: "1-2"})
    await world.reconcile(IMAGES)
    status = await ended(world)
    assert (status.phase, len(world.provider.posts)) == (Phase.COMPLETED, 1)
