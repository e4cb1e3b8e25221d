"""Provider accounts per namespace: which account pays, and which one is asked about a request afterwards."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import mongomock
import pytest

from contentgen_contract.names import ACCOUNT_LABEL, ADOPT_ANNOTATION, CANCEL_ANNOTATION, Kind, Phase, Reason
from contentgen_contract.records.tenancy import Tenant
from contentgen_operator.accounts.values import granted
from contentgen_operator.background.settlement import ChargeSettlement
from contentgen_operator.kube.namespace_labels import NamespaceLabelReader
from contentgen_operator.providers.accounts import ProviderAccounts
from contentgen_operator.providers.base import AccessRefused, KeyRefused
from contentgen_operator.state.observed import NamespaceLabels
from contentgen_operator.state.provider_requests import Call, Search
from contentgen_operator.state.purchases import BilledAccount, Purchase, PurchaseState, Unsettled
from contentgen_operator.stores.charges import Charges
from contentgen_runtime.kube import Conflict
from contentgen_simulation.api_server import rejection
from contentgen_simulation.tenancy import CAT, OTHER, applied, ended, gone, recreated, rounds
from contentgen_simulation.world import SPECS, UID, World, Writes, nothing

NOW = datetime(2026, 11, 21, tzinfo=UTC)
IMAGES, LORA = Kind.IMAGE_GENERATION, Kind.LORA_TRAINING


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    return World(monkeypatch, Writes())


def label(world: World, account: str | None) -> None:
    """Grant an account to the namespace, as a platform administrator does."""
    world.kube.server.namespace_labels["ns"] = {} if account is None else {ACCOUNT_LABEL: account}


def purchase(world: World) -> dict[str, Any]:
    (found,) = world.database["ledger"].find()
    return dict(found)


async def until(world: World, phase: Phase, kind: Kind = IMAGES) -> None:
    for _ in range(50):
        if world.there(kind) and world.kube.resources[kind, "it"].get("status", {}).get("phase") == phase:
            return
        await world.reconcile(kind)
    raise AssertionError(f"never {phase}: {world.status(kind)}")


# Which account a namespace is granted


@pytest.mark.parametrize(
    ("labels", "name", "is_problem"),
    [
        ({}, None, False),
        ({ACCOUNT_LABEL: "default"}, None, False),
        ({ACCOUNT_LABEL: "team-a"}, "team-a", False),
        ({ACCOUNT_LABEL: "team-b"}, None, True),
        ({ACCOUNT_LABEL: ""}, None, True),
        ({ACCOUNT_LABEL: "Team-A"}, None, True),
        ({ACCOUNT_LABEL: "Default"}, None, True),
    ],
)
def test_a_label_names_an_account_or_is_a_problem(labels: dict[str, str], name: str | None, is_problem: bool) -> None:
    grant = granted(NamespaceLabels(labels=labels), ("team-a",))
    assert (grant.name, bool(grant.problem)) == (name, is_problem)


class Namespaces:
    def __init__(self, answer: Any) -> None:
        self.answer = answer

    async def get_namespace(self, name: str) -> Any:  # noqa: ARG002 - the protocol's signature
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


@pytest.mark.parametrize("body", [None, {"metadata": {"uid": "new", "labels": {ACCOUNT_LABEL: "team-a"}}}])
async def test_label_of_a_recreated_namespace_is_no_grant(body: Any) -> None:
    with pytest.raises(Conflict):
        await NamespaceLabelReader(Namespaces(body)).current("ns", Tenant(uid="old"), NOW)


async def test_unreadable_namespace_is_not_the_default_account() -> None:
    labels = await NamespaceLabelReader(Namespaces(rejection(403, "no"))).current("ns", Tenant(uid="old"), NOW)
    assert "cannot be read" in granted(labels, ()).problem


# Which account pays


@pytest.mark.parametrize("kind", list(Kind))
async def test_granted_account_pays_polls_and_is_recorded(world: World, kind: Kind) -> None:
    team = world.add_account("team-a")
    label(world, "team-a")
    world.kube.apply(kind, SPECS[kind])
    status = await world.finish(kind)
    assert status.phase is Phase.COMPLETED
    assert (len(team.posts), world.provider.posts, world.provider.asked) == (1, [], [])
    assert purchase(world)["account"] == "team-a"
    assert status.run is not None
    assert status.run.provider_account == "team-a"


@pytest.mark.parametrize("account", [None, "default"])
async def test_without_a_label_the_default_account_pays(world: World, account: str | None) -> None:
    team = world.add_account("team-a")
    label(world, account)
    assert (await applied(world, UID)).phase is Phase.COMPLETED
    assert (len(world.provider.posts), team.posts, purchase(world)["account"]) == (1, [], None)


@pytest.mark.parametrize("granted_to", ["team-b", ""])
async def test_unknown_account_waits_and_the_default_never_pays(world: World, granted_to: str) -> None:
    label(world, granted_to)
    world.kube.apply(IMAGES, CAT)
    for _ in range(20):
        await world.reconcile(IMAGES)
    status = world.status(IMAGES)
    assert (status.phase, status.reason) == (Phase.PENDING, Reason.PROVIDER_NOT_CONFIGURED)
    assert f"{ACCOUNT_LABEL}={granted_to} " in (status.message or "")
    assert "providers.accounts" in (status.message or "")
    assert world.provider.posts == []
    assert list(world.database["ledger"].find()) == []
    label(world, None)
    assert (await ended(world)).phase is Phase.COMPLETED


async def test_account_without_a_key_waits_despite_a_default_key(world: World) -> None:
    team = world.add_account("team-a")
    team.configured = False
    label(world, "team-a")
    world.kube.apply(IMAGES, CAT)
    for _ in range(10):
        await world.reconcile(IMAGES)
    status = world.status(IMAGES)
    assert status.reason == Reason.PROVIDER_NOT_CONFIGURED
    assert "account team-a has no fal-key" in (status.message or "")
    assert (world.provider.posts, team.posts) == ([], [])
    team.configured = True
    await ended(world)
    assert (world.provider.posts, len(team.posts)) == ([], 1)


async def test_keyless_default_account_delays_no_granted_namespace(world: World) -> None:
    world.add_account("team-a")
    world.provider.configured = False
    label(world, "team-a")
    assert (await applied(world, UID)).phase is Phase.COMPLETED


async def test_a_grant_that_changes_before_the_payment_is_followed(world: World) -> None:
    """The planned purchase and the status name the account that pays, before anything is sent."""
    first, second = world.add_account("team-a"), world.add_account("team-b")
    label(world, "team-a")
    world.kube.apply(IMAGES, CAT)
    while not list(world.database["ledger"].find()):
        await world.reconcile(IMAGES)
    assert (purchase(world)["sendState"], purchase(world)["account"]) == ("planned", "team-a")
    label(world, "team-b")
    named = list[str | None]()

    async def look() -> None:
        run = world.status(IMAGES).run
        named.extend([purchase(world)["account"], run.provider_account if run else None])

    second.connected = look  # before the compare-and-set that precedes the POST
    assert (await ended(world)).phase is Phase.COMPLETED
    assert (first.posts, len(second.posts), world.provider.posts) == ([], 1, [])
    assert named == ["team-b", "team-b"]


async def test_a_grant_withdrawn_while_planned_pays_nothing(world: World) -> None:
    team = world.add_account("team-a")
    label(world, "team-a")
    world.kube.apply(IMAGES, CAT)
    while not list(world.database["ledger"].find()):
        await world.reconcile(IMAGES)
    label(world, "unknown")
    for _ in range(20):
        await world.reconcile(IMAGES)
    assert (team.posts, world.provider.posts) == ([], [])
    assert world.status(IMAGES).reason == Reason.PROVIDER_NOT_CONFIGURED


# Which account is asked afterwards


async def sent_with_team(world: World, kind: Kind = IMAGES, *, lost: bool = False) -> Any:
    team = world.add_account("team-a")
    if lost:
        team.lose_replies.add(1)
    label(world, "team-a")
    world.kube.apply(kind, SPECS[kind])
    for _ in range(50):
        await world.reconcile(kind)
        if team.posts:
            return team
    raise AssertionError("nothing was sent")


@pytest.mark.parametrize("now", [None, "team-b", "unknown"])
@pytest.mark.parametrize("lost", [False, True])
async def test_a_request_stays_with_its_account_when_the_label_changes(
    world: World, now: str | None, lost: bool
) -> None:
    team, other = await sent_with_team(world, lost=lost), world.add_account("team-b")
    label(world, now)
    status = await ended(world)
    assert (status.phase, status.reason) == (Phase.COMPLETED, Reason.COMPLETED)
    assert (len(team.posts), other.posts, world.provider.posts) == (1, [], [])
    assert (other.asked, world.provider.asked, other.searches, world.provider.searches) == ([], [], 0, 0)
    assert purchase(world)["account"] == "team-a"


async def test_same_resource_under_another_account_buys_nothing(world: World) -> None:
    team, other = await sent_with_team(world), world.add_account("team-b")
    await ended(world)
    label(world, "team-b")
    await gone(world, IMAGES)
    status = await applied(world, OTHER)
    assert status.reason == Reason.ADOPTED_FINISHED_RUN
    assert (len(team.posts), other.posts, other.asked) == (1, [], [])


@pytest.mark.parametrize("lost", [False, True])
async def test_an_adoption_keeps_the_account_of_the_purchase(world: World, lost: bool) -> None:
    team = await sent_with_team(world, lost=lost)
    team.cancels = False  # the deletion does not end the request
    other = world.add_account("team-b")
    await gone(world, IMAGES)
    label(world, "team-b")
    status = await applied(world, OTHER)
    assert status.phase is Phase.COMPLETED
    assert (len(team.posts), other.posts, other.asked, other.searches) == (1, [], [], 0)
    assert (purchase(world)["account"], purchase(world)["jobId"]) == ("team-a", OTHER)


@pytest.mark.parametrize("lost", [False, True])
async def test_a_removed_account_is_named_and_nothing_is_paid_again(world: World, lost: bool) -> None:
    team = await sent_with_team(world, lost=lost)
    del world.accounts["team-a"]
    world.restart()
    for _ in range(60):
        await world.reconcile(IMAGES)
    status = world.status(IMAGES)
    assert status.phase in (Phase.PROCESSING, Phase.SUBMITTING, Phase.SUBMISSION_UNKNOWN)
    assert "team-a is not among providers.accounts" in (status.message or "")
    assert (len(team.posts), world.provider.posts, world.provider.asked) == (1, [], [])
    assert world.provider.searches == 0
    world.accounts["team-a"] = team
    world.restart()
    assert (await world.finish(IMAGES)).phase is Phase.COMPLETED
    assert len(team.posts) == 1


async def test_a_cancellation_uses_the_account_of_the_request(world: World) -> None:
    team = await sent_with_team(world)
    world.add_account("team-b")
    label(world, "team-b")
    world.kube.apply(IMAGES, SPECS[IMAGES], UID, **{CANCEL_ANNOTATION: "1"})
    await ended(world)
    assert team.cancelled == ["team-a-request-1"]
    assert (world.accounts["team-b"].cancelled, world.provider.cancelled) == ([], [])


async def test_a_deletion_cancels_with_the_account_of_the_request(world: World) -> None:
    team = await sent_with_team(world)
    label(world, None)
    await gone(world, IMAGES)
    assert (team.cancelled, world.provider.cancelled) == (["team-a-request-1"], [])


async def test_orphan_of_a_recreated_namespace_uses_its_account(world: World) -> None:
    team = await sent_with_team(world)
    team.cancels = False
    world.add_account("team-b")
    await recreated(world)
    label(world, "team-b")
    await rounds(world, 24)
    assert purchase(world)["state"] == "succeeded"
    assert (world.accounts["team-b"].asked, world.provider.asked) == ([], [])
    assert purchase(world)["account"] == "team-a"


async def test_orphan_of_a_removed_account_delays_no_other(world: World) -> None:
    team = await sent_with_team(world)
    team.cancels = False
    await gone(world, IMAGES)
    label(world, None)
    del world.accounts["team-a"]
    world.restart()
    world.kube.apply(LORA, SPECS[LORA], OTHER)
    world.provider.cancels = False
    while not world.provider.posts:
        await world.reconcile(LORA)
    await gone(world, LORA)
    await rounds(world, 6)
    states = {purchase.get("account"): purchase["state"] for purchase in world.database["ledger"].find()}
    assert states == {"team-a": "submitted", None: "succeeded"}


async def test_next_paid_attempt_uses_the_account_granted_then(world: World) -> None:
    team, other = world.add_account("team-a"), world.add_account("team-b")
    team.fails.add(1)
    label(world, "team-a")
    world.kube.apply(IMAGES, CAT | {"paidAttempts": 2})
    while not team.posts:
        await world.reconcile(IMAGES)
    label(world, "team-b")
    assert (await ended(world)).phase is Phase.COMPLETED
    assert (len(team.posts), len(other.posts)) == (1, 1)


async def test_a_restored_ledger_does_not_change_the_account(world: World) -> None:
    """The status names the account of a purchase that the ledger has lost; the named request is verified there."""
    team = await sent_with_team(world)
    await until(world, Phase.PROCESSING)
    world.database["ledger"].delete_many({})
    world.database["request_bindings"].delete_many({})
    world.add_account("team-b")
    label(world, "team-b")
    await until(world, Phase.SUBMISSION_UNKNOWN)
    annotations = {ADOPT_ANNOTATION: "team-a-request-1"}
    world.kube.apply(IMAGES, SPECS[IMAGES], UID, **annotations)
    assert (await ended(world)).phase is Phase.COMPLETED
    assert (len(team.posts), world.accounts["team-b"].asked) == (1, [])
    assert purchase(world)["account"] == "team-a"


async def test_a_forged_account_in_a_status_is_not_used(world: World) -> None:
    """A user who may write statuses names another team's account and one of its requests."""
    team = world.add_account("team-a")
    label(world, "team-a")
    await applied(world, UID)
    victim = len(team.asked)
    label(world, None)
    world.kube.apply(LORA, SPECS[LORA], OTHER)
    await world.reconcile(LORA)
    body = world.kube.resources[LORA, "it"]
    body["status"]["run"]["providerAccount"] = "team-a"
    body["metadata"]["annotations"][ADOPT_ANNOTATION] = "team-a-request-1"
    status = await ended(world, LORA)
    assert status.run is not None
    assert (status.run.provider_account, len(team.posts), len(team.asked)) == (None, 1, victim)
    assert len(world.provider.posts) == 1


