"""Times at which finished resources expire (`spec.ttlSecondsAfterFinished`), to wake each of them then.

Finished resources are neither cached nor reconciled, so their times are collected from the watches, also on a standby.
"""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from datetime import datetime

from pydantic import ValidationError

from contentgen_operator.cleanup.expiry import expires_at
from contentgen_operator.clock import utc_now
from contentgen_operator.kube.cache import Body
from contentgen_operator.state.observed import Resource, ResourceRef

_BATCH_SECONDS = 0.2
_LONGEST_SECONDS = 60.0  # between two looks at the clock, which may be set


class Expiries:
    """Wakes resources at their time, once."""

    def __init__(self, wake: Callable[[ResourceRef], Awaitable[None]], clock: Callable[[], datetime] = utc_now) -> None:
        self._wake = wake
        self._clock = clock
        self._times: dict[ResourceRef, datetime] = {}
        self._changed = asyncio.Event()

    def note(self, ref: ResourceRef, body: Body) -> None:
        """Note a finished resource, or forget one without a time."""
        at = _time_of(ref, body)
        if at is None:
            self.forget(ref)
        elif self._times.get(ref) != at:
            self._times[ref] = at
            self._changed.set()

    def forget(self, ref: ResourceRef) -> None:
        """Remove a deleted resource, or one whose run goes on."""
        self._times.pop(ref, None)

    async def wake_due(self) -> float:
        """Wake the resources whose time is over; seconds until the next look."""
        now = self._clock()
        for ref in [ref for ref, at in self._times.items() if at <= now]:
            self._times.pop(ref, None)
            await self._wake(ref)
        seconds = ((at - now).total_seconds() for at in self._times.values())
        return max(min(seconds, default=_LONGEST_SECONDS), _BATCH_SECONDS)

    async def round(self) -> None:
        """Wake the resources whose time is over, and wait for the next time or for a new one."""
        self._changed.clear()
        with suppress(TimeoutError):
            async with asyncio.timeout(min(await self.wake_due(), _LONGEST_SECONDS)):
                await self._changed.wait()
        await asyncio.sleep(_BATCH_SECONDS)  # collects a batch


def _time_of(ref: ResourceRef, body: Body) -> datetime | None:
    if "ttlSecondsAfterFinished" not in (body.get("spec") or {}):
        return None  # most resources: no status is parsed
    try:
        return expires_at(Resource.parse(ref.kind, body))
    except ValidationError:  # somebody else wrote the status
        return None
