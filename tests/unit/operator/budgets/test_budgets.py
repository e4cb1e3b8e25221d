"""Budgets: claims before a payment, releases, sums, crashes at each point, frozen leaders, restored backups."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from contentgen_contract.names import CANCEL_ANNOTATION, Phase, Reason
from contentgen_contract.resources.content_budget import ContentBudget
from contentgen_contract.resources.prices import PRICES, Price, Unit
from contentgen_operator import metrics
from contentgen_operator.budgets.metrics import gauges
from contentgen_operator.budgets.store import BudgetStore
from contentgen_operator.budgets.values import (
    BudgetClaim,
    BudgetClaims,
    BudgetRelease,
    BudgetWindow,
    claim_key,
    windows_of,
)
from contentgen_operator.providers.base import Busy
from contentgen_simulation.budget_world import IMAGES, ONE, budget_of
from contentgen_simulation.world import SPECS, World, Writes

pytestmark = pytest.mark.usefixtures("no_waiting")

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)


def world_of(monkeypatch: pytest.MonkeyPatch, *budgets: dict[str, Any], writes: Writes | None = None) -> World:
    world = World(monkeypatch, writes or Writes())
    world.kube.budgets = list(budgets)
    return world


def image(world: World, name: str = "it", **annotations: str) -> None:
    world.kube.apply(IMAGES, SPECS[IMAGES] | {"prompt": name}, f"uid-{name}", name, **annotations)


def store(world: World) -> BudgetStore:
    return BudgetStore(world.database["budgets"], world.database["ledger"])


async def summed(world: World) -> None:
    """A thorough round over all windows."""
    await world.keep_budgets(thorough=True)


def windows(world: World) -> dict[str, dict[str, Any]]:
    return {budget["_id"]: budget for budget in world.database["budgets"].find()}


def check_books(world: World) -> None:
    """`held` is `spent` and all claims; it exceeds the limit by the reported overrun at most."""
    for window in windows(world).values():
        claims = sum(claim["micros"] for claim in window["open"].values())
        assert window["held"] == window["spent"] + claims, window
        assert set(window["keys"]) == set(window["open"]), window
        assert window["held"] <= window["limit"] + window["overrun"], window


def bought(world: World) -> int:
    """Sum of the bounds of all purchases that were sent."""
    sent = [
        purchase
        for purchase in world.database["ledger"].find()
        if purchase["state"] != "intent" or purchase["sendState"] != "planned"
    ]
    return sum(each["boundMicros"] for each in sent if each["state"] != "refused")


async def rounds(world: World, names: list[str], count: int) -> None:
    for _ in range(count):
        for name in names:
            before = world.now
            await world.reconcile(IMAGES, name)
            world.now = before
            check_books(world)
        world.now += timedelta(seconds=300)


def reasons(world: World, names: list[str]) -> list[str | None]:
    return [world.status(IMAGES, name).reason for name in names]


async def test_three_budgets_on_one_run_are_claimed_together(monkeypatch: pytest.MonkeyPatch) -> None:
    several = [
        budget_of("a", limits={"day": "0.35", "month": "1.00"}),
        budget_of("b", limits={"total": "0.21"}, scope={"kinds": ["ImageGeneration"]}),
        budget_of("c", limits={"day": "0.28"}, scope={"users": ["ns"]}),
    ]
    world = world_of(monkeypatch, *several)
    names = [f"image-{number}" for number in range(8)]
    for name in names:
        image(world, name)
    await rounds(world, names, 3)
    assert len(world.provider.posts) == 3  # the smallest has room for three
    assert {window["held"] for window in windows(world).values()} == {3 * ONE}
    assert reasons(world, names).count(Reason.BUDGET_EXCEEDED) == 5
    assert "it waits until the budget or the run is changed" in (world.status(IMAGES, names[-1]).message or "")


async def test_a_refused_claim_releases_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    """The decision saw room in both budgets, and another run took it before the claim."""
    world = world_of(monkeypatch)
    first, second = (
        ContentBudget.parse(budget_of("a", limits={"day": "1"})),
        ContentBudget.parse(budget_of("b", limits={"day": "0.07"})),
    )
    refs = [*windows_of(first, NOW), *windows_of(second, NOW)]

    def claims(purchase: str) -> BudgetClaims:
        return BudgetClaims(purchase=purchase, each=tuple(BudgetClaim(ref=ref, micros=ONE) for ref in refs))

    assert await store(world).claim(claims("one"), NOW) is None
    assert await store(world).claim(claims("one"), NOW) is None  # idempotent
    refused = await store(world).claim(claims("two"), NOW)
    assert refused is not None
    assert refused.budget == "b"
    assert {window["held"] for window in windows(world).values()} == {ONE}
    assert all(list(window["open"]) == [claim_key("one")] for window in windows(world).values())


async def test_a_release_by_an_old_token_does_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that was frozen before its release, while another one has renewed the claim."""
    world = world_of(monkeypatch)
    (ref,) = windows_of(ContentBudget.parse(budget_of(limits={"day": "1"})), NOW)
    claims = BudgetClaims(purchase="one", each=(BudgetClaim(ref=ref, micros=ONE),))
    await store(world).claim(claims, NOW)
    old = (await store(world).usage([ref.id], "one"))[ref.id].token
    await store(world).claim(claims, NOW)
    await store(world).release([BudgetRelease(purchase="one", window=ref.id, token=old)])
    assert windows(world)[ref.id]["held"] == ONE
    new = (await store(world).usage([ref.id], "one"))[ref.id].token
    await store(world).release([BudgetRelease(purchase="one", window=ref.id, token=new)])
    assert windows(world)[ref.id]["held"] == 0


