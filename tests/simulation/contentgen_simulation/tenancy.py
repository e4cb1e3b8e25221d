"""Changes of a world's resources, namespaces and clusters by users, administrators and time."""

from datetime import timedelta
from typing import Any

from contentgen_contract.names import Kind, Phase
from contentgen_contract.resources.status import ResourceStatus
from contentgen_gateway.migration.namespaces import TenantAdministration
from contentgen_runtime.tenancy import SYSTEM
from contentgen_simulation.world import SPECS, World

LORA, IMAGES = Kind.LORA_TRAINING, Kind.IMAGE_GENERATION
FIRST, SECOND = SPECS[LORA], SPECS[LORA] | {"training": {"steps": 500}}
CAT: dict[str, Any] = SPECS[IMAGES]
PICTURE: dict[str, Any] = {"prompt": "jf on a bench", "loras": [{"loraRef": {"name": "it"}}]}
LORA_UID, OTHER_LORA_UID, OTHER, THIRD, FOURTH = (f"1c8d8a52-6a5e-4a1c-9f3e-2f3c7c1b9a0{n}" for n in range(5))
_RECONCILES = 300


async def ended(world: World, kind: Kind = IMAGES) -> ResourceStatus:
    """Status at the end of a run, or when a user must decide."""
    for _ in range(_RECONCILES):
        await world.reconcile(kind)
        if world.status(kind).phase in (Phase.COMPLETED, Phase.FAILED, Phase.SUBMISSION_UNKNOWN):
            await world.reconcile(kind)
            return world.status(kind)
    status = world.status(kind)
    raise AssertionError(f"the run did not end: {status.phase} {status.reason} {status.message}, run {status.run}")


async def applied(
    world: World, uid: str, spec: dict[str, Any] = CAT, kind: Kind = IMAGES, **annotations: str
) -> ResourceStatus:
    """Create or edit a resource; returns the status at the end of its run."""
    world.kube.apply(kind, spec, uid, **annotations)
    await world.reconcile(kind)
    return await ended(world, kind)


async def gone(world: World, *kinds: Kind) -> None:
    """Delete resources; without kinds, the image and the LoRA."""
    for kind in kinds or (IMAGES, LORA):
        if world.there(kind):
            await world.until_gone(kind)


async def recreated(world: World, uid: str = "another-namespace") -> None:
    """Delete the namespace, and create it again two days later."""
    await gone(world)
    world.now += timedelta(days=2)
    world.kube.namespaces["ns"] = (uid, f"{world.now:%Y-%m-%dT%H:%M:%SZ}")


def rebuilt(world: World, cluster: str = "another-cluster", uid: str = "its-namespace") -> None:
    """Replace the cluster by another one with the same stores."""
    stamp = f"{world.now + timedelta(days=1):%Y-%m-%dT%H:%M:%SZ}"
    world.now += timedelta(days=2)
    world.kube.namespaces = {SYSTEM: (cluster, stamp), "ns": (uid, stamp)}
    world.kube.resources.clear()
    world.kube.jobs.clear()
    world.restart()


def admin(world: World) -> TenantAdministration:
    """Tenant administration with the world's clock."""
    return TenantAdministration(world.database, "ann", clock=lambda: world.now)


def mapped(world: World, to: str = "unscoped") -> None:
    """Map the recreated namespace to a tenant."""
    assert admin(world).map("a-cluster", "ns", "another-namespace", to)


async def rounds(world: World, count: int, every: timedelta = timedelta(minutes=10)) -> None:
    """Run the orphan search several times."""
    for _ in range(count):
        world.now += every
        await world.orphans[-1].round(world.now)


def states(world: World, **where: Any) -> list[str]:
    """States of purchases, ordered by key."""
    return [purchase["state"] for purchase in world.database["ledger"].find(where).sort("_id", 1)]
