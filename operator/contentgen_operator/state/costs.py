"""Cost of purchases: one purchase, all attempts of a run, all runs of a resource. Pure.

Only the provider's own figures make a cost known. An estimate stays an estimate, and an unknown cost is never 0.
"""

from collections.abc import Iterable
from typing import Any

from contentgen_contract.base import Value
from contentgen_contract.resources.models import TRANSCRIBER
from contentgen_contract.resources.prices import SECONDS, CostSource, Price, amount, format_dollars, unit_rate
from contentgen_contract.resources.spec import Spec
from contentgen_operator.state.purchases import Purchase, PurchaseState

__all__ = ["CostSource", "PurchaseCost", "TotalCost", "cost_of", "ending_fields", "final_cost", "price_fields", "total"]
_SOURCE_CHARACTERS = 64
_PAID = (PurchaseState.SUCCEEDED, PurchaseState.COLLECTED, PurchaseState.DISCARDED)
_OPEN = (PurchaseState.INTENT, PurchaseState.SUBMITTED)


class PurchaseCost(Value):
    """Cost of one purchase."""

    source: CostSource
    micros: int | None = None  # None: unknown
    billed: bool | None = None  # None: unknown

    @property
    def known(self) -> bool:
        """True if the cost is from the provider's figures."""
        return self.micros is not None and self.source is not CostSource.ESTIMATE


def cost_of(purchase: Purchase) -> PurchaseCost:
    """Cost of a purchase, from the best source that it has."""
    if (charge := purchase.billed_micros) is not None:
        return PurchaseCost(source=CostSource.BILLING_EVENTS, micros=charge, billed=charge > 0)
    if purchase.unpaid or _is_free(purchase):
        return PurchaseCost(source=CostSource.NOT_BILLED, micros=0, billed=False)
    if purchase.abandoned or purchase.unresolved:  # it may have been paid, and is no longer searched
        return PurchaseCost(source=CostSource.UNKNOWN)
    billed = True if purchase.state in _PAID or purchase.billable_units else None
    if (known := _cost_by_units(purchase)) is not None:
        return known
    estimated = purchase.estimated_micros
    if estimated is None or purchase.state not in (*_PAID, *_OPEN):
        return PurchaseCost(source=CostSource.UNKNOWN, billed=billed)
    return PurchaseCost(source=CostSource.ESTIMATE, micros=estimated, billed=billed)


def _is_free(purchase: Purchase) -> bool:
    """True if the provider bills 0 units. With a result of fal they mean that the model reported none; a recording
    without speech is a result too, of 0 billed seconds.
    """
    reported = purchase.model == TRANSCRIBER or purchase.state not in _PAID
    return purchase.billable_units == 0 and reported


def _cost_by_units(purchase: Purchase) -> PurchaseCost | None:
    units, price = purchase.billable_units, purchase.unit_micros
    if not units or price is None or not purchase.billing:
        return None
    seconds = SECONDS.get(purchase.unit) if purchase.unit else None
    source = CostSource.SECONDS if seconds else CostSource.UNITS
    return PurchaseCost(source=source, micros=amount(price, units / (seconds or 1)), billed=True)


class TotalCost(Value):
    """Cost of several purchases in micro-dollars, by certainty."""

    known: int = 0
    estimated: int = 0
    estimates: int = 0  # number of purchases with only an estimate
    unknown: int = 0  # number of purchases without an estimate
    sources: tuple[CostSource, ...] = ()
    billed: bool | None = False  # whether any was billed; None: unknown

    @property
    def exact(self) -> bool:
        """True if every cost is known."""
        return not self.estimates and not self.unknown

    @property
    def display(self) -> str:
        """Text such as `$2.00`, `~$2.00` (includes an estimate) or `$2.00 + unknown`."""
        micros = self.known + self.estimated
        if not self.sources or (self.unknown and not micros):
            return "unknown" if self.unknown else ""
        return f"{'~' if self.estimates else ''}${format_dollars(micros)}{' + unknown' if self.unknown else ''}"

    @property
    def source(self) -> str:
        """Distinct sources, separated by commas."""
        return ", ".join(dict.fromkeys(self.sources))


def total(costs: Iterable[PurchaseCost]) -> TotalCost:
    """Sum of costs."""
    listed = tuple(costs)
    estimates = [cost for cost in listed if cost.source is CostSource.ESTIMATE]
    unknown = [cost for cost in listed if cost.micros is None]
    known = [cost for cost in listed if cost.known]
    return TotalCost(
        known=sum(cost.micros or 0 for cost in known),
        estimated=sum(estimate.micros or 0 for estimate in estimates),
        estimates=len(estimates),
        unknown=len(unknown),
        sources=tuple(cost.source for cost in listed),
        billed=_any_billed(listed),
    )


def _any_billed(costs: Iterable[PurchaseCost]) -> bool | None:
    answers = {cost.billed for cost in costs}
    return True if True in answers else None if None in answers else False


def final_cost(purchase: Purchase) -> PurchaseCost:
    """Cost of a purchase that is no longer followed: an open request's cost stays unknown."""
    found = cost_of(purchase)
    if purchase.state in _OPEN and found.source is CostSource.ESTIMATE:
        return PurchaseCost(source=CostSource.UNKNOWN, billed=found.billed)
    return found


def price_fields(spec: Spec, price: Price | None) -> dict[str, Any]:
    """Unit price fields of a purchase; `price` None: unknown."""
    if price is None:
        return {"unit_micros": None, "unit": None, "billing": False, "price_source": ""}
    source = price.source[:_SOURCE_CHARACTERS]
    return {"unit_micros": unit_rate(spec, price), "unit": price.unit, "billing": price.billing, "price_source": source}


def ending_fields(purchase: Purchase, state: PurchaseState, **found: Any) -> dict[str, Any]:
    """Fields of a purchase that ends in `state`: those `found`, and the cost that follows from them."""
    cost = cost_of(purchase.model_copy(update={"state": state, "actual_micros": None, **found}))
    exact = cost.micros if cost.source is not CostSource.ESTIMATE else None
    return {**found, "actual_micros": exact, "cost_source": cost.source.value}
