"""Cost of purchases: from the provider's figures, else an estimate that says so, else unknown; never $0 for unknown."""

from datetime import UTC, datetime
from typing import Any

import pytest

from contentgen_contract.resources.models import TRANSCRIBER
from contentgen_contract.resources.prices import Unit
from contentgen_operator.state.costs import CostSource, PurchaseCost, cost_of, ending_fields, final_cost, total
from contentgen_operator.state.purchases import Purchase, PurchaseState, SendState

S = PurchaseState
NOW = datetime(2026, 11, 22, tzinfo=UTC)
HEARD = {"model": TRANSCRIBER, "unit_micros": 210_000, "unit": Unit.HOUR, "billing": True, "estimated_micros": 9}
PRICED = {"unit_micros": 25_000, "unit": Unit.MEGAPIXEL, "billing": True, "estimated_micros": 50_000}
SOUND = {"unit_micros": 230_000, "unit": Unit.HOUR, "billing": True, "estimated_micros": 10}


def bought(state: PurchaseState, **more: Any) -> Purchase:
    given: dict[str, Any] = {
        "state": state,
        "job_id": "j",
        "provider": "fal",
        "model": "m",
        "correlation_key": "x",
        "created_at": NOW,
        "changed_at": NOW,
    }
    return Purchase(**(given | more))


def cost(source: CostSource, micros: int | None, billed: bool | None) -> PurchaseCost:
    return PurchaseCost(source=source, micros=micros, billed=billed)


@pytest.mark.parametrize(
    ("purchase", "expected"),
    [
        (bought(S.COLLECTED, **PRICED, billable_units=2), cost(CostSource.UNITS, 50_000, True)),
        (bought(S.SUCCEEDED, **PRICED, billable_units=1), cost(CostSource.UNITS, 25_000, True)),
        (bought(S.DISCARDED, **PRICED, billable_units=1.5), cost(CostSource.UNITS, 37_500, True)),
        (bought(S.COLLECTED, **SOUND, billable_units=3600), cost(CostSource.SECONDS, 230_000, True)),
        (bought(S.COLLECTED, **SOUND, billable_units=1), cost(CostSource.SECONDS, 64, True)),
        # nothing but an estimate, or a price whose unit may be another than the provider counts
        (bought(S.COLLECTED, **PRICED), cost(CostSource.ESTIMATE, 50_000, True)),
        (
            bought(S.COLLECTED, **(PRICED | {"billing": False}), billable_units=1),
            cost(CostSource.ESTIMATE, 50_000, True),
        ),
        (bought(S.COLLECTED), cost(CostSource.UNKNOWN, None, True)),
        # open: an estimate, and nobody knows whether it will be billed
        (bought(S.SUBMITTED, **PRICED), cost(CostSource.ESTIMATE, 50_000, None)),
        (bought(S.INTENT, **PRICED), cost(CostSource.ESTIMATE, 50_000, None)),
        (bought(S.SUBMITTED), cost(CostSource.UNKNOWN, None, None)),
        # planned: nothing was sent; sending: it may be billed; abandoned: it may have been paid
        (bought(S.INTENT, send_state=SendState.PLANNED, **PRICED), cost(CostSource.NOT_BILLED, 0, False)),
        (bought(S.INTENT, send_state=SendState.SENDING, **PRICED), cost(CostSource.ESTIMATE, 50_000, None)),
        (bought(S.INTENT, send_state=SendState.ABANDONED, **PRICED), cost(CostSource.UNKNOWN, None, None)),
        # failed: what the provider says, else unknown; the estimate was for a success
        (bought(S.FAILED, **PRICED), cost(CostSource.UNKNOWN, None, None)),
        (bought(S.FAILED, **PRICED, billable_units=0), cost(CostSource.NOT_BILLED, 0, False)),
        (bought(S.FAILED, **PRICED, billable_units=2), cost(CostSource.UNITS, 50_000, True)),
        (bought(S.CANCELLED, **PRICED), cost(CostSource.UNKNOWN, None, None)),
        (bought(S.CANCELLED, **PRICED, billable_units=0), cost(CostSource.NOT_BILLED, 0, False)),
        (bought(S.REFUSED, **PRICED), cost(CostSource.NOT_BILLED, 0, False)),
        # a result of 0 units: the model has reported none
        (bought(S.SUCCEEDED, **PRICED, billable_units=0), cost(CostSource.ESTIMATE, 50_000, True)),
        # a recording without speech: AssemblyAI reports 0 seconds, and bills none
        (bought(S.COLLECTED, **HEARD, billable_units=0), cost(CostSource.NOT_BILLED, 0, False)),
    ],
)
def test_the_cost_of_a_purchase(purchase: Purchase, expected: PurchaseCost) -> None:
    assert cost_of(purchase) == expected


KNOWN, FREE = cost(CostSource.UNITS, 2_000_000, True), cost(CostSource.NOT_BILLED, 0, False)
GUESS, NONE = cost(CostSource.ESTIMATE, 500_000, True), cost(CostSource.UNKNOWN, None, None)


@pytest.mark.parametrize(
    ("costs", "display", "exact", "billed"),
    [
        ((), "", True, False),
        ((KNOWN,), "$2.00", True, True),
        ((KNOWN, KNOWN, KNOWN), "$6.00", True, True),
        ((FREE,), "$0.00", True, False),
        ((FREE, KNOWN), "$2.00", True, True),
        ((GUESS,), "~$0.50", False, True),
        ((KNOWN, GUESS), "~$2.50", False, True),
        ((NONE,), "unknown", False, None),
        ((NONE, NONE), "unknown", False, None),
        ((NONE, KNOWN), "$2.00 + unknown", False, True),
        ((NONE, GUESS), "~$0.50 + unknown", False, True),
        ((NONE, FREE), "unknown", False, None),
    ],
)
def test_a_sum_says_how_well_it_is_known(
    costs: tuple[PurchaseCost, ...], display: str, exact: bool, billed: bool | None
) -> None:
    found = total(costs)
    assert (found.display, found.exact, found.billed) == (display, exact, billed)
    assert found.source == ", ".join(dict.fromkeys(cost.source for cost in costs))


def test_abandoned_request_has_an_unknown_cost() -> None:
    assert final_cost(bought(S.SUBMITTED, **PRICED)) == cost(CostSource.UNKNOWN, None, None)
    assert final_cost(bought(S.COLLECTED, **PRICED)) == cost(CostSource.ESTIMATE, 50_000, True)


def test_an_estimate_is_not_stored_as_a_cost() -> None:
    asked = bought(S.SUBMITTED, **PRICED)
    assert ending_fields(asked, S.SUCCEEDED) == {"actual_micros": None, "cost_source": "estimate"}
    by_units = {"billable_units": 2.0, "actual_micros": 50_000, "cost_source": "billable units × unit price"}
    assert ending_fields(asked, S.SUCCEEDED, billable_units=2.0) == by_units
    assert ending_fields(asked, S.FAILED) == {"actual_micros": None, "cost_source": "unknown"}
    free = {"billable_units": 0.0, "actual_micros": 0, "cost_source": "not billed"}
    assert ending_fields(asked, S.FAILED, billable_units=0.0) == free
