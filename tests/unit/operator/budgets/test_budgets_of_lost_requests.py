"""Budgets and requests that are paid before the ledger has them as sent: found again, adopted, replaced by a person.

The money is spent, so no limit prevents it. It counts at every moment, what exceeds a limit is an overrun, and no
further run starts.
"""

import copy
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from contentgen_contract.names import ADOPT_ANNOTATION, RESUBMIT_ANNOTATION, Phase, Reason
from contentgen_contract.resources.content_budget import ContentBudget
from contentgen_operator import metrics
from contentgen_operator.budgets.metrics import gauges
from contentgen_operator.budgets.store import BudgetStore
from contentgen_operator.budgets.values import BudgetClaim, BudgetClaims, WindowRef, windows_of
from contentgen_operator.leader.leadership import Leadership
from contentgen_operator.providers.base import Busy
from contentgen_operator.state.provider_requests import Found
from contentgen_simulation.budget_world import IMAGES, ONE, BudgetWorld, budget_of
from contentgen_simulation.world import SPECS, Crash, resubmit_token

pytestmark = pytest.mark.usefixtures("no_waiting")

TOTAL = "uid-of-all/total"
THREE = (
    budget_of("a", limits={"total": "0.07"}),
    budget_of("b", limits={"day": "0.21"}),
    budget_of("c", limits={"month": "0.14"}),
)


def apply(world: BudgetWorld, name: str, **annotations: str) -> None:
    world.kube.apply(IMAGES, SPECS[IMAGES] | {"prompt": name}, f"uid-{name}", name, **annotations)


async def reconcile_times(world: BudgetWorld, name: str, count: int) -> None:
    for _ in range(count):
        await world.reconcile(IMAGES, name)


def of(world: BudgetWorld, name: str) -> list[tuple[str, str | None]]:
    found = world.database["ledger"].find({"jobId": f"uid-{name}"}).sort("_id", 1)
    return [(each["state"], each.get("sendState")) for each in found]


def held(world: BudgetWorld) -> dict[str, int]:
    return {name: window["held"] for name, window in world.windows().items() if window["held"]}


def overruns(world: BudgetWorld) -> dict[str, int]:
    return {name: window["overrun"] for name, window in world.windows().items() if window["overrun"]}


async def not_found(*_: Any) -> Found:
    return Found(request_id=None, complete=True)


async def lost(world: BudgetWorld, since: str) -> None:
    """The image `a` is paid. Then the ledger is restored to before the purchase, or to when it was planned or refused;
    the budgets have counted that for half an hour.
    """
    world.provider.running = {1}
    world.provider.refuses = Busy("slow down") if since == "refused" else None
    apply(world, "a")
    nodes = {"missing": [], "planned": [("intent", "planned")], "refused": [("refused", None)]}
    while of(world, "a") != nodes[since]:
        await world.reconcile(IMAGES, "a")
    before = list(world.database["ledger"].find())
    world.provider.refuses = None
    while of(world, "a") != [("submitted", None)]:
        await world.reconcile(IMAGES, "a")
    await reconcile_times(world, "a", 1)  # the status names the request
    world.database["request_bindings"].delete_many({})
    world.database["ledger"].delete_many({})
    if before:
        world.database["ledger"].insert_many(before)
    await reconcile_times(world, "a", 2)
    world.now += timedelta(minutes=30)
    await world.summed()
    await reconcile_times(world, "a", 2)
    assert world.status(IMAGES, "a").phase is Phase.SUBMISSION_UNKNOWN
    assert held(world) == {}
    world.provider.find = not_found  # type: ignore[method-assign]
    world.check_payments = lambda: None  # type: ignore[method-assign]  # it knows of no overrun by a purchase


async def paid_by_another(world: BudgetWorld) -> None:
    """Another run takes the money of the lost one."""
    world.provider.running |= {2}
    apply(world, "b")
    await reconcile_times(world, "b", 5)
    assert world.status(IMAGES, "b").phase is Phase.PROCESSING
    assert len(world.provider.posts) == 2


async def no_further_run_starts(world: BudgetWorld) -> None:
    posts = len(world.provider.posts)
    apply(world, "c")
    await reconcile_times(world, "c", 5)
    assert world.status(IMAGES, "c").reason == Reason.BUDGET_EXCEEDED
    assert len(world.provider.posts) == posts


def adopt(world: BudgetWorld) -> None:
    apply(world, "a", **{ADOPT_ANNOTATION: "request-1"})


