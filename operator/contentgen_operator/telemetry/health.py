"""Liveness, readiness and metrics endpoints of the operator. A standby is ready too.

Alive: watches deliver and the queue progresses; otherwise only a new process helps. Ready: the first lists are
complete, the stores are prepared, and no other installation owns the operator class. An unavailable store or provider
affects neither: a restart would not help.
"""

import time
from collections.abc import Awaitable, Callable
from dataclasses import KW_ONLY, dataclass, field
from typing import Any

from fastapi import FastAPI, Response
from fastapi.responses import JSONResponse

from contentgen_contract.names import Kind
from contentgen_operator.fairness.work_queue import WorkQueue
from contentgen_operator.stores.requirements import UnmetRequirement
from contentgen_operator.watch.liveness import WatchLiveness
from contentgen_runtime.namespaces import Namespaces

_WATCHES = len(Kind) + 1  # our kinds and Jobs, in each scope


@dataclass
class OperatorHealth:
    """Problems as text; an empty list is healthy.

    `problem`: why this process does not work although it leads; empty if there is no such cause.
    `namespaces`: those of a list have watches of their own.
    """

    watches: WatchLiveness
    queue: WorkQueue[Any]
    _: KW_ONLY
    watch_seconds: float
    stuck_seconds: float
    clock: Callable[[], float] = time.monotonic
    leads: Callable[[], bool] = lambda: True
    problem: Callable[[], str] = lambda: ""
    namespaces: Namespaces = field(default_factory=Namespaces)
    stores_ready: bool = field(default=False, init=False)
    unmet_requirements: tuple[UnmetRequirement, ...] = field(default=(), init=False)  # at the start of the process

    def __post_init__(self) -> None:
        self._expected = _WATCHES * len(self.namespaces.scopes) + (self.namespaces.selector is not None)
        self._started = self.clock()

    @property
    def _watching(self) -> bool:
        return len(self.watches.ages()) + len(self.watches.refused) >= self._expected

    def dead(self) -> list[str]:
        """Why the process must be restarted."""
        reasons = [
            f"the watch of {name} was opened {age:.0f} s ago"
            for name, age in self.watches.ages().items()
            if age > self.watch_seconds
        ]
        since = self.clock() - self._started
        if not self._watching and since > self.watch_seconds:
            reasons.append(f"the watches are not open {since:.0f} s after the start")
        waited, idle = self.queue.oldest_due_seconds, self.queue.idle_seconds
        # Nothing is processed before the stores are available, nor on a standby; a restart would not change that.
        if self.stores_ready and self.leads() and min(waited, idle) > self.stuck_seconds:
            reasons.append(f"work is due since {waited:.0f} s and none was finished for {idle:.0f} s")
        return reasons

    def unready(self) -> list[str]:
        """Reasons why the process is not ready; empty if it is."""
        waits = ["the stores"] * (not self.stores_ready) + ["the watches"] * (not self._watching)
        refused = self.watches.refused
        if len(refused) >= self._expected:
            waits += ["the right to watch any of its namespaces (403)"]
        else:
            waits += [f"the right to watch {name} (403)" for name in sorted(refused) if "/" not in name]
        problem = self.problem()
        return [*waits, problem] if problem else waits


def health_app(health: OperatorHealth, metrics: Callable[[], Awaitable[tuple[bytes, str]]]) -> FastAPI:
    """App with GET /healthz, /readyz, /stores and /metrics."""
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)

    def answer(problems: list[str], good: str = "ok") -> Response:
        return Response("; ".join(problems) or good, 503 if problems else 200, media_type="text/plain")

    @app.get("/healthz")
    async def healthz() -> Response:
        return answer(health.dead())

    @app.get("/readyz")
    async def readyz() -> Response:
        return answer(health.unready(), f"ok; leader: {str(health.leads()).lower()}")

    @app.get("/stores")
    async def stores() -> Response:
        """Unmet requirements of S3; 503 until the stores are prepared. `helm test` reads it."""
        if not health.stores_ready:
            return answer(["the stores are not available"])
        unmet_requirements = [
            {"name": unmet.requirement, "stopsPayments": unmet.stops_payments, "text": unmet.text}
            for unmet in health.unmet_requirements
        ]
        return JSONResponse({"unmet": unmet_requirements})

    @app.get("/metrics")
    async def exposition() -> Response:
        body, media_type = await metrics()
        return Response(body, media_type=media_type)

    return app
