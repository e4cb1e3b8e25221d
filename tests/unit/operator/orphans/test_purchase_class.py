"""Operator class of a purchase: the installation and account that poll an open request of an unreadable resource."""

from datetime import UTC, datetime, timedelta
from typing import Any

import mongomock
import pytest
from kubernetes.aio.client.exceptions import ApiException

from contentgen_contract.names import Kind, Phase, Reason
from contentgen_operator.kube.selection import Selection
from contentgen_operator.orphans.effects import OrphanEffect, Retention, next_effect
from contentgen_operator.orphans.following import FollowState
from contentgen_operator.providers.answers import AnswerFile
from contentgen_operator.providers.base import AccessRefused, Unavailable
from contentgen_operator.state.provider_requests import GONE, UNKNOWN, RequestState, RequestView
from contentgen_operator.state.purchases import Purchase, PurchaseKey, PurchaseState, SendState
from contentgen_operator.stores.ledger import Ledger
from contentgen_runtime.namespaces import Namespaces
from contentgen_simulation.world import SPECS, UID, Crash, World, Writes

IMAGES = Kind.IMAGE_GENERATION
HEIR = "5d0b4c1e-3f66-4b7a-8f0d-6f2a8a1b0c02"
BATCH = "batch"
NOW = datetime(2026, 11, 21, tzinfo=UTC)
HOUR, DAY = timedelta(hours=1), timedelta(days=1)
KEY = PurchaseKey(namespace="ns", kind=IMAGES, name="it", run_hash="h", rerun=None, attempt=1)


