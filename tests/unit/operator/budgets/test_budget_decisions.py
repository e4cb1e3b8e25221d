"""Decision table of `budget.hold`: every combination of limit, window, cap, price, claim, scope and consequence."""

import itertools
from datetime import UTC, datetime
from typing import Any, NamedTuple

import pytest

from contentgen_contract.names import Kind, Phase, Reason
from contentgen_contract.resources.content_budget import LimitWindow, dollars_of
from contentgen_contract.resources.prices import PRICES, Price, Unit
from contentgen_operator.budgets.cluster import Budgets
from contentgen_operator.budgets.gate import hold
from contentgen_operator.budgets.values import (
    BudgetFacts,
    BudgetRelease,
    BudgetReleases,
    MatchingBudget,
    WindowUsage,
    matching_budget,
    windows_of,
)
from contentgen_operator.state.decision_input import DecisionInput, DecisionSettings, decision_input
from contentgen_operator.state.observed import Observation, Resource
from contentgen_operator.state.plan import Plan
from contentgen_simulation.budget_world import ONE, budget_of

NOW = datetime(2026, 11, 23, 23, 58, tzinfo=UTC)
RESETS = {LimitWindow.DAY: "2026-11-24 00:00", LimitWindow.MONTH: "2026-12-01 00:00", LimitWindow.TOTAL: None}
UNTIL_CHANGED = "until the budget or the run is changed"
NO_PRICES = dict.fromkeys(PRICES, Price(micros=1, unit=Unit.OTHER, source="test"))
KNOWN, UNKNOWN = DecisionSettings(), DecisionSettings(prices=NO_PRICES)


class Reader:
    """API server with these ContentBudgets."""

    def __init__(self, bodies: list[dict[str, Any]]) -> None:
        self._bodies = bodies

    async def content_budgets(self) -> list[dict[str, Any]]:
        """The budgets."""
        return self._bodies


def image(settings: DecisionSettings = KNOWN) -> DecisionInput:
    metadata = {"name": "it", "namespace": "ns", "uid": "uid-it", "generation": 1, "resourceVersion": "1"}
    times = {"creationTimestamp": "2026-11-21T11:00:00Z", "annotations": {}}
    body = {"metadata": metadata | times, "spec": {"prompt": "a cat", "image": {"count": 2}}, "status": {}}
    return decision_input(Resource.parse(Kind.IMAGE_GENERATION, body), NOW, settings)


async def matching(bodies: list[dict[str, Any]], held: int, claimed: int | None) -> tuple[MatchingBudget, ...]:
    """The budgets that count the run, as observed; each window has the same usage."""
    found = await Budgets(Reader(bodies)).matching({"team": "a"}, "fal", Kind.IMAGE_GENERATION, "ns")
    usage = WindowUsage(held=held, claimed=claimed, token="token" if claimed is not None else "")
    refs = {each.uid: windows_of(each, NOW) for each in found}
    return tuple(matching_budget(each, refs[each.uid], {ref.id: usage for ref in refs[each.uid]}) for each in found)


def released(plan: Plan) -> list[BudgetRelease]:
    return [release for effect in plan.effects if isinstance(effect, BudgetReleases) for release in effect.each]


def decided(budgets: tuple[MatchingBudget, ...], settings: DecisionSettings = KNOWN) -> Plan | None:
    return hold(image(settings).observing(Observation(facts=(BudgetFacts(matching=budgets),))))


class Row(NamedTuple):
    """One combination."""

    limit: int
    others: int  # held by other runs
    claimed: int | None
    cap: int | None
    unknown_price: str | None  # None: the price is known
    on_exceeded: str
    scope: str  # matches, another, unreadable


def rows() -> list[Row]:
    """All combinations. The limit is reached, almost reached, not reached, and exceeded by an overrun."""
    limits = [(0, 0), (ONE - 1, 0), (ONE, 0), (ONE, 1), (3 * ONE, 2 * ONE), (3 * ONE, 3 * ONE), (3 * ONE, 9 * ONE)]
    combined = itertools.product(
        limits,
        (None, ONE, ONE - 1),  # a claim of a lower price, which the price list has raised since
        (None, ONE, ONE - 1),
        (None, "Refuse", "Allow"),
        ("Wait", "Fail"),
        ("matches", "another", "unreadable"),
    )
    return [Row(*limit, *more) for limit, *more in combined]


def body_of(row: Row, window: LimitWindow) -> dict[str, Any]:
    team = "b" if row.scope == "another" else "a"
    spec: dict[str, Any] = {
        "limits": {window.value: dollars_of(row.limit)},
        "onExceeded": row.on_exceeded,
        "scope": {"namespaceSelector": {"matchLabels": {"team": team}}},
    }
    spec |= {"maxPerRun": dollars_of(row.cap)} if row.cap is not None else {}
    spec |= {"unknownPrice": row.unknown_price} if row.unknown_price else {}
    return budget_of(**spec | ({"hourly": "1"} if row.scope == "unreadable" else {}))


