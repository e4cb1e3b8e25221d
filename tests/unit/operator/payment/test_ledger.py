"""Ledger on mongomock: one payer per purchase, and compare-and-set for every change."""

import asyncio
import time
import uuid
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import mongomock
import pytest
from pymongo.errors import AutoReconnect

from contentgen_contract.names import Kind
from contentgen_operator.state.purchases import (
    LedgerTransition,
    Purchase,
    PurchaseKey,
    PurchaseState,
    SendState,
    new_purchase_id,
)
from contentgen_operator.stores.ledger import Ledger
from contentgen_simulation.interleaved import Interleaving
from contentgen_simulation.world import INLINE, blocking

NOW = datetime(2026, 11, 21, tzinfo=UTC)
KEY = PurchaseKey(namespace="ns", kind=Kind.TRANSCRIPTION, name="it", run_hash="ab", rerun=None, attempt=1)


@pytest.fixture
def ledger() -> Ledger:
    collection: Any = mongomock.MongoClient()["db"]["ledger"]  # naive times, as from a client without tz_aware
    return Ledger(collection)


def purchase(**changes: Any) -> Purchase:
    given = {
        "state": PurchaseState.INTENT,
        "purchase_id": "p",
        "send_state": SendState.PLANNED,
        "job_id": "j",
        "provider": "fal",
        "model": "m",
        "correlation_key": "a/b",
        "created_at": NOW,
        "changed_at": NOW,
    }
    return Purchase.model_validate(given | changes)


def move(source: PurchaseState, target: PurchaseState, **changes: Any) -> LedgerTransition:
    return LedgerTransition(key=KEY, source=source, target=target, changes=changes)


async def test_concurrent_sends_yield_one_payer(ledger: Ledger) -> None:
    # Sequential, because mongomock is not thread-safe; the integration tests cover threads.
    won = [await ledger.intend(KEY, purchase()) for _ in range(8)]
    assert won == [True] + [False] * 7
    assert await ledger.get(KEY) == purchase(operator_class="default")
    sent = [await ledger.send(KEY, purchase(), NOW) for _ in range(8)]
    assert [each is not None for each in sent] == [True] + [False] * 7
    found = await ledger.get(KEY)
    assert found is not None
    assert (found.send_state, found.sent_by, found.sent_at) == (SendState.SENDING, sent[0], NOW)


PLANNED = purchase()
REFUSED = purchase(state=PurchaseState.REFUSED, send_state=None)
MINE = purchase(changed_at=NOW + timedelta(minutes=1))
WITHDRAWN = LedgerTransition(
    key=KEY, source=PurchaseState.INTENT, target=PurchaseState.REFUSED, owner="j", expected={"send_state": "planned"}
)


async def _unacknowledged(ledger: Ledger) -> None:
    ledger._unsent.add("of a backup")
    await ledger.get(KEY)


METHODS: dict[str, Callable[[Ledger], Awaitable[Any]]] = {
    "plan again": lambda ledger: ledger.intend(KEY, MINE),
    "plan for another resource": lambda ledger: ledger.intend(KEY, purchase(job_id="k")),
    "send": lambda ledger: ledger.send(KEY, MINE, NOW),
    "send what was seen": lambda ledger: ledger.send(KEY, MINE, NOW, NOW),
    "note a try": lambda ledger: ledger.note_sent(KEY, MINE, "of a backup", NOW, NOW),
    "withdraw the plan": lambda ledger: ledger.move(WITHDRAWN),
    "withdraw a try": lambda ledger: ledger.withdraw(KEY, "of a backup"),
    "drop the plan": lambda ledger: ledger.drop_planned(KEY, "p"),
    "take back what was not acknowledged": _unacknowledged,
}


@pytest.mark.parametrize("before", [PLANNED, REFUSED], ids=["planned", "refused"])
@pytest.mark.parametrize("method", METHODS)
def test_send_by_another_process_stays_sent(method: str, before: Purchase) -> None:
    """Between any two operations of a method another process plans the purchase, and sends it."""
    for at in range(9):
        collection: Any = mongomock.MongoClient(tz_aware=True)["db"]["ledger"]
        collection.insert_one({"_id": str(KEY), **before.model_dump(mode="python", by_alias=True)})
        other, sent = Ledger(collection), list[str | None]()

        def meanwhile(other: Ledger = other, sent: list[str | None] = sent) -> None:
            blocking(other.intend)(KEY, purchase(job_id="j"))
            sent.append(other._send(KEY, purchase(), NOW, None))

        interleaving = Interleaving(at, meanwhile)
        asyncio.run(_inline(METHODS[method], Ledger(interleaving.collection(collection))))
        if not interleaving.struck:
            return
        if sent == [None]:  # the method was first
            continue
        found = blocking(other.get)(KEY)
        assert found is not None
        assert (found.send_state, found.sent_by) == (SendState.SENDING, sent[0]), interleaving.done
    pytest.fail("more operations than expected")


