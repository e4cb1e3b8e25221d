"""Checks before the payment: models of the catalogue and of the administrator's list, and unique LoRA names."""

from datetime import timedelta
from typing import Any

import pytest

from contentgen_contract.catalogue.entries import ENTRIES
from contentgen_contract.names import Kind, Phase, Reason
from contentgen_contract.resources.models import ALIASES
from contentgen_contract.resources.prices import BUILT_IN_MODELS, PRICES, Price, PriceLookup, Unit
from contentgen_operator.state.decision_input import DecisionSettings
from contentgen_operator.state.observed import Resource, ResourceRef
from contentgen_operator.watch.lora_names import LoraNames
from contentgen_simulation.world import SPECS, World, Writes

LORA, IMAGES = Kind.LORA_TRAINING, Kind.IMAGE_GENERATION
PRICE = Price(micros=10_000, unit=Unit.IMAGE, source="fal's pricing endpoint", billing=True)


class Prices:
    """A pricing endpoint."""

    def __init__(self, **found: PriceLookup) -> None:
        self.found = found

    async def price(self, model: str, _account: str | None = None) -> PriceLookup:
        return self.found.get(model.rpartition("/")[2], PriceLookup())


def world_of(monkeypatch: pytest.MonkeyPatch, prices: Prices | None = None, **settings: Any) -> World:
    world = World(monkeypatch, Writes())
    world.decision_settings = DecisionSettings(poll_seconds=300, **settings)
    world.prices = prices or Prices()
    world.restart()
    return world


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    return world_of(monkeypatch)


def pictures(model: str) -> dict[str, Any]:
    return SPECS[IMAGES] | {"model": model}


async def test_unlisted_model_is_refused_with_the_nearest_ones(world: World) -> None:
    """Money 30: any fal endpoint at all, by any tenant."""
    world.kube.apply(IMAGES, pictures("fal-ai/flux/dew"))
    status = await world.finish(IMAGES)
    assert (status.phase, status.reason) == (Phase.FAILED, Reason.MODEL_NOT_ALLOWED)
    message = status.message or ""
    assert message.startswith("spec.model: 'fal-ai/flux/dew' may not be bought: it is not in the catalogue")
    assert "allowed are flux-dev, " in message
    assert "nothing was paid" in message
    assert "training" not in message
    assert world.provider.posts == []
    assert world.database["ledger"].find_one() is None


async def test_another_model_is_bought_then(world: World) -> None:
    world.kube.apply(IMAGES, pictures("some/model"))
    await world.finish(IMAGES)
    world.kube.apply(IMAGES, pictures("flux-dev"))
    for _ in range(20):
        await world.reconcile(IMAGES)
    assert world.status(IMAGES).phase is Phase.COMPLETED
    assert [call.model for call in world.provider.posts] == ["fal-ai/flux/dev"]


@pytest.mark.parametrize(
    ("allowed", "model", "bought"),
    [
        ((), "flux-dev", True),
        (("flux-dev",), "fal-ai/flux/dev", True),
        (("fal-ai/flux/dev",), "flux-dev", True),
        (("flux-schnell",), "flux-dev", False),
        (("some/model", "flux-dev"), "flux-dev", True),
        (("some/model",), "some/model", False),  # the product knows neither its inputs nor its answer
        (("some/model",), "flux-dev", False),
    ],
)
async def test_the_administrators_list_narrows_the_catalogue(
    monkeypatch: pytest.MonkeyPatch, allowed: tuple[str, ...], model: str, bought: bool
) -> None:
    world = world_of(monkeypatch, models_allowed=allowed)
    world.kube.apply(IMAGES, pictures(model))
    status = await world.finish(IMAGES)
    assert (status.phase is Phase.COMPLETED, len(world.provider.posts)) == (bought, int(bought))
    why = "it is not in the catalogue" if model == "some/model" else "models.allowed does not list it"
    assert bought or why in (status.message or "")


async def test_a_training_is_refused_before_it_is_prepared(world: World) -> None:
    world.kube.apply(LORA, SPECS[LORA] | {"training": {"model": "some/maker"}})
    status = await world.finish(LORA)
    assert status.reason == Reason.MODEL_NOT_ALLOWED
    assert "spec.training.model" in (status.message or "")
    assert "it is not in the catalogue of models; allowed are " in (status.message or "")
    assert "krea-2-trainer" in (status.message or "")
    assert world.kube.jobs == {}


