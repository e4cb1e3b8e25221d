"""Budgets that are edited, deleted and restored while money is reserved, and runs that try to keep or avoid a claim."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from contentgen_contract.names import Phase, Reason
from contentgen_contract.resources.prices import PRICES, Price, Unit
from contentgen_operator.budgets.values import claim_key
from contentgen_simulation.budget_world import IMAGES, ONE, BudgetWorld, budget_of
from contentgen_simulation.world import SPECS

pytestmark = pytest.mark.usefixtures("no_waiting")

TEAM = {"namespaceSelector": {"matchLabels": {"team": "a"}}}


async def planned(world: BudgetWorld) -> None:
    """Reconcile until the purchases are planned, and not sent."""
    for name in world.names_of_images:
        while world.database["ledger"].find_one({"jobId": f"uid-{name}", "sendState": "planned"}) is None:
            await world.reconcile(IMAGES, name)
    assert world.sent() == []
    assert sum(window["held"] for window in world.windows().values()) == len(world.names_of_images) * ONE


async def later(world: BudgetWorld, **time: float) -> None:
    """A round over the budgets after a while, in which nothing is reconciled."""
    world.now += timedelta(**time)
    await world.keep_budgets()
    world.check_books()


def held(world: BudgetWorld) -> dict[str, int]:
    return {name: window["held"] for name, window in world.windows().items() if window["held"]}


def edit(world: BudgetWorld, **spec: Any) -> None:
    world.kube.budgets[0]["spec"] |= spec


async def test_a_lowered_limit_stops_planned_runs_and_keeps_paid_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    world = BudgetWorld(monkeypatch, budget_of(limits={"total": "0.28"}), count=4)
    await world.rounds(1)
    world.names_of_images, others = world.names_of_images[:2], world.names_of_images[2:]
    await world.rounds(1)
    assert len(world.provider.posts) == 2
    edit(world, limits={"total": "0.07"})  # below the four that have reserved
    world.check_payments = world.check_books = lambda: None  # type: ignore[method-assign]  # the limit is lower by then
    world.names_of_images += others
    await world.rounds(4)
    await world.summed()
    assert len(world.provider.posts) == 2
    assert len(world.waiting()) == 2
    assert held(world) == {"uid-of-all/total": 2 * ONE}
    assert "has $0.00 of $0.07 left in total" in world.waiting()[0]
    edit(world, limits={"total": "0.28"})
    await world.rounds(3)
    assert len(world.provider.posts) == 4


async def test_deleted_budget_is_summed_and_a_new_one_starts_at_zero(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world = BudgetWorld(monkeypatch, budget_of(limits={"total": "0.14"}), count=4)
    await world.rounds(2)
    assert len(world.provider.posts) == 2
    world.kube.budgets = [budget_of(uid="another-uid", limits={"total": "0.07"})]  # deleted, and created again
    await world.rounds(6)
    await world.summed()
    assert len(world.provider.posts) == 3
    assert held(world) == {"uid-of-all/total": 2 * ONE, "another-uid/total": ONE}
    assert all(window["open"] == {} for window in world.windows().values())
    assert "limit" not in world.kube.budgets[0].get("status", {}), "the status is of the new budget"
    assert world.kube.budgets[0]["status"]["windows"][0]["spent"] == "0.07"


async def test_planned_run_outside_the_budget_is_paid_and_unclaimed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world = BudgetWorld(monkeypatch, budget_of(limits={"total": "0.07"}, scope=TEAM))
    world.kube.server.namespace_labels["ns"] = {"team": "a"}
    await planned(world)
    world.kube.server.namespace_labels["ns"] = {"team": "b"}
    await world.rounds(8)
    await world.summed()
    assert len(world.provider.posts) == 1
    assert held(world) == {}
    assert world.database["ledger"].find_one()["budgets"] == []


async def test_suspended_run_releases_its_claim_and_claims_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Otherwise a tenant could keep the money of all others with suspended runs that cost nothing."""
    world = BudgetWorld(monkeypatch, budget_of(limits={"total": "0.07"}), count=2)
    first, second = names = world.names_of_images
    world.names_of_images = [first]
    await planned(world)
    world.kube.apply(IMAGES, SPECS[IMAGES] | {"prompt": first, "suspend": True}, f"uid-{first}", first)
    await world.rounds(1)
    assert world.status(IMAGES, first).reason == Reason.SUSPENDED
    assert held(world) == {}
    world.names_of_images = [second]
    await world.rounds(4)
    assert len(world.provider.posts) == 1
    world.kube.apply(IMAGES, SPECS[IMAGES] | {"prompt": first, "suspend": False}, f"uid-{first}", first)
    world.names_of_images = names
    await world.rounds(4)
    await world.summed()
    assert len(world.provider.posts) == 1
    assert world.status(IMAGES, first).reason == Reason.BUDGET_EXCEEDED
    edit(world, limits={"total": "0.14"})
    await world.rounds(4)
    assert len(world.provider.posts) == 2


