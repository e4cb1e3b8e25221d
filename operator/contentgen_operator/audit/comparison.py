"""Comparison of a provider's requests and bills with the ledger: facts → findings. Pure.

A request that is not in the ledger is no finding if a purchase whose reply was lost has its input: each such purchase
accounts for one request of its account. Absence at a provider is a finding only if the whole list of the account that
the purchase names could be read. A request of any account is known if any purchase of the ledger names it.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cached_property
from itertools import chain
from typing import Any, TypeVar
from urllib.parse import unquote

from contentgen_contract.records.audits import AuditFinding, AuditSubject, FindingKind
from contentgen_contract.resources.prices import USD, Price, Unit, amount
from contentgen_operator.audit.facts import AuditedPurchase, AuditFacts, AuditLimits
from contentgen_operator.state.provider_requests import ProviderBill, ProviderRequest, seed_correlation_key
from contentgen_operator.state.purchases import Purchase, PurchaseState, StoredKey, account_name

T = TypeVar("T")
MOST_LOOKUPS = 50
"""Reads of single requests per audit and account, of each of the two kinds."""
_CLOCKS = timedelta(minutes=2)  # difference of a provider's clock from ours
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_SUCCESSFUL = (PurchaseState.SUCCEEDED, PurchaseState.COLLECTED, PurchaseState.DISCARDED)
_LISTED, _LISTED_OPEN = (*_SUCCESSFUL, PurchaseState.FAILED), (*_SUCCESSFUL, PurchaseState.SUBMITTED)
_SHARE, _LEAST_MICROS = 0.02, 1000.0  # difference of amounts that is no finding: rounding of units and prices
_SAME_PRICE = 0.001
_MOST_PARTS = 30  # of a URL's path


def compare(facts: AuditFacts, limits: AuditLimits) -> tuple[AuditFinding, ...]:
    """All differences, newest first."""
    view = _View(facts, limits)
    prices = {(change.account, change.model): change for change in _price_changes(view)}
    found = chain(_unknown(view), _missing(view), _billed_differently(view, prices), _not_billed(view), prices.values())
    return tuple(sorted(found, key=lambda each: (each.at or _EPOCH, each.identity), reverse=True))


def wanted_inputs(facts: AuditFacts, limits: AuditLimits) -> tuple[ProviderRequest, ...]:
    """Unknown requests whose input is to be read, as it may be that of a purchase: of a model whose request is lost
    first, newest first.
    """
    view = _View(facts, limits)
    bought = {(purchase.purchase.provider, purchase.purchase.model) for purchase in facts.purchases}
    lost = {purchase.purchase.model for purchase in facts.purchases if _is_lost(purchase.purchase)}
    unread = [
        request
        for request in reversed(view.unknown)
        if request.input is None
        and request.identity not in facts.looked_up
        and (request.provider, request.model) in bought
    ]
    return _some_of_each_account(sorted(unread, key=lambda each: each.model not in lost))


def wanted_checks(facts: AuditFacts, limits: AuditLimits) -> tuple[ProviderRequest, ...]:
    """Requests of the ledger that a provider's list does not have, to be read by their ids."""
    view = _View(facts, limits)
    asked = (_request_of(listed.purchase) for listed in view.unlisted)
    return _some_of_each_account(request for request in asked if request.identity not in facts.looked_up)


def _some_of_each_account(requests: Iterable[ProviderRequest]) -> tuple[ProviderRequest, ...]:
    """The first of each account, so that many unknown requests of one account leave reads for the others."""
    groups = _grouped((account_name(request.account), request) for request in requests)
    return tuple(each for group in groups.values() for each in group[:MOST_LOOKUPS])


def possible_correlation_keys(given: Mapping[str, Any] | None) -> frozenset[str]:
    """Correlation keys that a request with this input may have: of a seed, or the key of a file's URL."""
    if given is None:
        return frozenset()
    keys = {
        key for value in given.values() if isinstance(value, str) and "://" in value for key in _possible_keys(value)
    }
    return frozenset(keys | ({seed_correlation_key(dict(given))} if "seed" in given else set()))


