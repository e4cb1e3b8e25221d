"""A LoRA of another family than the image model takes is refused before the payment, with the models that take it."""

from typing import Any

import pytest

from contentgen_contract.catalogue.entries import ENTRIES, entries_of
from contentgen_contract.names import Kind, Phase, Reason
from contentgen_contract.resources.status import ResourceStatus
from contentgen_operator.state.decision_input import DecisionSettings
from contentgen_simulation.world import SPECS, UID, World

pytestmark = pytest.mark.usefixtures("no_waiting")

LORA, IMAGES = Kind.LORA_TRAINING, Kind.IMAGE_GENERATION
LORA_UID = UID.replace("a01", "a02")
PICTURE = {"prompt": "jf on a bench", "loras": [{"loraRef": {"name": "it"}}]}


async def trained(world: World, model: str) -> None:
    world.kube.apply(LORA, SPECS[LORA] | {"training": {"model": model}}, LORA_UID)
    await world.reconcile(LORA)
    assert (await world.finish(LORA)).phase is Phase.COMPLETED


async def drawn(world: World, **spec: Any) -> ResourceStatus:
    world.kube.apply(IMAGES, PICTURE | spec)
    await world.reconcile(IMAGES)
    return await world.finish(IMAGES)


@pytest.mark.parametrize(
    ("trainer", "model", "expected"),
    [
        ("flux-2-trainer-v2", "flux-lora", "expected spec.model flux-2-lora; nothing was paid"),
        ("krea-2-trainer", "flux-2-lora", "expected spec.model krea-2-turbo-lora; nothing was paid"),
        ("flux-lora-portrait-trainer", "qwen-image-2512-lora", "expected spec.model flux-lora; nothing was paid"),
    ],
)
async def test_lora_of_another_family_is_refused(world: World, trainer: str, model: str, expected: str) -> None:
    await trained(world, trainer)
    paid = len(world.provider.posts)
    status = await drawn(world, model=model)
    assert (status.phase, status.reason) == (Phase.FAILED, Reason.INVALID_SPEC)
    message = status.message or ""
    assert message.startswith(
        f"spec.loras[0].loraRef.name: 'it' was trained by {trainer}, whose LoRAs {model} does not"
    )
    assert expected in message
    assert len(world.provider.posts) == paid


@pytest.mark.parametrize(
    ("trainer", "model"),
    [
        ("flux-lora-fast-training", "flux-lora"),
        ("flux-lora-portrait-trainer", "fal-ai/flux-lora"),
        ("flux-2-trainer", "flux-2-lora"),
        ("krea-2-trainer", "krea-2-turbo-lora"),
        ("qwen-image-2512-trainer", "qwen-image-2512-lora"),
    ],
)
async def test_lora_of_the_same_family_is_bought(world: World, trainer: str, model: str) -> None:
    await trained(world, trainer)
    assert (await drawn(world, model=model)).phase is Phase.COMPLETED
    assert "loras" in world.provider.posts[-1].arguments


async def test_the_next_edit_to_a_fitting_model_is_bought(world: World) -> None:
    await trained(world, "flux-2-trainer-v2")
    assert (await drawn(world)).reason == Reason.INVALID_SPEC
    assert (await drawn(world, model="flux-2-lora")).phase is Phase.COMPLETED


async def test_family_is_of_the_paid_training_not_of_its_spec(world: World) -> None:
    """An edit of the LoraTraining whose run was refused leaves the LoRA as it is."""
    await trained(world, "flux-lora-fast-training")
    world.kube.apply(LORA, SPECS[LORA] | {"training": {"model": "flux-2-trainer-v2", "steps": 150}}, LORA_UID)
    await world.reconcile(LORA)
    assert (await world.finish(LORA)).reason == Reason.INVALID_SPEC
    assert (await drawn(world)).phase is Phase.COMPLETED


async def test_models_that_may_not_be_bought_are_not_recommended(world: World) -> None:
    allowed = ("flux-2-trainer", "flux-lora")
    world.decision_settings = DecisionSettings(poll_seconds=300, models_allowed=allowed)
    world.restart()
    await trained(world, "flux-2-trainer")
    assert "no model that may be bought takes them; nothing was paid" in ((await drawn(world)).message or "")


async def test_a_lora_by_its_address_is_not_refused(world: World) -> None:
    loras = [{"path": "https://example.com/a.safetensors"}]
    assert (await drawn(world, model="krea-2-turbo-lora", loras=loras)).phase is Phase.COMPLETED


def test_each_family_has_a_trainer_and_a_model() -> None:
    made = {entry.lora_family for entry in entries_of(LORA)}
    taken = {entry.lora_family for entry in entries_of(IMAGES)} - {None}
    assert made == taken
    assert len(ENTRIES) == len(entries_of(LORA)) + len(entries_of(IMAGES))
