"""Audit of all provider accounts: daily, and when a person requests one through the gateway.

Each account is read with its own keys, at most four at a time; one that does not respond delays the others by minutes
and loses only its own findings.
The requests that a provider lists are looked up in the ledger afterwards, so that none of a purchase that was sent in
between looks unknown. It writes a report and nothing else: no purchase is changed, adopted, cancelled or paid here.
Errors only delay it.
"""

import asyncio
import logging
from collections import Counter
from collections.abc import Callable, Coroutine, Iterable, Mapping, Set
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from math import ceil
from typing import Any

from contentgen_contract.records.audits import (
    MOST_FINDINGS,
    AuditFinding,
    AuditReport,
    AuditRequest,
    Coverage,
    FindingKind,
)
from contentgen_contract.resources.prices import PRICES, Price
from contentgen_operator.audit.comparison import (
    compare,
    possible_correlation_keys,
    wanted_checks,
    wanted_inputs,
)
from contentgen_operator.audit.facts import AuditedPurchase, AuditFacts, AuditLimits
from contentgen_operator.audit.metrics import gauges
from contentgen_operator.audit.store import AuditedLedger, Audits, ReadPurchases
from contentgen_operator.clock import utc_now
from contentgen_operator.providers.audited import AccountData, AccountReader
from contentgen_operator.providers.base import Unavailable
from contentgen_operator.state.provider_requests import ProviderRequest
from contentgen_operator.state.purchases import account_name, new_purchase_id

_log = logging.getLogger(__name__)
_AUDIT_SECONDS = 600.0  # for each four accounts
_ACCOUNT_SECONDS, _LOOKUP_SECONDS = 400.0, 80.0  # for one account; two times of lookups
_AT_ONCE = 4  # accounts
_MOST_MISSING = 20  # accounts that a report names
_AFTER_START, _DAY, _LEAST = timedelta(minutes=10), timedelta(days=1), timedelta(minutes=1)
_RETRY = timedelta(hours=1)  # after an audit that failed
_PLANNED_BEFORE = timedelta(days=2)  # its request: a suspended resource and a busy provider wait
_MOST_LOGGED = 20


@dataclass(frozen=True)
class AuditPlan:
    """Settings. `daily` False: only on request. `table` has the prices by model."""

    limits: AuditLimits = field(default_factory=AuditLimits)
    table: Mapping[str, Price] = field(default_factory=PRICES.copy)
    models: frozenset[str] = frozenset()  # whose history is read, besides those of the table and of the ledger
    daily: bool = True


AuditedAccount = Mapping[str, AccountReader]
"""Readers of one provider account, by provider."""
Models = Set[tuple[str, str]]
"""Providers and names of their models."""