def resubmit(world: BudgetWorld) -> None:
    token = resubmit_token(world.status(IMAGES, "a"))
    apply(world, "a", **{RESUBMIT_ANNOTATION: token})


@pytest.mark.parametrize("found_by", ["the run", "the search for orphans"])
async def test_replaced_request_counts_until_it_is_found(monkeypatch: pytest.MonkeyPatch, found_by: str) -> None:
    world = BudgetWorld(monkeypatch, budget_of(limits={"total": "0.21"}), count=0)
    world.decision_settings = world.decision_settings.model_copy(update={"poll_seconds": 5})
    world.restart()
    find = world.provider.find
    monkeypatch.setattr(world.provider, "find", not_found)
    world.provider.lose_replies, world.provider.running = {1}, {1, 2}
    apply(world, "a")
    await reconcile_times(world, "a", 3)
    while world.status(IMAGES, "a").phase is not Phase.SUBMISSION_UNKNOWN:
        await world.reconcile(IMAGES, "a")
    resubmit(world)
    await reconcile_times(world, "a", 4)
    await world.summed()
    apply(world, "b")
    await reconcile_times(world, "b", 3)
    assert of(world, "a") == [("intent", "abandoned"), ("submitted", None)]
    assert held(world) == {TOTAL: 3 * ONE}
    monkeypatch.setattr(world.provider, "find", find)
    world.now += timedelta(minutes=20)
    await world.summed()  # the next thorough round is later than the rest
    if found_by == "the run":
        await reconcile_times(world, "a", 3)
    else:
        del world.kube.resources[IMAGES, "a"]
        world.restart()
        await world.orphans[-1].round(world.now)
    assert of(world, "a")[0] == ("submitted", None)
    await reconcile_times(world, "b", 4)  # it ends, so that a round sums the window again
    assert world.status(IMAGES, "b").phase is Phase.COMPLETED
    await world.keep_budgets()
    assert held(world) == {TOTAL: 3 * ONE}
    await no_further_run_starts(world)
    await world.summed()
    assert held(world) == {TOTAL: 3 * ONE}
    assert overruns(world) == {}
    assert len(world.provider.posts) == 3


@pytest.mark.parametrize("since", ["missing", "planned", "refused"])
async def test_an_adopted_request_counts_at_once(monkeypatch: pytest.MonkeyPatch, since: str) -> None:
    world = BudgetWorld(monkeypatch, budget_of(limits={"total": "0.07"}), count=0)
    await lost(world, since)
    adopt(world)
    await reconcile_times(world, "a", 2)
    assert of(world, "a") == [("submitted", None)]
    assert held(world) == {TOTAL: ONE}
    await no_further_run_starts(world)
    await world.summed()
    assert held(world) == {TOTAL: ONE}
    assert overruns(world) == {}


@pytest.mark.parametrize("since", ["missing", "planned", "refused"])
async def test_a_lost_request_that_a_person_replaces_counts_at_once(
    monkeypatch: pytest.MonkeyPatch, since: str
) -> None:
    world = BudgetWorld(monkeypatch, budget_of(limits={"total": "0.14"}), count=0)
    await lost(world, since)
    world.provider.running = {1, 2}
    resubmit(world)
    await reconcile_times(world, "a", 5)
    assert of(world, "a") == [("intent", "abandoned"), ("submitted", None)]
    assert held(world) == {TOTAL: 2 * ONE}
    await world.summed()
    assert held(world) == {TOTAL: 2 * ONE}
    await no_further_run_starts(world)


