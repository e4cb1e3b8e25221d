"""LoRAs in an image's buying key: what was drawn with an older training is not what a later one asks for."""

from typing import Any

import pytest

from contentgen_contract.names import Kind, Phase
from contentgen_contract.status import ResourceStatus
from contentgen_operator.providers.base import Busy
from contentgen_simulation.world import SPECS, UID, World, Writes

LORA, IMAGES = Kind.LORA_TRAINING, Kind.IMAGE_GENERATION
FIRST, SECOND = SPECS[LORA], SPECS[LORA] | {"training": {"steps": 500}}
PICTURE = {"prompt": "jf on a bench", "loras": [{"loraRef": {"name": "it"}}]}
DOG = PICTURE | {"prompt": "jf and a dog"}
LORA_UID, OTHER_LORA_UID, OTHER_UID, THIRD_UID = (f"1c8d8a52-6a5e-4a1c-9f3e-2f3c7c1b9a0{n}" for n in range(4))


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    return World(monkeypatch, Writes())


async def trained(world: World, spec: dict[str, Any], uid: str = LORA_UID) -> None:
    """A LoraTraining with this spec, finished."""
    world.kube.apply(LORA, spec, uid)
    await ended(world, LORA)


async def drawn(world: World, uid: str = UID, spec: dict[str, Any] = PICTURE) -> ResourceStatus:
    """An ImageGeneration with this spec, finished."""
    world.kube.apply(IMAGES, spec, uid)
    return await ended(world, IMAGES)


async def ended(world: World, kind: Kind) -> ResourceStatus:
    await world.step(kind)  # begins the run of an edit
    return await world.finish(kind)


def lora_of(world: World, post: int) -> str:
    """The LoRA's file in a request: its job's uid and the file's version."""
    (lora,) = world.provider.posts[post - 1].arguments["loras"]
    _, _, key = str(lora["path"]).partition("/loras/")
    _, job, version, _ = key.partition("?")[0].split("/")
    return f"{job} {version}"


def purchases(world: World) -> list[dict[str, Any]]:
    found = world.database["ledger"].find({"type": IMAGES.record_type})
    return sorted(found, key=lambda each: str(each["createdAt"]))


async def test_an_image_applied_again_is_drawn_with_the_lora_that_was_trained_since(world: World) -> None:
    await trained(world, FIRST)
    await drawn(world)
    await world.until_gone(IMAGES)
    await trained(world, SECOND)
    status = await drawn(world, OTHER_UID)
    assert (status.phase, status.reason, len(world.provider.posts)) == (Phase.COMPLETED, "Completed", 4)
    assert (lora_of(world, 2), lora_of(world, 4)) == (f"{LORA_UID} v1", f"{LORA_UID} v2")
    await world.until_gone(IMAGES)
    status = await drawn(world, THIRD_UID)
    assert (status.reason, len(world.provider.posts)) == ("AdoptedFinishedRun", 4)


async def test_an_edit_and_its_reversal_buy_again_after_a_training(world: World) -> None:
    await trained(world, FIRST)
    await drawn(world)
    await drawn(world, spec=DOG)
    await trained(world, SECOND)
    status = await drawn(world)
    assert (status.phase, len(world.provider.posts), lora_of(world, 5)) == (Phase.COMPLETED, 5, f"{LORA_UID} v2")


async def test_without_another_training_the_pictures_are_adopted(world: World) -> None:
    await trained(world, FIRST)
    await drawn(world)
    await drawn(world, spec=DOG)
    assert (await drawn(world)).reason == "AdoptedFinishedRun"
    await world.until_gone(IMAGES)
    await world.until_gone(LORA)
    await trained(world, FIRST, OTHER_LORA_UID)
    assert (await drawn(world, OTHER_UID)).reason == "AdoptedFinishedRun"
    assert len(world.provider.posts) == 3


async def test_the_first_training_applied_again_brings_its_pictures_back(world: World) -> None:
    await trained(world, FIRST)
    first = await drawn(world)
    await trained(world, SECOND)
    await drawn(world, spec=DOG)
    await drawn(world)
    for kind in (IMAGES, LORA):
        await world.until_gone(kind)
    await trained(world, FIRST, OTHER_LORA_UID)
    again = await drawn(world, OTHER_UID)
    assert (again.reason, len(world.provider.posts)) == ("AdoptedFinishedRun", 5)
    assert [file.key for file in again.versions[0].files] == [file.key for file in first.versions[0].files]


