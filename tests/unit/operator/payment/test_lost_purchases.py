"""Purchases that a status names and a restored ledger lacks, or has as unsent: nothing of the resource is paid."""

import copy
from typing import Any

import pytest

from contentgen_contract.names import RESUBMIT_ANNOTATION, Kind, Phase, Reason
from contentgen_simulation.world import SPECS, World, Writes, resubmit_token

pytestmark = pytest.mark.usefixtures("no_waiting")
IMAGES = Kind.IMAGE_GENERATION
EDITED = SPECS[IMAGES] | {"prompt": "a dog"}
STORES = ("ledger", "runs", "jobs", "request_bindings")


def saved(world: World) -> Any:
    return copy.deepcopy(({n: list(world.database[n].find()) for n in STORES}, dict(world.storage.objects)))


def rewind(world: World, before: Any) -> None:
    """Restore MongoDB and the bucket to the same moment; the resource stays."""
    for name, documents in before[0].items():
        world.database[name].delete_many({})
        if documents:
            world.database[name].insert_many(copy.deepcopy(documents))
    world.storage.objects = dict(before[1])
    world.restart()


async def until(world: World, state: str, send_state: str | None, attempt: int = 1) -> None:
    for _ in range(30):
        found = [
            purchase for purchase in world.database["ledger"].find() if str(purchase["_id"]).endswith(f"/{attempt}")
        ]
        if found and (found[0]["state"], found[0]["sendState"]) == (state, send_state):
            return
        await world.reconcile(IMAGES)
    pytest.fail(f"never {state}")


async def bought_twice(monkeypatch: pytest.MonkeyPatch, state: str) -> tuple[World, Any]:
    """A resource that is Completed, and the stores at an earlier state of its purchase."""
    world = World(monkeypatch, Writes())
    spec = SPECS[IMAGES] | ({"paidAttempts": 2} if state == "failed" else {})
    world.provider.fails = {1} if state == "failed" else set()
    world.kube.apply(IMAGES, spec)
    await until(world, *{"failed": ("failed", None), "planned": ("intent", "planned")}[state])
    before = saved(world)
    assert (await world.finish(IMAGES)).phase is Phase.COMPLETED
    return world, before


@pytest.mark.parametrize("state", ["failed", "planned"])
async def test_a_restored_ledger_that_lacks_a_version_pays_nothing(state: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """MongoDB and the bucket are restored; an edit and its revert would buy the first version again."""
    world, before = await bought_twice(monkeypatch, state)
    posts, (version,) = len(world.provider.posts), world.status(IMAGES).versions
    now = saved(world)
    rewind(world, before)
    for spec in (EDITED, SPECS[IMAGES]):
        world.kube.apply(IMAGES, spec)
        for _ in range(10):
            await world.reconcile(IMAGES)
        status = world.status(IMAGES)
        assert (len(world.provider.posts), status.reason) == (posts, Reason.STORES_DISAGREE)
        assert f"purchase {version.purchase_id}" in (status.message or "")
    for name in ("ledger", "request_bindings"):
        world.database[name].delete_many({})
        world.database[name].insert_many(now[0][name])
    await world.finish(IMAGES)
    bought = [call.arguments["prompt"] for call in world.provider.posts[posts:]]
    assert bought == ["a dog"], "the newest backup has the purchase again"


async def test_a_person_may_pay_although_a_purchase_is_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    world, before = await bought_twice(monkeypatch, "failed")
    rewind(world, before)
    world.kube.apply(IMAGES, EDITED)
    for _ in range(6):
        await world.reconcile(IMAGES)
    token = resubmit_token(world.status(IMAGES))
    world.kube.apply(IMAGES, EDITED, **{RESUBMIT_ANNOTATION: token})
    assert (await world.finish(IMAGES)).phase is Phase.COMPLETED
    assert len(world.provider.posts) == 3
    (document,) = world.database["runs"].find()
    assert document["unrecorded"] is None
    revision = document["revision"]
    for _ in range(4):
        await world.reconcile(IMAGES)
    assert world.database["runs"].find_one({})["revision"] == revision, "the loss is not recorded again"