class Account:
    """Provider that gives one answer for all requests (None: the simulated provider's), and counts the polls."""

    def __init__(self, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
        self.says: RequestView | Exception | None = None
        self.polls: list[str] = []
        self._poll = world.provider.poll
        monkeypatch.setattr(world.provider, "poll", self.poll)

    async def poll(self, model: str, request_id: str) -> RequestView:
        self.polls.append(request_id)
        if isinstance(self.says, Exception):
            raise self.says
        return self.says or await self._poll(model, request_id)


def purchases(world: World) -> list[dict[str, Any]]:
    return [dict(purchase) for purchase in world.database["ledger"].find().sort("_id", 1)]


def the_purchase(world: World) -> dict[str, Any]:
    (found,) = purchases(world)
    return found


async def submitted(world: World, **spec: Any) -> None:
    world.kube.apply(IMAGES, SPECS[IMAGES] | spec)
    for _ in range(40):
        if [purchase["state"] for purchase in purchases(world)] == ["submitted"]:
            return
        await world.reconcile(IMAGES)
    raise AssertionError(purchases(world))


class Roles:
    """The namespaces whose resources the operator may read; each other one is answered with 403."""

    def __init__(self, world: World, monkeypatch: pytest.MonkeyPatch, *, listed: tuple[str, ...]) -> None:
        self.world, self.readable = world, listed
        self._get = world.kube.get_resource
        monkeypatch.setattr(world.kube, "get_resource", self.get)
        self.listed(*listed)

    def listed(self, *names: str, readable: tuple[str, ...] | None = None) -> None:
        """An upgrade with another list."""
        self.readable = names if readable is None else readable
        self.world.selection = Selection(self.world.selection.operator_class, Namespaces(names))
        self.world.restart()

    async def get(self, kind: Kind, namespace: str, name: str) -> dict[str, Any] | None:
        if namespace not in self.readable:
            raise ApiException(status=403)
        return await self._get(kind, namespace, name)


async def rounds(world: World, count: int = 4, every: timedelta = timedelta(minutes=30)) -> None:
    for _ in range(count):
        world.now += every
        await world.orphans[-1].round(world.now)


@pytest.fixture
def account(world: World, monkeypatch: pytest.MonkeyPatch) -> Account:
    return Account(world, monkeypatch)


@pytest.fixture
async def left(world: World, account: Account, monkeypatch: pytest.MonkeyPatch) -> Roles:
    """A paid request is under way in a namespace that has left the list."""
    roles = Roles(world, monkeypatch, listed=("ns",))
    await submitted(world, paidAttempts=3)
    account.polls.clear()
    roles.listed("other")
    return roles


# Recorded


def planned(job_id: str = UID) -> Purchase:
    return Purchase(
        state=PurchaseState.INTENT, send_state=SendState.PLANNED, job_id=job_id, provider="fal", model="m",
        correlation_key="m",
        created_at=NOW, changed_at=NOW,
    )  # fmt: skip


async def test_purchase_has_the_class_of_its_plan_and_a_classless_key(monkeypatch: pytest.MonkeyPatch) -> None:
    keys = set()
    for name in ("default", BATCH):
        world = World(monkeypatch, Writes())
        world.selection = Selection(name)
        world.restart()
        await submitted(world, **({"operatorClass": name} if name != "default" else {}))
        kept = the_purchase(world)
        assert kept["operatorClass"] == name
        keys.add(kept["_id"])
    assert len(keys) == 1


async def test_the_class_changes_with_the_owner_and_with_who_sends() -> None:
    collection = mongomock.MongoClient(tz_aware=True)["db"]["ledger"]
    mine, theirs = Ledger(collection), Ledger(collection, operator_class=BATCH)
    assert await mine.intend(KEY, planned())
    assert collection.find_one()["operatorClass"] == "default"
    assert await theirs.intend(KEY, planned(HEIR))
    assert collection.find_one()["operatorClass"] == BATCH, "planned anew"
    assert await mine.send(KEY, planned(HEIR), NOW)
    assert collection.find_one()["operatorClass"] == "default", "its account was asked"
    seen = await theirs.get(KEY)
    assert seen is not None
    stale = seen.model_copy(update={"job_id": "another"})
    assert not await theirs.adopt(KEY, stale, UID)
    assert collection.find_one()["operatorClass"] == "default", "the owner was not as it was seen"
    assert await theirs.adopt(KEY, seen, UID)
    kept = collection.find_one()
    assert (kept["jobId"], kept["operatorClass"]) == (UID, BATCH)


async def test_ledger_returns_only_purchases_of_the_class() -> None:
    collection = mongomock.MongoClient(tz_aware=True)["db"]["ledger"]
    recreated = KEY.model_copy(update={"scope": "a-uid"})
    for key in (KEY, recreated):
        await Ledger(collection).intend(key, planned())
    both = [str(KEY), str(recreated)]
    assert [key.text for key, _ in await Ledger(collection).open_purchases("", 9)] == both
    assert await Ledger(collection, operator_class=BATCH).open_purchases("", 9) == []


# Followed without its resource


@pytest.mark.parametrize("kept_in_list", [False, True], ids=["left the list", "no Role"])
async def test_the_result_is_stored_where_the_resource_cannot_be_read(
    world: World, left: Roles, account: Account, kept_in_list: bool
) -> None:
    if kept_in_list:
        left.listed("other", "ns", readable=("other",))
    before, body = the_purchase(world), world.kube.resources[IMAGES, "it"]
    status = dict(body["status"])
    await rounds(world)
    kept = the_purchase(world)
    assert (kept["state"], kept["resultKey"]) == ("succeeded", f"purchases/{kept['purchaseId']}/response.json")
    assert kept["resultKey"] in world.storage.files
    for name in ("jobId", "orphanedAt", "formerOwners", "operatorClass"):
        assert kept[name] == before[name]
    assert body["status"] == status
    account.says = GONE
    left.listed("other", "ns")
    done = await world.finish(IMAGES)
    assert (done.phase, len(world.provider.posts)) == (Phase.COMPLETED, 1)


async def test_applied_again_the_stored_response_is_used(world: World, left: Roles, account: Account) -> None:
    await rounds(world)
    account.says = GONE
    del world.kube.resources[IMAGES, "it"]
    left.listed("other", "ns")
    world.kube.apply(IMAGES, SPECS[IMAGES] | {"paidAttempts": 3}, uid=HEIR)
    done = await world.finish(IMAGES)
    assert (done.phase, len(world.provider.posts), the_purchase(world)["jobId"]) == (Phase.COMPLETED, 1, HEIR)


async def test_a_lost_reply_is_found_where_the_resource_cannot_be_read(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    roles = Roles(world, monkeypatch, listed=("ns",))
    world.provider.lose_replies = {1}
    world.kube.apply(IMAGES, SPECS[IMAGES])
    while not world.provider.posts:
        await world.reconcile(IMAGES)
    roles.listed("other")
    await rounds(world, 10, timedelta(minutes=10))
    kept = the_purchase(world)
    assert (kept["state"], kept["requestId"], kept["jobId"]) == ("succeeded", "request-1", UID)


async def test_invisible_resource_keeps_its_purchase(world: World, left: Roles, account: Account) -> None:
    """Marked for discarding, gone once, and late: each would end it where its resource is seen to be gone."""
    gone = {"discardAsked": True, "orphanedAt": world.now - 60 * DAY, "orphanSeenAt": world.now - DAY}
    world.database["ledger"].update_many({}, {"$set": gone})
    account.says = RequestView(state=RequestState.RUNNING, message="running")
    await rounds(world, 5, DAY)
    assert (the_purchase(world)["state"], world.provider.cancelled) == ("submitted", [])
    account.says = None
    await rounds(world, 40, DAY)
    kept = the_purchase(world)
    assert (kept["state"], kept["resultKey"] in world.storage.files) == ("succeeded", True)
    assert {name: kept[name] for name in gone} == gone
    assert world.provider.cancelled == []


@pytest.mark.parametrize("says", [GONE, Unavailable("404"), AccessRefused("fal", "401")], ids=["gone", "404", "401"])
async def test_request_unknown_to_the_provider_keeps_what_is_invisible(
    world: World, left: Roles, account: Account, says: Any
) -> None:
    """A key of another account, perhaps for a while."""
    before = the_purchase(world)
    account.says = says
    await rounds(world, 48)
    assert the_purchase(world) == before
    account.says = None
    await rounds(world, 4, HOUR)
    assert the_purchase(world)["state"] == "succeeded"


async def test_after_the_providers_history_it_is_not_asked_any_more(
    world: World, left: Roles, account: Account
) -> None:
    account.says = GONE
    await rounds(world, 1, 31 * DAY)
    assert (account.polls, the_purchase(world)["state"]) == ([], "submitted")


async def test_a_failure_by_the_providers_word_is_written_down(world: World, left: Roles, account: Account) -> None:
    account.says = RequestView(state=RequestState.FAILED, message="no faces")
    await rounds(world, 1)
    kept = the_purchase(world)
    assert (kept["state"], kept["error"], kept["jobId"]) == ("failed", "no faces", UID)


@pytest.mark.parametrize(
    "change",
    [{"$set": {"operatorClass": BATCH}}, {"$set": {"clusterUid": "another"}}],
    ids=["of another class", "of another cluster"],
)
async def test_others_requests_are_not_polled(world: World, left: Roles, account: Account, change: Any) -> None:
    world.database["ledger"].update_many({}, change)
    before = the_purchase(world)
    await rounds(world)
    left.listed("other", "ns", readable=("other",))
    await rounds(world)
    assert (account.polls, the_purchase(world)) == ([], before)


async def test_an_orphan_of_another_class_is_left_to_its_installation(world: World, account: Account) -> None:
    """The other installation may use another account at the provider."""
    await submitted(world)
    world.database["ledger"].update_many({}, {"$set": {"operatorClass": BATCH}})
    del world.kube.resources[IMAGES, "it"]
    account.polls.clear()
    before = the_purchase(world)
    await rounds(world)
    assert (account.polls, the_purchase(world)) == ([], before)
    world.selection = Selection(BATCH)
    world.restart()
    await rounds(world)
    assert the_purchase(world)["state"] == "succeeded"


@pytest.mark.parametrize("state", list(PurchaseState))
def test_purchase_without_resource_is_only_searched_or_polled(state: PurchaseState) -> None:
    for send_state in SendState if state is PurchaseState.INTENT else (None,):
        for orphaned in (None, NOW):
            given = {"state": state, "send_state": send_state, "sent_input": "{}", "orphaned_at": orphaned}
            seen = planned().model_copy(update=given)
            for days in (0.5, 40.0):
                taken = next_effect(seen, FollowState.UNSEEN, NOW + days * DAY, Retention())
                assert taken in (OrphanEffect.NOTHING, OrphanEffect.SEARCH, OrphanEffect.POLL)


# Back again


@pytest.mark.parametrize("uid", [UID, HEIR], ids=["the same resource", "applied again"])
@pytest.mark.parametrize(
    "told",
    [
        (GONE, Reason.RESULT_INVALID),
        (Unavailable("404"), Reason.DEADLINE_EXCEEDED),
        (AccessRefused("fal", "401"), Reason.DEADLINE_EXCEEDED),
    ],
    ids=["gone", "404", "401"],
)
async def test_unknown_and_unstored_request_is_not_paid_again(
    world: World, left: Roles, account: Account, uid: str, told: tuple[Any, Reason]
) -> None:
    account.says, reason = told
    await rounds(world, 4, DAY)
    world.kube.apply(IMAGES, SPECS[IMAGES] | {"paidAttempts": 3}, uid=uid)
    left.listed("ns")
    ended = await world.finish(IMAGES)
    assert (ended.reason, len(world.provider.posts)) == (reason, 1)
    assert "request request-1" in (ended.message or "")


SAYS = pytest.mark.parametrize(
    "says",
    [
        GONE,
        RequestView(state=RequestState.FAILED, message="not found"),
        Unavailable("404"),
        AccessRefused("fal", "401"),
    ],
    ids=["gone", "failed", "404", "401"],
)


async def stored_unnoted(world: World) -> None:
    """End the process after the response is stored and before the ledger is written."""
    world.writes._points = (2 * len(world.writes.done) + 1,)
    world.writes.fired.clear()
    with pytest.raises(Crash):
        await rounds(world)
    assert world.writes.fired == ["after document"]
    world.writes._points = ()
    world.restart()
    assert the_purchase(world)["state"] == "submitted"


@SAYS
async def test_unlisted_stored_response_is_used_by_its_resource(
    world: World, left: Roles, account: Account, says: Any
) -> None:
    account._poll = found
    await stored_unnoted(world)
    account.says = says
    left.listed("ns")
    world.now += HOUR
    ended = await world.finish(IMAGES)
    assert (ended.phase, len(world.provider.posts)) == (Phase.COMPLETED, 1)
    kept = the_purchase(world)
    assert kept["resultKey"] == f"purchases/{kept['purchaseId']}/response.json"


@SAYS
async def test_unlisted_stored_response_is_noted_without_its_resource(
    world: World, left: Roles, account: Account, says: Any
) -> None:
    account._poll = found
    await stored_unnoted(world)
    account.says = says
    await rounds(world, 4, HOUR)
    kept = the_purchase(world)
    assert (kept["state"], kept["resultKey"]) == ("succeeded", f"purchases/{kept['purchaseId']}/response.json")


async def found(model: str, request_id: str) -> RequestView:
    return RequestView(state=RequestState.SUCCEEDED, result=AnswerFile.of({"answer": 42, "request": request_id}))


@pytest.mark.parametrize("attempts", [1, 3])
async def test_open_request_survives_a_move_to_another_account(world: World, account: Account, attempts: int) -> None:
    """The run has ended, so its resource may move; the class that bought it still polls the request."""
    world.provider.cancels = False
    await submitted(world, deadlineSeconds=60, paidAttempts=attempts)
    account.says = RequestView(state=RequestState.RUNNING, message="running")
    assert (await world.finish(IMAGES)).reason == Reason.DEADLINE_EXCEEDED
    body = world.kube.resources[IMAGES, "it"]
    world.kube.apply(IMAGES, body["spec"] | {"operatorClass": BATCH})
    world.selection = Selection(BATCH)
    world.restart()
    ours, world.provider.key_id, account.says = world.provider.key_id, "the other class's", UNKNOWN
    world.now += 2 * DAY
    for _ in range(20):
        await world.reconcile(IMAGES)
    assert the_purchase(world)["missed"] == 0
    world.provider.key_id = ours
    assert (the_purchase(world)["state"], len(world.provider.posts)) == ("submitted", 1)
    world.selection = Selection()
    world.restart()
    account.says = None
    await rounds(world, 4, HOUR)
    assert (the_purchase(world)["state"], len(world.provider.posts)) == ("succeeded", 1)


async def test_a_request_that_its_provider_never_shows_delays_no_other(world: World, account: Account) -> None:
    await submitted(world)
    one = the_purchase(world)
    other = {"_id": one["_id"].replace("/it/", "/a/"), "requestId": "request-9", "purchaseId": "p9"}
    world.database["ledger"].insert_one(one | other)
    del world.kube.resources[IMAGES, "it"]
    account.polls.clear()
    poll = account._poll

    async def first_unknown(model: str, request_id: str) -> RequestView:
        if request_id == "request-9":
            raise Unavailable("404")
        return await poll(model, request_id)

    account._poll = first_unknown
    await rounds(world, 1, DAY)
    await rounds(world, 1, HOUR)
    await rounds(world, 3, timedelta(minutes=1))
    assert account.polls.count("request-1") > 0