class AccountAudit:
    """Audits of all accounts of all providers, one at a time."""

    def __init__(
        self,
        audits: Audits,
        ledger: AuditedLedger,
        accounts: Mapping[str | None, AuditedAccount],
        plan: AuditPlan,
        clock: Callable[[], datetime] = utc_now,
    ) -> None:
        """`accounts` are by name; None: the default one."""
        self._audits, self._ledger = audits, ledger
        self._accounts = accounts
        self._readers = {name: reader for account in accounts.values() for name, reader in account.items()}
        self._plan, self._clock = plan, clock
        self._not_before = clock() + _AFTER_START  # of a daily audit
        self._last_at: datetime | None = None  # begin of the last audit of this process
        self._last: AuditReport | None = None
        self._has_read = False  # the last report of an earlier process

    async def round(self) -> None:
        """One audit if it is due. Raises NotLeading, PyMongoError or TimeoutError, which delay the next one."""
        try:
            async with asyncio.timeout(_AUDIT_SECONDS * ceil(max(len(self._accounts), 1) / _AT_ONCE)):
                await self._round(self._clock())
        except Exception:
            self._not_before = self._clock() + _RETRY
            raise

    async def _round(self, now: datetime) -> None:
        if not self._has_read:
            self._last, self._has_read = await self._audits.last(), True
            self._show(self._last)
        request = await self._audits.request()
        if not self._is_due(request, self._last, now):
            return
        self._last_at = now
        report = await self.audit(now, request.token if request is not None else None, self._last)
        await self._audits.store(report)
        self._last = report
        self._show(report)
        _log_findings(report)

    def _show(self, report: AuditReport | None) -> None:
        if report is not None:
            gauges.findings = dict.fromkeys(FindingKind, 0) | report.counts
            gauges.audited_at = report.finished_at.timestamp() if self._plan.daily else None

    def _is_due(self, request: AuditRequest | None, last: AuditReport | None, now: datetime) -> bool:
        if request is not None:
            return self._last_at is None or not timedelta() <= now - self._last_at < _LEAST
        if not self._plan.daily or now < self._not_before:
            return False
        # A report of the future: the clock was set back.
        return last is None or not timedelta() <= now - last.started_at < _DAY

    async def audit(self, now: datetime, token: str | None, last: AuditReport | None) -> AuditReport:
        """One audit. Raises PyMongoError; what a provider does not show is named in the report."""
        facts = await self._facts(now)
        found = await asyncio.to_thread(compare, facts, self._plan.limits)
        findings = _with_first_seen(found, last, now)
        return AuditReport(
            report_id=new_purchase_id(),
            started_at=now,
            finished_at=max(self._clock(), now),
            since=facts.since,
            request=token,
            purchases=sum(purchase.purchase.created_at >= facts.since for purchase in facts.purchases),
            coverage=facts.coverage,
            counts=dict(Counter(finding.kind.value for finding in findings)),
            new=sum(finding.first_seen_at == now for finding in findings),
            findings=findings[:MOST_FINDINGS],
        )

    async def _facts(self, now: datetime) -> AuditFacts:
        since = now - self._plan.limits.window
        read = await self._ledger.since(since - _PLANNED_BEFORE)
        models = {(entry.purchase.provider, entry.purchase.model) for entry in read.entries}
        provider_of = self._plan.limits.providers.of_model
        models |= {(provider_of(model), model) for model in (*self._plan.models, *self._plan.table)}
        facts = await self._provider_facts(now, since, models)
        facts = await self._with_ledger(facts, read)
        looked_up: dict[str, ProviderRequest | None] = {}
        for wanted in (wanted_inputs, wanted_checks):
            requests = wanted(facts, self._plan.limits)
            groups = [[request for request in requests if request.account == account] for account in self._accounts]
            await _together(self._look_up(group, looked_up) for group in groups)
        inputs = [request.input for request in (*facts.requests, *looked_up.values()) if request is not None]
        keys = {key for source_input in inputs for key in possible_correlation_keys(source_input)}
        same = await self._ledger.of_correlation_keys(keys)
        return facts.model_copy(update={"looked_up": looked_up, "purchases": _merged(facts.purchases, same)})

    async def _provider_facts(self, now: datetime, since: datetime, models: Models) -> AuditFacts:
        found: dict[str | None, AccountData] = {}

        async def read(account: str | None) -> None:
            found[account] = await self._read(account, models, since, now)

        await _together(map(read, self._accounts))
        accounts = {name: found[name] for name in self._accounts}
        return AuditFacts(
            now=now,
            since=since,
            requests=tuple(
                request.model_copy(update={"account": name})
                for name, one in accounts.items()
                for request in one.requests
            ),
            bills=tuple(
                bill.model_copy(update={"account": name}) for name, one in accounts.items() for bill in one.bills
            ),
            table=self._plan.table,
            listed=accounts[None].prices if None in accounts else {},
            listed_of={name: one.prices for name, one in accounts.items() if name is not None},
            coverage=tuple(
                each.model_copy(update={"account": account_name(name)})
                for name, one in accounts.items()
                for each in one.coverage
            ),
            lists_open=frozenset(name for name, reader in self._readers.items() if reader.lists_open),
        )

    async def _read(self, account: str | None, models: Models, since: datetime, now: datetime) -> AccountData:
        readers = self._accounts[account]
        try:
            async with asyncio.timeout(_ACCOUNT_SECONDS):
                read = [
                    await reader.read([model for provider, model in models if provider == name], since, now)
                    for name, reader in readers.items()
                ]
        except TimeoutError:
            problem = f"it could not be read within {_ACCOUNT_SECONDS:.0f} s"
            return AccountData(coverage=[part for name in readers for part in self._unread(name, problem)])
        return AccountData(
            [request for one in read for request in one.requests],
            [bill for one in read for bill in one.bills],
            {model: price for one in read for model, price in one.prices.items()},
            [each for one in read for each in one.coverage],
        )

    def _unread(self, provider: str, problem: str) -> Iterable[Coverage]:
        """Coverage of what an audit reads at a provider, as not read."""
        subjects = self._readers[provider].subjects if provider in self._readers else ()
        return (Coverage(provider=provider, subject=subject, complete=False, problem=problem) for subject in subjects)

    async def _with_ledger(self, facts: AuditFacts, read: ReadPurchases) -> AuditFacts:
        """Facts with the purchases of the time, and those of any age that the requests and bills are of."""
        named = {(request.provider, request.request_id) for request in facts.requests}
        named |= {(bill.provider, bill.request_id) for bill in facts.bills}
        known = {entry.purchase.request_id for entry in read.entries}
        older = await self._ledger.of_requests({request_id for _, request_id in named} - known)
        bound = await self._ledger.bound_requests(f"{provider}/{request_id}" for provider, request_id in named)
        coverage = (*facts.coverage, *self._missing_accounts(read.entries))
        if not read.complete:
            problem = "the ledger has more purchases than one audit reads, or malformed ones"
            lists = [each.model_copy(update={"complete": False, "problem": problem}) for each in coverage]
            coverage = tuple(lists)
        purchases = _merged(read.entries, older)
        return facts.model_copy(update={"purchases": purchases, "bound_requests": bound, "coverage": coverage})

    def _missing_accounts(self, entries: Iterable[AuditedPurchase]) -> Iterable[Coverage]:
        """Coverage of accounts that purchases of this installation name and that it has no keys for."""
        bought = {
            (entry.purchase.account, entry.purchase.provider)
            for entry in entries
            if entry.purchase.operator_class in (None, self._plan.limits.operator_class)
        }
        missing = {(name, provider) for name, provider in bought if name is not None and name not in self._accounts}
        problem = "the account is not among providers.accounts; its purchases are not audited"
        for name, provider in sorted(missing)[:_MOST_MISSING]:
            yield from (each.model_copy(update={"account": name}) for each in self._unread(provider, problem))

    async def _look_up(self, requests: Iterable[ProviderRequest], found: dict[str, ProviderRequest | None]) -> None:
        """Read requests of one account."""
        with suppress(TimeoutError):  # those that were not read are no finding of absence
            async with asyncio.timeout(_LOOKUP_SECONDS):
                for request in requests:
                    reader = self._accounts[request.account][request.provider]
                    try:
                        found[request.identity] = await reader.request(request.model, request.request_id)
                    except Unavailable as error:
                        _log.info("request %s cannot be read: %s", request.request_id, error)


