"""Budgets as seen by one run: the windows that count it, their usage, and the claims that its purchase needs. Pure.

A purchase counts in the windows of the time of its claim. Amounts are whole micro-dollars.
"""

import hashlib
from collections.abc import Mapping
from datetime import datetime

from contentgen_contract.base import Value
from contentgen_contract.resources.content_budget import ContentBudget, LimitWindow, OnExceeded, UnknownPrice, micros_of
from contentgen_operator.state.effects import Effect, EffectOrder
from contentgen_operator.state.observed import FeatureFacts


class WindowRef(Value):
    """One window of a budget: a document of the collection `budgets`."""

    id: str  # the budget's uid, and the window's label
    budget: str  # its name
    uid: str
    window: LimitWindow
    limit: int
    warn_percent: int
    resets_at: datetime | None  # None: never


class WindowUsage(Value):
    """Usage of a window, with the claim of one purchase."""

    held: int = 0  # claimed and spent
    claimed: int | None = None  # by the purchase; None: it has no claim
    token: str = ""  # of that claim


class BudgetWindow(Value):
    """A window that counts the run, and its usage as observed."""

    ref: WindowRef
    usage: WindowUsage = WindowUsage()

    def has_room(self, micros: int) -> bool:
        """True if the purchase has its claim, or the window has room for it."""
        return self.ref.limit - self.usage.held + (self.usage.claimed or 0) >= micros


class MatchingBudget(Value):
    """Budget that counts the run."""

    name: str
    readable: bool = True  # False: its spec is of a newer release, so nothing is paid
    max_per_run: int | None = None
    on_exceeded: OnExceeded = OnExceeded.WAIT
    unknown_price: UnknownPrice = UnknownPrice.REFUSE
    windows: tuple[BudgetWindow, ...] = ()


class BudgetFacts(FeatureFacts):
    """Budgets that count a run."""

    matching: tuple[MatchingBudget, ...] = ()

    @property
    def windows(self) -> tuple[BudgetWindow, ...]:
        """Windows of all of them."""
        return tuple(window for each in self.matching for window in each.windows)


class BudgetClaim(Value):
    """Amount to claim in a window."""

    ref: WindowRef
    micros: int
    least: int = 0  # what the window must have left, where that is more


class BudgetClaims(Effect):
    """Claims of one purchase, in the order in which they are made: the same for all purchases. They are made or renewed
    before the reservation and the payment; of a paid purchase, before the ledger has it.
    """

    purchase: str  # `_id` in the ledger
    each: tuple[BudgetClaim, ...]
    paid: bool = False  # the money is spent already, so the claims are made whatever the limits

    @property
    def order(self) -> EffectOrder:
        """Place among the effects of the plan."""
        return EffectOrder.CLAIM_PAID if self.paid else EffectOrder.CLAIM


class BudgetRelease(Value):
    """Claim to release, unless somebody has renewed it since it was read."""

    purchase: str
    window: str
    token: str


class BudgetReleases(Effect):
    """Claims to release, of a run that is not paid now."""

    ORDER = EffectOrder.RELEASE_CLAIMS

    each: tuple[BudgetRelease, ...]


def claim_key(purchase: str) -> str:
    """Name of a purchase's claim in a window: the key itself has dots, which MongoDB reads as a path."""
    return hashlib.sha256(purchase.encode()).hexdigest()[:32]


def windows_of(budget: ContentBudget, now: datetime) -> tuple[WindowRef, ...]:
    """Current windows of a budget."""
    if budget.spec is None:
        return ()
    return tuple(
        WindowRef(
            id=f"{budget.uid}/{window.label(now)}",
            budget=budget.name,
            uid=budget.uid,
            window=window,
            limit=limit,
            warn_percent=budget.spec.warn_at_percent,
            resets_at=window.resets(now),
        )
        for window, limit in budget.spec.micros.items()
    )


def matching_budget(
    budget: ContentBudget, windows: tuple[WindowRef, ...], usage: Mapping[str, WindowUsage]
) -> MatchingBudget:
    """The budget with the usage of its windows, by id."""
    spec = budget.spec
    if spec is None:
        return MatchingBudget(name=budget.name, readable=False)
    return MatchingBudget(
        name=budget.name,
        max_per_run=micros_of(spec.max_per_run) if spec.max_per_run is not None else None,
        on_exceeded=spec.on_exceeded,
        unknown_price=spec.unknown_price,
        windows=tuple(BudgetWindow(ref=window, usage=usage.get(window.id, WindowUsage())) for window in windows),
    )
