"""Execution of one plan and its verdict."""

import asyncio
import logging
import warnings
from dataclasses import dataclass

from contentgen_simulation.rehearsal.world.context import rehearsing
from contentgen_simulation.rehearsal.world.oracles import RehearsalViolation
from contentgen_simulation.rehearsal.world.plan import RehearsalPlan
from contentgen_simulation.rehearsal.world.world import RehearsalWorld


@dataclass(frozen=True)
class RehearsalVerdict:
    """Result of a plan."""

    plan: RehearsalPlan
    violations: tuple[RehearsalViolation, ...]
    story: tuple[str, ...]
    posts: int
    reconciles: int
    fired: int  # faults at points of I/O that did strike


def rehearse(plan: RehearsalPlan) -> RehearsalVerdict:
    """Carry out a plan deterministically."""
    with rehearsing():
        return asyncio.run(_rehearse(plan))


async def _rehearse(plan: RehearsalPlan) -> RehearsalVerdict:
    world = RehearsalWorld(plan)
    violations = await world.run()
    fired = sum(bool(each.fired) for each in world.faults.io) + sum(bool(fault.fired) for fault in world.lines.faults)
    return RehearsalVerdict(
        plan, tuple(violations), tuple(world.story), len(world.provider.posts), world.reconciles, fired
    )


def quiet() -> None:
    """Suppress the printed log of the operator; its handlers still get records."""
    for package in ("contentgen_operator", "contentgen_runtime"):
        log = logging.getLogger(package)
        log.propagate = False
        log.setLevel(logging.ERROR)
    logging.getLogger("stamina").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", category=DeprecationWarning)  # AssemblyAI's SDK uses pydantic's older names