async def _inline(method: Callable[[Ledger], Awaitable[Any]], ledger: Ledger) -> None:
    asyncio.get_running_loop().set_default_executor(INLINE)
    await method(ledger)


async def test_purchase_planned_for_another_resource_is_not_sent(ledger: Ledger) -> None:
    await ledger.intend(KEY, purchase())
    assert await ledger.send(KEY, purchase(job_id="k"), NOW) is None
    assert await ledger.intend(KEY, purchase(job_id="k", purchase_id="another"))
    found = await ledger.get(KEY)
    assert found is not None
    assert (found.job_id, found.former_owners, found.purchase_id) == ("k", ("j",), "p"), "the id is for ever"
    assert await ledger.send(KEY, purchase(), NOW) is None
    assert await ledger.send(KEY, purchase(job_id="k"), NOW) is not None
    assert not await ledger.intend(KEY, purchase(job_id="l")), "it may have been sent"


@pytest.mark.parametrize("send_state", [SendState.SENDING, SendState.ABANDONED])
async def test_only_what_is_planned_is_sent(send_state: SendState, ledger: Ledger) -> None:
    await ledger.intend(KEY, purchase(send_state=send_state))
    assert await ledger.send(KEY, purchase(), NOW) is None
    assert not await ledger.intend(KEY, purchase(job_id="another"))


async def test_a_purchase_has_one_owner(ledger: Ledger) -> None:
    await ledger.intend(KEY, purchase(state=PurchaseState.COLLECTED))
    seen = await ledger.get(KEY)
    assert seen is not None
    assert [await ledger.adopt(KEY, seen, word) for word in ("k", "l")] == [True, False]
    assert await ledger.discard("j") == ()
    now = await ledger.get(KEY)
    assert now is not None
    assert (now.state, now.job_id, now.former_owners) == (PurchaseState.COLLECTED, "k", ("j",))
    assert await ledger.discard("k") == ("p",)
    assert not await ledger.adopt(KEY, now, "l"), "the first compare-and-set wins"


async def test_a_request_id_is_bound_once(ledger: Ledger) -> None:
    one, other = purchase(purchase_id="p"), purchase(purchase_id="q")
    assert [await ledger.bind_request(each, "r1", NOW) for each in (one, other, one)] == [True, False, True]
    assert (await ledger.request_ids(other), await ledger.request_ids(one)) == ({"r1"}, frozenset())
    assert await ledger.is_anothers(other, "r1")
    assert not await ledger.is_anothers(one, "r1")
    assert not await ledger.is_anothers(other, "r2")


def test_purchase_ids_are_uuids_of_version_7() -> None:
    made = [uuid.UUID(new_purchase_id()) for _ in range(100)]
    assert {(each.version, each.variant) for each in made} == {(7, uuid.RFC_4122)}
    assert len(set(made)) == 100
    assert abs((made[0].int >> 80) / 1000 - time.time()) < 600


async def test_sent_purchase_has_the_price_of_that_moment(ledger: Ledger) -> None:
    await ledger.intend(KEY, purchase(estimated_micros=1, unit_micros=1, billing=False))
    priced = {"estimated_micros": 9, "unit_micros": 7, "unit": "image", "billing": True, "price_source": "fal"}
    await ledger.send(KEY, purchase(**priced), NOW)
    found = await ledger.get(KEY)
    assert found is not None
    assert {name: getattr(found, name) for name in priced} == priced


async def test_a_purchase_is_the_cost_of_one_resource(ledger: Ledger) -> None:
    """Finished outputs that were adopted were paid by the resource that made them; a request that was adopted before
    is its new owner's.
    """
    later = KEY.model_copy(update={"run_hash": "cd"})
    for run_hash, made_by in (("finished", "j"), ("running", None), ("own", "k")):
        key = KEY.model_copy(update={"run_hash": run_hash})
        outputs = {"jobId": made_by} if made_by else None
        await ledger.intend(key, purchase(purchase_id=run_hash, job_id="j" if run_hash != "own" else "k"))
        there = await ledger.get(key)
        assert there is not None
        if run_hash != "own":
            await ledger.adopt(key, there, "k")
        await ledger.move(
            LedgerTransition(key=key, source=there.state, target=PurchaseState.COLLECTED, changes={"outputs": outputs})
        )
    _, runs = await ledger.others(later, "k")
    assert {run.purchase_id for run in runs} == {"running", "own"}
    assert await ledger.others(later, "j") == ((), ())


