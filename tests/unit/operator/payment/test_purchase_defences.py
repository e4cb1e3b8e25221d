"""Defences around a purchase that no other test covers; `mutants.toml` names the test of each mutant."""

from datetime import UTC, datetime, timedelta
from typing import Any

import mongomock
import pytest

from contentgen_contract.names import FINALIZER, Kind, Phase, Reason
from contentgen_contract.records.tenancy import Tenant
from contentgen_contract.resources.spec import parse_spec, run_hash
from contentgen_operator.decide.decision import decide
from contentgen_operator.decide.deletion import decide_deletion
from contentgen_operator.observe import find_lost
from contentgen_operator.state.decision_input import DecisionSettings, decision_input
from contentgen_operator.state.observed import Observation, Resource
from contentgen_operator.state.plan import Adoption, Plan
from contentgen_operator.state.provider_requests import Call, Found, Search
from contentgen_operator.state.purchases import LedgerTransition, Purchase, PurchaseKey, PurchaseState, SendState
from contentgen_operator.state.runs import current_run, purchase_key
from contentgen_operator.stores.ledger import Ledger
from contentgen_runtime.kube import Conflict
from contentgen_simulation.world import SPECS, UID, World

IMAGES = Kind.IMAGE_GENERATION
NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
KEY = PurchaseKey(namespace="ns", kind=IMAGES, name="it", run_hash="ab", rerun=None, attempt=1)
PLANNED, SENDING = SendState.PLANNED, SendState.SENDING


@pytest.fixture
def ledger() -> Ledger:
    collection: Any = mongomock.MongoClient(tz_aware=True)["db"]["ledger"]
    return Ledger(collection)


def bought(state: PurchaseState = PurchaseState.INTENT, **changes: Any) -> Purchase:
    given: dict[str, Any] = {
        "state": state, "send_state": PLANNED if state is PurchaseState.INTENT else None, "purchase_id": "p",
        "job_id": UID, "provider": "fal", "model": "m", "correlation_key": "a", "created_at": NOW, "changed_at": NOW,
    }  # fmt: skip
    return Purchase.model_validate(given | changes)


# The ledger


async def test_a_move_names_the_owner_and_send_state(ledger: Ledger) -> None:
    await ledger.intend(KEY, bought())
    end = {"key": KEY, "source": PurchaseState.INTENT, "target": PurchaseState.REFUSED}
    assert await ledger.move(LedgerTransition(**end, owner="another", expected={"send_state": PLANNED.value})) is None
    assert await ledger.move(LedgerTransition(**end, owner=UID, expected={"send_state": SENDING.value})) is None
    assert await ledger.move(LedgerTransition(**end, owner=UID, expected={"send_state": PLANNED.value})) is not None


async def test_only_this_planned_purchase_is_dropped(ledger: Ledger) -> None:
    await ledger.intend(KEY, bought())
    await ledger.drop_planned(KEY, "another")
    assert await ledger.get(KEY) is not None
    assert await ledger.send(KEY, bought(), NOW) is not None
    await ledger.drop_planned(KEY, "p")
    assert await ledger.get(KEY) is not None, "it may have been sent"
    later = KEY.model_copy(update={"attempt": 2})
    await ledger.intend(later, bought())
    await ledger.drop_planned(later, "p")
    assert await ledger.get(later) is None


async def test_the_jobs_of_a_name_are_its_owners_and_former_owners(ledger: Ledger) -> None:
    """Names with the same prefix, and neighbours in the sort order, are excluded."""
    others = {"name": "is"}, {"name": "it-2"}, {"name": "ita"}, {"kind": Kind.TRANSCRIPTION}, {"namespace": "ns2"}
    for number, change in enumerate(others):
        await ledger.intend(KEY.model_copy(update=change), bought(job_id=f"other-{number}"))
    await ledger.intend(KEY, bought(PurchaseState.SUCCEEDED))
    assert await ledger.job_ids(Tenant(), "ns", IMAGES, "it") == {UID}
    for before, after in ((UID, "second"), ("second", "third")):
        assert await ledger.adopt(KEY, bought(PurchaseState.SUCCEEDED, job_id=before), after)
    assert await ledger.job_ids(Tenant(), "ns", IMAGES, "it") == {UID, "second", "third"}


