"""Attacks: deletion in an earlier cluster of resources whose requests a later cluster has adopted."""

from typing import Any

import pytest

from contentgen_contract.names import Kind, Phase
from contentgen_gateway.migration.namespaces import TenantAdministration
from contentgen_runtime.tenancy import SYSTEM
from contentgen_simulation.world import SPECS, UID, World

IMAGES = Kind.IMAGE_GENERATION
OTHER = "0c8d8a52-6a5e-4a1c-9f3e-2f3c7c1b9a02"
OLD = "2026-01-02T00:00:00Z"


@pytest.mark.parametrize("policy", ["Retain", "Delete"])
@pytest.mark.parametrize("finished", [False, True], ids=["in flight", "finished"])
async def test_cleanup_of_the_earlier_cluster_spares_adopted_files(world: World, policy: str, finished: bool) -> None:
    """install.md: what that one has under way goes on here if the same resources are applied here."""
    spec = SPECS[IMAGES] | {"deletionPolicy": policy}
    world.kube.apply(IMAGES, spec, UID)
    while not world.database["ledger"].count_documents({"state": "submitted"}):
        await world.reconcile(IMAGES)
    if finished:
        await world.finish(IMAGES)
    kube: Any = world.kube
    mine = (kube.namespaces, kube.resources, kube.jobs)
    kube.namespaces, kube.resources, kube.jobs = {SYSTEM: ("cluster-b", OLD), "ns": ("namespace-b", OLD)}, {}, {}
    world.restart()
    await world.orphans[-1].round(world.now)
    assert TenantAdministration(world.database, "ann", clock=lambda: world.now).confirm("cluster-b", force=True)
    its = (kube.namespaces, kube.resources, kube.jobs)
    kube.namespaces, kube.resources, kube.jobs = mine
    world.restart()
    await world.until_gone(IMAGES)
    kube.namespaces, kube.resources, kube.jobs = its
    world.restart()
    world.kube.apply(IMAGES, spec, OTHER)
    for _ in range(40):
        await world.reconcile(IMAGES)
    status = world.status(IMAGES)
    assert (status.phase, len(world.provider.posts)) == (Phase.COMPLETED, 1), (status.reason, status.message)