@pytest.mark.parametrize("point", range(40))
async def test_a_crash_at_each_write_pays_once_and_keeps_the_books(monkeypatch: pytest.MonkeyPatch, point: int) -> None:
    world = world_of(monkeypatch, budget_of("a", limits={"day": "0.10"}), budget_of("b", limits={"total": "0.10"}))
    world.writes = world.kube._writes = Writes((point,))
    world.storage._writes = world.provider._writes = world.writes
    world.restart()
    image(world, "first")
    image(world, "second")
    await rounds(world, ["first", "second"], 12)
    await summed(world)
    check_books(world)
    assert bought(world) == ONE
    assert {window["held"] for window in windows(world).values()} == {ONE}
    ends = set(reasons(world, ["first", "second"]))
    if ends == {Reason.BUDGET_EXCEEDED, Reason.COMPLETED}:
        assert len(world.provider.posts) == 1
    else:  # the crash was between the compare-and-set and the POST, so the run may have been paid
        assert ends <= {Reason.BUDGET_EXCEEDED, Reason.LOOKING_FOR_REQUEST, Reason.SUBMISSION_UNKNOWN}
        assert world.provider.posts == []


async def test_a_frozen_leader_leaves_one_claim_and_one_payment(monkeypatch: pytest.MonkeyPatch) -> None:
    """The leader is frozen between its claim and the plan of the purchase; the next one finishes the run."""
    world = world_of(monkeypatch, budget_of(limits={"day": "0.07"}))
    image(world)
    await world.reconcile(IMAGES)
    claim = BudgetStore.claim
    frozen = world.process

    async def held_up(self: BudgetStore, claims: Any, now: Any) -> Any:
        monkeypatch.setattr(BudgetStore, "claim", claim)
        refused = await claim(self, claims, now)
        world.restart()  # the next leader
        await world.finish(IMAGES)
        await summed(world)
        return refused

    monkeypatch.setattr(BudgetStore, "claim", held_up)
    world.process = frozen
    await world.finish(IMAGES)
    await summed(world)
    assert len(world.provider.posts) == 1
    check_books(world)
    assert [window["held"] for window in windows(world).values()] == [ONE]