async def _together(works: Iterable[Coroutine[Any, Any, None]]) -> None:
    """Wait for all of them, a few at a time."""
    free = asyncio.Semaphore(_AT_ONCE)

    async def one(work: Coroutine[Any, Any, None]) -> None:
        async with free:
            await work

    async with asyncio.TaskGroup() as group:
        for each_work in works:
            group.create_task(one(each_work))


def _merged(first: Iterable[AuditedPurchase], second: Iterable[AuditedPurchase]) -> tuple[AuditedPurchase, ...]:
    return tuple({each.key: each for each in (*second, *first)}.values())


def _with_first_seen(
    found: Iterable[AuditFinding], last: AuditReport | None, now: datetime
) -> tuple[AuditFinding, ...]:
    seen = (
        {finding.identity: finding.first_seen_at or last.started_at for finding in last.findings}
        if last is not None
        else {}
    )
    return tuple(document.model_copy(update={"first_seen_at": seen.get(document.identity, now)}) for document in found)


def _log_findings(report: AuditReport) -> None:
    unread = [
        f"{covered.provider} {covered.subject} of account {covered.account}: {covered.problem}"
        for covered in report.coverage
        if not covered.complete
    ]
    level = logging.WARNING if report.new else logging.INFO
    _log.log(
        level,
        "audit: %d findings, %d of them new; %d purchases since %s%s",
        sum(report.counts.values()),
        report.new,
        report.purchases,
        f"{report.since:%Y-%m-%d}",
        f"; not read: {'; '.join(unread)}" if unread else "",
        extra={"audit": report.report_id},
    )
    new = [finding for finding in report.findings if finding.first_seen_at == report.started_at]
    for each in new[:_MOST_LOGGED]:
        request = f" request {each.request_id}" if each.request_id else ""
        _log.warning("audit: %s: %s account %s%s: %s", each.kind.value, each.provider, each.account, request, each.text)
