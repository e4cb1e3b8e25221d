"""Attacks: LoRA files of older attempts, costs, and purchases after the end of a mapping."""

from datetime import timedelta
from typing import Any

from contentgen_contract.names import RERUN_ANNOTATION, Kind, Phase, Reason
from contentgen_gateway.migration.namespaces import TenantAdministration
from contentgen_simulation.world import SPECS, UID, World

IMAGES, LORA = Kind.IMAGE_GENERATION, Kind.LORA_TRAINING
OTHER, THIRD = "0c8d8a52-6a5e-4a1c-9f3e-2f3c7c1b9a02", "0c8d8a52-6a5e-4a1c-9f3e-2f3c7c1b9a03"
CAT: dict[str, Any] = SPECS[IMAGES]


async def finished(world: World, uid: str, spec: dict[str, Any] = CAT, **annotations: str) -> Any:
    world.kube.apply(IMAGES, spec, uid, **annotations)
    await world.reconcile(IMAGES)
    for _ in range(200):
        await world.reconcile(IMAGES)
        if world.status(IMAGES).phase in (Phase.COMPLETED, Phase.FAILED):
            return world.status(IMAGES)
    raise AssertionError(world.status(IMAGES))


async def recreated(world: World, uid: str) -> None:
    if world.there(IMAGES):
        await world.until_gone(IMAGES)
    world.now += timedelta(days=2)
    world.kube.namespaces["ns"] = (uid, f"{world.now:%Y-%m-%dT%H:%M:%SZ}")


async def test_purchase_under_a_mapping_is_adopted_after_its_removal(world: World) -> None:
    """install.md: `--to fresh` takes a mapping back: then nothing else of an earlier one is adopted. What this one
    itself has bought meanwhile stays its own.
    """
    known = TenantAdministration(world.database, "ann", clock=lambda: world.now)
    await finished(world, UID, CAT | {"prompt": "a dog"})
    await recreated(world, "two")
    await finished(world, OTHER, CAT | {"prompt": "a cow"})
    assert known.map("a-cluster", "ns", "two", "unscoped")
    await finished(world, OTHER)  # bought under the key without a scope, by this namespace
    assert known.map("a-cluster", "ns", "two", "fresh")
    await world.until_gone(IMAGES)
    status = await finished(world, THIRD)
    assert (status.reason, len(world.provider.posts)) == (Reason.ADOPTED_FINISHED_RUN, 3)
    await world.until_gone(IMAGES)
    status = await finished(world, UID.replace("0c", "0d", 1), CAT | {"prompt": "a dog"})
    assert (status.reason, len(world.provider.posts)) == (Reason.COMPLETED, 4), "the earlier one's is not adopted"


async def test_a_rerun_is_paid_once_across_a_mapping(world: World) -> None:
    known = TenantAdministration(world.database, "ann", clock=lambda: world.now)
    await finished(world, UID)
    await recreated(world, "two")
    await finished(world, OTHER, **{RERUN_ANNOTATION: "x"})
    assert known.map("a-cluster", "ns", "two", "unscoped")
    await world.until_gone(IMAGES)
    status = await finished(world, THIRD, **{RERUN_ANNOTATION: "x"})
    assert (status.reason, len(world.provider.posts)) == (Reason.ADOPTED_FINISHED_RUN, 2)


async def test_a_mapping_between_the_attempts_of_a_run_pays_no_third(world: World) -> None:
    known = TenantAdministration(world.database, "ann", clock=lambda: world.now)
    await finished(world, UID)
    await recreated(world, "two")
    world.provider.fails = {2}
    world.kube.apply(IMAGES, CAT | {"paidAttempts": 2}, OTHER)
    while not world.database["ledger"].count_documents({"state": "failed"}):
        await world.reconcile(IMAGES)
    assert known.map("a-cluster", "ns", "two", "unscoped", force=True)
    for _ in range(60):
        await world.reconcile(IMAGES)
    assert world.status(IMAGES).phase is Phase.COMPLETED
    assert len(world.provider.posts) <= 3