async def test_a_change_names_where_it_comes_from(ledger: Ledger) -> None:
    assert await ledger.get(KEY) is None
    assert not await ledger.move(move(PurchaseState.INTENT, PurchaseState.SUBMITTED))
    await ledger.intend(KEY, purchase())
    submitted = move(PurchaseState.INTENT, PurchaseState.SUBMITTED, request_id="r1", submitted_at=NOW)
    assert await ledger.move(submitted)
    assert not await ledger.move(submitted)
    found = await ledger.get(KEY)
    assert found is not None
    assert (found.state, found.request_id, found.submitted_at) == (PurchaseState.SUBMITTED, "r1", NOW)
    for state in set(PurchaseState) - {PurchaseState.REFUSED}:
        await ledger.move(move(found.state, state, send_state="sending" if state is PurchaseState.INTENT else None))
        assert not await ledger.intend(KEY, purchase()), f"{state} is paid, or may be"
        await ledger.move(move(state, found.state))


async def test_refused_purchase_may_be_sent_again(ledger: Ledger) -> None:
    await ledger.intend(KEY, purchase(estimated_micros=1))
    await ledger.move(move(PurchaseState.INTENT, PurchaseState.REFUSED, error="busy", permanent=False))
    later = purchase(correlation_key="c/d", created_at=NOW + timedelta(hours=3), estimated_micros=2, purchase_id="q")
    assert await ledger.intend(KEY, later)
    assert not await ledger.intend(KEY, later)
    found = await ledger.get(KEY)
    assert found is not None
    assert (found.tries, found.error, found.correlation_key, found.created_at) == (
        2,
        "",
        "c/d",
        NOW + timedelta(hours=3),
    )
    assert found.purchase_id == "p"


async def test_refused_for_good_is_said_to_that_resource(ledger: Ledger) -> None:
    await ledger.intend(KEY, purchase())
    await ledger.move(move(PurchaseState.INTENT, PurchaseState.REFUSED, permanent=True))
    assert not await ledger.intend(KEY, purchase())
    assert await ledger.intend(KEY, purchase(job_id="applied again"))
    found = await ledger.get(KEY)
    assert found is not None
    assert (found.permanent, found.job_id) == (False, "applied again")


class LosesReplies:
    """Collection whose writes succeed and whose acknowledgements are lost."""

    def __init__(self, collection: Any) -> None:
        self.loses = True
        self._collection = collection

    def __getattr__(self, name: str) -> Any:
        call = getattr(self._collection, name)
        if name not in ("insert_one", "update_one") or not self.loses:
            return call

        def lost(*args: Any, **kwargs: Any) -> None:
            call(*args, **kwargs)
            raise AutoReconnect("the reply was lost")

        return lost


async def test_compare_and_set_with_a_lost_reply_permits_no_payment() -> None:
    database = mongomock.MongoClient(tz_aware=True)["db"]
    collection = LosesReplies(database["ledger"])
    made: Any = collection
    ledger, other = Ledger(made), Ledger(database["ledger"])
    await other.intend(KEY, purchase())
    with pytest.raises(AutoReconnect):
        await ledger.send(KEY, purchase(), NOW)
    collection.loses = False
    kept = await other.get(KEY)
    assert kept is not None
    assert kept.send_state is SendState.SENDING, "another process can't know that nothing was sent"
    found = await ledger.get(KEY)
    assert found is not None
    assert (found.planned, found.sent_by, found.sent_at) == (True, None, NOW), "the status may name that time"
    assert await ledger.send(KEY, purchase(), NOW)
    mine = await ledger.get(KEY)
    assert mine is not None
    assert mine.send_state is SendState.SENDING, "this one was acknowledged: its POST may be sent"


async def test_the_rate_is_the_median_of_what_ended(ledger: Ledger) -> None:
    assert await ledger.seconds_per_unit("another") is None
    for attempt, seconds in enumerate((10, 20, 90, None), start=1):
        ended = None if seconds is None else NOW + timedelta(seconds=seconds)
        key = KEY.model_copy(update={"attempt": attempt})
        await ledger.intend(key, purchase(submitted_at=NOW, finished_at=ended, units=4))
    assert await ledger.seconds_per_unit("m") == 5


async def test_the_ids_of_a_correlation_key(ledger: Ledger) -> None:
    """Also without bindings."""
    for attempt, (correlation_key, request) in enumerate([("a/b", "r1"), ("a/b", None), ("a/b", "r2"), ("c", "r3")]):
        key = KEY.model_copy(update={"attempt": attempt})
        await ledger.intend(key, purchase(correlation_key=correlation_key, request_id=request))
    assert await ledger.request_ids(purchase()) == {"r1", "r2"}


def test_no_rerun_token_imitates_another_key() -> None:
    tokens = [None, "", "-", "1", "x/1", "3973e022e93220f9"]
    names = {str(KEY.model_copy(update={"rerun": token, "attempt": n})) for token in tokens for n in (1, 11)}
    assert len(names) == 2 * len(tokens)
    assert len({KEY.model_copy(update={"attempt": n}).token for n in range(50)}) == 50
