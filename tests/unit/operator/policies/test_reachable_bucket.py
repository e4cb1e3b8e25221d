"""Inputs in a bucket that a provider cannot reach: nothing is paid, whoever created the resource."""

from typing import Any

import pytest

from contentgen_contract.names import Kind, Phase, Reason
from contentgen_simulation.tenancy import OTHER
from contentgen_simulation.world import SPECS, World, Writes

PLAIN: dict[str, Any] = SPECS[Kind.IMAGE_GENERATION]
PUBLIC = PLAIN | {"model": "flux-lora", "loras": [{"path": "https://example.com/a.safetensors"}]}


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    return World(monkeypatch, Writes())


def cut_off(world: World, *providers: str) -> None:
    world.decision_settings = world.decision_settings.model_copy(update={"unreachable_for": frozenset(providers)})
    world.restart()


@pytest.mark.parametrize(("kind", "provider"), [(Kind.LORA_TRAINING, "fal"), (Kind.TRANSCRIPTION, "assemblyai")])
async def test_a_file_that_the_provider_cannot_fetch_is_not_paid_for(world: World, kind: Kind, provider: str) -> None:
    cut_off(world, provider)
    world.kube.apply(kind, SPECS[kind])
    for _ in range(20):
        await world.reconcile(kind)
    status = world.status(kind)
    assert (status.phase, status.reason) == (Phase.SUBMITTING, Reason.PROVIDER_NOT_CONFIGURED)
    assert "--bucket" in (status.message or "")
    assert world.provider.posts == []
    cut_off(world)
    assert (await world.finish(kind)).phase is Phase.COMPLETED


async def test_a_picture_with_a_trained_lora_is_not_paid_for(world: World) -> None:
    world.kube.apply(Kind.LORA_TRAINING, SPECS[Kind.LORA_TRAINING])
    await world.finish(Kind.LORA_TRAINING)
    cut_off(world, "fal")
    spec = PLAIN | {"model": "flux-lora", "loras": [{"loraRef": {"name": "it"}}]}
    world.kube.apply(Kind.IMAGE_GENERATION, spec, OTHER)
    for _ in range(10):
        await world.reconcile(Kind.IMAGE_GENERATION)
    assert world.status(Kind.IMAGE_GENERATION).reason == Reason.PROVIDER_NOT_CONFIGURED
    assert len(world.provider.posts) == 1


@pytest.mark.parametrize("spec", [PLAIN, PUBLIC])
async def test_a_picture_without_files_of_the_bucket_is_paid(world: World, spec: dict[str, Any]) -> None:
    cut_off(world, "fal", "assemblyai")
    world.kube.apply(Kind.IMAGE_GENERATION, spec)
    assert (await world.finish(Kind.IMAGE_GENERATION)).phase is Phase.COMPLETED
