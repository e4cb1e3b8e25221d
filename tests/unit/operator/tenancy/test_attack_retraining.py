"""Attacks on the choice of an image's purchase: failed newer ones, trainings that were collected again."""

from contentgen_contract.names import CANCEL_ANNOTATION, Phase, Reason
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
)
from contentgen_simulation.world import UID, World


async def test_images_without_their_lora_are_adopted_despite_a_failure(world: World) -> None:
    """decision 0021: where the LoRA stays missing, the newest purchase of the spec is adopted: none can be bought."""
    await applied(world, LORA_UID, FIRST, LORA)
    await applied(world, UID, PICTURE)
    await world.until_gone(IMAGES)
    await applied(world, LORA_UID, SECOND, LORA)
    world.provider.fails = {4}
    assert (await applied(world, OTHER, PICTURE)).reason == Reason.PROVIDER_FAILED
    await world.until_gone(IMAGES)
    await world.until_gone(LORA)
    status = await applied(world, THIRD, PICTURE)
    assert (status.reason, len(world.provider.posts)) == (Reason.ADOPTED_FINISHED_RUN, 4)


async def test_indistinguishable_collected_trainings_pay_nothing(world: World) -> None:
    """decision 0021: where the ledger does not tell, they are the same. Two trainings of one resource, collected again
    by another, have the same owners before.
    """
    await applied(world, LORA_UID, FIRST, LORA)
    await applied(world, UID, PICTURE)
    await applied(world, LORA_UID, SECOND, LORA)
    for kind in (IMAGES, LORA):
        await world.until_gone(kind)
    for key in [each_key for each_key in world.storage.objects if each_key.startswith("loras/")]:
        del world.storage.objects[key]
    await applied(world, OTHER_LORA_UID, FIRST, LORA)
    await applied(world, OTHER_LORA_UID, SECOND, LORA)
    posts = len(world.provider.posts)
    status = await applied(world, OTHER, PICTURE)
    assert (status.phase, len(world.provider.posts)) == (Phase.COMPLETED, posts)


async def test_cancelled_purchase_with_a_newer_lora_is_not_rebought(world: World) -> None:
    """decision 0010."""
    await applied(world, LORA_UID, FIRST, LORA)
    await applied(world, UID, PICTURE)
    await world.until_gone(IMAGES)
    await applied(world, LORA_UID, SECOND, LORA)
    world.kube.apply(IMAGES, PICTURE, OTHER)
    while len(world.provider.posts) < 4:
        await world.reconcile(IMAGES)
    await applied(world, OTHER, PICTURE, **{CANCEL_ANNOTATION: "1"})
    await world.until_gone(IMAGES)
    status = await applied(world, THIRD, PICTURE)
    assert (status.reason, len(world.provider.posts)) == (Reason.CANCELLED, 4)
