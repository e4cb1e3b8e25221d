"""Operator class of a purchase: who polls an open request whose resource cannot be read, and with which account."""

from datetime import UTC, datetime, timedelta
from typing import Any

import mongomock
import pytest
from kubernetes.aio.client.exceptions import ApiException

from contentgen_contract.names import Kind
from contentgen_operator.ledger import Ledger
from contentgen_operator.providers.base import (
    RequestView,
)
from contentgen_operator.purchases import Purchase, PurchaseKey, PurchaseState, PurchaseStep
from contentgen_operator.selection import Selection
from contentgen_runtime.namespaces import Namespaces
from contentgen_simulation.world import SPECS, UID, World, Writes

IMAGES = Kind.IMAGE_GENERATION
HEIR = "5d0b4c1e-3f66-4b7a-8f0d-6f2a8a1b0c02"
BATCH = "batch"
NOW = datetime(2026, 11, 21, tzinfo=UTC)
HOUR, DAY = timedelta(hours=1), timedelta(days=1)
KEY = PurchaseKey(namespace="ns", kind=IMAGES, name="it", run_hash="h", rerun=None, attempt=1)


class Account:
    """What the provider says of all requests; None: what the simulated one says. Counts the polls."""

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
    return [dict(each) for each in world.database["ledger"].find().sort("_id", 1)]


def the_purchase(world: World) -> dict[str, Any]:
    (found,) = purchases(world)
    return found


async def submitted(world: World, **spec: Any) -> None:
    world.kube.apply(IMAGES, SPECS[IMAGES] | spec)
    for _ in range(40):
        if [each["state"] for each in purchases(world)] == ["submitted"]:
            return
        await world.step(IMAGES)
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
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    return World(monkeypatch, Writes())


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
        state=PurchaseState.INTENT, step=PurchaseStep.PLANNED, job_id=job_id, provider="fal", model="m", marker="m",
        created_at=NOW, changed_at=NOW,
    )  # fmt: skip


async def test_a_purchase_is_of_the_class_that_plans_it_and_its_key_is_of_none(monkeypatch: pytest.MonkeyPatch) -> None:
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


async def test_a_document_of_an_older_release_has_none_and_is_read() -> None:
    collection = mongomock.MongoClient(tz_aware=True)["db"]["ledger"]
    ledger = Ledger(collection)
    await ledger.intend(KEY, planned())
    collection.update_many({}, {"$unset": {"operatorClass": ""}})
    kept = await ledger.get(KEY)
    assert kept is not None
    assert kept.operator_class is None
    assert [key.text for key, _ in await ledger.open_purchases((), "", 9)] == [str(KEY)]
    assert [key.text for key, _ in await ledger.open_purchases(("ns",), "", 9)] == [str(KEY)]
    assert await ledger.open_purchases(("other",), "", 9) == []