async def test_resource_without_its_finalizer_holds_no_claim(monkeypatch: pytest.MonkeyPatch) -> None:
    """The namespace was deleted by force, or the cluster was rebuilt: nobody withdraws its planned purchase."""
    world = BudgetWorld(monkeypatch, budget_of(limits={"total": "0.07"}), count=2)
    first, second = world.names_of_images
    world.names_of_images = [first]
    await planned(world)
    del world.kube.resources[IMAGES, first]
    await later(world, seconds=1)
    assert held(world) == {"uid-of-all/total": ONE}, "it may be about to be sent"
    await later(world, hours=1)
    assert held(world) == {}
    world.names_of_images = [second]
    await world.rounds(4)
    assert len(world.provider.posts) == 1


async def test_clock_set_back_keeps_the_claim_of_a_paying_run(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world = BudgetWorld(monkeypatch, budget_of(limits={"total": "0.07"}))
    await planned(world)
    await later(world, minutes=-10)
    assert held(world) == {"uid-of-all/total": ONE}


async def test_purchase_at_midnight_counts_in_the_window_of_its_send(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It is sent on the last second of a month, and its charge is known in the next one."""
    world = BudgetWorld(monkeypatch, budget_of(limits={"day": "0.07", "month": "0.07"}), count=2)
    first, second = world.names_of_images
    world.names_of_images = [first]
    world.now = datetime(2026, 12, 31, 23, 54, 59, tzinfo=UTC)
    await world.rounds(1)
    await world.reconcile(IMAGES, first)
    world.now = datetime(2026, 12, 31, 23, 59, 59, tzinfo=UTC)
    assert len(world.provider.posts) == 1
    world.now = datetime(2027, 1, 1, 0, 0, 0, tzinfo=UTC)
    world.names_of_images = [second]
    await world.rounds(3)
    assert len(world.provider.posts) == 2, "the new day and the new month are empty"
    world.names_of_images = [first, second]
    await world.rounds(8)
    await world.summed()
    assert held(world) == {
        "uid-of-all/day-2026-12-31": ONE,
        "uid-of-all/month-2026-12": ONE,
        "uid-of-all/day-2027-01-01": ONE,
        "uid-of-all/month-2027-01": ONE,
    }
    charge = {"$set": {"billedMicros": 90_000}}
    world.database["ledger"].update_one({"budgets": "uid-of-all/day-2026-12-31"}, charge)
    await world.summed()
    assert world.windows()["uid-of-all/month-2026-12"]["overrun"] == 20_000
    assert world.windows()["uid-of-all/month-2027-01"]["overrun"] == 0


async def test_recreated_namespace_finds_the_budget_used(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world = BudgetWorld(monkeypatch, budget_of(limits={"total": "0.07"}, scope=TEAM))
    world.kube.server.namespace_labels["ns"] = {"team": "a"}
    await world.rounds(8)
    await world.summed()
    world.kube.resources.clear()
    world.now += timedelta(days=2)
    world.kube.namespaces["ns"] = ("another-namespace", f"{world.now:%Y-%m-%dT%H:%M:%SZ}")
    world.restart()
    world.kube.apply(IMAGES, SPECS[IMAGES] | {"prompt": "image-0"}, "uid-anew", "image-0")
    await world.rounds(4)
    assert len(world.provider.posts) == 1
    assert world.status(IMAGES, "image-0").reason == Reason.BUDGET_EXCEEDED
    assert held(world) == {"uid-of-all/total": ONE}


async def test_an_adopted_result_reserves_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same manifest is applied again, under a budget that has no room left: nothing is paid."""
    world = BudgetWorld(monkeypatch, budget_of(limits={"total": "0.07"}))
    await world.rounds(8)
    world.kube.delete(IMAGES, world.now, "image-0")
    await world.rounds(8)
    assert not world.there(IMAGES, "image-0")
    await world.summed()
    before = world.windows()
    world.kube.apply(IMAGES, SPECS[IMAGES] | {"prompt": "image-0"}, "uid-anew", "image-0")
    await world.rounds(8)
    assert world.status(IMAGES, "image-0").phase == Phase.COMPLETED
    assert len(world.provider.posts) == 1
    assert world.windows() == before


@pytest.mark.parametrize("restored", ["stale claims", "fewer claims", "nothing"])
async def test_restored_budgets_are_repaired_in_the_first_round(monkeypatch: pytest.MonkeyPatch, restored: str) -> None:
    world = BudgetWorld(monkeypatch, budget_of(limits={"total": "0.21"}), count=4)
    await world.rounds(2)
    early = list(world.database["budgets"].find())
    await world.rounds(6)
    await world.summed()
    right = held(world)
    assert right == {"uid-of-all/total": 3 * ONE}
    world.database["budgets"].delete_many({})
    if restored == "stale claims":
        world.database["budgets"].insert_many(early)
    if restored == "fewer claims":
        zero = {"held": 0, "spent": 0, "open": {}, "keys": []}
        world.database["budgets"].insert_many([each | zero for each in early])
    world.restart()
    world.keeper = None
    await world.summed()
    await world.summed()
    await world.rounds(3)
    assert held(world) == right
    assert len(world.provider.posts) == 3


async def test_restored_ledger_pays_nothing_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """The claim is released, as nothing shows the purchase any more; the run is not sent again."""
    world = BudgetWorld(monkeypatch, budget_of(limits={"total": "0.07"}))
    await world.rounds(2)
    assert len(world.provider.posts) == 1
    world.database["ledger"].delete_many({})
    await later(world, minutes=2)
    await world.rounds(4)
    assert len(world.provider.posts) == 1


UNKNOWN = dict.fromkeys(PRICES, Price(micros=1, unit=Unit.OTHER, source="test"))


async def test_a_run_without_a_known_price_waits_where_nothing_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    """`Allow` reserves nothing. Its charge is an overrun, after which no other run starts."""
    world = BudgetWorld(monkeypatch, budget_of(limits={"total": "0.07"}, unknownPrice="Allow"), count=2)
    world.decision_settings = world.decision_settings.model_copy(update={"prices": UNKNOWN})
    world.restart()
    first, second = world.names_of_images
    world.names_of_images = [first]
    await world.rounds(8)
    assert len(world.provider.posts) == 1
    world.database["ledger"].update_one({}, {"$set": {"billedMicros": 500_000}})
    world.keeper = None
    await world.summed()
    world.names_of_images = [second]
    await world.rounds(3)
    assert len(world.provider.posts) == 1
    (message,) = world.waiting()
    assert message.startswith("no upper bound of the price is known, and ContentBudget all has $0.00 of $0.07 left")


async def test_budget_of_another_class_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two installations share a database: each counts its own runs, and sums windows of both alike."""
    world = BudgetWorld(monkeypatch, budget_of(limits={"total": "0.07"}, operatorClass="another"))
    key = claim_key("of-another")
    claim = {"purchase": "of-another", "micros": ONE, "token": "t", "at": world.now}
    kept = {
        "_id": "uid-of-all/total", "budget": "all", "uid": "uid-of-all", "window": "total", "limit": ONE, "held": ONE,
        "spent": 0, "overrun": 0, "excess": 0, "revision": 0, "open": {key: claim}, "keys": [key], "summed": True,
    }  # fmt: skip
    world.database["budgets"].insert_one(kept)
    sent = {"_id": "of-another", "state": "submitted", "sendState": None, "budgets": ["uid-of-all/total"]}
    world.database["ledger"].insert_one({**sent, "boundMicros": ONE, "operatorClass": "another"})
    await world.rounds(6)
    await world.summed()
    assert world.status(IMAGES, "image-0").phase == Phase.COMPLETED
    assert held(world) == {"uid-of-all/total": ONE}