@pytest.mark.parametrize("since", ["missing", "planned", "refused"])
async def test_an_adopted_request_above_the_limit_is_an_overrun(monkeypatch: pytest.MonkeyPatch, since: str) -> None:
    monkeypatch.setattr(metrics.gauges, "shows_tenants", True)
    monkeypatch.setattr(metrics.gauges, "features", [gauges])
    world = BudgetWorld(monkeypatch, budget_of(limits={"total": "0.10"}), count=0)
    await lost(world, since)
    await paid_by_another(world)
    adopt(world)
    await reconcile_times(world, "a", 2)
    over = 2 * ONE - 100_000
    assert (held(world), overruns(world)) == ({TOTAL: 2 * ONE}, {TOTAL: over})
    await no_further_run_starts(world)

    async def reported() -> None:
        (window,) = world.kube.budgets[0]["status"]["windows"]
        assert (window["overrun"], window["remaining"]) == ("0.04", "0.00")
        text = 'contentgen_budget_dollars{amount="overrun",budget="all",window="total"} 0.04'
        assert text in metrics.exposition().decode()
        await no_further_run_starts(world)

    await world.keep_budgets()
    await reported()
    world.provider.running = set()
    await reconcile_times(world, "a", 5)
    await reconcile_times(world, "b", 5)
    assert {world.status(IMAGES, letter).phase for letter in "ab"} == {Phase.COMPLETED}
    await world.keep_budgets()
    await reported()
    world.database["budgets"].delete_many({})  # no part of a backup
    await no_further_run_starts(world)
    await world.summed()
    await reported()
    world.database["ledger"].update_many({}, {"$set": {"billedMicros": 45_000}})
    await world.summed()
    assert (held(world), overruns(world)) == ({TOTAL: 90_000}, {})


async def test_an_adopted_request_counts_in_the_window_of_its_post(monkeypatch: pytest.MonkeyPatch) -> None:
    world = BudgetWorld(monkeypatch, budget_of(limits={"day": "0.07"}), count=0)
    world.now = datetime(2026, 11, 21, 23, 59, 30, tzinfo=UTC)
    await lost(world, "missing")
    world.now = datetime(2026, 11, 22, 1, tzinfo=UTC)
    adopt(world)
    await reconcile_times(world, "a", 2)
    assert held(world) == {"uid-of-all/day-2026-11-21": ONE}
    await world.summed()
    assert held(world) == {"uid-of-all/day-2026-11-21": ONE}


# Crashes and frozen leaders


class _CrashingBudgets:
    """Crashes the process after the update with this number in the collection of budgets."""

    def __init__(self, number: int) -> None:
        self.left = number

    def __call__(self, update: Callable[..., Any]) -> Callable[..., Any]:
        def updated(*args: Any, **kwargs: Any) -> Any:
            result = update(*args, **kwargs)
            self.left -= 1
            if self.left == 0:
                raise Crash
            return result

        return updated


class _Saved:
    """Stores before an adoption."""

    def __init__(self, world: BudgetWorld) -> None:
        names = world.database.list_collection_names()
        self.database = {name: list(world.database[name].find()) for name in names}
        self.resources = copy.deepcopy(world.kube.resources)
        self.objects = dict(world.storage.objects)
        self.now = world.now

    def restore(self, world: BudgetWorld) -> None:
        for name in world.database.list_collection_names():
            world.database[name].delete_many({})
            if self.database.get(name):
                world.database[name].insert_many(self.database[name])
        world.kube.resources = copy.deepcopy(self.resources)
        for body in world.kube.resources.values():
            body["metadata"]["resourceVersion"] = str(next(world.kube.server.revisions))
        world.storage.objects = dict(self.objects)
        world.now = self.now
        world.restart()


async def ends(world: BudgetWorld, then: Callable[[BudgetWorld], None]) -> None:
    """Invariant after a crash or a takeover: the purchase counts once in each window, and nothing more is paid.

    A replaced one that the crash has kept out of the ledger does not count: only the run document has the next attempt.
    """
    await reconcile_times(world, "a", 4)
    world.now += timedelta(minutes=16)  # after which a claim without a purchase is released
    await world.summed()
    counted = ("submitted", None) if then is adopt else ("intent", "abandoned")
    is_counted = counted in of(world, "a")
    assert is_counted or then is resubmit
    day, month = f"uid-of-b/day-{world.now:%Y-%m-%d}", f"uid-of-c/month-{world.now:%Y-%m}"
    assert held(world) == dict.fromkeys(("uid-of-a/total", day, month), (1 + is_counted) * ONE)
    assert overruns(world) == ({"uid-of-a/total": ONE} if is_counted else {})
    assert len(world.provider.posts) == 2
    await no_further_run_starts(world)


@pytest.mark.parametrize("since", ["missing", "planned", "refused"])
@pytest.mark.parametrize("then", [adopt, resubmit])
async def test_a_crash_at_each_write_counts_a_lost_request_once(
    monkeypatch: pytest.MonkeyPatch, then: Callable[[BudgetWorld], None], since: str
) -> None:
    """Under three budgets, of which the first one has no room for it; observed at each write."""
    world = BudgetWorld(monkeypatch, *THREE, count=0)
    await lost(world, since)
    await paid_by_another(world)
    then(world)
    start = _Saved(world)
    for point in range(16):
        start.restore(world)
        world.observed_writes.fired.clear()
        world.observed_writes._points = (2 * len(world.observed_writes.done) + point,)
        await ends(world, then)
        assert world.observed_writes.fired, point


