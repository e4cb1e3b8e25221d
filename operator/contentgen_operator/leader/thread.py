"""Thread of the leader election, with an event loop and a connection of its own: work that blocks the operator's loop
for seconds does not lose the Lease.
"""

import asyncio
import logging
import secrets
import socket
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager

from pydantic import Field, model_validator

from contentgen_contract.base import Value
from contentgen_operator.leader.election import Timing
from contentgen_operator.leader.elector import Elector, KubeLease, LeaseStore
from contentgen_operator.leader.leadership import Leadership
from contentgen_runtime.kube import KubeApi

_log = logging.getLogger(__name__)
_PROBATION_LOOK_SECONDS = 0.2
Connect = Callable[[], AbstractAsyncContextManager[LeaseStore]]


class LeaseSettings(Value):
    """Name and times of the leader election's Lease. Raises ValueError if the times are unsafe."""

    name: str = "contentgen"
    seconds: float = Field(
        15, le=300, description="Lease duration: another process takes over a Lease that was not renewed for this long."
    )
    renew_seconds: float = Field(
        10, ge=5, description="Renew deadline: the leader stops after failing to renew for this long."
    )
    retry_seconds: float = Field(2, gt=0, description="Longest pause between two attempts.")

    @property
    def timing(self) -> Timing:
        """Times of the leader election."""
        return Timing(self.seconds, self.renew_seconds, self.retry_seconds)

    @model_validator(mode="after")
    def _is_safe(self) -> "LeaseSettings":
        assert self.timing  # noqa: S101 - raises ValueError
        return self


def identity() -> str:
    """Identity of this process: the host name of its pod, unique per start."""
    return f"{socket.gethostname()}_{secrets.token_hex(8)}"


def kube_lease(namespace: str, name: str) -> Connect:
    """Connection to the API server for the Lease only."""

    @asynccontextmanager
    async def connected() -> AsyncIterator[LeaseStore]:
        async with KubeApi() as kube:
            yield KubeLease(kube, namespace, name)

    return connected


class ElectionThread:
    """Runs an Elector; started and awaited in the operator's loop."""

    def __init__(self, connect: Connect, leadership: Leadership, me: str, timing: Timing) -> None:
        self._connect = connect
        self._leadership = leadership
        self._me = me
        self._timing = timing
        self._home = asyncio.get_running_loop()
        self._changed = asyncio.Event()
        self._ended = asyncio.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop: asyncio.Event | None = None
        self._releasing = False
        # Daemon thread: a request that hangs must not keep the process alive.
        self._thread = threading.Thread(target=self._main, name="leader-election", daemon=True)

    @classmethod
    def started(cls, namespace: str, lease: LeaseSettings, leadership: Leadership) -> "ElectionThread":
        """Election of this process, in its thread."""
        election = cls(kube_lease(namespace, lease.name), leadership, identity(), lease.timing)
        election.start()
        return election

    def start(self) -> None:
        """Start the election."""
        self._thread.start()

    async def elected(self) -> None:
        """Wait until this process leads; forever if it was lost before."""
        while not self._leadership.is_leader:
            self._changed.clear()
            try:
                async with asyncio.timeout(_PROBATION_LOOK_SECONDS if self._leadership.granted else None):
                    await self._changed.wait()
            except TimeoutError:
                continue

    async def lost(self) -> None:
        """Wait until this process will not lead any more."""
        await self._ended.wait()

    async def release(self) -> None:
        """Release the Lease after the last write. Returns after the timeout of a request at most."""
        self._releasing = True
        self._leadership.revoke("the Lease is released")
        if self._loop is not None and self._stop is not None and not self._ended.is_set():
            self._loop.call_soon_threadsafe(self._stop.set)
            try:
                async with asyncio.timeout(self._timing.request + 1):
                    await self._ended.wait()
            except TimeoutError:
                _log.warning("the Lease is not released, it expires")

    def _main(self) -> None:
        try:
            asyncio.run(self._elect())
        except Exception:  # noqa: BLE001 - any error ends the operator, see below
            _log.exception("the election has failed")
        finally:
            self._leadership.revoke("the election has failed")
            self._signal(self._ended)
            self._signal(self._changed)

    async def _elect(self) -> None:
        self._stop = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        async with self._connect() as store:
            elector = Elector(
                store, self._leadership, self._me, self._timing, changed=lambda: self._signal(self._changed)
            )
            running, stopping = asyncio.create_task(elector.run()), asyncio.create_task(self._stop.wait())
            await asyncio.wait({running, stopping}, return_when=asyncio.FIRST_COMPLETED)
            stopping.cancel()
            if not self._releasing:  # lost
                running.result()
                return
            running.cancel()
            await asyncio.wait({running})
            await elector.release()

    def _signal(self, event: asyncio.Event) -> None:
        try:
            self._home.call_soon_threadsafe(event.set)
        except RuntimeError:
            _log.debug("the operator's loop is closed")
