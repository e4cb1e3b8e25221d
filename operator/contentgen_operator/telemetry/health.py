"""Liveness, readiness and metrics endpoints of the operator. A standby is ready too.

Alive: watches deliver and the queue progresses; otherwise only a new process helps. Ready: the first lists are
complete, the stores are prepared, and no other installation owns the operator class. An unavailable store or provider
affects neither: a restart would not help.
"""

import time
from collections.abc import Awaitable, Callable
from typing import Any

from fastapi import FastAPI, Response

from contentgen_contract.names import Kind
from contentgen_operator.queues.work_queue import WorkQueue
from contentgen_operator.watch.liveness import WatchLiveness
from contentgen_runtime.namespaces import Namespaces

_WATCHES = len(Kind) + 1  # our kinds and Jobs, in each scope


class OperatorHealth:
    """Problems as text; an empty list is healthy."""

    def __init__(
        self,
        watches: WatchLiveness,
        queue: WorkQueue[Any],
        *,
        watch_seconds: float,
        stuck_seconds: float,
        clock: Callable[[], float] = time.monotonic,
        leads: Callable[[], bool] = lambda: True,
        claim: Callable[[], str] = lambda: "",
        namespaces: Namespaces | None = None,
    ) -> None:
        """`claim`: why this process does not work although it leads; empty if there is no such cause.

        `namespaces`: those of a list have watches of their own (None: all are watched at once).
        """
        selected = namespaces or Namespaces()
        self._expected = _WATCHES * len(selected.scopes) + (selected.selector is not None)
        self.leads = leads
        self._claim = claim
        self._watches = watches
        self._queue = queue
        self._watch_seconds = watch_seconds
        self._stuck_seconds = stuck_seconds
        self._clock = clock
        self._started = clock()
        self.stores_ready = False

    @property
    def _watching(self) -> bool:
        return len(self._watches.ages()) + len(self._watches.refused) >= self._expected

    def dead(self) -> list[str]:
        """Why the process must be restarted."""
        reasons = [
            f"the watch of {name} was opened {age:.0f} s ago"
            for name, age in self._watches.ages().items()
            if age > self._watch_seconds
        ]
        since = self._clock() - self._started
        if not self._watching and since > self._watch_seconds:
            reasons.append(f"the watches are not open {since:.0f} s after the start")
        waited, idle = self._queue.oldest_due_seconds, self._queue.idle_seconds
        # Nothing is processed before the stores are available, nor on a standby; a restart would not change that.
        if self.stores_ready and self.leads() and min(waited, idle) > self._stuck_seconds:
            reasons.append(f"work is due since {waited:.0f} s and none was finished for {idle:.0f} s")
        return reasons

    def unready(self) -> list[str]:
        """Reasons why the process is not ready; empty if it is."""
        waits = ["the stores"] * (not self.stores_ready) + ["the watches"] * (not self._watching)
        refused = self._watches.refused
        if len(refused) >= self._expected:
            waits += ["the right to watch any of its namespaces (403)"]
        else:
            waits += [f"the right to watch {name} (403)" for name in sorted(refused) if "/" not in name]
        claim = self._claim()
        return [*waits, claim] if claim else waits


def health_app(health: OperatorHealth, metrics: Callable[[], Awaitable[tuple[bytes, str]]]) -> FastAPI:
    """App with GET /healthz, /readyz and /metrics."""
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)

    def answer(problems: list[str], good: str = "ok") -> Response:
        return Response("; ".join(problems) or good, 503 if problems else 200, media_type="text/plain")

    @app.get("/healthz")
    async def healthz() -> Response:
        return answer(health.dead())

    @app.get("/readyz")
    async def readyz() -> Response:
        return answer(health.unready(), f"ok; leader: {str(health.leads()).lower()}")

    @app.get("/metrics")
    async def exposition() -> Response:
        body, media_type = await metrics()
        return Response(body, media_type=media_type)

    return app
