"""Simulated operator process: its queue on simulated time, freezing and termination."""

import asyncio
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from contentgen_operator.cleanup.left_jobs import LeftJobs
from contentgen_operator.kube.cache import Cache
from contentgen_operator.kube.selection import DEFAULT
from contentgen_operator.leader.election import LeaderTerm
from contentgen_operator.leader.leadership import Leadership
from contentgen_operator.orphans.rounds import Orphans
from contentgen_operator.queue.fair_turns import PlaceLimits
from contentgen_operator.queue.preparation_queue import PreparationLimits
from contentgen_operator.reconcile import Reconciler
from contentgen_operator.state.observed import ResourceRef
from contentgen_operator.watch.lora_names import LoraNames
from contentgen_simulation.frozen import contents
from contentgen_simulation.rehearsal.world.background import BackgroundTasks
from contentgen_simulation.rehearsal.world.context import ACTING, Acting
from contentgen_simulation.rehearsal.world.io_points import DatabaseProxy, FaultPoints, Proxy
from contentgen_simulation.world import Crash, World

if TYPE_CHECKING:
    from contentgen_simulation.rehearsal.world.faults import IoFault
    from contentgen_simulation.rehearsal.world.world import RehearsalWorld

SOON = 0.01  # seconds between a wake-up without delay and the reconcile


class _Wiring(World):
    """Attributes that `World.operator` reads."""

    def __init__(self, world: "RehearsalWorld", leadership: Leadership) -> None:
        kube: Any = Proxy(world.cluster, "kube")
        storage: Any = Proxy(world.bucket, "storage")
        provider: Any = Proxy(world.adapters, "provider")
        writes: Any = FaultPoints()
        self.kube, self.storage, self.provider, self.writes = kube, storage, provider, writes
        there = {name: adapter for name, adapter in world.account_adapters.items() if name not in world.removed}
        accounts: Any = {name: Proxy(each, "provider") for name, each in there.items()}
        self.accounts = accounts
        self.database = DatabaseProxy(world.database, world.ledger_changed)
        self.decision_settings = world.decision_settings
        self.template = world.template
        self.limits = PlaceLimits(overall=world.plan.places)
        self.preparation_limits = PreparationLimits(overall=world.plan.places)
        self.caches: list[Cache] = []
        self.orphans: list[Orphans] = []
        prices: Any = world.provider
        self.prices, self.names, self.selection = prices, LoraNames(), DEFAULT
        self.leadership = leadership
        self._world = world

    @property
    def now(self) -> datetime:  # type: ignore[override]  # a time that passes
        return self._world.now()

    def _seconds(self) -> float:
        return self._world.seconds


