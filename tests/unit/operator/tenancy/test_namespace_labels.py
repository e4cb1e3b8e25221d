"""Labels of a Namespace: read once for many waits, and read again before each payment."""

from typing import Any

import pytest

from contentgen_contract.names import ACCOUNT_LABEL, APPROVAL_LABEL, Kind, Phase
from contentgen_simulation.tenancy import CAT
from contentgen_simulation.world import World, Writes

IMAGES = Kind.IMAGE_GENERATION
RUNS = 10


def count_reads(world: World) -> list[str]:
    """Names of the namespaces that are read from now on."""
    read, names = world.kube.get_namespace, list[str]()

    async def counted(name: str) -> Any:
        names.append(name)
        return await read(name)

    world.kube.get_namespace = counted  # type: ignore[method-assign]
    return names


async def estimated(world: World, name: str) -> None:
    """Have a dry run read the labels."""
    world.kube.apply(IMAGES, CAT | {"dryRun": "Estimate", "prompt": name}, uid=f"uid-{name}", name=name)
    await world.reconcile(IMAGES, name)
    assert world.status(IMAGES, name).phase is Phase.COMPLETED


async def test_dry_runs_share_one_read_of_the_labels(world: World) -> None:
    """Regression: 300 dry runs read their namespace 693 times."""
    names = count_reads(world)
    for number in range(RUNS):
        await estimated(world, f"it-{number}")
    assert names.count("ns") <= RUNS + 2, "one of each resource's tenant, and one of the labels in 15 s"


async def reconciles_to_payment(monkeypatch: pytest.MonkeyPatch) -> int:
    world = World(monkeypatch, Writes())
    world.kube.apply(IMAGES, CAT)
    for number in range(50):
        if world.provider.posts:
            return number
        await world.reconcile(IMAGES)
    raise AssertionError("never paid")


@pytest.mark.parametrize("change", ["approval", "account", "unknown account", "recreated"])
async def test_a_change_after_the_last_read_counts_at_the_payment(monkeypatch: pytest.MonkeyPatch, change: str) -> None:
    """The namespace changes before each reconcile that leads to the payment, just after its labels were read."""
    first = change == "recreated"  # before its first reconcile a resource has no tenant yet
    for before in range(first, await reconciles_to_payment(monkeypatch)):
        world = World(monkeypatch, Writes())
        team = world.add_account("team-a")
        await estimated(world, "other")
        world.kube.apply(IMAGES, CAT)
        for _ in range(before):
            await world.reconcile(IMAGES)
        labels = {"approval": {APPROVAL_LABEL: "Manual"}, "account": {ACCOUNT_LABEL: "team-a"}}
        world.kube.server.namespace_labels["ns"] = labels.get(change, {ACCOUNT_LABEL: "team-b"})
        if change == "recreated":
            world.kube.namespaces["ns"] = ("another-namespace", "2026-11-21T12:00:00Z")
            world.kube.server.namespace_labels["ns"] = {}
        for _ in range(10):
            await world.reconcile(IMAGES)
        assert world.provider.posts == [], (change, before)
        assert len(team.posts) == (change == "account"), (change, before)
        if change == "approval":
            assert world.status(IMAGES).phase is Phase.AWAITING_APPROVAL


@pytest.mark.parametrize("uid", ["", "another-namespace"])
async def test_a_change_between_the_plan_and_its_payment_counts(monkeypatch: pytest.MonkeyPatch, uid: str) -> None:
    """In the reconcile that would pay, the namespace changes after the read that the plan is made from."""
    reconciles = await reconciles_to_payment(monkeypatch)
    world = World(monkeypatch, Writes())
    world.kube.apply(IMAGES, CAT)
    for _ in range(reconciles - 1):
        await world.reconcile(IMAGES)
    read = world.kube.get_namespace

    async def changed_after(name: str) -> Any:
        body = await read(name)
        world.kube.server.namespace_labels["ns"] = {} if uid else {APPROVAL_LABEL: "Manual"}
        if uid:
            world.kube.namespaces["ns"] = (uid, "2026-11-21T12:00:00Z")
        return body

    world.kube.get_namespace = changed_after  # type: ignore[method-assign]
    for _ in range(10):
        await world.reconcile(IMAGES)
    assert world.provider.posts == []
