"""Budgets: sums ended purchases up instead of their claims, releases those of unpaid ones, and shows the usage.

A round looks at windows with open claims. A thorough round, at the start and every 15 minutes, sums all recent windows
again: charges become known up to 30 days after a purchase, and a store may have been restored from a backup.
"""

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from contentgen_contract.api_paths import CONTENT_BUDGETS
from contentgen_contract.resources.content_budget import BudgetStatus, ContentBudget, WindowStatus, dollars_of
from contentgen_contract.resources.status import ConditionStatus
from contentgen_operator.budgets.cluster import Budgets
from contentgen_operator.budgets.metrics import gauges
from contentgen_operator.budgets.store import BudgetStore, WindowTotals
from contentgen_operator.budgets.values import WindowRef, windows_of
from contentgen_operator.clock import utc_now
from contentgen_operator.kube.api import Kube
from contentgen_operator.leader.leadership import Check, unchecked
from contentgen_runtime.kube import API_ERRORS, Conflict, explain

_log = logging.getLogger(__name__)
_UNREADABLE = "this operator cannot read the spec, and refuses all runs; the spec may be of a newer release"
_THOROUGH = timedelta(minutes=15)
_LATEST_CHARGE = timedelta(days=33)  # after the end of a window


@dataclass(kw_only=True)
class BudgetKeeper:
    """Rounds over the windows of all budgets."""

    budgets: Budgets
    store: BudgetStore
    kube: Kube
    check: Check = unchecked  # raises Conflict if this process does not lead
    clock: Callable[[], datetime] = utc_now
    _thorough_at: datetime | None = field(default=None, init=False)

    async def round(self) -> None:
        """One round. Raises NotLeading, PyMongoError, or one of API_ERRORS."""
        await self._sum_up(self.clock())
        await self._show(self.clock())

    async def _sum_up(self, now: datetime) -> None:
        last = self._thorough_at
        thorough = last is None or not timedelta(0) <= now - last < _THOROUGH
        windows = await (self.store.recent_windows(now - _LATEST_CHARGE) if thorough else self.store.open_windows())
        for window in windows:
            await self.store.sum_up(window, now, thorough=thorough)
        if thorough:
            self._thorough_at = now

    async def _show(self, now: datetime) -> None:
        """Write the usage of the current windows into the metrics and the statuses."""
        budgets = await self.budgets.all()
        refs = {budget.uid: windows_of(budget, now) for budget in budgets}
        totals = await self.store.totals([ref.id for of_budget in refs.values() for ref in of_budget])
        gauges.windows = [(ref, totals[ref.id]) for of_budget in refs.values() for ref in of_budget]
        for budget in budgets:
            await self._write(budget, status_of(budget, refs[budget.uid], totals, now))

    async def _write(self, budget: ContentBudget, status: BudgetStatus) -> None:
        wanted = status.model_dump(mode="json", by_alias=True, exclude_none=True)
        if wanted == budget.status:
            return
        self.check()
        metadata = {"name": budget.name, "uid": budget.uid, "resourceVersion": budget.resource_version}
        body: dict[str, Any] = {
            "apiVersion": CONTENT_BUDGETS.api_version,
            "kind": CONTENT_BUDGETS.kind,
            "metadata": metadata,
            "status": wanted,
        }
        try:
            await self.kube.put_budget_status(budget.name, body)
        except Conflict:  # changed since it was listed; the next round writes
            return
        except API_ERRORS as error:
            _log.warning("the status of ContentBudget %s was not written: %s", budget.name, explain(error))


def status_of(
    budget: ContentBudget, refs: Iterable[WindowRef], totals: Mapping[str, WindowTotals], now: datetime
) -> BudgetStatus:
    """Status of a budget, with the usage of its current windows."""
    windows = tuple(_window_status(ref, totals[ref.id]) for ref in refs)
    fullest = max(windows, key=_fullness, default=None)
    display = f"${fullest.spent}+{fullest.reserved} of ${fullest.limit}" if fullest is not None else ""
    return BudgetStatus(
        observed_generation=budget.generation,
        display=display,
        windows=windows,
        conditions=_conditions(budget, windows, now),
    )


def _conditions(budget: ContentBudget, windows: Sequence[WindowStatus], now: datetime) -> tuple[ConditionStatus, ...]:
    """Conditions; lastTransitionTime changes only with a condition's status."""
    full = ", ".join(window.window for window in windows if float(window.remaining) == 0)
    warned = ", ".join(window.window for window in windows if window.warning)
    readable = budget.spec is not None
    found = (
        (
            "Ready",
            readable,
            "Counting" if readable else "SpecUnreadable",
            "runs are counted" if readable else _UNREADABLE,
        ),
        ("Warning", bool(warned), "AboveWarning" if warned else "BelowWarning", warned),
        ("Exhausted", bool(full), "LimitReached" if full else "MoneyLeft", full),
    )
    before = {condition.get("type"): condition for condition in budget.status.get("conditions") or ()}
    return tuple(
        ConditionStatus(
            type=type_,
            status=str(value),
            reason=reason,
            message=message,
            last_transition_time=_last_transition(before.get(type_) or {}, str(value)) or now.replace(microsecond=0),
            observed_generation=budget.generation,
        )
        for type_, value, reason, message in found
    )


def _last_transition(before: Mapping[str, Any], status: str) -> datetime | None:
    """Time of the last change, if the status is the same still."""
    given = before.get("lastTransitionTime")
    return datetime.fromisoformat(str(given)) if given and before.get("status") == status else None


def _window_status(ref: WindowRef, totals: WindowTotals) -> WindowStatus:
    return WindowStatus(
        window=ref.id.partition("/")[2],
        limit=dollars_of(ref.limit),
        reserved=dollars_of(totals.reserved),
        spent=dollars_of(totals.spent),
        remaining=dollars_of(max(ref.limit - totals.held, 0)),
        overrun=dollars_of(totals.overrun),
        warning=totals.warns(ref),
        resets_at=ref.resets_at,
    )


def _fullness(window: WindowStatus) -> float:
    limit = float(window.limit)
    return (float(window.reserved) + float(window.spent)) / limit if limit else float("inf")