@pytest.mark.parametrize(
    ("kind", "edits", "reason"),
    [
        (IMAGES, {"model": "flux-lora-fast-training"}, Reason.MODEL_NOT_ALLOWED),
        (IMAGES, {"model": "fal-ai/flux-2-trainer"}, Reason.MODEL_NOT_ALLOWED),
        (LORA, {"training": {"model": "flux-dev"}}, Reason.MODEL_NOT_ALLOWED),
        (IMAGES, {"prompt": " "}, Reason.INVALID_SPEC),
        (IMAGES, {"loras": [{"path": "https://h/a", "scale": "0"}]}, Reason.INVALID_SPEC),
        (LORA, {"training": {"learningRate": "999999"}}, Reason.INVALID_SPEC),
    ],
)
async def test_model_accepted_by_an_older_crd_is_not_bought(
    monkeypatch: pytest.MonkeyPatch, kind: Kind, edits: dict[str, Any], reason: Reason
) -> None:
    world = world_of(monkeypatch, models_allowed=("fal-ai/flux-2-trainer", "flux-lora", "flux-lora-fast-training"))
    world.kube.apply(kind, SPECS[kind] | edits)
    status = await world.finish(kind)
    assert (status.phase, status.reason) == (Phase.FAILED, reason)
    assert "nothing was paid" in (status.message or "")
    assert world.provider.posts == []


FAL_PRICE = Price(micros=200_000, unit=Unit.OTHER, source="fal's pricing endpoint", billing=True)
OWN_PRICE = Price(micros=10_000, unit=Unit.IMAGE, source="values")


@pytest.mark.parametrize(
    ("kind", "model"),
    [
        (IMAGES, "fal-ai/veo3.1"),
        (IMAGES, "fal-ai/kling-video/v3/pro/text-to-video"),
        (IMAGES, "bytedance/seedance-2.0/text-to-video"),
        (IMAGES, "some/new"),
        (LORA, "fal-ai/flux-krea-trainer"),
        (LORA, "fal-ai/wan-22-trainer/t2v-a14b"),
    ],
)
async def test_a_price_alone_permits_no_model(monkeypatch: pytest.MonkeyPatch, kind: Kind, model: str) -> None:
    """fal prices all of its endpoints: a video costs much, and its answer has no pictures."""
    prices = Prices(**{model.rpartition("/")[2]: PriceLookup(price=FAL_PRICE)})
    world = world_of(monkeypatch, prices, own_prices=frozenset({model}))
    world.decision_settings = world.decision_settings.model_copy(update={"prices": PRICES | {model: OWN_PRICE}})
    world.restart()
    spec = {"model": model} if kind is IMAGES else {"training": {"model": model}}
    world.kube.apply(kind, SPECS[kind] | spec)
    status = await world.finish(kind)
    assert (status.phase, status.reason) == (Phase.FAILED, Reason.MODEL_NOT_ALLOWED)
    assert "it is not in the catalogue of models; allowed are " in (status.message or "")
    assert (world.provider.posts, world.kube.jobs) == ([], {})


