"""Ownership and stored response of a purchase: successive resources of one name, restored stores, frozen processes."""

import asyncio
import copy
import itertools
import logging
from datetime import timedelta
from typing import Any

import pytest
from pymongo.errors import AutoReconnect

from contentgen_contract.names import RERUN_ANNOTATION, RESUBMIT_ANNOTATION, Kind, Phase, Reason, Stage
from contentgen_contract.records.deletion_tombstone import tombstone_of
from contentgen_contract.resources.status import ResourceStatus
from contentgen_operator.providers.answers import AnswerFile
from contentgen_operator.providers.base import Busy
from contentgen_operator.state.observed import ResourceRef
from contentgen_operator.state.provider_requests import UNKNOWN, Found, RequestState, RequestView, Search
from contentgen_operator.state.purchases import PurchaseState
from contentgen_runtime.kube import Conflict
from contentgen_runtime.store_errors import NotDeleted, SessionTooShort
from contentgen_simulation.world import SPECS, UID, World, Writes, outcome_of, resubmit_token

pytestmark = pytest.mark.usefixtures("no_waiting")

LORA, IMAGES, TRANSCRIPT = Kind.LORA_TRAINING, Kind.IMAGE_GENERATION, Kind.TRANSCRIPTION
SECOND, THIRD = "second-uid", "third-uid"
DELETE = {"deletionPolicy": "Delete"}


async def running_for_ever(model: str, request_id: str) -> RequestView:
    return RequestView(state=RequestState.RUNNING, message="running")


async def not_known(model: str, request_id: str) -> RequestView:
    return UNKNOWN


async def nothing_found(_: Search) -> Found:

    return Found(request_id=None, complete=True)


def purchases(world: World) -> list[dict[str, Any]]:
    return list(world.database["ledger"].find().sort("_id", 1))


def purchase(world: World) -> dict[str, Any]:
    (only,) = purchases(world)
    return dict(only)


def assert_complete(world: World, status: ResourceStatus) -> None:
    """Assert that every file of a Completed resource exists."""
    assert status.phase is Phase.COMPLETED
    missing = [f.key for version in status.versions[-1:] for f in version.files if f.key not in world.storage.objects]
    assert missing == []
    assert status.versions[-1].files