def _possible_keys(url: str) -> Iterator[str]:
    """Ends of a URL's path: the bucket is in the path or in the host, and a store may have a path of its own."""
    parts = unquote(url.split("?", 1)[0].split("://", 1)[-1]).split("/")[1:]
    yield from ("/".join(parts[start:]) for start in range(min(len(parts), _MOST_PARTS)))


class _View:
    """Facts by what they are looked up by."""

    def __init__(self, facts: AuditFacts, limits: AuditLimits) -> None:
        self.facts, self.limits = facts, limits
        self.by_request = _grouped(
            (f"{purchase.purchase.provider}/{purchase.purchase.request_id}", purchase)
            for purchase in facts.purchases
            if purchase.purchase.request_id
        )
        self.by_correlation_key = _grouped(
            (f"{purchase.purchase.provider}/{purchase.purchase.correlation_key}", purchase)
            for purchase in facts.purchases
        )
        self.listed = {request.identity for request in facts.requests}
        self.bills = _grouped((f"{each.provider}/{each.request_id}", each) for each in _distinct(facts.bills))
        of_bills = ((f"{bill.provider}/{bill.request_id}", bill.account) for bill in facts.bills)
        self.accounts = _grouped(chain(((request.identity, request.account) for request in facts.requests), of_bills))

    @cached_property
    def own(self) -> tuple[AuditedPurchase, ...]:
        """Purchases of this installation: others may use accounts of theirs."""
        known = (None, self.limits.operator_class)
        return tuple(purchase for purchase in self.facts.purchases if purchase.purchase.operator_class in known)

    @cached_property
    def unknown(self) -> tuple[ProviderRequest, ...]:
        """Requests and bills of the audited time that no purchase names, oldest first."""
        billed = (
            ProviderRequest(
                provider=rows[0].provider,
                model=rows[0].model,
                request_id=rows[0].request_id,
                account=rows[0].account,
                sent_at=min((row.at for row in rows if row.at is not None), default=None),
            )
            for identity, rows in self.bills.items()
            if identity not in self.listed
        )
        found = (
            self._with_input(request) for request in chain(self.facts.requests, billed) if self._is_unknown(request)
        )
        distinct = {request.identity: request for request in found}
        return tuple(sorted(distinct.values(), key=lambda each: (each.sent_at or _EPOCH, each.request_id)))

    def _with_input(self, request: ProviderRequest) -> ProviderRequest:
        read = self.facts.looked_up.get(request.identity)
        return request if read is None else request.model_copy(update={"input": read.input})

    def _is_unknown(self, request: ProviderRequest) -> bool:
        in_time = request.sent_at is None or (self.facts.since <= request.sent_at <= self.facts.now - self.limits.grace)
        return in_time and request.identity not in self.by_request and request.identity not in self.facts.bound_requests

    @cached_property
    def unlisted(self) -> tuple[AuditedPurchase, ...]:
        """Purchases that a complete list of the provider should have and has not."""
        return tuple(
            own
            for own in self.own
            if own.purchase.request_id
            and f"{own.purchase.provider}/{own.purchase.request_id}" not in self.listed
            and self.is_complete(own.purchase.provider, AuditSubject.REQUESTS, own.purchase.account)
            and _should_be_listed(own.purchase, self.facts, self.limits)
        )

    def same_input(self, request: ProviderRequest) -> list[AuditedPurchase]:
        """Purchases with the correlation key of a request that were planned before it was sent."""
        keys = sorted(possible_correlation_keys(request.input))
        found = (each for key in keys for each in self.by_correlation_key.get(f"{request.provider}/{key}", ()))
        return [each_request for each_request in found if _may_be_of(each_request.purchase, request)]

    def is_complete(self, provider: str, subject: AuditSubject, account: str | None) -> bool:
        """True if this part of the account was read completely: false for an account without a key here."""
        part = provider, subject, account_name(account)
        read = [each for each in self.facts.coverage if (each.provider, each.subject, each.account) == part]
        return bool(read) and all(each.complete for each in read)

    def total(self, identity: str) -> int | None:
        """Sum of a request's bills, as the settlement rounds it; None: no bill."""
        rows = self.bills.get(identity)
        return amount(1, sum(row.micros for row in rows)) if rows else None