@pytest.mark.parametrize("then", [adopt, resubmit])
@pytest.mark.parametrize("update", range(1, 7))
async def test_a_crash_between_the_claims_of_a_lost_request(
    monkeypatch: pytest.MonkeyPatch, update: int, then: Callable[[BudgetWorld], None]
) -> None:
    world = BudgetWorld(monkeypatch, *THREE, count=0)
    await lost(world, "missing")
    await paid_by_another(world)
    then(world)
    collection = world.database["budgets"]
    monkeypatch.setattr(collection, "update_one", _CrashingBudgets(update)(collection.update_one))
    await world.reconcile(IMAGES, "a")
    world.check_books()
    await ends(world, then)


@pytest.mark.parametrize("since", ["missing", "planned", "refused"])
@pytest.mark.parametrize("point", ["claim of budgets", "bind request", "move to submitted", "intend"])
@pytest.mark.parametrize("minutes", [0, 5, 20])
async def test_a_leader_frozen_while_it_adopts(
    monkeypatch: pytest.MonkeyPatch, minutes: int, point: str, since: str
) -> None:
    """The next leader sums up, adopts and sums up; then the former one goes on."""
    world = BudgetWorld(monkeypatch, *THREE, count=0)
    await lost(world, since)
    await paid_by_another(world)
    adopt(world)
    taken: list[str] = []

    async def takeover() -> None:
        world.leadership.revoke("the Lease is over")
        world.leadership = Leadership.always()
        world.restart()
        world.now += timedelta(minutes=minutes)
        await world.summed()
        if minutes < 20:  # else the former leader goes on before the next one looks at the run
            await reconcile_times(world, "a", 3)
            await world.summed()
        taken.append(point)

    done = world.observed_writes.done
    world.observed_writes.freeze = (point, done.count(point) + 1, takeover)
    await world.reconcile(IMAGES, "a")
    world.check_books()
    await ends(world, adopt)
    # What the ledger has is moved, what it lacks is inserted; then its poll is noted.
    assert bool(taken) == (since == "missing" or point != "intend")


# The store


def store(world: BudgetWorld) -> BudgetStore:
    return BudgetStore(world.database["budgets"], world.database["ledger"])


def ref_of(limit: str) -> WindowRef:
    (ref,) = windows_of(ContentBudget.parse(budget_of(limits={"total": limit})), datetime(2026, 11, 21, tzinfo=UTC))
    return ref


def claims(name: str, ref: WindowRef, micros: int = ONE, **more: Any) -> BudgetClaims:
    each = BudgetClaim(ref=ref, micros=micros, least=more.pop("least", 0))
    return BudgetClaims(purchase=name, each=(each,), **more)


def purchase(name: str, state: str, send_state: str | None = None, **fields: Any) -> dict[str, Any]:
    return {"_id": name, "state": state, "sendState": send_state, "budgets": [TOTAL], "boundMicros": ONE, **fields}


COUNTED = [
    ("intent", "planned", 0),
    ("intent", "sending", ONE),
    ("intent", None, ONE),
    ("intent", "abandoned", ONE),
    ("refused", None, 0),
    *((word, None, ONE) for word in ("submitted", "succeeded", "collected", "failed", "cancelled", "discarded")),
]


@pytest.mark.parametrize(("state", "send_state", "micros"), COUNTED)
async def test_a_purchase_without_a_claim_counts_if_it_may_be_paid(
    monkeypatch: pytest.MonkeyPatch, state: str, send_state: str | None, micros: int
) -> None:
    """In each round that sums the window, not only in a thorough one."""
    world = BudgetWorld(monkeypatch, count=0)
    assert await store(world).claim(claims("ended", ref_of("1")), world.now) is None
    world.database["ledger"].insert_many([purchase("one", state, send_state), purchase("ended", "collected")])
    assert await store(world).sum_up(TOTAL, world.now)
    (window,) = world.windows().values()
    assert (window["held"], window["spent"], window["open"], window["overrun"]) == (ONE + micros, ONE + micros, {}, 0)