async def test_a_cancelled_run_releases_its_claim(monkeypatch: pytest.MonkeyPatch) -> None:
    world = world_of(monkeypatch, budget_of(limits={"day": "0.07"}))
    world.provider.refuses = Busy("too many requests")
    image(world)
    for _ in range(4):
        await world.reconcile(IMAGES)
    (before,) = windows(world).values()
    assert before["held"] == ONE
    image(world, **{CANCEL_ANNOTATION: "1"})
    status = await world.finish(IMAGES)
    assert status.reason == Reason.CANCELLED
    await summed(world)
    (after,) = windows(world).values()
    assert (after["held"], after["open"]) == (0, {})


async def test_a_deleted_run_releases_its_claim(monkeypatch: pytest.MonkeyPatch) -> None:
    world = world_of(monkeypatch, budget_of(limits={"day": "0.07"}))
    world.provider.refuses = Busy("too many requests")
    image(world, "it")
    for _ in range(4):
        await world.reconcile(IMAGES)
    await world.until_gone(IMAGES)
    await summed(world)
    (after,) = windows(world).values()
    assert (after["held"], after["open"]) == (0, {})


async def test_a_charge_replaces_the_bound_and_an_overrun_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    world = world_of(monkeypatch, budget_of(limits={"day": "0.20"}))
    image(world, "first")
    image(world, "second")
    await rounds(world, ["first", "second"], 8)
    await summed(world)
    (window,) = windows(world).values()
    assert (window["spent"], window["overrun"], window["open"]) == (2 * ONE, 0, {})
    charges = iter((50_000, 500_000))
    for purchase in list(world.database["ledger"].find()):
        world.database["ledger"].update_one({"_id": purchase["_id"]}, {"$set": {"billedMicros": next(charges)}})
    await summed(world)
    (window,) = windows(world).values()
    assert (window["spent"], window["overrun"], window["held"]) == (550_000, 430_000, 550_000)
    check_books(world)


async def test_restored_budgets_are_rebuilt_from_the_ledger(monkeypatch: pytest.MonkeyPatch) -> None:
    world = world_of(monkeypatch, budget_of(limits={"day": "0.20"}))
    image(world, "ended")
    await rounds(world, ["ended"], 8)
    image(world, "open")
    await rounds(world, ["open"], 3)
    assert world.status(IMAGES, "open").phase == Phase.PROCESSING
    (window,) = windows(world).values()
    zero = {"held": 0, "spent": 0, "open": {}, "keys": [], "revision": 0, "overrun": 0}
    world.database["budgets"].replace_one({"_id": window["_id"]}, window | zero)
    await summed(world)
    (window,) = windows(world).values()
    assert (window["spent"], window["held"], window["overrun"]) == (2 * ONE, 2 * ONE, 0)
    check_books(world)


async def test_a_claim_without_a_purchase_is_released(monkeypatch: pytest.MonkeyPatch) -> None:
    """An older backup of the ledger, or a crash between the claim and the plan of a run that was deleted."""
    world = world_of(monkeypatch)
    (ref,) = windows_of(ContentBudget.parse(budget_of(limits={"day": "1"})), NOW)
    await store(world).claim(BudgetClaims(purchase="none", each=(BudgetClaim(ref=ref, micros=ONE),)), NOW)
    assert not await store(world).sum_up(ref.id, NOW + timedelta(seconds=30)), "it may be about to be planned"
    assert await store(world).sum_up(ref.id, NOW + timedelta(minutes=2))
    assert windows(world)[ref.id]["held"] == 0


async def test_run_over_the_limit_per_run_waits_for_an_edit(monkeypatch: pytest.MonkeyPatch) -> None:
    world = world_of(monkeypatch, budget_of(limits={"day": "1"}, maxPerRun="0.05"))
    image(world)
    for _ in range(3):
        await world.reconcile(IMAGES)
    status = world.status(IMAGES)
    assert status.reason == Reason.BUDGET_EXCEEDED
    assert "the run may cost $0.07, and ContentBudget all allows $0.05 per run" in (status.message or "")
    world.kube.apply(IMAGES, {"prompt": "one picture", "image": {"count": 1}}, "uid-it", "it")
    assert (await world.finish(IMAGES)).phase == Phase.COMPLETED
    assert len(world.provider.posts) == 1


