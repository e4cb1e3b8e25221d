"""Attacks on approvals, budgets, queues and provider accounts by somebody who has read docs/policies.md."""

from datetime import timedelta
from typing import Any

import pytest

from contentgen_contract.names import (
    ACCOUNT_LABEL,
    APPROVAL_LABEL,
    APPROVE_ANNOTATION,
    APPROVED_BY_ANNOTATION,
    RESUBMIT_ANNOTATION,
    Kind,
    Phase,
    Reason,
)
from contentgen_operator.queue.circuit_breaker import FAILURES
from contentgen_operator.queue.fair_turns import Account, Endpoint, Place, PlaceLimits
from contentgen_operator.state.provider_requests import Found, Search
from contentgen_simulation.world import SPECS, UID, World, Writes, resubmit_token

pytestmark = pytest.mark.usefixtures("no_waiting")

IMAGES, LORA, TRANSCRIPT = Kind.IMAGE_GENERATION, Kind.LORA_TRAINING, Kind.TRANSCRIPTION
APPROVED = {APPROVE_ANNOTATION: "1-999", APPROVED_BY_ANNOTATION: "alice"}
ONE = 70_000  # micro-dollars of SPECS[IMAGES]
TOO_DEAR = "0.000001"
EDITS: dict[Kind, dict[str, Any]] = {
    LORA: {"triggerWord": "other"},
    IMAGES: {"prompt": "a dog"},
    TRANSCRIPT: {"options": {"speakerLabels": False}},
}


def budget(**spec: Any) -> dict[str, Any]:
    metadata = {"name": "all", "uid": "uid-of-all", "generation": 1, "resourceVersion": "1"}
    return {"metadata": metadata, "spec": spec}


def world_of(monkeypatch: pytest.MonkeyPatch, *budgets: dict[str, Any], limits: PlaceLimits | None = None) -> World:
    world = World(monkeypatch, Writes())
    world.kube.budgets = list(budgets)
    world.limits = limits or PlaceLimits()
    world.restart()
    return world


def held(world: World) -> set[int]:
    return {budget["held"] for budget in world.database["budgets"].find()}


async def reconcile_times(world: World, count: int, kind: Kind = IMAGES) -> None:
    for _ in range(count):
        await world.reconcile(kind)


async def planned(world: World) -> None:
    """A run whose purchase is planned, with its claims, and not sent."""
    for _ in range(20):
        await world.reconcile(IMAGES)
        if any(purchase.get("sendState") == "planned" for purchase in world.database["ledger"].find()):
            return
    raise AssertionError("nothing was planned")


def take_the_only_place(world: World) -> None:
    world.payment_queue._turns.occupy("another", Place("other", Account("fal")))


# Budgets