@dataclass
class RehearsalProcess:
    """Operator process; `frozen` while a fault freezes it or SIGTERM drains it."""

    world: "RehearsalWorld"
    number: int
    due: dict[ResourceRef, float] = field(default_factory=dict)
    frozen: bool = False
    draining: bool = False
    gone: bool = False
    holds: int = 0  # times that it was frozen
    task: "asyncio.Task[Any] | None" = None
    _resumed: "asyncio.Event | None" = None

    def __post_init__(self) -> None:
        self.leadership = Leadership(lambda: self.world.seconds)
        self.met: dict[str, Any] | None = None  # the stores as it left them when it was frozen
        wiring = _Wiring(self.world, self.leadership)
        self.reconciler: Reconciler = wiring.operator()
        self._keep_budgets = wiring.keep_budgets
        (self.cache,), (self.orphans,), self.names = wiring.caches, wiring.orphans, wiring.names
        self.left_jobs = LeftJobs(self.cache, self._wake, lambda: self.world.seconds)
        self.background = BackgroundTasks(self, self.reconciler.actor.notifications, wiring.kube)

    def now(self) -> datetime:
        """Current time by this process's clock."""
        return self.world.now() + timedelta(seconds=self.world.skew)

    def lead(self) -> None:
        """Become the leader."""
        self.leadership.grant(LeaderTerm(float("-inf"), float("inf")))

    def wake(self, ref: ResourceRef, delay: float = 0.0) -> None:
        """Schedule a reconcile after a delay; an earlier schedule stays."""
        at = self.world.seconds + max(delay, SOON)
        self.due[ref] = min(at, self.due.get(ref, at))

    async def hold(self, fault: "IoFault") -> None:
        """Freeze until resumed; the world continues."""
        self._resumed = asyncio.Event()
        self.frozen = True
        self.holds += 1
        self.world.freeze(self, fault)
        await self._resumed.wait()

    async def until_resumed(self) -> None:
        """Wait while the process is frozen by another of its tasks."""
        if self.frozen and self._resumed is not None:
            await self._resumed.wait()

    async def resume(self) -> None:
        """Resume a frozen process. The effects of a former leader are compared with the state that it found."""
        if self._resumed is not None and not self.gone:
            former = self.met is not None and bool(self.leadership.over)  # another process leads, or none
            left = contents(self.world) if former else {}
            self.frozen = False
            self._resumed.set()
            await self._until_done_or_held()
            if former:
                self.world.oracles.former_leader(self.met or {}, left, contents(self.world))

    async def reconcile(self, ref: ResourceRef) -> None:
        """Run one reconcile until it ends or fails."""
        self.task = asyncio.create_task(self._reconcile(ref))
        await self._until_done_or_held()

    async def _reconcile(self, ref: ResourceRef) -> None:
        ACTING.set(Acting(self.world, self, ref))
        self.world.oracles.reconciled(ref)
        with self.world.lines.traced(ACTING.get()):
            again, result = await self.reconciler._reconcile_or_pause(ref)
        if result == "error":
            self.world.oracles.unexpected(ref)
        if again is not None and again >= 0:
            self.wake(ref, self.world.paced(ref, again))
        await self.reconciler.payment_queue.wake_started(self._wake)
        await self.reconciler.preparation_queue.wake_started(self._wake)
        if self.background.has_news():
            self.world.deliver_soon(self)

    async def _wake(self, ref: ResourceRef) -> None:
        self.wake(ref)

    async def sweep(self) -> None:
        """Run the garbage collector, the orphan search, and the other background tasks that the plan needs once."""
        self.task = asyncio.create_task(self._sweep())
        await self._until_done_or_held()

    async def deliver(self) -> None:
        """Deliver the notifications that are due."""
        self.task = asyncio.create_task(self.background.deliver())
        await self._until_done_or_held()

    async def _sweep(self) -> None:
        ACTING.set(Acting(self.world, self, None))
        try:
            janitor = self.reconciler.actor.garbage_collector
            for mark in await janitor.records.marks(1000):
                await janitor.work(mark)
        except Exception as error:  # noqa: BLE001 - as the janitor's loop does with a store that is unavailable
            self.world.tell(f"the sweep failed: {type(error).__name__}")
        try:
            await self.orphans.round(self.now())
        except Exception as error:  # noqa: BLE001 - as `LeaderLoop` does
            self.world.tell(f"the round of the orphans failed: {type(error).__name__}: {error}")
        with suppress(Exception):  # as `LeaderLoop` does
            await self._keep_budgets()
        await self.left_jobs.wake_due()
        if self.world.has_notifications:
            await self.background.deliver()
        if self.world.has_audits:
            await self.background.audit()

    async def _until_done_or_held(self) -> None:
        task = self.task
        if task is None:
            return
        while not task.done() and not self.frozen:  # noqa: ASYNC110 - nothing here takes real time
            await asyncio.sleep(0)
        if task.done() and not task.cancelled() and (error := task.exception()) is not None:
            if not isinstance(error, Crash):
                raise error
            self.world.crashed(self)

    async def end(self) -> None:
        """Kill the process; frozen calls never resume."""
        self.gone = True
        if self.task is not None and not self.task.done():
            self.task.cancel()
            await asyncio.wait({self.task})
        await self.background.end()