def collect_fails(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let every further download of the provider's files fail."""
    leave = world._leave_outcome

    def left(kind: Kind, stage: Stage, status: ResourceStatus) -> None:
        leave(kind, stage, status)
        if stage is not Stage.COLLECT:
            return
        assert status.run is not None
        said = outcome_of(kind, stage, status.job_id or "").model_copy(
            update={
                "reason": Reason.RESULT_UNREACHABLE,
                "message": "HTTP 404",
                "files": (),
                "facts": None,
                "passing": False,
            }
        )
        key = f"runs/{status.job_id}/{status.run.number}/collect-{status.run.stage_attempt}.json"
        world.storage.objects[key] = said.model_dump_json(by_alias=True)

    monkeypatch.setattr(world, "_leave_outcome", left)


async def test_a_request_is_tagged_with_its_purchase(world: World) -> None:
    world.kube.apply(IMAGES, SPECS[IMAGES])
    await world.finish(IMAGES)
    assert [call.purchase_id for call in world.provider.posts] == [purchase(world)["purchaseId"]]


# The provider's response


async def test_response_of_another_purchase_is_never_overwritten(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """A's collect stage failed; the edit B was deleted in flight and collected as the next resource's first run."""
    world.provider.cancels = False
    with monkeypatch.context() as patch:
        collect_fails(world, patch)
        world.kube.apply(IMAGES, SPECS[IMAGES])
        assert (await world.finish(IMAGES)).reason == "ResultUnreachable"
    poll, world.provider.poll = world.provider.poll, running_for_ever  # type: ignore[method-assign]
    another = {"prompt": "a dog"}
    world.kube.apply(IMAGES, another)
    await world.reconcile(IMAGES)
    await world.finish(IMAGES, Phase.PROCESSING)
    await world.until_gone(IMAGES)
    world.provider.poll = poll  # type: ignore[method-assign]
    world.kube.apply(IMAGES, another, uid=SECOND)
    assert_complete(world, await world.finish(IMAGES))
    world.kube.apply(IMAGES, SPECS[IMAGES], uid=SECOND)
    await world.reconcile(IMAGES)
    assert_complete(world, await world.finish(IMAGES))
    assert len(world.provider.posts) == 2
    answers = {
        purchase["requestId"]: world.storage.objects[purchase["resultKey"]]["request"] for purchase in purchases(world)
    }
    assert answers == {"request-1": "request-1", "request-2": "request-2"}


async def test_a_stored_response_is_taken_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    """The process ended after the response was stored and before the ledger was written."""
    reference = World(monkeypatch, Writes())
    reference.kube.apply(IMAGES, SPECS[IMAGES])
    await reference.finish(IMAGES)
    after = 2 * reference.writes.done.index("document") + 1
    world = World(monkeypatch, Writes((after,)))
    world.kube.apply(IMAGES, SPECS[IMAGES])
    stored = list[Any]()
    while not world.writes.fired:
        await world.reconcile(IMAGES)
    (key,) = [each_key for each_key in world.storage.objects if each_key.endswith("response.json")]
    stored.append(world.storage.objects[key])

    async def other(model: str, request_id: str) -> RequestView:

        return RequestView(state=RequestState.SUCCEEDED, result=AnswerFile.of({"answer": "rewritten"}))

    world.provider.poll = other  # type: ignore[method-assign]
    assert_complete(world, await world.finish(IMAGES))
    assert [world.storage.objects[key]] == stored


# One owner


async def reach(world: World, kind: Kind, state: PurchaseState | str) -> None:
    """Bring the purchase of an applied resource to a state, where it stays as long as this resource is there."""
    polls = world.provider.poll
    if state is PurchaseState.REFUSED:
        world.provider.refuses = Busy("slow down")
    if state is PurchaseState.FAILED:
        world.provider.fails = {1}
    if state in (PurchaseState.SUBMITTED, PurchaseState.CANCELLED, PurchaseState.DISCARDED, "lost"):
        world.provider.poll = running_for_ever  # type: ignore[method-assign]
    if state == "lost":
        world.provider.lose_replies = {1}
    wanted = {"lost": "intent", PurchaseState.CANCELLED: "submitted", PurchaseState.DISCARDED: "submitted"}
    for _ in range(60):
        await world.reconcile(kind)
        found = world.database["ledger"].find_one()
        if (
            found
            and found["state"] == wanted.get(state, state)
            and (state != "lost" or found["sendState"] == "sending")
        ):
            break
    else:
        raise AssertionError(f"never {state}: {world.status(kind)}")
    if state is PurchaseState.CANCELLED:
        world.kube.apply(kind, world.kube.resources[kind, "it"]["spec"], **{"contentgen.dev/cancel": "1"})
        await world.finish(kind)
    world.provider.poll = polls  # type: ignore[method-assign]
    world.provider.refuses = None


STATES: list[PurchaseState | str] = [
    PurchaseState.INTENT,
    "lost",
    PurchaseState.REFUSED,
    PurchaseState.SUBMITTED,
    PurchaseState.SUCCEEDED,
    PurchaseState.FAILED,
    PurchaseState.COLLECTED,
    PurchaseState.CANCELLED,
]
POLICIES = list(itertools.product(("Retain", "Delete"), repeat=3))


@pytest.mark.parametrize("late", [False, True], ids=["", "the bucket refuses at the first deletion"])
@pytest.mark.parametrize("state", STATES)
async def test_three_successive_resources_share_one_purchase(
    state: PurchaseState | str, late: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At most one POST is sent, and a Completed resource has its files and its response, also after a late sweep.

    With the policy Delete throughout, only the marker remains.
    """
    for policies, cancels in itertools.product(POLICIES, (True, False)):
        world = World(monkeypatch, Writes())
        world.provider.cancels = cancels
        where = (state, policies, cancels)
        for uid, policy in zip((UID, SECOND, THIRD), policies, strict=True):
            world.kube.apply(IMAGES, SPECS[IMAGES] | {"deletionPolicy": policy}, uid=uid)
            if uid == UID:
                await reach(world, IMAGES, state)
            else:
                status = await world.finish(IMAGES)
                if late:
                    await sweep(world)
                if status.phase is Phase.COMPLETED:
                    assert_complete(world, status)
                    assert purchase(world)["jobId"] == uid, where
                    assert purchase(world)["resultKey"] in world.storage.objects, where
            if uid == THIRD:
                break
            with monkeypatch.context() as patch:
                if late and uid == UID:
                    patch.setattr(world.storage, "delete_prefix", refusing)
                await world.until_gone(IMAGES, 60)
        assert len(world.provider.posts) <= 1, where
        await world.recover(IMAGES)
        await world.until_gone(IMAGES)
        await sweep(world)
        if set(policies) == {"Delete"}:
            left = [key for key in world.storage.objects if not key.startswith("purchases/by-key/")]
            assert left == [], where


async def refusing(*_: Any, **__: Any) -> None:
    raise NotDeleted("AccessDenied")


async def too_short() -> None:
    raise SessionTooShort(timedelta(minutes=12), timedelta(minutes=45))


@pytest.mark.parametrize("kind", [LORA, TRANSCRIPT])
async def test_nothing_is_paid_that_a_provider_can_not_download(
    kind: Kind, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.kube.apply(kind, SPECS[kind])
    with monkeypatch.context() as patch:
        patch.setattr(world.storage, "require_session", too_short)
        await world.until(kind, lambda: world.status(kind).reason == Reason.STORE_UNAVAILABLE)
        assert "ends in 12 min, and a provider needs 45 min" in (world.status(kind).message or "")
    assert world.provider.posts == []
    assert_complete(world, await world.finish(kind))
    assert len(world.provider.posts) == 1


async def test_an_input_without_files_needs_no_session(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(world.storage, "require_session", too_short)
    world.kube.apply(IMAGES, SPECS[IMAGES])
    assert_complete(world, await world.finish(IMAGES))


async def sweep(world: World) -> None:
    await world.sweep()


async def test_resource_that_adopts_a_running_request_owns_its_files(world: World) -> None:
    """The resource's deletion removes its files, so that a third resource cannot adopt them."""
    world.provider.cancels = False
    world.kube.apply(LORA, SPECS[LORA])
    await reach(world, LORA, PurchaseState.SUBMITTED)
    await world.until_gone(LORA)
    world.kube.apply(LORA, SPECS[LORA] | DELETE, uid=SECOND)
    assert_complete(world, await world.finish(LORA))
    await world.until_gone(LORA)
    world.kube.apply(LORA, SPECS[LORA], uid=THIRD)
    status = await world.finish(LORA)
    assert (status.phase, status.reason, len(world.provider.posts)) == (Phase.FAILED, "OutputsDeleted", 1)


async def test_late_sweep_spares_adopted_files(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.provider.cancels = False
    world.kube.apply(IMAGES, SPECS[IMAGES] | DELETE)
    await reach(world, IMAGES, PurchaseState.SUBMITTED)
    with monkeypatch.context() as patch:
        patch.setattr(world.storage, "delete_prefix", refusing)
        await world.until_gone(IMAGES)
    world.kube.apply(IMAGES, SPECS[IMAGES], uid=SECOND)
    while purchase(world)["state"] != "succeeded":
        await world.reconcile(IMAGES)
    await sweep(world)
    assert purchase(world)["state"] == "succeeded"
    assert purchase(world)["resultKey"] in world.storage.objects
    assert_complete(world, await world.finish(IMAGES))


async def test_deletion_of_a_former_owner_spares_the_purchases_files(world: World) -> None:
    """The gateway deletes it by a mark on the record of a job whose resource is gone."""
    world.kube.apply(IMAGES, SPECS[IMAGES])
    await world.finish(IMAGES)
    await world.until_gone(IMAGES)
    world.kube.apply(IMAGES, SPECS[IMAGES], uid=SECOND)
    status = await world.finish(IMAGES)
    assert status.versions[0].job_id == UID
    record = world.database["jobs"].find_one({"jobId": UID})
    assert record is not None
    await world.process.actor.garbage_collector.records.mark_discarded(tombstone_of(IMAGES, record))
    await sweep(world)
    assert_complete(world, status)
    assert purchase(world)["state"] == "collected"


# Missing files


@pytest.mark.parametrize("kind", Kind)
@pytest.mark.parametrize("harm", ["gone", "other bytes"])
async def test_missing_files_are_collected_from_the_kept_response(kind: Kind, harm: str, world: World) -> None:
    """A lifecycle rule of the bucket may have deleted the files."""
    world.kube.apply(kind, SPECS[kind])
    status = await world.finish(kind)
    await world.until_gone(kind)
    lost = status.versions[0].files[0].key
    if harm == "gone":
        del world.storage.objects[lost]
    else:
        world.storage.objects[lost] = world.storage.objects[lost].model_copy(update={"sha256": "f" * 64})
    world.kube.apply(kind, SPECS[kind], uid=SECOND)
    status = await world.finish(kind)
    assert_complete(world, status)
    assert (status.reason, status.versions[0].job_id) == ("Completed", SECOND)
    assert len(world.provider.posts) == 1
    await world.recover(kind)


@pytest.mark.parametrize("kind", Kind)
async def test_missing_files_and_response_are_reported_as_paid(kind: Kind, world: World) -> None:
    world.kube.apply(kind, SPECS[kind])
    await world.finish(kind)
    await world.until_gone(kind)
    world.storage.objects = {}
    known, world.provider.poll = world.provider.poll, not_known  # type: ignore[method-assign]
    world.kube.apply(kind, SPECS[kind], uid=SECOND)
    status = await world.finish(kind)
    world.provider.poll = known  # type: ignore[method-assign]
    assert (status.phase, status.reason, status.versions) == (Phase.FAILED, "OutputsDeleted", ())
    for part in ("request-1", "was paid", RERUN_ANNOTATION, "pays once more", "contentgen.dev/collect=1 fetches it"):
        assert part in (status.message or ""), part
    assert len(world.provider.posts) == 1
    world.kube.apply(kind, SPECS[kind], uid=SECOND, **{RERUN_ANNOTATION: "again"})
    await world.reconcile(kind)
    assert_complete(world, await world.finish(kind))
    assert len(world.provider.posts) == 2


# Restored stores


def saved(world: World) -> tuple[list[dict[str, Any]], dict[Any, Any], dict[str, Any]]:
    return purchases(world), copy.deepcopy(world.kube.resources), dict(world.storage.objects)


def rewind(world: World, before: Any, *stores: str) -> None:
    """Restore stores to a saved state. A restored resource keeps its uid and gets a new resourceVersion."""
    ledger, resources, objects = before
    if "ledger" in stores:
        world.database["ledger"].delete_many({})
        world.database["request_bindings"].delete_many({})
        if ledger:
            world.database["ledger"].insert_many(ledger)
    if "etcd" in stores:
        world.kube.resources = copy.deepcopy(resources)
        world.kube.jobs.clear()
        for body in world.kube.resources.values():
            body["metadata"]["resourceVersion"] = str(next(world.kube.server.revisions))
    if "bucket" in stores:
        world.storage.objects = dict(objects)
    world.restart()


REWOUND = [("ledger",), ("etcd",), ("bucket",), ("ledger", "etcd"), ("ledger", "bucket"), ("bucket", "etcd")]


async def bought(monkeypatch: pytest.MonkeyPatch, kind: Kind, lost: bool) -> tuple[World, Any]:
    """World directly after the POST, whose reply is lost or not, and the stores' state before the purchase."""
    world = World(monkeypatch, Writes())
    world.provider.lose_replies = {1} if lost else set()
    if lost:
        monkeypatch.setattr(world.provider, "find", nothing_found)
    world.kube.apply(kind, SPECS[kind])
    before = saved(world)
    for _ in range(200):
        await world.reconcile(kind)
        if world.provider.posts:
            break
        if not purchases(world):
            before = saved(world)
    return world, before


# Reconciles between the POST and the restore, up to the end of the run: it submits, processes, collects, is completed.
# With a lost reply it searches for 21 reconciles and asks a person then.
RECONCILES_AFTER_POST = [(False, 0), (False, 1), (False, 2), (False, 3), (False, 4)] + [
    (True, reconciles) for reconciles in (0, 1, 2, 15, 22)
]


@pytest.mark.parametrize("stores", REWOUND, ids="+".join)
@pytest.mark.parametrize("kind", Kind)
async def test_stores_rewound_to_before_the_purchase_pay_nothing_again(
    kind: Kind, stores: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    phases = set[Phase | None]()
    for lost, reconciles in RECONCILES_AFTER_POST:
        world, before = await bought(monkeypatch, kind, lost)
        for _ in range(reconciles):
            await world.reconcile(kind)
        phase = world.status(kind).phase
        phases.add(phase)
        rewind(world, before, *stores)
        for _ in range(40):
            await world.reconcile(kind)
        assert len(world.provider.posts) == 1, (lost, reconciles, world.status(kind))
        status = world.status(kind)
        if status.phase is not Phase.COMPLETED:
            assert status.reason, "each resource that stopped has a reason"
        elif phase is not Phase.COMPLETED:  # an ended resource is not reconciled again
            assert_complete(world, status)
    ended = {Phase.COMPLETED, Phase.SUBMISSION_UNKNOWN}
    assert phases == {Phase.SUBMITTING, Phase.PROCESSING, Phase.COLLECTING} | ended


@pytest.mark.parametrize("since", ["planned", "refused"])
async def test_a_ledger_rewound_to_before_the_post_pays_nothing_again(
    since: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The restored ledger has the purchase as planned or refused; the status records that it may have been sent."""
    for lost, outage in ((False, False), (True, False), (True, True)):
        world = World(monkeypatch, Writes())
        if since == "refused":
            world.provider.refuses = Busy("slow down")
        world.kube.apply(IMAGES, SPECS[IMAGES])
        while not purchases(world) or (since == "refused" and purchase(world)["state"] != "refused"):
            await world.reconcile(IMAGES)
        before = saved(world)
        world.provider.refuses = None
        world.provider.lose_replies = {1} if lost else set()
        if lost:
            monkeypatch.setattr(world.provider, "find", nothing_found)
        else:
            world.provider.poll = running_for_ever  # type: ignore[method-assign]
        while not world.provider.posts:
            await world.reconcile(IMAGES)
        await world.reconcile(IMAGES)
        if outage:  # of MongoDB, reported in the status since
            world.kube.resources[IMAGES, "it"]["status"]["reason"] = "StoreUnavailable"
        rewind(world, before, "ledger")
        for _ in range(10):
            await world.reconcile(IMAGES)
        assert len(world.provider.posts) == 1
        assert world.status(IMAGES).reason == "SubmissionUnknown"
        monkeypatch.setattr(world.provider, "find", nothing_found)
        token = resubmit_token(world.status(IMAGES))
        world.kube.apply(IMAGES, SPECS[IMAGES], **{RESUBMIT_ANNOTATION: token})
        await world.reconcile(IMAGES)
        for _ in range(10):
            await world.reconcile(IMAGES)
        assert len(world.provider.posts) == 2
        assert purchases(world)[0].get("sendState") == "abandoned"


async def test_person_may_pay_once_again_for_a_lost_purchase(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.kube.apply(IMAGES, SPECS[IMAGES])
    await world.finish(IMAGES, Phase.PROCESSING)
    world.database["ledger"].delete_many({})
    monkeypatch.setattr(world.provider, "find", nothing_found)
    status = await world.finish(IMAGES, Phase.SUBMISSION_UNKNOWN)
    token = resubmit_token(status)
    world.kube.apply(IMAGES, SPECS[IMAGES], **{RESUBMIT_ANNOTATION: token})
    assert_complete(world, await world.finish(IMAGES))
    await world.until_gone(IMAGES)
    world.kube.apply(IMAGES, SPECS[IMAGES], uid=SECOND)
    assert_complete(world, await world.finish(IMAGES))
    assert len(world.provider.posts) == 2


# Resubmission


async def unknown(world: World, kind: Kind) -> str:
    """Run until the purchase is not found. Returns the token by which a person permits another payment."""
    status = await world.finish(kind, Phase.SUBMISSION_UNKNOWN)
    assert status.phase is Phase.SUBMISSION_UNKNOWN
    return resubmit_token(status)


async def test_resource_applied_after_a_resubmit_uses_attempt_two(
    world: World,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world.provider.lose_replies = {1}
    monkeypatch.setattr(world.provider, "find", nothing_found)
    world.kube.apply(IMAGES, SPECS[IMAGES])
    token = await unknown(world, IMAGES)
    world.kube.apply(IMAGES, SPECS[IMAGES], **{RESUBMIT_ANNOTATION: token})
    assert_complete(world, await world.finish(IMAGES))
    await world.until_gone(IMAGES)
    world.kube.apply(IMAGES, SPECS[IMAGES], uid=SECOND)
    assert_complete(world, await world.finish(IMAGES, Phase.SUBMISSION_UNKNOWN))
    assert len(world.provider.posts) == 2


@pytest.mark.parametrize("where", ["before its compare-and-set", "before its POST"])
async def test_a_frozen_process_sends_nothing_after_a_resubmission(
    where: str, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process frozen between the compare-and-set and the POST still sends it: the documented exception."""
    frozen, thaw = asyncio.Event(), asyncio.Event()

    async def freeze() -> None:
        if not frozen.is_set():
            frozen.set()
            await thaw.wait()

    if where == "before its POST":
        world.provider.sending = freeze
    else:
        world.provider.connected = freeze
    world.kube.apply(IMAGES, SPECS[IMAGES])
    old = world.operator()
    ref = ResourceRef(kind=IMAGES, namespace="ns", name="it", uid=UID)
    task = asyncio.create_task(until_frozen(old, ref))
    await frozen.wait()
    world.provider.lose_replies = {1}
    monkeypatch.setattr(world.provider, "find", nothing_found)
    if where == "before its compare-and-set":
        # Another process sends the planned purchase, and its reply is lost.
        token = await unknown(world, IMAGES)
        assert len(world.provider.posts) == 1
    else:
        token = await unknown(world, IMAGES)
        world.provider.lose_replies = set()
    world.kube.apply(IMAGES, SPECS[IMAGES], **{RESUBMIT_ANNOTATION: token})
    assert_complete(world, await world.finish(IMAGES))
    thaw.set()
    await task
    assert len(world.provider.posts) == 2
    assert purchases(world)[0]["sendState"] == "abandoned"


async def until_frozen(process: Any, ref: ResourceRef) -> None:
    """Reconcile until the end of the reconcile that was frozen."""
    for _ in range(3):
        try:
            await process._read_and_reconcile(ref)
        except Conflict:
            process.cache.drop(ref)
            return


# Request ids


async def test_a_request_id_is_logged_before_it_is_written(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    world = World(monkeypatch, Writes())
    world.kube.apply(IMAGES, SPECS[IMAGES])
    ledger = world.process.actor.ledger

    async def away(*_: Any) -> Any:
        raise AutoReconnect("away")

    while not purchases(world):
        await world.reconcile(IMAGES)
    for name in ("move", "bind_request"):
        monkeypatch.setattr(ledger, name, away)
    await world.reconcile(IMAGES)
    assert len(world.provider.posts) == 1
    assert any("request-1" in log_record.getMessage() for log_record in caplog.records)
    errors = [log_record.getMessage() for log_record in caplog.records if log_record.levelno >= logging.ERROR]
    assert any("request-1" in error for error in errors), "it could not be written, and somebody has to know"


async def test_failed_compare_and_set_shows_both_states(
    world: World, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    world.kube.apply(IMAGES, SPECS[IMAGES])
    submit = world.provider.submit

    async def meddled(*args: Any) -> str:
        request_id = await submit(*args)
        world.database["ledger"].update_one({}, {"$set": {"state": "cancelled"}})
        return request_id

    monkeypatch.setattr(world.provider, "submit", meddled)
    while not world.provider.posts:
        await world.reconcile(IMAGES)
    (error,) = [log_record.getMessage() for log_record in caplog.records if log_record.levelno >= logging.ERROR]
    for part in ("submitted", "cancelled", "request-1", purchase(world)["_id"]):
        assert part in error


async def test_a_request_belongs_to_one_purchase(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two resources have the same seed and prompt, and the history one request: only the first gets it."""
    world.provider.lose_replies = {1, 2}
    spec = {"prompt": "a cat", "image": {"seed": 7}}
    find = world.provider.find
    monkeypatch.setattr(world.provider, "find", nothing_found)
    for name, uid in (("it", UID), ("other", SECOND)):
        world.kube.apply(IMAGES, spec, uid=uid, name=name)
        while len(world.provider.posts) < (1 if name == "it" else 2):
            await world.reconcile(IMAGES, name)
    del world.provider.posts[1]  # lost on the way to the provider
    monkeypatch.setattr(world.provider, "find", find)
    for _ in range(30):
        for name in ("it", "other"):
            await world.reconcile(IMAGES, name)
    ids = [purchase.get("requestId") for purchase in purchases(world)]
    assert sorted(ids, key=str) == [None, "request-1"]
    bindings = list(world.database["request_bindings"].find())
    assert [binding["_id"] for binding in bindings] == ["fal/request-1"]


async def test_two_lost_requests_of_the_same_input_are_found_one_each(world: World) -> None:
    world.provider.lose_replies = {1, 2}
    spec = {"prompt": "a cat", "image": {"seed": 7}}
    for name, uid in (("it", UID), ("other", SECOND)):
        world.kube.apply(IMAGES, spec, uid=uid, name=name)
    for _ in range(60):
        for name in ("it", "other"):
            await world.reconcile(IMAGES, name)
    assert sorted(purchase["requestId"] for purchase in purchases(world)) == ["request-1", "request-2"]


async def test_a_request_of_another_purchase_is_not_taken(world: World) -> None:
    world.database["request_bindings"].insert_one(
        {"_id": "fal/request-1", "purchaseId": "another", "correlationKey": "x"}
    )
    world.kube.apply(IMAGES, SPECS[IMAGES])
    for _ in range(20):
        await world.reconcile(IMAGES)
    assert (purchase(world)["state"], purchase(world).get("requestId")) == ("intent", None)
    assert len(world.provider.posts) == 1


@pytest.mark.parametrize("policy", ["Retain", "Delete"])
@pytest.mark.parametrize("kind", Kind)
async def test_deletion_after_a_restore_of_both_stores_is_remembered(kind: Kind, policy: str, world: World) -> None:
    """Only the status recorded the payment; a resource that is applied again pays nothing."""
    world.kube.apply(kind, SPECS[kind] | {"deletionPolicy": policy})
    await world.finish(kind, Phase.PROCESSING)
    for word in ("ledger", "runs", "request_bindings"):
        world.database[word].delete_many({})
    for key in [each_key for each_key in world.storage.objects if each_key.startswith("purchases/")]:
        del world.storage.objects[key]
    world.restart()
    await world.finish(kind, Phase.SUBMISSION_UNKNOWN)
    await world.until_gone(kind)
    world.kube.apply(kind, SPECS[kind], uid=SECOND)
    for _ in range(30):
        await world.reconcile(kind)
    assert len(world.provider.posts) == 1


@pytest.mark.parametrize("reason", ["LookingForRequest", "SubmissionUnknown"])
async def test_lost_ledger_and_forged_status_pay_nothing_again(
    reason: str, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The bucket has no marker either: the reason is the evidence."""
    world.provider.lose_replies = {1}
    monkeypatch.setattr(world.provider, "find", nothing_found)
    world.kube.apply(IMAGES, SPECS[IMAGES])
    while world.status(IMAGES).reason != reason:
        await world.reconcile(IMAGES)
    for name in ("ledger", "request_bindings", "runs"):
        world.database[name].delete_many({})
    world.storage.objects.clear()
    for name in ("purchaseId", "sentAt"):
        world.kube.resources[IMAGES, "it"]["status"]["run"].pop(name, None)
    world.restart()
    for _ in range(10):
        await world.reconcile(IMAGES)
    assert len(world.provider.posts) == 1


async def test_outputs_adopted_after_the_backup_go_with_their_heir(world: World) -> None:
    """The restored ledger has the earlier owner."""
    world.kube.apply(IMAGES, SPECS[IMAGES])
    await world.finish(IMAGES)
    await world.until_gone(IMAGES)
    world.kube.apply(IMAGES, SPECS[IMAGES] | DELETE, uid=SECOND)
    await world.finish(IMAGES)
    world.database["ledger"].update_one({}, {"$set": {"jobId": UID}, "$unset": {"formerOwners": 1}})
    await world.until_gone(IMAGES)
    assert (world.storage.files, purchase(world)["state"]) == ({}, "discarded")


async def test_a_planned_purchase_goes_on_without_a_person(world: World) -> None:
    """Another resource takes the purchase over under the same id."""
    world.kube.apply(IMAGES, SPECS[IMAGES])
    await reach(world, IMAGES, PurchaseState.INTENT)
    assert (purchase(world)["sendState"], world.provider.posts) == ("planned", [])
    bought = purchase(world)["purchaseId"]
    del world.kube.resources[IMAGES, "it"]
    world.kube.apply(IMAGES, SPECS[IMAGES], uid=SECOND)
    assert_complete(world, await world.finish(IMAGES))
    assert (purchase(world)["purchaseId"], purchase(world)["jobId"]) == (bought, SECOND)


async def test_a_crd_without_the_purchases_name_stops_the_payment(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The older schema drops `purchaseId` from the status."""
    put = world.kube.put_status

    async def pruned(kind: Kind, namespace: str, name: str, body: dict[str, Any]) -> dict[str, Any]:
        body["status"]["run"].pop("purchaseId", None)
        return await put(kind, namespace, name, body)

    monkeypatch.setattr(world.kube, "put_status", pruned)
    world.kube.apply(IMAGES, SPECS[IMAGES])
    for _ in range(3):
        with pytest.raises(RuntimeError, match="CRDs are not those of this operator"):
            await world.reconcile(IMAGES)
    assert world.provider.posts == []


async def test_purchase_cancelled_while_planned_is_not_sent(world: World) -> None:
    world.kube.apply(IMAGES, SPECS[IMAGES])
    await reach(world, IMAGES, PurchaseState.INTENT)
    world.kube.apply(IMAGES, SPECS[IMAGES], **{"contentgen.dev/cancel": "1"})
    assert (await world.finish(IMAGES)).reason == "Cancelled"
    assert (purchase(world)["state"], world.provider.posts) == ("refused", [])