async def test_a_run_fails_if_the_budget_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    world = world_of(monkeypatch, budget_of(limits={"total": "0.05"}, onExceeded="Fail"))
    image(world)
    status = await world.finish(IMAGES)
    assert (status.phase, status.reason) == (Phase.FAILED, Reason.BUDGET_EXCEEDED)
    assert "nothing was paid" in (status.message or "")
    assert world.provider.posts == []


@pytest.mark.parametrize(("unknown_price", "posts"), [("Refuse", 0), ("Allow", 1)])
async def test_a_price_without_an_upper_bound(monkeypatch: pytest.MonkeyPatch, unknown_price: str, posts: int) -> None:
    world = world_of(monkeypatch, budget_of(limits={"day": "1"}, unknownPrice=unknown_price))
    other = Price(micros=1, unit=Unit.OTHER, source="test")
    world.decision_settings = world.decision_settings.model_copy(
        update={"prices": PRICES | {"fal-ai/flux-lora": other}}
    )
    world.decision_settings = world.decision_settings.model_copy(update={"prices": dict.fromkeys(PRICES, other)})
    world.restart()
    image(world)
    for _ in range(4):
        await world.reconcile(IMAGES)
    assert len(world.provider.posts) == posts
    if not posts:
        assert "no upper bound of its price is known" in (world.status(IMAGES).message or "")


async def test_only_runs_in_scope_count(monkeypatch: pytest.MonkeyPatch) -> None:
    others = [
        budget_of("a", limits={"day": "0"}, scope={"kinds": ["Transcription"]}),
        budget_of("b", limits={"day": "0"}, scope={"providers": ["assemblyai"]}),
        budget_of("c", limits={"day": "0"}, scope={"users": ["somebody"]}),
        budget_of("d", limits={"day": "0"}, scope={"namespaceSelector": {"matchLabels": {"team": "a"}}}),
    ]
    world = world_of(monkeypatch, *others)
    image(world)
    assert (await world.finish(IMAGES)).phase == Phase.COMPLETED
    assert windows(world) == {}


async def test_labels_of_the_namespace_decide(monkeypatch: pytest.MonkeyPatch) -> None:
    selector = {"matchExpressions": [{"key": "team", "operator": "In", "values": ["a", "b"]}]}
    world = world_of(monkeypatch, budget_of(limits={"day": "0"}, scope={"namespaceSelector": selector}))
    world.kube.server.namespace_labels["ns"] = {"team": "b"}
    image(world)
    for _ in range(3):
        await world.reconcile(IMAGES)
    assert world.status(IMAGES).reason == Reason.BUDGET_EXCEEDED
    world.kube.server.namespace_labels["ns"] = {"team": "c"}
    assert (await world.finish(IMAGES)).phase == Phase.COMPLETED


async def test_a_budget_that_cannot_be_read_stops_payments(monkeypatch: pytest.MonkeyPatch) -> None:
    world = world_of(monkeypatch, budget_of(limits={"week": "1"}))
    image(world)
    for _ in range(3):
        await world.reconcile(IMAGES)
    assert world.status(IMAGES).reason == Reason.BUDGET_EXCEEDED
    assert world.provider.posts == []
    await world.keep_budgets()
    ready = world.kube.budgets[0]["status"]["conditions"][0]
    assert (ready["type"], ready["status"], ready["reason"]) == ("Ready", "False", "SpecUnreadable")
    assert "refuses all runs" in ready["message"]


async def test_a_planned_purchase_of_yesterday_counts_today(monkeypatch: pytest.MonkeyPatch) -> None:
    """The run was planned at 23:59, and is sent after midnight: its claim moves to the new window."""
    world = world_of(monkeypatch, budget_of(limits={"day": "0.07"}))
    world.now = datetime(2026, 11, 21, 23, 59, 59, tzinfo=UTC)
    image(world)
    await world.reconcile(IMAGES)  # starts the run
    await world.reconcile(IMAGES)
    world.now = datetime(2026, 11, 22, 0, 0, 1, tzinfo=UTC)
    status = await world.finish(IMAGES)
    assert status.phase == Phase.COMPLETED
    await summed(world)
    held = {window["_id"]: window["held"] for window in windows(world).values()}
    assert held.get("uid-of-all/day-2026-11-22") == ONE
    assert held.get("uid-of-all/day-2026-11-21", 0) == 0