async def test_a_finished_image_starts_nothing_when_its_lora_is_trained_again(world: World) -> None:
    await trained(world, FIRST)
    before = await drawn(world)
    await trained(world, SECOND)
    world.restart()
    for _ in range(5):
        await world.step(IMAGES)
    assert (world.status(IMAGES), len(world.provider.posts)) == (before, 3)


@pytest.mark.parametrize("lost", [False, True])
async def test_a_run_under_way_goes_on_with_its_purchase(world: World, lost: bool) -> None:
    await trained(world, FIRST)
    world.kube.apply(IMAGES, PICTURE)
    world.provider.lose_replies = {2} if lost else set()
    while not purchases(world) or purchases(world)[0]["state"] == "intent" and len(world.provider.posts) < 2:
        await world.step(IMAGES)
    await trained(world, SECOND)
    world.restart()
    status = await world.finish(IMAGES)
    assert (status.phase, len(world.provider.posts), len(purchases(world))) == (Phase.COMPLETED, 3, 1)


async def test_the_next_attempt_of_a_run_has_the_lora_of_the_first(world: World) -> None:
    await trained(world, FIRST)
    world.provider.fails = {2}
    world.kube.apply(IMAGES, PICTURE | {"paidAttempts": 2})
    while not purchases(world) or purchases(world)[0]["state"] != "failed":
        await world.step(IMAGES)
    await trained(world, SECOND)
    assert (await world.finish(IMAGES)).phase is Phase.COMPLETED
    assert (lora_of(world, 2), lora_of(world, 4)) == (f"{LORA_UID} v1", f"{LORA_UID} v1")


async def test_the_lora_is_awaited_while_it_is_trained_again(world: World) -> None:
    """Deleted and applied again together: the pictures of the older training are not what is asked for."""
    await trained(world, FIRST)
    await drawn(world)
    for kind in (IMAGES, LORA):
        await world.until_gone(kind)
    world.kube.apply(IMAGES, PICTURE, OTHER_UID)
    await world.step(IMAGES)
    world.kube.apply(LORA, SECOND, OTHER_LORA_UID)
    for _ in range(8):
        await world.step(IMAGES)
    assert world.status(IMAGES).reason == "WaitingForLora"
    assert world.status(IMAGES).run.purchase_id is None  # type: ignore[union-attr]
    await ended(world, LORA)
    assert (await world.finish(IMAGES)).reason == "Completed"
    assert lora_of(world, 4) == f"{OTHER_LORA_UID} v1"


@pytest.mark.parametrize("retrained", [False, True])
async def test_without_its_lora_the_newest_pictures_are_adopted(world: World, retrained: bool) -> None:
    await trained(world, FIRST)
    newest = await drawn(world)
    if retrained:
        await trained(world, SECOND)
        await drawn(world, spec=DOG)
        newest = await drawn(world)
    posts = len(world.provider.posts)
    for kind in (IMAGES, LORA):
        await world.until_gone(kind)
    status = await drawn(world, OTHER_UID)
    assert (status.reason, len(world.provider.posts)) == ("AdoptedFinishedRun", posts)
    assert status.versions[0].files == newest.versions[-1].files


async def test_what_the_provider_refused_is_sent_with_the_newest_lora(world: World) -> None:
    await trained(world, FIRST)
    await drawn(world)
    await world.until_gone(IMAGES)
    await trained(world, SECOND)
    world.provider.refuses = Busy("too many requests")
    world.kube.apply(IMAGES, PICTURE, OTHER_UID)
    for _ in range(8):
        await world.step(IMAGES)
    world.provider.refuses = None
    await trained(world, FIRST | {"training": {"steps": 700}})
    status = await world.finish(IMAGES)
    assert (status.phase, len(world.provider.posts)) == (Phase.COMPLETED, 5)
    assert lora_of(world, 5) == f"{LORA_UID} v3"
