"""Loop of the leader election: reads and writes the Lease as `election` decides, until it is lost or released."""

import asyncio
import contextlib
import logging
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Protocol

from contentgen_contract.api_paths import LEASES
from contentgen_operator.leader import election
from contentgen_operator.leader.election import (
    Acquire,
    Candidate,
    LeaderTerm,
    Lease,
    Lost,
    ReadLease,
    Record,
    Renew,
    Timing,
    Wait,
)
from contentgen_operator.leader.leadership import Leadership, boot_clock
from contentgen_runtime.clock import MonotonicClock, utc_now
from contentgen_runtime.kube import Conflict, KubeApi, explain, or_conflict

_log = logging.getLogger(__name__)
_JITTER = 0.5  # fraction of the retry period, which is the longest pause


class LeaseStore(Protocol):
    """Access to the Lease. Writes are refused if the Lease has changed; after other errors it may have been written."""

    async def read(self) -> Lease | None:
        """None if there is no Lease."""
        ...

    async def write(self, lease: Lease | None, record: Record) -> Lease:
        """Replace the record of `lease`; None creates it. Raises Conflict."""
        ...


class KubeLease:
    """Lease of the Kubernetes API."""

    def __init__(self, kube: KubeApi, namespace: str, name: str) -> None:
        self._kube = kube
        self._namespace = namespace
        self._name = name

    async def read(self) -> Lease | None:
        """See LeaseStore. Raises one of API_ERRORS."""
        body = await self._kube.get(LEASES, self._namespace, self._name, asked_by="leader election")
        return _lease(body) if body is not None else None

    async def write(self, lease: Lease | None, record: Record) -> Lease:
        """See LeaseStore. Raises Conflict, or one of API_ERRORS."""
        spec = election.spec_of(record)
        if lease is None:
            body = {"apiVersion": LEASES.api_version, "kind": LEASES.kind, "metadata": {"name": self._name}}
            call = self._kube.request("POST", LEASES, namespace=self._namespace, body={**body, "spec": spec})
        else:
            body = {"metadata": {"resourceVersion": lease.version}, "spec": spec}
            call = self._kube.request("PATCH", LEASES, namespace=self._namespace, name=self._name, body=body)
        return _lease(await or_conflict(call))


def _lease(body: dict[str, Any]) -> Lease:
    meta = body["metadata"]
    return Lease(uid=meta["uid"], version=meta["resourceVersion"], record=election.record_of(body.get("spec") or {}))


@dataclass(frozen=True)
class ElectionEnvironment:
    """Clocks, sleep and random numbers, which tests replace."""

    clock: MonotonicClock = boot_clock
    wall: Callable[[], datetime] = utc_now
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    chance: Callable[[], float] = field(default=random.random)


class Elector:
    """Runs one candidate. `changed` is called after each grant and at the end."""

    def __init__(
        self,
        store: LeaseStore,
        leadership: Leadership,
        me: str,
        timing: Timing,
        *,
        around: ElectionEnvironment | None = None,
        changed: Callable[[], None] = lambda: None,
    ) -> None:
        self._store = store
        self._leadership = leadership
        self._around = around or ElectionEnvironment()
        self._changed = changed
        self._candidate = Candidate(me=me, timing=timing)
        self._holder = ""  # last logged

    async def run(self) -> None:
        """Stand for election and lead until the Lease is lost. May be cancelled before `release`."""
        try:
            while not self._leadership.over:
                await self._move()
        finally:
            self._end("the election has ended")

    async def release(self) -> None:
        """Release the Lease after the last write: another process may lead at once."""
        self._end("the Lease is released")
        try:
            async with asyncio.timeout(self._candidate.timing.request):
                await self._give_up()
        except Exception as error:  # noqa: BLE001 - the process ends after any error, and the Lease expires
            _log.warning("the Lease is not released, it expires: %s", explain(error))

    async def _give_up(self) -> None:
        with contextlib.suppress(Conflict):
            await self._write_release()
            return
        # A renewal whose response was not awaited has changed the version.
        self._candidate = election.after_read(self._candidate, await self._store.read(), self._around.clock())
        await self._write_release()

    async def _write_release(self) -> None:
        given = election.released(self._candidate, self._around.clock(), self._around.wall())
        if given is not None:
            await self._store.write(*given)
            _log.info("the Lease is released")

    def _end(self, why: str) -> None:
        self._leadership.revoke(why)
        self._changed()

    async def _move(self) -> None:
        match election.next_move(self._candidate, self._around.clock()):
            case Lost(why=why):
                _log.error("this process does not lead any more: %s", why)
                self._end(why)
            case ReadLease():
                await self._attempt(self._read())
            case Acquire() | Renew() as move:
                if await self._attempt(self._write(move)):
                    await self._pause()
            case Wait(seconds=seconds):
                await self._pause(seconds)
                self._candidate = election.stale(self._candidate)

    async def _attempt(self, call: Awaitable[None]) -> bool:
        """True after a successful request, else after a pause. After a conflict the Lease is read again."""
        try:
            async with asyncio.timeout(self._within_term(self._candidate.timing.request)):
                await call
        except Conflict:
            self._candidate = election.stale(self._candidate)
            await self._pause(self._candidate.timing.retry / 10)
            return False
        except Exception as error:  # noqa: BLE001 - the next attempt may succeed before the deadline
            _log.warning("the Lease: %s", explain(error))
            await self._pause()
            return False
        return True

    async def _read(self) -> None:
        lease = await self._store.read()
        self._candidate = election.after_read(self._candidate, lease, self._around.clock())
        holder = lease.record.holder if lease is not None else ""
        if holder not in ("", self._holder, self._candidate.me):
            _log.info("the leader is %r", holder)
        self._holder = holder

    async def _write(self, move: Acquire | Renew) -> None:
        record = election.lease_record(move, self._candidate, self._around.wall())
        started = self._around.clock()
        lease = await self._store.write(move.lease, record)
        first = self._candidate.term is None
        self._candidate = election.after_write(self._candidate, lease, started, self._around.clock())
        term = self._candidate.term
        assert term is not None  # noqa: S101 - `after_write` sets it
        self._leadership.grant(term)
        if first:
            self._say_elected(term)
        self._changed()

    def _say_elected(self, term: LeaderTerm) -> None:
        wait = max(term.begins - self._around.clock(), 0.0)
        late = f" in {wait:.0f} s: there was no Lease, and a leader may have had one that was deleted" if wait else ""
        _log.info("%r leads%s", self._candidate.me, late)

    async def _pause(self, most: float = float("inf")) -> None:
        retry = self._candidate.timing.retry * (1 - _JITTER * self._around.chance())
        await self._around.sleep(max(self._within_term(min(retry, most)), 0.0))

    def _within_term(self, seconds: float) -> float:
        """`seconds`, limited by the rest of the term."""
        term = self._candidate.term
        return seconds if term is None else min(seconds, max(term.ends - self._around.clock(), 0.0))