# Decisions


def resource(*, deleting: bool = False, reason: Reason = Reason.SUBMITTING, **run: Any) -> Resource:
    """ImageGeneration whose payment is imminent or may have happened."""
    spec = SPECS[IMAGES]
    meta: dict[str, Any] = {
        "name": "it", "namespace": "ns", "uid": UID, "generation": 1, "resourceVersion": "7",
        "creationTimestamp": "2026-11-21T11:00:00Z", "finalizers": [FINALIZER],
    }  # fmt: skip
    given = {
        "number": 1, "version": 1, "generation": 1, "spec": spec, "startedAt": NOW.isoformat(),
        "runHash": run_hash(IMAGES, parse_spec(IMAGES, spec)),
    }  # fmt: skip
    status = {"jobId": UID, "phase": Phase.SUBMITTING, "reason": reason, "run": given | run}
    deleted = {"deletionTimestamp": NOW.isoformat()} if deleting else {}
    return Resource.parse(IMAGES, {"metadata": meta | deleted, "spec": spec, "status": status})


def decided(subject: Resource, purchase: Purchase | None) -> Plan:
    seen = Observation(purchase=purchase)
    if subject.deleting:
        return decide_deletion(subject, seen, NOW, DecisionSettings())
    return decide(decision_input(subject, NOW, DecisionSettings()).observing(seen))


def assert_forgotten(plan: Plan) -> None:
    assert (plan.payment, plan.reservation) == (None, None)
    assert plan.status.reason == Reason.SUBMISSION_UNKNOWN


@pytest.mark.parametrize("reason", [Reason.LOOKING_FOR_REQUEST, Reason.SUBMISSION_UNKNOWN])
def test_a_status_that_was_searching_is_evidence_of_a_purchase(reason: Reason) -> None:
    """A status that names no purchase is evidence too."""
    assert_forgotten(decided(resource(reason=reason), None))


@pytest.mark.parametrize("reason", [Reason.LOOKING_FOR_REQUEST, Reason.SUBMISSION_UNKNOWN])
def test_search_in_the_status_ends_only_with_its_own_withdrawal(reason: Reason) -> None:
    """Only `Ledger.withdraw` leaves a planned purchase with the same send time as the status."""
    subject = resource(reason=reason, purchaseId="p", sentAt=NOW.isoformat())
    sent_at = NOW.replace(microsecond=345000)
    assert decided(subject, bought(sent_at=sent_at)).payment is not None
    for other in (None, NOW - timedelta(hours=1), NOW + timedelta(seconds=1)):
        assert_forgotten(decided(subject, bought(sent_at=other)))
    assert_forgotten(
        decided(resource(reason=reason, purchaseId="another", sentAt=NOW.isoformat()), bought(sent_at=sent_at))
    )
    assert_forgotten(decided(resource(reason=reason, purchaseId="p"), bought(sent_at=sent_at)))


@pytest.mark.parametrize("sent_at", [None, NOW - timedelta(hours=1)])
def test_status_with_a_send_time_is_evidence_of_a_purchase(sent_at: datetime | None) -> None:
    """The ledger was restored from a backup in which the purchase was planned, or refused at an earlier try."""
    subject = resource(purchaseId="p", sentAt=NOW.isoformat())
    assert_forgotten(decided(subject, bought(sent_at=sent_at)))
    assert decided(resource(purchaseId="p"), bought()).payment is not None


def test_a_status_that_names_another_purchase_is_evidence_of_it() -> None:
    """The ledger was restored, and another process planned the same purchase again."""
    assert_forgotten(decided(resource(purchaseId="another"), bought()))


def test_purchase_unnamed_in_the_status_is_reserved_and_unpaid() -> None:
    """The purchase has no marker in the bucket if a crash followed the ledger's insert."""
    plan = decided(resource(), bought())
    assert plan.payment is None
    assert plan.reservation is not None