def expected(row: Row, window: LimitWindow) -> tuple[str, str | None]:
    """The verdict and the time of the reset, in the words of docs/policies.md."""
    if row.scope == "another":
        return "paid", None
    if row.scope == "unreadable":
        return "waits", None
    if row.unknown_price == "Refuse":
        return _refused(row), None
    if row.unknown_price is None and row.cap is not None and row.cap < ONE:
        return _refused(row), None
    needed = 1 if row.unknown_price else ONE
    if row.limit - row.others >= needed:  # its own claim is its own
        return "paid", None
    return _refused(row), RESETS[window] if row.limit >= needed else None


def _refused(row: Row) -> str:
    return "fails" if row.on_exceeded == "Fail" else "waits"


@pytest.mark.parametrize("window", list(LimitWindow))
async def test_the_decision_table(window: LimitWindow) -> None:
    table = rows()
    assert len(table) == 7 * 3 * 3 * 3 * 2 * 3
    verdicts = set[tuple[str, bool]]()
    for row in table:
        found = await matching([body_of(row, window)], row.others + (row.claimed or 0), row.claimed)
        plan = decided(found, UNKNOWN if row.unknown_price else KNOWN)
        verdict, until = expected(row, window)
        verdicts.add((verdict, until is None))
        if verdict == "paid":
            assert plan is None, row
            continue
        assert plan is not None, row
        assert {type(effect) for effect in plan.effects} <= {BudgetReleases}, row
        status, message = plan.status, plan.status.message or ""
        assert status.reason == Reason.BUDGET_EXCEEDED, row
        assert "ContentBudget all" in message, row
        windows = [] if row.scope == "unreadable" or row.claimed is None else [f"uid-of-all/{window.label(NOW)}"]
        assert [release.window for release in released(plan)] == windows, (
            row,
            "a run that waits or ends holds nothing",
        )
        if verdict == "fails":
            assert status.phase == Phase.FAILED, row
            assert message.endswith("nothing was paid"), row
            continue
        assert status.phase != Phase.FAILED, row
        assert (f"it waits until {until} UTC" if until else UNTIL_CHANGED) in message, row
        assert plan.again_seconds is not None, row
        assert 1 <= plan.again_seconds <= (120 if until == RESETS[LimitWindow.DAY] else 300), row
    resets = {("waits", False), ("fails", False)} if window is not LimitWindow.TOTAL else set()
    assert verdicts == {("paid", True), ("waits", True), ("fails", True)} | resets


@pytest.mark.parametrize(
    ("first", "second", "said"),
    [
        ({"limits": {"day": "0.07"}}, {"limits": {"day": "1"}}, "ContentBudget a has $0.00 of $0.07 left today"),
        ({"limits": {"day": "1"}}, {"limits": {"day": "0.07"}}, "ContentBudget b has $0.00 of $0.07 left today"),
        # Of several that refuse, the last reset counts, and an end of the run more than any.
        ({"limits": {"day": "0.07"}}, {"limits": {"month": "0.07"}}, "until 2026-12-01 00:00 UTC"),
        ({"limits": {"month": "0.07"}}, {"limits": {"day": "0.07"}}, "until 2026-12-01 00:00 UTC"),
        ({"limits": {"day": "0.07", "month": "0.07"}}, {"limits": {"day": "1"}}, "until 2026-12-01 00:00 UTC"),
        ({"limits": {"day": "0.07", "month": "0.07", "total": "0.07"}}, {"limits": {"day": "0.07"}}, UNTIL_CHANGED),
        ({"limits": {"day": "0.07"}}, {"limits": {"day": "1"}, "maxPerRun": "0.01"}, UNTIL_CHANGED),
        ({"limits": {"total": "0.07"}}, {"limits": {"day": "0.07"}, "onExceeded": "Fail"}, "nothing was paid"),
        ({"limits": {"day": "0.07"}, "onExceeded": "Fail"}, {"limits": {"total": "0.07"}}, "nothing was paid"),
        ({"limits": {"day": "1"}}, {"limits": {"day": "0.07"}, "hourly": "1"}, "fields of a newer release"),
    ],
)
async def test_two_budgets_on_one_run(first: dict[str, Any], second: dict[str, Any], said: str) -> None:
    plan = decided(await matching([budget_of("a", **first), budget_of("b", **second)], held=ONE, claimed=None))
    assert plan is not None
    assert said in (plan.status.message or "")


async def test_a_run_that_a_budget_refuses_releases_its_claims_in_all() -> None:
    both = [budget_of("a", limits={"day": "9", "month": "9"}), budget_of("b", limits={"total": "0.07"})]
    plan = decided(await matching(both, held=2 * ONE, claimed=ONE))
    assert plan is not None
    assert [release.window for release in released(plan)] == [
        "uid-of-a/day-2026-11-23",
        "uid-of-a/month-2026-11",
        "uid-of-b/total",
    ]
    assert {release.token for release in released(plan)} == {"token"}