async def test_an_account_that_only_a_status_names_is_not_used(world: World) -> None:
    """Without a run document, as after a restored MongoDB, a status may name another team's purchase."""
    team = world.add_account("team-a")
    label(world, "team-a")
    await applied(world, UID)
    known = list(team.asked)
    label(world, None)
    world.kube.apply(LORA, SPECS[LORA], OTHER, **{ADOPT_ANNOTATION: "team-a-request-2"})  # that no purchase claims
    for _ in range(2):
        await world.reconcile(LORA)
    world.database["runs"].delete_one({"_id": OTHER})
    world.restart()
    forged = {"providerAccount": "team-a", "purchaseId": "0190a"}
    world.kube.resources[LORA, "it"]["status"]["run"] |= forged
    for _ in range(10):
        await world.reconcile(LORA)
    assert team.asked == known


async def test_crds_that_drop_the_account_stop_the_payment(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    team, put = world.add_account("team-a"), world.kube.put_status
    label(world, "team-a")

    async def pruned(kind: Kind, namespace: str, name: str, body: dict[str, Any]) -> dict[str, Any]:
        body["status"].get("run", {}).pop("providerAccount", None)
        return await put(kind, namespace, name, body)

    monkeypatch.setattr(world.kube, "put_status", pruned)
    world.kube.apply(IMAGES, CAT)

    async def reconcile_times() -> None:
        for _ in range(20):
            await world.reconcile(IMAGES)

    with pytest.raises(RuntimeError, match="CRDs are not those of this operator"):
        await reconcile_times()
    assert team.posts == []


# Charges


class Charging:
    """Billing events of one account."""

    def __init__(self, *, refuses: bool = False) -> None:
        self.asked: list[str] = []
        self._refuses = refuses

    def key(self) -> str:
        return "a key"

    async def charges(self, asked: Sequence[Unsettled]) -> Mapping[str, int]:
        if self._refuses:
            raise AccessRefused("fal", "fal answered 403")
        self.asked += [each.request_id for each in asked]
        return dict.fromkeys(self.asked, 7)


async def test_charges_are_asked_for_with_the_key_of_each_account() -> None:
    ledger: Any = mongomock.MongoClient(tz_aware=True)["db"]["ledger"]
    for account in (None, "team-a", "team-b", "gone"):
        stored = Purchase(
            state=PurchaseState.COLLECTED, purchase_id=f"p-{account}", job_id="j", provider="fal", account=account,
            model="m", correlation_key="m", created_at=NOW, changed_at=NOW, request_id=f"of-{account}",
        )  # fmt: skip
        ledger.insert_one({"_id": str(account), **stored.model_dump(mode="python", by_alias=True)})
    default, team, refusing = Charging(), Charging(), Charging(refuses=True)
    named = {None: default, "team-b": refusing, "team-a": team}
    billing = {BilledAccount("fal", name): each for name, each in named.items()}
    await ChargeSettlement(Charges(ledger), billing, clock=lambda: NOW + timedelta(hours=1)).round()
    assert (default.asked, team.asked) == (["of-None"], ["of-team-a"])
    billed = {purchase["_id"] for purchase in ledger.find({"billedMicros": 7})}
    assert billed == {"None", "team-a"}


# Clients of accounts


class Refusing:
    configured = True

    async def submit(self, *_: object) -> str:
        raise KeyRefused("fal", "fal answered 401")

    async def poll(self, *_: object) -> None:
        raise AccessRefused("fal", "fal answered 401")


CALL = Call(provider="fal", model="m", arguments={}, correlation_key="x")


async def test_a_refused_key_is_of_the_account_and_its_secret() -> None:
    client: Any = Refusing()
    named = ProviderAccounts({"fal": client}, {"team-a": {"fal": client}}).provider("fal", "team-a")
    with pytest.raises(KeyRefused, match=r"fal answered 401; .*provider account team-a.*providers\.accounts\.team-a"):
        await named.submit(CALL, nothing)
    with pytest.raises(AccessRefused, match=r"Secret of providers\.accounts\.team-a"):
        await named.poll("m", "r")


async def test_a_missing_account_refuses_every_call_and_sends_nothing() -> None:
    client: Any = Refusing()
    missing = ProviderAccounts({"fal": client}).provider("fal", "gone")
    search = Search(call=CALL, sent_after=NOW, sent_before=NOW + timedelta(seconds=1))

    async def begin() -> None:
        raise AssertionError("nothing is sent")

    assert not missing.configured
    with pytest.raises(KeyRefused, match="gone is not among"):
        await missing.submit(CALL, begin)
    for call in (missing.poll("m", "r"), missing.cancel("m", "r"), missing.find(search), missing.verify(search, "r")):
        with pytest.raises(AccessRefused, match="gone is not among"):
            await call