@pytest.mark.parametrize("kind", [IMAGES, LORA])
async def test_request_goes_on_when_its_model_leaves_the_catalogue(
    world: World, kind: Kind, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.kube.apply(kind, SPECS[kind])
    while not world.provider.posts:
        await world.reconcile(kind)
    monkeypatch.delitem(ENTRIES, world.provider.posts[0].model)
    world.restart()
    assert (await world.finish(kind)).phase is Phase.COMPLETED
    assert len(world.provider.posts) == 1


def test_each_model_with_a_short_name_may_be_bought() -> None:
    """Those of the chart's README."""
    assert set(ALIASES.values()) == BUILT_IN_MODELS


async def test_the_price_of_the_provider_is_noted(monkeypatch: pytest.MonkeyPatch) -> None:
    world = world_of(monkeypatch, Prices(dev=PriceLookup(price=PRICE)), models_allowed=("flux-dev",))
    world.kube.apply(IMAGES, pictures("flux-dev"))
    assert (await world.finish(IMAGES)).phase is Phase.COMPLETED
    found = world.database["ledger"].find_one()
    assert (found["unitMicros"], found["billing"], found["estimatedMicros"]) == (10_000, True, 20_000)


async def test_unknown_price_does_not_delay_a_built_in_model(monkeypatch: pytest.MonkeyPatch) -> None:
    world = world_of(monkeypatch, Prices(dev=PriceLookup(problem="fal's prices could not be read: 500")))
    world.kube.apply(IMAGES, pictures("flux-dev"))
    assert (await world.finish(IMAGES)).phase is Phase.COMPLETED


# One LoRA of a name


def training(name: str, uid: str, created: str, lora: str = "jesse", **more: Any) -> dict[str, Any]:
    meta = {"name": name, "namespace": "ns", "uid": uid, "creationTimestamp": created, **more.pop("metadata", {})}
    return {"metadata": meta, "spec": {"loraName": lora, **more.pop("spec", {})}, "status": more}


OLD, NEW = "2026-11-20T00:00:00Z", "2026-11-21T00:00:01Z"


def seen(body: dict[str, Any]) -> Resource:
    meta = body["metadata"]
    return Resource.parse(LORA, {**body, "metadata": {**meta, "resourceVersion": "1"}, "status": {}})


@pytest.mark.parametrize(
    ("other", "holds"),
    [
        (training("other", "u2", OLD), True),
        (training("other", "u2", OLD, phase="Completed", versions=[{"version": 1}]), True),
        (training("other", "u2", OLD, phase="Failed", versions=[{"version": 1}]), True),
        (training("other", "u2", OLD, phase="Failed"), False),
        (training("other", "u2", OLD, metadata={"deletionTimestamp": NEW}), False),
        (training("other", "u2", OLD, "somebody"), False),
        (training("other", "u2", OLD, spec={"userId": "ann"}), False),
        (training("other", "u2", OLD, metadata={"namespace": "elsewhere"}), False),
        (training("other", "u2", NEW), False),
        (training("other", "u0", "2026-11-21T00:00:00Z"), True),  # of the same second: the uid decides
        (training("other", "u2", "2026-11-21T00:00:00Z"), False),
        (training("mine", "u1", OLD), False),
    ],
)
def test_training_that_holds_a_name(other: dict[str, Any], holds: bool) -> None:
    names = LoraNames()
    names.note(other)
    mine = seen(training("mine", "u1", "2026-11-21T00:00:00Z"))
    assert names.older(mine) == ("other" if holds else None)


def test_next_training_continues_when_a_name_is_released() -> None:
    names = LoraNames()
    assert names.note(training("old", "u1", OLD)) == ()
    assert names.note(training("new", "u2", NEW)) == ()
    new = ResourceRef(kind=LORA, namespace="ns", name="new", uid="u2")
    assert names.note(training("old", "u1", OLD, "renamed")) == (new,)
    assert names.note(training("old", "u1", OLD)) == ()
    assert names.note(training("old", "u1", OLD, phase="Failed")) == (new,)
    assert names.forget("u1") == (new,)
    assert names.forget("u1") == ()
    assert names.forget("u2") == ()
    assert not names._entries


async def test_second_training_of_a_name_waits_unpaid(world: World) -> None:
    """Money 30: the same loraName twice in a namespace, and both trained."""
    world.names.note(training("first", "u1", OLD))
    world.kube.apply(LORA, SPECS[LORA])
    for _ in range(10):
        await world.reconcile(LORA)
    status = world.status(LORA)
    assert (status.phase, status.reason) == (Phase.PENDING, Reason.WAITING_FOR_LORA_NAME)
    assert "LoraTraining first" in (status.message or "")
    assert (world.provider.posts, world.kube.jobs) == ([], {})
    world.names.forget("u1")
    assert (await world.finish(LORA)).phase is Phase.COMPLETED


async def test_after_a_restart_the_end_of_a_wait_is_looked_up(world: World) -> None:
    first = SPECS[LORA] | {"suspend": True}
    world.kube.apply(LORA, first, uid="another-uid", name="first")
    world.kube.resources[LORA, "first"]["metadata"]["creationTimestamp"] = OLD
    world.names.note(world.kube.resources[LORA, "first"])
    world.kube.apply(LORA, SPECS[LORA])
    await world.reconcile(LORA)
    assert world.status(LORA).reason == Reason.WAITING_FOR_LORA_NAME
    world.names = LoraNames()  # the watch has delivered nothing yet
    world.restart()
    for _ in range(5):
        await world.reconcile(LORA)
    assert world.status(LORA).reason == Reason.WAITING_FOR_LORA_NAME
    assert world.provider.posts == []


async def test_a_training_with_another_name_by_an_edit_goes_on(world: World) -> None:
    world.names.note(training("first", "u1", OLD))
    world.kube.apply(LORA, SPECS[LORA])
    await world.reconcile(LORA)
    world.now += timedelta(seconds=60)
    world.kube.apply(LORA, SPECS[LORA] | {"loraName": "another"})
    assert (await world.finish(LORA)).phase is Phase.COMPLETED