async def test_the_status_and_the_metrics_show_the_usage(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics.gauges, "shows_tenants", True)
    monkeypatch.setattr(metrics.gauges, "features", [gauges])
    world = world_of(monkeypatch, budget_of(limits={"day": "0.14", "total": "10"}, warnAtPercent=50))
    image(world)
    await rounds(world, ["it"], 3)
    await world.keep_budgets()
    status = world.kube.budgets[0]["status"]
    assert status["display"] == "$0.00+0.07 of $0.14"
    day, total = status["windows"]
    assert (day["window"], day["reserved"], day["remaining"]) == ("day-2026-11-21", "0.07", "0.07")
    assert (day["warning"], day["resetsAt"], total["warning"]) == (True, "2026-11-22T00:00:00Z", False)
    first = {condition["type"]: condition for condition in status["conditions"]}
    assert {name: (each["status"], each["message"]) for name, each in first.items()} == {
        "Ready": ("True", "runs are counted"),
        "Warning": ("True", "day-2026-11-21"),
        "Exhausted": ("False", ""),
    }
    await world.finish(IMAGES)
    await world.keep_budgets()
    assert world.kube.budgets[0]["status"]["display"] == "$0.07+0.00 of $0.14"
    world.kube.budgets[0]["spec"]["limits"] = {"day": "0.07"}
    await world.keep_budgets()
    later = {condition["type"]: condition for condition in world.kube.budgets[0]["status"]["conditions"]}
    assert (later["Exhausted"]["status"], later["Exhausted"]["message"]) == ("True", "day-2026-11-21")
    assert later["Exhausted"]["lastTransitionTime"] > first["Exhausted"]["lastTransitionTime"]
    assert later["Warning"]["lastTransitionTime"] == first["Warning"]["lastTransitionTime"]
    text = metrics.exposition().decode()
    assert 'contentgen_budget_dollars{amount="spent",budget="all",window="day"} 0.07' in text
    assert 'contentgen_budget_warning{budget="all",window="day"} 1.0' in text


async def test_budgets_of_other_classes_do_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    world = world_of(monkeypatch, budget_of(limits={"day": "0"}, operatorClass="another"))
    image(world)
    assert (await world.finish(IMAGES)).phase == Phase.COMPLETED


async def test_a_missing_window_is_summed_before_it_takes_a_claim(monkeypatch: pytest.MonkeyPatch) -> None:
    """A backup has no budgets: what the ledger has counts before anything else is claimed."""
    world = world_of(monkeypatch, budget_of(limits={"day": "0.10"}))
    image(world, "first")
    await rounds(world, ["first"], 8)
    world.database["budgets"].delete_many({})
    image(world, "second")
    await rounds(world, ["second"], 4)
    assert len(world.provider.posts) == 1
    assert world.status(IMAGES, "second").reason == Reason.BUDGET_EXCEEDED
    check_books(world)


async def test_a_planned_purchase_is_sent_only_with_a_renewed_claim(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its claim is released and another run has taken the money, after the decision to pay."""
    world = world_of(monkeypatch, budget_of(limits={"day": "0.07"}))
    image(world)
    while world.database["ledger"].find_one({"sendState": "planned"}) is None:
        await world.reconcile(IMAGES)
    monkeypatch.setattr(BudgetWindow, "has_room", lambda *_: True)
    ((window, kept),) = windows(world).items()
    (claim,) = kept["open"].values()
    await store(world).release([BudgetRelease(purchase=claim["purchase"], window=window, token=claim["token"])])
    (ref,) = windows_of(ContentBudget.parse(world.kube.budgets[0]), world.now)
    other = BudgetClaims(purchase="other", each=(BudgetClaim(ref=ref, micros=ONE),))
    assert await store(world).claim(other, world.now) is None
    for _ in range(3):
        await world.reconcile(IMAGES)
    assert world.provider.posts == []
    check_books(world)
