"""Attacks: LoRA identity x tenancy x resubmission. Each test is a promise of the documentation."""

from datetime import timedelta
from typing import Any

import pytest

from contentgen_contract.names import CANCEL_ANNOTATION, RERUN_ANNOTATION, RESUBMIT_ANNOTATION, Phase
from contentgen_contract.resources.status import ResourceStatus
from contentgen_simulation.tenancy import (
    FIRST,
    IMAGES,
    LORA,
    LORA_UID,
    OTHER,
    OTHER_LORA_UID,
    PICTURE,
    SECOND,
    THIRD,
    applied,
    mapped,
    recreated,
    states,
)
from contentgen_simulation.world import SPECS, UID, World, resubmit_token

DOG = PICTURE | {"prompt": "jf and a dog"}


async def trained(world: World, spec: dict[str, Any], uid: str = LORA_UID) -> ResourceStatus:
    return await applied(world, uid, spec, LORA)


async def drawn(world: World, uid: str = UID, spec: dict[str, Any] = PICTURE, **annotations: str) -> ResourceStatus:
    return await applied(world, uid, spec, IMAGES, **annotations)


async def test_pictures_bought_before_a_mapping_are_adopted_after_it(world: World) -> None:
    """install.md: what the namespace has bought since it was created again stays its own."""
    await trained(world, FIRST)
    await drawn(world)
    await recreated(world)
    await trained(world, FIRST, OTHER_LORA_UID)
    assert (await drawn(world, OTHER)).reason == "Completed"
    assert len(world.provider.posts) == 4  # it buys for itself
    mapped(world)
    await world.until_gone(IMAGES)
    status = await drawn(world, THIRD)
    assert (status.reason, len(world.provider.posts)) == ("AdoptedFinishedRun", 4)


async def test_image_of_a_mapped_namespace_uses_a_later_training(world: World) -> None:
    """concepts.md, the table: applied again after a training, it is drawn with the newer one."""
    await trained(world, FIRST)
    await recreated(world)
    await trained(world, FIRST, OTHER_LORA_UID)
    await drawn(world, OTHER)
    mapped(world)
    await trained(world, SECOND, OTHER_LORA_UID)
    await world.until_gone(IMAGES)
    status = await drawn(world, THIRD)
    assert status.phase is Phase.COMPLETED


async def test_image_of_a_mixed_namespace_uses_a_later_training(world: World) -> None:
    """A recreated namespace bought without a scope and lost its binding; then the LoRA is trained again."""
    await trained(world, FIRST)
    await recreated(world)
    born = world.kube.namespaces["ns"][1]
    world.kube.namespaces["ns"] = ("a-namespace", born)  # as if mapped: the first one's scope
    await trained(world, SECOND, OTHER_LORA_UID)
    await drawn(world, OTHER)
    world.kube.namespaces["ns"] = ("another-namespace", born)
    for name in ("clusters", "namespaces"):
        world.database[name].delete_many({})
    world.restart()
    await trained(world, SECOND | {"training": {"steps": 700}}, OTHER_LORA_UID)
    await world.until_gone(IMAGES)
    status = await drawn(world, THIRD)
    assert status.phase is Phase.COMPLETED


@pytest.mark.parametrize("spec", [{"prompt": "a cat", "image": {"count": 2}}, PICTURE], ids=["plain", "lora"])
async def test_resource_applied_after_a_resubmit_gets_the_next_files(world: World, spec: dict[str, Any]) -> None:
    """decision 0019, Resubmission: found later, ... who applies again gets the files of the next attempt."""
    await trained(world, FIRST)
    world.kube.apply(IMAGES, spec)
    world.provider.lose_replies = {2}
    find = world.provider.find

    async def nothing(search: Any) -> Any:
        found = await find(search)
        return found.model_copy(update={"request_id": None})

    world.provider.find = nothing  # type: ignore[method-assign]
    status = await world.finish(IMAGES, Phase.SUBMISSION_UNKNOWN)
    token = resubmit_token(status)
    world.kube.apply(IMAGES, spec, **{RESUBMIT_ANNOTATION: token})
    done = await world.finish(IMAGES)
    assert (done.phase, len(world.provider.posts)) == (Phase.COMPLETED, 3)
    files = [file.key for file in done.versions[-1].files]
    del world.kube.resources[IMAGES, "it"]
    world.provider.find = find  # type: ignore[method-assign]
    for _ in range(12):  # it is an orphan, found and stored
        world.now += timedelta(minutes=10)
        await world.orphans[-1].round(world.now)
    assert states(world, type=IMAGES.record_type) == ["succeeded", "collected"]
    again = await drawn(world, OTHER, spec)
    assert [file.key for file in again.versions[-1].files] == files
    assert len(world.provider.posts) == 3


async def test_request_of_a_cancelled_run_is_stored_meanwhile(world: World) -> None:
    """concepts.md: after the end the request is looked for all the same, and a result that comes is stored."""
    spec = SPECS[IMAGES]
    world.provider.cancels = False
    world.kube.apply(IMAGES, spec)
    while not states(world, state="submitted"):
        await world.reconcile(IMAGES)
    poll = world.provider.poll

    async def running(model: str, request_id: str) -> Any:
        world.provider._polls.pop(request_id, None)
        return await poll(model, request_id)

    world.provider.poll = running  # type: ignore[method-assign]
    world.kube.apply(IMAGES, spec, **{CANCEL_ANNOTATION: "1"})
    status = await world.finish(IMAGES)
    assert (status.reason, status.run.request_open) == ("Cancelled", True)  # type: ignore[union-attr]
    world.provider.poll = poll  # type: ignore[method-assign]
    world.kube.apply(IMAGES, spec | {"suspend": True}, **{CANCEL_ANNOTATION: "1", RERUN_ANNOTATION: "x"})
    for _ in range(5):
        await world.reconcile(IMAGES)
    assert world.status(IMAGES).reason == "Suspended"
    for _ in range(24 * 7):
        world.now += timedelta(hours=1)
        await world.reconcile(IMAGES)
        await world.orphans[-1].round(world.now)
    assert states(world) == ["succeeded"], "a week later the paid result of run 1 is in the bucket"


async def test_the_total_cost_counts_runs_from_before_a_mapping(world: World) -> None:
    """concepts.md: status.cost.total is that of all runs."""
    cat, dog = SPECS[IMAGES], SPECS[IMAGES] | {"prompt": "a dog"}
    await drawn(world, spec=cat)
    await recreated(world)
    one = (await drawn(world, OTHER, cat)).cost
    two = (await drawn(world, OTHER, dog)).cost
    mapped(world)
    three = (await drawn(world, OTHER, cat | {"prompt": "a cow"})).cost
    assert one is not None
    assert two is not None
    assert three is not None
    # The provider reports nothing here: each paid run adds one unknown cost.
    assert [one.unknown, two.unknown, three.unknown] == [1, 2, 3], (one, two, three)
