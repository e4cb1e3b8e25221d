"""Instrumented providers, ledger and worker API: wrappers that count calls, times and amounts for Prometheus."""

import contextlib
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import TypeVar

from pymongo.errors import PyMongoError
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from contentgen_contract.resources.prices import USD
from contentgen_operator import metrics
from contentgen_operator.orphans.metrics import gauges as orphans
from contentgen_operator.providers.base import Provider, ProviderError
from contentgen_operator.providers.sending import BeforeSend
from contentgen_operator.state.costs import cost_of
from contentgen_operator.state.provider_requests import Call, Found, RequestView, Search, Verified
from contentgen_operator.state.purchases import LedgerTransition, Purchase, PurchaseState, SendState
from contentgen_operator.stores.ledger import Ledger
from contentgen_runtime.metrics import CONTENT_TYPE

T = TypeVar("T")
_STATES_SECONDS = 30.0
_BILLED = (PurchaseState.SUCCEEDED, PurchaseState.FAILED, PurchaseState.CANCELLED)


class InstrumentedProvider:
    """Provider whose calls are counted and timed."""

    def __init__(self, name: str, provider: Provider, account: str | None = None) -> None:
        """`account` is the provider account; None: the default one."""
        self._name = name
        self._account = metrics.account_label(account)
        self._provider = provider

    @property
    def configured(self) -> bool:
        """True if there is a key."""
        return self._provider.configured

    @property
    def key_id(self) -> str | None:
        """See Provider."""
        return self._provider.key_id

    async def submit(self, call: Call, before_send: BeforeSend) -> str:
        """See Provider."""
        return await self._counted("submit", lambda: self._provider.submit(call, before_send))

    async def poll(self, model: str, request_id: str) -> RequestView:
        """See Provider."""
        return await self._counted("poll", lambda: self._provider.poll(model, request_id))

    async def cancel(self, model: str, request_id: str) -> bool:
        """See Provider."""
        return await self._counted("cancel", lambda: self._provider.cancel(model, request_id))

    async def find(self, search: Search) -> Found:
        """See Provider."""
        return await self._counted("find", lambda: self._provider.find(search))

    async def verify(self, search: Search, request_id: str) -> Verified:
        """See Provider."""
        return await self._counted("verify", lambda: self._provider.verify(search, request_id))

    async def _counted(self, call: str, request: Callable[[], Awaitable[T]]) -> T:
        verdict = "error"
        start = time.monotonic()
        try:
            result = await request()
            verdict = "ok"
            return result
        except ProviderError as error:
            verdict = type(error).__name__
            raise
        finally:
            metrics.provider_calls.labels(self._name, self._account, call, verdict).inc()
            metrics.provider_seconds.labels(self._name, call).observe(time.monotonic() - start)


class InstrumentedLedger(Ledger):
    """Ledger whose amounts are counted, once each, because only one compare-and-set succeeds."""

    async def move(self, move: LedgerTransition) -> Purchase | None:
        """See Ledger."""
        moved = await super().move(move)
        if moved is not None:
            labels = (moved.provider, metrics.money_account_label(moved.account), metrics.model_label(moved.model))
            if move.target is PurchaseState.SUBMITTED and move.source is not move.target:
                metrics.estimated_dollars.labels(*labels).inc((moved.estimated_micros or 0) / USD)
                metrics.unpriced_requests.labels(*labels).inc(moved.estimated_micros is None)
            elif (
                move.source is PurchaseState.SUBMITTED and move.target in _BILLED
            ):  # not counted again when collected again
                cost = cost_of(moved)
                metrics.spent_dollars.labels(*labels).inc((cost.micros or 0) / USD)
                metrics.unbilled_requests.labels(*labels).inc(cost.micros is None)
            elif move.changes.get("send_state") == SendState.ABANDONED:
                metrics.unbilled_requests.labels(*labels).inc()
        return moved


@dataclass
class Exposition:
    """Body of a scrape and its media type. The gauges of the ledger are updated at most twice a minute; an unavailable
    database affects them only.
    """

    ledger: Ledger
    _states_at: float = field(default=float("-inf"), init=False)

    async def __call__(self) -> tuple[bytes, str]:
        """Values of all metrics."""
        with contextlib.suppress(PyMongoError):
            if time.monotonic() - self._states_at >= _STATES_SECONDS:
                self._states_at = time.monotonic()
                metrics.gauges.ledger_states = await self.ledger.states()
                orphans.counts = await self.ledger.orphans()
        return metrics.exposition(), CONTENT_TYPE


def counted_worker_api(app: ASGIApp) -> ASGIApp:
    """ASGI app of the worker API with its requests counted."""

    async def counted(scope: Scope, receive: Receive, send: Send) -> None:
        async def noted(message: Message) -> None:
            if message["type"] == "http.response.start":
                path = scope["path"] if scope["path"] in _PATHS else "other"
                metrics.worker_api_requests.labels(path, str(message["status"])).inc()
            await send(message)

        await app(scope, receive, noted if scope["type"] == "http" else send)

    return counted


_PATHS = {"/v1/order", "/v1/progress", "/v1/uploads", "/v1/outcome"}
