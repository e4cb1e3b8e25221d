"""Fairness between namespaces: one tenant's resources, annotations and files cost others a bounded delay and memory.

Costs are counted in reconciles and requests, not in seconds.
"""

import asyncio
import contextlib

import pytest

from contentgen_contract.names import Kind
from contentgen_operator.observed import ResourceRef
from contentgen_operator.reconcile import Reconciler
from contentgen_simulation.world import World, Writes

IMAGES = Kind.IMAGE_GENERATION


def ref(namespace: str, number: int = 0) -> ResourceRef:
    return ResourceRef(kind=IMAGES, namespace=namespace, name=f"n{number}", uid=f"{namespace}-{number}")


async def order_of(operator: Reconciler, refs: list[ResourceRef], monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The namespaces in the order in which the queue begins their reconciles."""
    begun: list[str] = []
    finished = asyncio.Event()

    async def look(each: ResourceRef) -> tuple[float | None, str]:
        begun.append(each.namespace)
        await asyncio.sleep(0)
        if len(begun) == len(refs):
            finished.set()
        return None, "done"

    monkeypatch.setattr(operator, "_look", look)
    for each in refs:
        await operator.wake(each)
    running = asyncio.create_task(operator.queue.run())
    async with asyncio.timeout(60):
        await finished.wait()
    running.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await running
    return begun


async def test_many_resources_of_one_namespace_do_not_delay_another_namespace(monkeypatch: pytest.MonkeyPatch) -> None:
    operator = World(monkeypatch, Writes()).process
    refs = [*(ref("crowd", number) for number in range(2000)), ref("single"), ref("pair", 1), ref("pair", 2)]
    begun = await order_of(operator, refs, monkeypatch)
    assert begun.index("single") < 5
    assert [index for index, namespace in enumerate(begun) if namespace == "pair"][-1] < 10
    assert begun.count("crowd") == 2000, "nothing is lost"


async def test_reconciles_of_one_namespace_that_hang_hold_up_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    operator = World(monkeypatch, Writes()).process
    hung, seen = asyncio.Event(), asyncio.Event()
    held: list[ResourceRef] = []

    async def look(each: ResourceRef) -> tuple[float | None, str]:
        if each.namespace == "single":
            seen.set()
            return None, "done"
        held.append(each)
        if len(held) == 20:
            hung.set()
        await asyncio.Event().wait()
        return None, "never"

    monkeypatch.setattr(operator, "_look", look)
    for number in range(100):
        await operator.wake(ref("crowd", number))
    running = asyncio.create_task(operator.queue.run())
    async with asyncio.timeout(60):
        await hung.wait()
        await operator.wake(ref("single"))
        await seen.wait()
    assert len(held) == 20, "of 24"
    running.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await running
