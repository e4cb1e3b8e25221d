"""Stop of buying while paid results are not stored: what counts, whom it holds, and how buying goes on."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import mongomock
import pytest
from pymongo.errors import PyMongoError

from contentgen_contract.names import CANCEL_ANNOTATION, Kind, Phase, Reason, Stage
from contentgen_contract.records import keys
from contentgen_contract.resources.status import ResourceStatus
from contentgen_operator import metrics
from contentgen_operator.buying import metrics as module
from contentgen_operator.buying.metrics import BuyingGauges, BuyingMetrics, samples
from contentgen_operator.buying.values import INSTALLATION, AwaitedResults, BacklogLimit, stopped_scopes
from contentgen_operator.queue.fair_turns import PlaceLimits
from contentgen_operator.state.purchases import PurchaseState
from contentgen_simulation.queue_driver import QueueDriver, limited_driver
from contentgen_simulation.world import outcome_of

IMAGES = Kind.IMAGE_GENERATION
LIMIT = BacklogLimit(results=2)
LATE = LIMIT.wait + timedelta(minutes=1)
MORE = LIMIT.results + 1
NOW = datetime(2026, 11, 21, tzinfo=UTC)
METRICS = ("contentgen_uncollected_results", "contentgen_uncollected_oldest_seconds", "contentgen_buying_stops")


@pytest.fixture
async def driver(monkeypatch: pytest.MonkeyPatch) -> QueueDriver:
    """Driver of a world with a small limit. Its collect Jobs end by `stored` only."""
    found = limited_driver(monkeypatch, PlaceLimits())
    found.world.backlog_limit = LIMIT
    found.world.restart()
    return found


async def collecting(driver: QueueDriver, namespace: str, count: int = MORE, **spec: Any) -> list[str]:
    """Buy results whose collect Jobs do not run; returns the names of their resources."""
    names = [f"{namespace}-{number}" for number in range(count)]
    for name in names:
        driver.apply(namespace, name, **spec)
    await driver.run()
    assert [driver.status(name).phase for name in names] == [Phase.COLLECTING] * count
    return names


async def reconciled(driver: QueueDriver, *names: str) -> None:
    for name in names:
        await driver.wake(driver.refs[name])
    await driver.run()


async def stored(driver: QueueDriver, names: list[str]) -> None:
    """Let the collect Jobs of these resources succeed."""
    jobs = driver.world.kube.jobs
    others = {name: job for name, job in jobs.items() if job["metadata"]["ownerReferences"][0]["name"] not in names}
    for name in others:
        del jobs[name]
    driver.world.work()
    jobs |= others
    await reconciled(driver, *names)
    assert [driver.status(name).phase for name in names] == [Phase.COMPLETED] * len(names)


async def bought(driver: QueueDriver, *names: str, namespace: str = "a") -> list[str]:
    """Apply new resources, or reconcile known ones; returns the names of those that were sent to the provider."""
    before = len(driver.world.provider.posts)
    for name in names:
        if name not in driver.refs:
            driver.apply(namespace, name)
    await reconciled(driver, *names)
    sent = [name for name in names if driver.status(name).reason != Reason.COLLECT_BACKLOG]
    assert len(driver.world.provider.posts) - before == len(sent)
    return sent


async def test_namespace_above_the_late_limit_buys_nothing(driver: QueueDriver) -> None:
    names = await collecting(driver, "a")
    assert await bought(driver, "in-time") == ["in-time"]
    driver.world.now += LATE
    assert await bought(driver, "late-1", "late-2") == []
    status = driver.status("late-1")
    assert (status.phase, status.reason) == (Phase.PENDING, Reason.COLLECT_BACKLOG)
    assert status.message == (
        "more than 2 paid results of this namespace are not stored 15 minutes after the provider has finished "
        "(buying.collectBacklog): nothing more is bought until they are, and this continues by itself"
    )
    assert await bought(driver, "other", namespace="b") == ["other"], "one namespace stops no other"
    await stored(driver, [*names, "in-time"])  # collection goes on


async def test_namespace_at_the_late_limit_continues_to_buy(driver: QueueDriver) -> None:
    await collecting(driver, "a", LIMIT.results)
    driver.world.now += LATE
    assert await bought(driver, "next") == ["next"]


async def test_single_probe_at_a_time_until_a_result_is_stored(driver: QueueDriver) -> None:
    names = await collecting(driver, "a")
    driver.world.now += LATE
    waiting = ["w-0", "w-1", "w-2", "w-3"]
    assert await bought(driver, *waiting) == []
    await stored(driver, names)
    assert await bought(driver, *waiting) == ["w-0"]
    assert driver.status("w-1").message == (
        "many paid results of this namespace could not be stored: runs are bought one at a time until the result of "
        "one is stored, and this continues by itself"
    )
    assert await bought(driver, *waiting[1:]) == []
    await stored(driver, ["w-0"])
    assert await bought(driver, *waiting[1:]) == waiting[1:]


async def test_a_probe_whose_result_is_late_lets_another_one_through(driver: QueueDriver) -> None:
    """One broken source holds a namespace no longer than a late result; more than the limit stop it again."""
    names = await collecting(driver, "a")
    driver.world.now += LATE
    waiting = [f"w-{number}" for number in range(5)]
    assert await bought(driver, *waiting) == []
    await stored(driver, names)
    for number in range(MORE):
        assert await bought(driver, *waiting[number:]) == [waiting[number]]
        driver.world.now += LATE
    assert await bought(driver, *waiting[MORE:]) == []
    assert "more than 2 paid results" in (driver.status(waiting[MORE]).message or "")


async def test_results_that_were_given_up_end_no_stop(driver: QueueDriver) -> None:
    """After collectDeadlineSeconds nothing is late any more, and nothing shows that results are stored again."""
    names = await collecting(driver, "a", collectDeadlineSeconds=3600)
    driver.world.now += LATE
    assert await bought(driver, "w-0", "w-1") == []
    driver.world.now += timedelta(hours=1)
    await reconciled(driver, *names)
    assert await bought(driver, "w-0", "w-1") == ["w-0"]


async def test_results_that_cannot_be_stored_at_all_do_not_count(driver: QueueDriver) -> None:
    """The run has failed: nobody tries the collection any more, until a person asks for it."""
    names, world = await collecting(driver, "a"), driver.world

    def leave_verdict(kind: Kind, stage: Stage, status: ResourceStatus) -> None:
        assert status.run is not None
        found = outcome_of(kind, stage, status.job_id or "")
        verdict = {"reason": Reason.RESULT_INVALID, "message": "no picture", "files": (), "facts": None}
        key = keys.outcome(status.job_id or "", status.run.number, stage, status.run.stage_attempt)
        world.storage.objects[key] = found.model_copy(update=verdict).model_dump_json(by_alias=True)

    world._leave_outcome = leave_verdict  # type: ignore[method-assign]
    world.work()
    await reconciled(driver, *names)
    assert [driver.status(name).reason for name in names] == [Reason.RESULT_INVALID] * MORE
    world.now += LATE
    assert await bought(driver, "next") == ["next"]


async def test_a_result_that_is_stored_during_a_stop_does_not_end_it(driver: QueueDriver) -> None:
    names = await collecting(driver, "a")
    driver.world.now += LATE
    assert await bought(driver, "w-0", "w-1") == []
    ledger: Any = driver.world.process.actor.ledger
    (purchase, *_) = await ledger.sent_since(driver.world.now - 2 * LATE)
    late_post = {"state": PurchaseState.COLLECTED, "sent_at": driver.world.now}
    driver.world.buying.note_purchase(purchase.model_copy(update=late_post))
    assert await bought(driver, "w-0", "w-1") == []
    await stored(driver, names)
    assert await bought(driver, "w-0", "w-1") == ["w-0"]


async def test_a_stop_and_its_probe_survive_a_restart(driver: QueueDriver) -> None:
    names = await collecting(driver, "a")
    driver.world.now += LATE
    driver.world.restart()
    assert await bought(driver, "w-0", "w-1", "w-2") == []
    driver.world.restart()
    await stored(driver, names)
    assert await bought(driver, "w-0", "w-1", "w-2") == ["w-0"]
    driver.world.restart()
    assert await bought(driver, "w-1", "w-2") == []


async def test_the_runs_of_one_moment_are_no_probes_of_the_same_stop(driver: QueueDriver) -> None:
    """Reconciles run at the same time; each asks before any of them has sent its request."""
    names = await collecting(driver, "a")
    driver.world.now += LATE
    assert await bought(driver, "w-0", "w-1") == []
    await stored(driver, names)
    buying = driver.world.buying
    asked = await asyncio.gather(*(buying.ask(f"run-{number}", "uid-of-a") for number in range(5)))
    assert [each is None for each in asked].count(True) == 1
    buying.leave(f"run-{[each is None for each in asked].index(True)}")
    assert await buying.ask("run-9", "uid-of-a") is None


async def test_results_of_deleted_resources_do_not_count(driver: QueueDriver) -> None:
    names = await collecting(driver, "a")
    for name in names:
        del driver.world.kube.resources[IMAGES, name]
        driver.world.watch(driver.refs[name])
        await driver.world.process._reconcile_or_pause(driver.refs[name])
    driver.world.now += LATE
    assert await driver.world.buying.refresh() == frozenset()
    assert await bought(driver, "next") == ["next"]


@pytest.mark.parametrize("how", ["suspended", "cancelled"])
async def test_a_finished_request_is_collected_all_the_same_and_counts(driver: QueueDriver, how: str) -> None:
    names = await collecting(driver, "a")
    for name in names:
        body = driver.world.kube.resources[IMAGES, name]
        if how == "suspended":
            body["spec"]["suspend"] = True
        else:
            body["metadata"]["annotations"] = {CANCEL_ANNOTATION: "1"}
    await reconciled(driver, *names)
    driver.world.now += LATE
    assert await bought(driver, "next") == []


async def test_a_namespace_that_was_created_again_has_no_late_results(driver: QueueDriver) -> None:
    await collecting(driver, "a")
    driver.world.now += LATE
    assert await driver.world.buying.ask("run", "uid-of-a") is not None
    assert await driver.world.buying.ask("run", "uid-of-the-next-a") is None


async def test_an_installation_of_another_class_has_its_own_stops(driver: QueueDriver) -> None:
    await collecting(driver, "a")
    driver.world.now += LATE
    database: Any = driver.world.database
    database["ledger"].update_many({}, {"$set": {"operatorClass": "another"}})
    assert await bought(driver, "next") == ["next"]


async def test_abandoned_result_counts_until_its_deadline(driver: QueueDriver) -> None:
    """A ledger that was restored from a backup, or resources that moved to another class."""
    await collecting(driver, "a")
    driver.world.now += LATE
    assert await driver.world.buying.refresh() == {"uid-of-a"}
    driver.world.now += timedelta(days=1)
    assert await driver.world.buying.refresh() == frozenset()


async def test_a_mark_that_the_ledger_lacks_is_written_again(driver: QueueDriver) -> None:
    """Purchases of an older release, or of an older backup."""
    names = await collecting(driver, "a")
    ledger: Any = driver.world.database["ledger"]
    kept = {purchase["_id"]: (purchase["awaitedSince"], purchase["awaitedUntil"]) for purchase in ledger.find()}
    ledger.update_many({}, {"$unset": {"awaitedSince": "", "awaitedUntil": ""}})
    await reconciled(driver, *names)
    assert {purchase["_id"]: (purchase["awaitedSince"], purchase["awaitedUntil"]) for purchase in ledger.find()} == kept
    await stored(driver, names)
    assert {(purchase["awaitedSince"], purchase["awaitedUntil"]) for purchase in ledger.find()} == {(None, None)}


async def test_a_planned_run_is_held_directly_before_its_post(driver: QueueDriver) -> None:
    """The last results become late after the decision to send, and before the connection is open."""
    await collecting(driver, "a")
    provider: Any = driver.world.provider
    submit = provider.submit

    async def slow(call: Any, before_send: Any) -> str:
        driver.world.now += LATE
        result: str = await submit(call, before_send)
        return result

    provider.submit = slow
    driver.apply("a", "next")
    with pytest.raises(AssertionError, match="conflict"):  # of the driver: the reconcile ends so
        await driver.run()
    provider.submit = submit
    assert len(provider.posts) == MORE
    assert await bought(driver, "next") == []


async def test_without_a_count_nothing_is_bought(driver: QueueDriver, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: Any, **__: Any) -> Any:
        raise PyMongoError("no primary")

    driver.apply("a", "it")
    monkeypatch.setattr(mongomock.Collection, "aggregate", fails)
    await driver.run(reconciles=5)
    assert driver.status("it").reason == Reason.STORE_UNAVAILABLE
    assert driver.world.provider.posts == []


async def test_an_edit_replaces_a_run_that_waits(driver: QueueDriver) -> None:
    await collecting(driver, "a")
    driver.world.now += LATE
    assert await bought(driver, "next") == []
    body = driver.world.kube.resources[IMAGES, "next"]
    body["spec"]["prompt"] = "another"
    body["metadata"]["generation"] = body["metadata"].get("generation", 1) + 1
    await reconciled(driver, "next")
    run = driver.status("next").run
    assert run is not None
    assert (run.number, run.spec["prompt"]) == (2, "another")


async def test_an_administrator_pauses_all_buying(driver: QueueDriver) -> None:
    names = await collecting(driver, "a", 1)
    world = driver.world
    world.decision_settings = world.decision_settings.model_copy(update={"buying_paused": True})
    world.restart()
    driver.apply("a", "next")
    await driver.run()
    status = driver.status("next")
    assert (status.reason, status.message) == (
        Reason.BUYING_PAUSED,
        "an administrator has paused buying (buying.paused): nothing is paid until it is false",
    )
    await stored(driver, names)
    world.decision_settings = world.decision_settings.model_copy(update={"buying_paused": False})
    world.restart()
    await reconciled(driver, "next")
    assert len(world.provider.posts) == 2


async def test_three_namespaces_with_late_results_stop_all_buying(driver: QueueDriver) -> None:
    names = [await collecting(driver, letter, 1) for letter in "abc"]
    driver.world.now += LATE
    assert await bought(driver, "next", "last", namespace="d") == []
    message = driver.status("next").message or ""
    assert message.startswith("more than 2 paid results of several namespaces are not stored")
    await stored(driver, [each for listed in names for each in listed])
    assert await bought(driver, "next", "last", namespace="d") == ["next"]
    await stored(driver, ["next"])
    assert await bought(driver, "last", namespace="d") == ["last"]


@pytest.mark.parametrize("named", [False, True])
async def test_late_results_and_stops_are_metrics(
    driver: QueueDriver, monkeypatch: pytest.MonkeyPatch, named: bool
) -> None:
    world, gauges = driver.world, BuyingGauges()
    monkeypatch.setattr(module, "gauges", gauges)
    monkeypatch.setattr(metrics.gauges, "clock", world._seconds)
    monkeypatch.setattr(metrics.gauges, "shows_tenants", named)
    ledger: Any = world.process.actor.ledger
    background = BuyingMetrics(ledger, world.buying, lambda: world.now)

    async def shown() -> dict[str, dict[tuple[str, ...], float]]:
        await background.round()
        found = {each.name: each.samples for each in gauges.collect()}
        return {name: {tuple(each.labels.values()): each.value for each in found[name]} for name in METRICS}

    assert await shown() == {name: {} for name in METRICS}
    names = await collecting(driver, "a")
    world.now += timedelta(minutes=5)
    other = await collecting(driver, "b", 1)
    late, early, stops = METRICS
    assert await shown() == {
        late: {("a",): 3, ("b",): 1} if named else {("",): 4},
        early: {("a",): 300, ("b",): 0} if named else {("",): 300},
        stops: {},
    }
    world.now += LATE  # nobody buys
    assert (await shown())[stops] == {("namespace", "stopped"): 1}
    assert (await shown())[early] == ({("a",): 1260, ("b",): 960} if named else {("",): 1260})
    await stored(driver, [*names, *other])
    assert await shown() == {late: {}, early: {}, stops: {("namespace", "probing"): 1}}
    gauges.paused = True
    assert (await shown())[stops] == {("namespace", "probing"): 1, ("administrator", "stopped"): 1}
    monkeypatch.setattr(metrics.gauges, "leader", lambda: False)
    assert (await shown())[stops] == {("namespace", "probing"): 1}


def test_the_metrics_of_many_namespaces_are_limited() -> None:
    found = [
        AwaitedResults(namespace=f"ns-{at}", scope=f"{at}", count=2, oldest=NOW + timedelta(seconds=at))
        for at in range(150)
    ]
    shown = samples(found)
    assert len(shown) == 101
    assert (shown[0].namespace, shown[-1].namespace, shown[-1].count) == ("ns-0", "_other", 100)


@pytest.mark.parametrize(
    ("counts", "stopped"),
    [
        ((), ""),
        ((20,), ""),
        ((21,), "a"),
        ((500, 1, 1), "a"),  # one tenant's deleted pods stop nobody else
        ((500, 500), "ab"),
        ((20, 20, 20), "*"),
        ((500, 500, 500), "*abc"),
        ((7, 7, 7), "*"),
        ((7, 7, 6), ""),
        ((1,) * 20, ""),
        ((1,) * 21, "*"),
    ],
)
def test_stopped_scopes(counts: tuple[int, ...], stopped: str) -> None:
    late = [
        AwaitedResults(namespace=chr(97 + at), scope=chr(97 + at), count=count, oldest=NOW)
        for at, count in enumerate(counts)
    ]
    assert stopped_scopes(late, BacklogLimit()) == frozenset(stopped)


@pytest.mark.parametrize("results", range(4))
def test_no_limit_lets_one_namespace_stop_the_others(results: int) -> None:
    late = [AwaitedResults(namespace=letter, scope=letter, count=900, oldest=NOW) for letter in "ab"]
    assert INSTALLATION not in stopped_scopes(late, BacklogLimit(results=results))