def _distinct(bills: Iterable[ProviderBill]) -> tuple[ProviderBill, ...]:
    """Rows without repetitions: pages overlap if a row is added while they are read."""
    rows = {(bill.provider, bill.request_id, bill.at, bill.units, bill.micros): bill for bill in bills}
    return tuple(rows.values())


def _grouped(pairs: Iterable[tuple[str, T]]) -> dict[str, list[T]]:
    groups: dict[str, list[T]] = defaultdict(list)
    for key, value in pairs:
        groups[key].append(value)
    return dict(groups)


# Requests that nobody asked for


def _unknown(view: _View) -> Iterator[AuditFinding]:
    lost = [purchase for purchase in view.facts.purchases if _is_lost(purchase.purchase)]
    for request in view.unknown:
        same = view.same_input(request)
        accounts = view.accounts[request.identity]  # the lists of two accounts of one key have the same requests
        excuse = next((each for each in same if each in lost and each.purchase.account in accounts), None)
        if excuse is not None:  # the operator searches for it, and each purchase accounts for one request
            lost.remove(excuse)
            continue
        bought = next((each for each in same if each.purchase.request_id), None)
        if bought is not None:
            text = f"a second request with the input of purchase {bought.purchase.purchase_id}, whose request is "
            yield _finding(FindingKind.BILLED_TWICE, view, request, text + str(bought.purchase.request_id), bought)
        else:
            kind = FindingKind.OTHER_USERS_REQUEST if view.limits.shared_account else FindingKind.UNKNOWN_REQUEST
            unsent = same[0] if same else None
            yield _finding(kind, view, request, _unknown_text(view, request, unsent), unsent)


def _unknown_text(view: _View, request: ProviderRequest, unsent: AuditedPurchase | None) -> str:
    if unsent is not None:
        return f"purchase {unsent.purchase.purchase_id} has its input and is {unsent.purchase.state.value}"
    if view.limits.shared_account:
        return "no purchase of this installation; others use the account"
    where = "the provider's history" if request.identity in view.listed else "the provider's bills"
    return f"in {where}, and no purchase of this installation: another user of the account, or of the key"


def _is_lost(purchase: Purchase) -> bool:
    """True if it may have been sent and its request is not known."""
    return purchase.state is PurchaseState.INTENT and not purchase.planned and not purchase.request_id


def _may_be_of(purchase: Purchase, request: ProviderRequest) -> bool:
    if purchase.model != request.model:
        return False
    return request.sent_at is None or request.sent_at >= purchase.created_at - _CLOCKS


# Requests that the provider does not know


def _should_be_listed(purchase: Purchase, facts: AuditFacts, limits: AuditLimits) -> bool:
    sent = purchase.submitted_at or purchase.sent_at or purchase.created_at
    lists_open = purchase.provider in facts.lists_open
    if sent < facts.since + _CLOCKS or purchase.state not in (_LISTED_OPEN if lists_open else _LISTED):
        return False
    since = sent if lists_open else _ended_at(purchase)
    return since <= facts.now - limits.listed_after


def _missing(view: _View) -> Iterator[AuditFinding]:
    for listed in view.unlisted:
        request = _request_of(listed.purchase)
        if view.facts.looked_up.get(request.identity, request) is None and request.identity not in view.bills:
            text = f"the ledger has it as {listed.purchase.state.value}, and the provider does not know its id"
            yield _finding(FindingKind.MISSING_REQUEST, view, request, text, listed)


