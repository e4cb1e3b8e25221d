"""Queue before the prepare stage: limits of the prepare Jobs that exist at once, with fair turns of namespaces.

In memory of the leader. Places in use are those of runs whose status names a prepare Job, read from the cache at the
first question, and corrected by each reconcile of their resources. A place that is not used ends by itself. Collect
Jobs take no place, and neither do Jobs of a queue such as Kueue, which can only order Jobs that exist. While a quota
refuses a paid result its Job, the namespace gets no place.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable
from datetime import datetime

from pydantic import Field

from contentgen_contract.base import Value
from contentgen_operator.queue.collect_line import CollectLine
from contentgen_operator.queue.fair_turns import Account, Claimant, Endpoint, FairTurns, Place, PlaceLimits
from contentgen_operator.queue.gate import asks_to_prepare, claimant, is_preparing
from contentgen_operator.queue.values import Limit, Turn
from contentgen_operator.state.decision_input import DecisionInput
from contentgen_operator.state.observed import ResourceRef
from contentgen_operator.state.plan import Plan

UNSTARTED_SECONDS = 300.0  # after which a Job without a running pod gives back its place of the overall limit
_PLACE_SECONDS = 120.0  # until a place ends that no reconcile confirms and no Job uses
_PREPARATION = "preparation"
_COUNTED, _UNSTARTED = Account(_PREPARATION), Account("unstarted")
_GRANTED = Turn(granted=True)
_LIMITS = {Limit.PROVIDER: Limit.PREPARATION, Limit.PER_NAMESPACE: Limit.PREPARATION_PER_NAMESPACE}


class PreparationLimits(Value):
    """Numbers of prepare Jobs that may exist at a time; 0: no limit."""

    overall: int = Field(0, ge=0)
    per_namespace: int = Field(0, ge=0)


def preparation_claimant(ref: ResourceRef, claimant: Claimant) -> Claimant:
    """A run's request for a place for its preparation."""
    return Claimant(
        uid=ref.uid,
        namespace=ref.namespace,
        provider=_PREPARATION,
        model=ref.namespace,  # so that a namespace can be closed
        priority=claimant.priority,
        since=claimant.since,
    )


class PreparationQueue:
    """Places of prepare Jobs, one per run."""

    def __init__(
        self,
        limits: PreparationLimits | None = None,
        *,
        preparing: Callable[[], Iterable[ResourceRef]] = tuple,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`preparing`: resources whose status names a prepare Job."""
        self._limits = limits = limits or PreparationLimits()
        # The overall limit is that of an account, so that an unstarted Job can count in its namespace alone.
        self._turns = FairTurns(
            PlaceLimits(per_namespace=limits.per_namespace, providers={_PREPARATION: limits.overall})
        )
        self._preparing = preparing
        self._loaded = False
        self._refs: dict[str, ResourceRef] = {}  # of waiting runs, by uid
        self._ends: dict[str, float] = {}  # of places, by uid of their runs
        self._clock = clock
        self._collects = CollectLine(clock)
        self._to_wake: list[ResourceRef] = []
        self.changed = asyncio.Event()

    def turn(self, case: DecisionInput, plan: Plan) -> Turn | None:
        """Turn of a run that would create its prepare Job; None: it creates none. The Job that it has is counted."""
        ref, job = case.resource.ref, case.observed.job
        if asks_to_prepare(case, plan):
            return self.ask(ref, preparation_claimant(ref, claimant(case)))
        if job is not None and is_preparing(case, plan):
            young = (case.now - job.started_at).total_seconds() < UNSTARTED_SECONDS
            self.keep(ref, counted=job.ready or young)
        else:
            self.leave(ref.uid)
        return None

    def ask(self, ref: ResourceRef, claimant: Claimant) -> Turn:
        """Turn of a run that would create its prepare Job."""
        self._load()
        self._end_places()
        if ref.namespace in self._collects:
            self._free(ref.uid)
        if ref.uid not in self._ends:
            self._turns.put(claimant)
            self._refs[ref.uid] = ref
            self._start(asking=ref.uid)
        if ref.uid in self._ends:
            return _GRANTED
        if ref.namespace in self._collects:
            return Turn(granted=False, limit=Limit.COLLECT)
        limit = _LIMITS.get(self._turns.limit_of(claimant), Limit.OTHERS)
        most = {Limit.PREPARATION: self._limits.overall, Limit.PREPARATION_PER_NAMESPACE: self._limits.per_namespace}
        return Turn(granted=False, limit=limit, most=most.get(limit, 0))

    def keep(self, ref: ResourceRef, *, counted: bool) -> None:
        """Count the prepare Job that a run has. `counted`: in the overall limit, as its pod runs or may start soon."""
        self._load()
        self._refs.pop(ref.uid, None)
        self._turns.drop(ref.uid)
        self._occupy(ref, _COUNTED if counted else _UNSTARTED)
        if not counted:
            self.changed.set()

    def leave(self, uid: str) -> None:
        """Remove a run that neither has a prepare Job nor asks for one."""
        self._refs.pop(uid, None)
        if self._free(uid) | self._turns.drop(uid):
            self.changed.set()

    def _free(self, uid: str) -> bool:
        self._ends.pop(uid, None)
        return self._turns.free(uid)

    def is_behind(self, ref: ResourceRef) -> bool:
        """True if the run's collect Job was refused, and those of older payments in its namespace come first."""
        return self._collects.is_behind(ref)

    def collect_waits(self, ref: ResourceRef, paid_at: datetime) -> None:
        """Note that a used-up quota refuses the run its collect Job or the pod: the room is for paid results first."""
        self._collects.put(ref, paid_at)

    def collect_ends(self, ref: ResourceRef) -> None:
        """Note that the run waits for no collect Job; the next one is woken."""
        if self._collects.drop(ref):
            following = self._collects.first(ref.namespace)
            self._to_wake += [following] if following is not None else []
            self.changed.set()

    async def wake_started(self, wake: Callable[[ResourceRef], Awaitable[None]]) -> None:
        """Grant free places, and wake the runs that have got one."""
        self._end_places()
        self._start()
        started, self._to_wake = self._to_wake, []
        for ref in started:
            await wake(ref)

    def _load(self) -> None:
        if self._loaded:
            return
        self._loaded = True
        for ref in self._preparing():
            self._occupy(ref, _COUNTED)

    def _occupy(self, ref: ResourceRef, account: Account) -> None:
        self._hold(ref.uid)
        self._turns.occupy(ref.uid, Place(ref.namespace, account))

    def _hold(self, uid: str) -> None:
        self._ends[uid] = self._clock() + _PLACE_SECONDS

    def _end_places(self) -> None:
        """Give back the places of runs that did not use theirs, or whose resources are served no more."""
        now = self._clock()
        if self._collects.end_old():
            self.changed.set()
        ended = [uid for uid, end in self._ends.items() if end <= now]
        preparing = {ref.uid for ref in self._preparing()} if ended else set()
        for uid in ended:
            if uid in preparing:
                self._hold(uid)
            else:
                self.leave(uid)

    def _start(self, asking: str = "") -> None:
        while (started := self._turns.start(str, self._is_open)) is not None:
            self._hold(started.uid)
            ref = self._refs.pop(started.uid, None)
            if ref is not None and started.uid != asking:
                self._to_wake.append(ref)
                self.changed.set()

    def _is_open(self, endpoint: Endpoint) -> bool:
        return endpoint.model not in self._collects
