"""Unfinished Jobs of resources whose runs have ended: such a resource is woken, and its Job then looked at and deleted.

Resources whose runs go on are reconciled anyway. Finished ones are neither cached nor reconciled, so their unfinished
Jobs are collected from the watch, also on a standby. Any user may set a Job's owner reference: a wake-up decides
nothing, and comes ever less often.
"""

import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable

from contentgen_operator.kube.cache import Cache
from contentgen_operator.state.observed import ResourceRef

_FIRST_SECONDS = 60.0  # a worker that has stored its outcome ends by itself
_MOST = 10_000


class LeftJobs:
    """Owners of unfinished Jobs, by the Job's uid. `cache`: a resource in it is under way."""

    def __init__(
        self, cache: Cache, wake: Callable[[ResourceRef], Awaitable[None]], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._cache = cache
        self._wake = wake
        self._clock = clock
        self._owners: OrderedDict[str, ResourceRef] = OrderedDict()
        self._pauses: dict[str, tuple[float, float]] = {}  # time of the next wake-up, and the pause before it

    def note(self, uid: str, owner: ResourceRef | None) -> None:
        """Note an unfinished Job; None: it has ended, or has no owner of ours."""
        if owner is not None:
            self._owners[uid] = owner
        if owner is None or len(self._owners) > _MOST:
            gone = uid if owner is None else next(iter(self._owners))
            self._owners.pop(gone, None)
            self._pauses.pop(gone, None)

    async def wake_due(self) -> None:
        """Wake the owners whose runs have ended a minute ago; later after pauses that double."""
        now = self._clock()
        for uid, owner in list(self._owners.items()):
            if owner in self._cache:
                self._pauses.pop(uid, None)
                continue
            at, pause = self._pauses.setdefault(uid, (now + _FIRST_SECONDS, _FIRST_SECONDS))
            if at <= now:
                self._pauses[uid] = (now + 2 * pause, 2 * pause)
                await self._wake(owner)