def _request_of(purchase: Purchase) -> ProviderRequest:
    return ProviderRequest(
        provider=purchase.provider,
        model=purchase.model,
        request_id=purchase.request_id or "",
        sent_at=purchase.submitted_at or purchase.sent_at,
        account=purchase.account,
    )


def _ended_at(purchase: Purchase) -> datetime:
    return purchase.finished_at or purchase.changed_at


# Bills


def _not_billed(view: _View) -> Iterator[AuditFinding]:
    latest = view.facts.now - view.limits.unbilled_after
    for own in view.own:
        purchase = own.purchase
        if not purchase.request_id or purchase.state not in _SUCCESSFUL:
            continue
        if not view.is_complete(purchase.provider, AuditSubject.BILLS, purchase.account):
            continue
        if not view.facts.since + _CLOCKS <= _ended_at(purchase) <= latest:
            continue
        free = purchase.billable_units == 0 or purchase.billed_micros is not None
        if not free and f"{purchase.provider}/{purchase.request_id}" not in view.bills:
            days = (view.facts.now - _ended_at(purchase)).days
            text = f"it ended {days} days ago, and {purchase.provider} has no bill for it"
            yield _finding(FindingKind.NOT_BILLED, view, _request_of(purchase), text, own)


def _billed_differently(view: _View, prices: Mapping[tuple[str, str], AuditFinding]) -> Iterator[AuditFinding]:
    for own in view.own:
        request = _request_of(own.purchase)
        rows = view.bills.get(request.identity) if own.purchase.request_id else None
        if not rows:
            continue
        if (twice := _repeated(rows)) is not None:
            text = f"{twice} rows of the bill are equal: {_dollars(rows[0].micros)} each"
            yield _finding(FindingKind.BILLED_TWICE, view, request, text, own)
        elif text := _difference(
            view, own.purchase, rows, prices.get((account_name(rows[0].account), own.purchase.model))
        ):
            yield _finding(FindingKind.AMOUNT_DIFFERS, view, request, text, own)


def _repeated(rows: Sequence[ProviderBill]) -> int | None:
    """Number of equal rows with a charge; None: no repetition."""
    same = _grouped((f"{row.model} {row.units} {row.micros}", row) for row in rows if row.micros > 0)
    return max((len(each) for each in same.values() if len(each) > 1), default=None)


def _difference(view: _View, purchase: Purchase, rows: Sequence[ProviderBill], change: AuditFinding | None) -> str:
    """Difference of a request's bill from the ledger; empty: none, or a price change explains it."""
    total = view.total(f"{purchase.provider}/{purchase.request_id}")
    if purchase.billed_micros is not None and purchase.billed_micros != total:
        return f"the bill is {_dollars(total or 0)}, and was {_dollars(purchase.billed_micros)} when it was read before"
    expected = expected_micros(purchase)
    before_discount = sum(row.micros if row.list_micros is None else row.list_micros for row in rows)
    if expected is None or _is_near(before_discount, expected) or _is_near(before_discount, expected * _ratio(change)):
        return ""
    return f"billed {_dollars(before_discount)} before discounts; the price table gives {_dollars(expected)}"


def _ratio(change: AuditFinding | None) -> float:
    """New price by old price; 1 without a change."""
    if change is None or not change.expected_micros or change.billed_micros is None:
        return 1.0
    return change.billed_micros / change.expected_micros


def expected_micros(purchase: Purchase) -> int | None:
    """Amount by the provider's units and the unit price at which it was bought, else the estimate."""
    if purchase.billing and purchase.unit_micros is not None and purchase.billable_units:
        return amount(purchase.unit_micros, purchase.billable_units)
    return purchase.estimated_micros


def _is_near(first: float, second: float) -> bool:
    return abs(first - second) <= max(_LEAST_MICROS, _SHARE * max(abs(first), abs(second)))


# Prices