async def test_a_sum_that_grows_above_the_limit_is_an_overrun(monkeypatch: pytest.MonkeyPatch) -> None:
    """An older backup of the budgets, after which other runs took the money; then a charge that was known as less."""
    world = BudgetWorld(monkeypatch, count=0)
    ref = ref_of("0.10")
    assert await store(world).claim(claims("one", ref), world.now) is None
    world.database["ledger"].insert_many([purchase("one", "submitted"), purchase("two", "submitted")])
    await store(world).sum_up(TOTAL, world.now, thorough=True)
    (window,) = world.windows().values()
    assert (window["held"], window["overrun"], window["excess"]) == (2 * ONE, 40_000, 40_000)
    world.check_books()
    world.database["ledger"].update_one({"_id": "two"}, {"$set": {"state": "collected", "actualMicros": 0}})
    await store(world).sum_up(TOTAL, world.now, thorough=True)
    assert (held(world), overruns(world)) == ({TOTAL: ONE}, {})
    world.database["ledger"].update_one({"_id": "two"}, {"$set": {"billedMicros": 80_000}})
    await store(world).sum_up(TOTAL, world.now, thorough=True)
    assert (held(world), overruns(world)) == ({TOTAL: 150_000}, {TOTAL: 50_000})
    world.check_books()


async def test_claim_during_a_growing_sum_is_a_reported_overrun(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world = BudgetWorld(monkeypatch, count=0)
    ref, during = ref_of("0.14"), BudgetStore._sum
    assert await store(world).claim(claims("one", ref), world.now) is None
    world.database["ledger"].insert_many([purchase("one", "submitted"), purchase("two", "submitted")])

    def claimed(self: BudgetStore, *given: Any) -> tuple[int, int]:
        monkeypatch.setattr(BudgetStore, "_sum", during)
        assert self._claim_all(claims("three", ref), world.now) is None
        return during(self, *given)

    monkeypatch.setattr(BudgetStore, "_sum", claimed)
    await store(world).sum_up(TOTAL, world.now, thorough=True)
    assert (held(world), overruns(world)) == ({TOTAL: 3 * ONE}, {TOTAL: ONE})
    world.check_books()


async def test_purchase_sent_during_a_sum_counts_once(monkeypatch: pytest.MonkeyPatch) -> None:
    world = BudgetWorld(monkeypatch, count=0)
    ref, during = ref_of("0.14"), BudgetStore._sum
    assert await store(world).claim(claims("ended", ref), world.now) is None
    world.database["ledger"].insert_one(purchase("ended", "collected", actualMicros=0))

    def sent(self: BudgetStore, *given: Any) -> tuple[int, int]:
        monkeypatch.setattr(BudgetStore, "_sum", during)
        assert self._claim_all(claims("new", ref), world.now) is None
        world.database["ledger"].insert_one(purchase("new", "intent", "sending"))
        return during(self, *given)

    monkeypatch.setattr(BudgetStore, "_sum", sent)
    await store(world).sum_up(TOTAL, world.now)
    assert (held(world), overruns(world)) == ({TOTAL: ONE}, {})
    assert next(iter(world.windows()[TOTAL]["open"].values()))["purchase"] == "new"


async def test_paid_purchase_keeps_its_claim_without_the_ledger(monkeypatch: pytest.MonkeyPatch) -> None:
    """For as long as a frozen process may be about to write it."""
    world = BudgetWorld(monkeypatch, count=0)
    for state in ("missing", "refused"):
        if state == "refused":
            world.database["ledger"].insert_one(purchase("one", state))
        assert await store(world).claim(claims("one", ref_of("0.07"), paid=True), world.now) is None
        await store(world).sum_up(TOTAL, world.now + timedelta(minutes=14))
        assert held(world) == {TOTAL: ONE}
        await store(world).sum_up(TOTAL, world.now + timedelta(minutes=16))
        assert held(world) == {}


async def test_unknown_price_is_claimed_only_while_money_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    """The decision saw room, and another run took it before the claim, or before its renewal at the payment."""
    world = BudgetWorld(monkeypatch, count=0)
    ref = ref_of("0.07")
    assert await store(world).claim(claims("unknown", ref, 0, least=1), world.now) is None
    assert await store(world).claim(claims("other", ref), world.now) is None
    assert await store(world).claim(claims("unknown", ref, 0, least=1), world.now) == ref
    assert await store(world).claim(claims("late", ref, 0, least=1), world.now) == ref
    assert await store(world).claim(claims("free", ref, 0), world.now) is None
    assert await store(world).claim(claims("other", ref), world.now) is None