@pytest.mark.parametrize("how", ["suspended", "queued", "no key", "no account", "to be approved"])
async def test_a_run_that_waits_with_a_planned_purchase_holds_no_money(
    monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    """Else a tenant reserves a shared budget for ever, and pays nothing."""
    world = world_of(monkeypatch, budget(limits={"total": "0.07"}))
    world.kube.apply(IMAGES, SPECS[IMAGES])
    await planned(world)
    assert held(world) == {ONE}
    if how == "suspended":
        world.kube.apply(IMAGES, SPECS[IMAGES] | {"suspend": True})
    elif how == "queued":
        for _ in range(FAILURES):
            world.payment_queue.note_failure(Endpoint("fal", "fal-ai/flux-lora"), "busy", 3600)
    elif how == "no key":
        world.provider.configured = False
    else:
        label = {ACCOUNT_LABEL: "nobody"} if how == "no account" else {APPROVAL_LABEL: "Manual"}
        world.kube.server.namespace_labels["ns"] = label
    await reconcile_times(world, 2)
    assert held(world) == {0}
    assert world.provider.posts == []


@pytest.mark.parametrize("kind", Kind)
async def test_an_edit_of_a_run_over_budget_takes_effect_at_once(monkeypatch: pytest.MonkeyPatch, kind: Kind) -> None:
    """Also of a prepared one, which may never fit; an edit that is seen when the budget has room again counts, too."""
    world = world_of(monkeypatch, budget(limits={"day": "100"}, maxPerRun=TOO_DEAR))
    spec = SPECS[kind] | {"approval": "Manual"}
    world.kube.apply(kind, spec)
    await world.finish(kind, Phase.AWAITING_APPROVAL)
    world.kube.apply(kind, spec, **APPROVED)
    await reconcile_times(world, 3, kind)
    assert world.status(kind).reason == Reason.BUDGET_EXCEEDED
    world.kube.apply(kind, spec | EDITS[kind], **APPROVED)
    if kind is not LORA:
        world.kube.budgets = []
    await reconcile_times(world, 8, kind)
    status = world.status(kind)
    assert status.run is not None
    assert (status.phase, status.run.number) == (Phase.AWAITING_APPROVAL, 2)
    assert world.provider.posts == []


async def test_permitted_resubmission_has_its_own_claim(monkeypatch: pytest.MonkeyPatch) -> None:
    async def never(_: Search) -> Found:
        return Found(request_id=None, complete=True)

    world = world_of(monkeypatch, budget(limits={"total": "0.10"}))
    world.provider.lose_replies = {1}
    monkeypatch.setattr(world.provider, "find", never)
    world.kube.apply(IMAGES, SPECS[IMAGES])
    token = resubmit_token(await world.finish(IMAGES, Phase.SUBMISSION_UNKNOWN))
    world.kube.apply(IMAGES, SPECS[IMAGES], **{RESUBMIT_ANNOTATION: token})
    await reconcile_times(world, 6)
    await world.keep_budgets(thorough=True)
    assert world.status(IMAGES).reason == Reason.BUDGET_EXCEEDED
    assert (len(world.provider.posts), held(world)) == (1, {ONE})


# Approvals and dry runs


async def test_an_approval_that_only_a_status_names_does_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    """The run documents were lost, and somebody has written the status."""
    world = world_of(monkeypatch)
    world.kube.apply(IMAGES, SPECS[IMAGES] | {"approval": "Manual"}, **APPROVED)
    await world.finish(IMAGES, Phase.AWAITING_APPROVAL)
    at = "2026-11-21T00:00:00Z"
    verdict = {"run": 1, "verdict": "Approved", "by": "alice", "at": at, "since": at}
    world.kube.resources[IMAGES, "it"]["status"]["run"]["approval"] = verdict
    world.database["runs"].delete_many({})
    world.restart()
    await reconcile_times(world, 6)
    assert world.status(IMAGES).phase is Phase.AWAITING_APPROVAL
    assert world.provider.posts == []


async def test_run_with_a_withdrawn_plan_is_shown_as_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not as refused by the provider: an approval that is set meanwhile would lapse."""
    world = world_of(monkeypatch)
    world.kube.apply(IMAGES, SPECS[IMAGES])
    await planned(world)
    world.kube.server.namespace_labels["ns"] = {APPROVAL_LABEL: "Manual"}
    for _ in range(4):
        await world.reconcile(IMAGES)
        assert world.status(IMAGES).reason == Reason.AWAITING_APPROVAL
    world.kube.apply(IMAGES, SPECS[IMAGES], **APPROVED)
    assert (await world.finish(IMAGES)).phase is Phase.COMPLETED


@pytest.mark.parametrize("how", ["dry run", "budget", "approval"])
async def test_run_with_a_paid_first_attempt_does_not_deny_it(monkeypatch: pytest.MonkeyPatch, how: str) -> None:
    world = world_of(monkeypatch)
    world.provider.fails = {1}
    spec = SPECS[IMAGES] | {"paidAttempts": 2}
    world.kube.apply(IMAGES, spec)
    await world.finish(IMAGES, Phase.PROCESSING)
    if how == "dry run":
        world.kube.apply(IMAGES, spec | {"dryRun": "Estimate"})
    elif how == "budget":
        world.kube.budgets = [budget(limits={"day": "0.01"}, onExceeded="Fail")]
    else:
        world.kube.server.namespace_labels["ns"] = {APPROVAL_LABEL: "Manual"}
    status = await world.finish(IMAGES, Phase.AWAITING_APPROVAL)
    assert status.reason in (Reason.ESTIMATED, Reason.BUDGET_EXCEEDED, Reason.AWAITING_APPROVAL)
    assert "no other attempt is" in (status.message or "")
    assert "nothing" not in (status.message or "")
    assert len(world.provider.posts) == 1


# Queues and provider accounts


async def test_run_edited_in_the_queue_during_an_outage_is_not_paid(monkeypatch: pytest.MonkeyPatch) -> None:
    world = world_of(monkeypatch, limits=PlaceLimits(overall=1))
    await world.payment_queue._load()
    take_the_only_place(world)
    world.kube.apply(IMAGES, SPECS[IMAGES])
    await reconcile_times(world, 2)
    assert world.status(IMAGES).reason == Reason.QUEUED
    world.kube.apply(IMAGES, SPECS[IMAGES] | EDITS[IMAGES])
    world.restart()  # the queue is in memory, and the place is free by now
    await world.finish(IMAGES)
    await reconcile_times(world, 4)
    assert [call.arguments["prompt"] for call in world.provider.posts] == ["a dog"]


async def test_failed_run_from_git_after_expiry_is_not_paid_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world = world_of(monkeypatch)
    world.provider.fails = {1, 2}
    for number in range(2):
        world.kube.apply(IMAGES, SPECS[IMAGES] | {"ttlSecondsAfterFinished": 60}, f"{UID[:-1]}{number}")
        await world.finish(IMAGES)
        world.now += timedelta(seconds=100)
        while world.there(IMAGES):
            await world.reconcile(IMAGES)
    assert len(world.provider.posts) == 1