@pytest.mark.parametrize("owner", [UID, "another"])
def test_a_deletion_cancels_only_what_the_resource_owns(owner: str) -> None:
    submitted = bought(PurchaseState.SUBMITTED, job_id=owner, request_id="r1", submitted_at=NOW)
    plan = decided(resource(deleting=True), submitted)
    assert (plan.cancel is not None) == (owner == UID)


# Actions


async def test_late_answer_changes_nothing(world: World) -> None:
    """A plan is executed only if the ledger has not changed since the decision."""
    world.kube.apply(IMAGES, SPECS[IMAGES])
    await world.finish(IMAGES)
    subject = Resource.parse(IMAGES, world.kube.resources[IMAGES, "it"])
    key, actor = purchase_key(subject, current_run(subject, NOW)), world.process.actor
    now = await actor.ledger.get(key)
    assert now is not None
    stale = now.model_copy(update={"job_id": "another"})
    with pytest.raises(Conflict):
        await actor._adopt(Adoption(key=key, purchase=stale, job_id="late"), NOW)
    with pytest.raises(Conflict):
        await actor._move(LedgerTransition(key=key, source=PurchaseState.SUBMITTED, target=PurchaseState.FAILED), NOW)
    assert await actor.ledger.get(key) == now


async def test_the_status_names_the_purchase_of_the_marker(world: World) -> None:
    """A person searches the purchase of the bucket's marker, not the dropped planned one."""
    world.kube.apply(IMAGES, SPECS[IMAGES])
    subject = Resource.parse(IMAGES, world.kube.resources[IMAGES, "it"])
    key = purchase_key(subject, current_run(subject, NOW))
    await world.storage.put_marker(str(key), "earlier")
    status = await world.finish(IMAGES, Phase.SUBMISSION_UNKNOWN)
    assert status.run is not None
    assert (status.run.purchase_id, world.provider.posts) == ("earlier", [])
    assert "purchase earlier" in (status.message or "")


async def test_a_request_of_another_purchase_is_not_written_down(world: World) -> None:
    """If a provider returns the same id for two requests, the first purchase keeps it."""
    actor, purchase = world.process.actor, bought(send_state=SENDING)
    await actor.ledger.bind_request(bought(purchase_id="another"), "r1", NOW)
    await actor.ledger.intend(KEY, purchase)
    move = LedgerTransition(
        key=KEY,
        source=PurchaseState.INTENT,
        target=PurchaseState.SUBMITTED,
        changes={"request_id": "r1"},
        bound_to=purchase,
    )
    await actor._write_result(move)
    kept = await actor.ledger.get(KEY)
    assert kept is not None
    assert (kept.state, kept.request_id) == (PurchaseState.INTENT, None)
    await actor._write_result(move.model_copy(update={"changes": {"request_id": "r2"}}))
    kept = await actor.ledger.get(KEY)
    assert kept is not None
    assert (kept.state, kept.request_id) == (PurchaseState.SUBMITTED, "r2")


class Finds:
    """Provider whose history returns the same request to every search."""

    async def find(self, _: Search) -> Found:
        return Found(request_id="r1", complete=True)


@pytest.mark.parametrize(("owner", "found"), [("another", None), ("p", "r1")])
async def test_a_request_of_another_purchase_is_not_found(ledger: Ledger, owner: str, found: str | None) -> None:
    """The search does not exclude requests with another correlation key."""
    await ledger.bind_request(bought(purchase_id=owner, correlation_key="b"), "r1", NOW)
    provider: Any = Finds()
    call = Call(provider="fal", model="m", arguments={}, correlation_key="a")
    assert await find_lost(ledger, provider, bought(send_state=SENDING), call) == Found(
        request_id=found, complete=found is not None
    )


async def test_suspension_unseen_by_the_watch_stops_the_payment(world: World) -> None:
    world.delivers = False
    world.kube.apply(IMAGES, SPECS[IMAGES])
    await world.reconcile(IMAGES)
    assert world.status(IMAGES).phase is Phase.SUBMITTING
    world.kube.apply(IMAGES, SPECS[IMAGES] | {"suspend": True})
    for _ in range(4):
        await world.reconcile(IMAGES)
    assert (world.provider.posts, world.status(IMAGES).phase) == ([], Phase.SUSPENDED)