def _price_changes(view: _View) -> Iterator[AuditFinding]:
    """One finding per account and model: the newest bill's unit price, or the provider's price list, against the price
    table.
    """
    priced = [bill for bill in view.facts.bills if bill.unit_micros is not None]
    named = {each.account for each in priced if each.account is not None} | set(view.facts.listed_of)
    own = {audited.purchase.model for audited in view.own}
    for account in (None, *sorted(named)):
        rows = _grouped((each.model, each) for each in priced if each.account == account)
        listed = view.facts.listed if account is None else view.facts.listed_of.get(account, {})
        for model in sorted((set(rows) | set(listed)) & (own | set(view.facts.table))):
            newest_first = sorted(rows.get(model, ()), key=lambda each: each.at or _EPOCH, reverse=True)
            change = _price_change(view, listed.get(model), model, newest_first)
            if change is not None:
                yield change.model_copy(update={"account": account_name(account)})


def _price_change(view: _View, listed: Price | None, model: str, rows: Sequence[ProviderBill]) -> AuditFinding | None:
    table, newest = view.facts.table.get(model), rows[0] if rows else None
    if table is not None and newest is not None and table.billing:
        old = _UnitPrice(table.micros, table.source, table.unit)
        return _changed(view, model, old, _UnitPrice(newest.unit_micros, "bills", at=newest.at))
    if table is not None and listed is not None and listed.unit is table.unit is not Unit.OTHER:
        old = _UnitPrice(table.micros, table.source, table.unit)
        if table.micros <= listed.micros <= table.maximum_micros:  # published prices disagree, and this is one of them
            return None
        return _changed(view, model, old, _UnitPrice(listed.micros, "price list"))
    if newest is not None:  # the units of the table are not the provider's
        earlier = next((row for row in rows if not _same_price(row.unit_micros, newest.unit_micros)), None)
        if earlier is not None:
            old = _UnitPrice(earlier.unit_micros, "an earlier bill")
            return _changed(view, model, old, _UnitPrice(newest.unit_micros, "bills", at=newest.at))
    return None


@dataclass(frozen=True)
class _UnitPrice:
    micros: float | None
    source: str
    unit: Unit | None = None
    at: datetime | None = None


def _changed(view: _View, model: str, old: _UnitPrice, new: _UnitPrice) -> AuditFinding | None:
    if old.micros is None or new.micros is None or _same_price(old.micros, new.micros):
        return None
    provider, unit = view.limits.providers.of_model(model), old.unit.value if old.unit is not None else "unit"
    source = f"{provider}'s {new.source}"
    return AuditFinding(
        kind=FindingKind.PRICE_CHANGED,
        provider=provider,
        model=model,
        at=new.at,
        expected_micros=round(old.micros),
        billed_micros=round(new.micros),
        text=f"{model}: {_dollars(old.micros)} by {old.source}, {_dollars(new.micros)} by {source}, per {unit}",
    )


def _same_price(first: float | None, second: float | None) -> bool:
    if first is None or second is None:
        return first is second
    return abs(first - second) <= _SAME_PRICE * max(abs(first), abs(second))


def _dollars(micros: float) -> str:
    return f"{micros / USD:.6f}".rstrip("0").rstrip(".") + " USD"


# Findings


def _finding(
    kind: FindingKind, view: _View, request: ProviderRequest, text: str, entry: AuditedPurchase | None = None
) -> AuditFinding:
    return AuditFinding(
        kind=kind,
        provider=request.provider,
        account=account_name(request.account),
        model=request.model,
        request_id=request.request_id,
        at=request.sent_at,
        billed_micros=view.total(request.identity),
        text=text,
        **(_of_purchase(entry) if entry is not None else {}),
    )


def _of_purchase(entry: AuditedPurchase) -> dict[str, Any]:
    fields: dict[str, Any] = {
        "purchase_id": entry.purchase.purchase_id,
        "expected_micros": expected_micros(entry.purchase),
    }
    try:
        key = StoredKey.parse(entry.key)
    except ValueError:
        return fields
    return fields | {"namespace": key.namespace, "resource_kind": key.kind.value, "name": key.name}
