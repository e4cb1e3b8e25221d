"""Shared state of the provider server, passed to the routes."""

import json
import re
import secrets
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any
from urllib.parse import urlsplit

from fastapi import HTTPException, Request
from fastapi.responses import Response
from starlette.concurrency import run_in_threadpool

from contentgen_sandbox.faults import KEPT, Faults, refusal, spoil_reply
from contentgen_sandbox.jobs import Jobs, Provider, Runner, SandboxJob
from contentgen_sandbox.ledger import LedgerEntry, SandboxLedger
from contentgen_sandbox.settings import SandboxSettings

MAX_BODY = 256 * 1024
DISCOUNTED = Decimal("0.9")
"""Share of the price that a request with the fault `discounted` costs."""
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")


@dataclass(frozen=True)
class SandboxPurchase:
    """Paid POST before acceptance."""

    provider: Provider
    model: str
    input: dict[str, Any]
    what: str
    amount_usd: Decimal
    marker: str | None
    account: str


@dataclass(frozen=True)
class Sandbox:
    settings: SandboxSettings
    ledger: SandboxLedger
    faults: Faults
    jobs: Jobs
    runner: Runner

    async def refuse(self, provider: Provider, model: str) -> Response | None:
        fault = self.faults.take("refuse", provider, model)
        return await refusal(fault, provider) if fault else None

    async def accept(self, purchase: SandboxPurchase, request: Request) -> SandboxJob:
        """Bill and start a request; with the fault `reply_lost` the response is dropped."""
        taken = [self.faults.take(stage, purchase.provider, purchase.model) for stage in KEPT]
        marks = {fault.fault: fault.delay for fault in taken if fault is not None}
        job = SandboxJob(
            id=new_id(),
            provider=purchase.provider,
            model=purchase.model,
            account=purchase.account,
            input=purchase.input,
            base_url=str(request.base_url).rstrip("/"),
            created_at=datetime.now(UTC),
            faults=tuple(marks),
            extra_seconds=marks.get("slow_model", 0),
            hidden_seconds=marks.get("history_late", 0),
            unbilled_seconds=marks.get("billed_late", 0),
        )
        await run_in_threadpool(self._begin, job, purchase)
        if spoilt := self.faults.take("reply", purchase.provider, purchase.model):
            await spoil_reply(spoilt, request)
        return job

    def _begin(self, job: SandboxJob, purchase: SandboxPurchase) -> None:
        entry = LedgerEntry(
            id=job.id,
            provider=job.provider,
            model=job.model,
            created_at=job.created_at,
            what=purchase.what,
            amount_usd=purchase.amount_usd * DISCOUNTED if "discounted" in job.faults else purchase.amount_usd,
            request_id=job.id,
            account=job.account,
            marker=purchase.marker,
        )
        self.ledger.write(entry)
        self.jobs.add(job)
        self.runner.start(job)


def account_of(key: str) -> str:
    """Account of a key, its part before a colon; empty, the default account, without one.

    So the keys `team-a:1` and `team-a:2`, before and after a rotation, are of one account.
    """
    account, colon, _ = key.partition(":")
    return account if colon else ""


def secret_of(key: str) -> str:
    """Part of a key that its account does not name."""
    return key.rpartition(":")[2]


def new_id() -> str:
    """New request id: a UUID, as at both providers."""
    digits = secrets.token_hex(16)
    return "-".join((digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:]))


def url_marker(url: object) -> str | None:
    """Path of a URL without its signature, stable across signatures."""
    try:
        return urlsplit(url).path if isinstance(url, str) else None
    except ValueError:
        return None


def of(request: Request) -> Sandbox:
    sandbox = request.app.state.sandbox
    if not isinstance(sandbox, Sandbox):
        raise TypeError("the application was created without a sandbox")
    return sandbox


async def read_object(request: Request) -> dict[str, Any] | None:
    """JSON object of the body; None if it is something else. Raises HTTPException 413."""
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > MAX_BODY:
            raise HTTPException(413, "The request is too large")
    try:
        value = json.loads(body)
    except ValueError:
        return None
    return value if isinstance(value, dict) else None
