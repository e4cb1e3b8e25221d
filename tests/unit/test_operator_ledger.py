"""The ledger on mongomock: one payer, and every change names where it comes from."""

from datetime import UTC, datetime, timedelta
from typing import Any

import mongomock
import pytest
from pymongo.errors import AutoReconnect

from contentgen_contract.names import Kind
from contentgen_operator.ledger import Ledger
from contentgen_operator.purchases import Move, Purchase, PurchaseKey, PurchaseState

NOW = datetime(2026, 11, 21, tzinfo=UTC)
KEY = PurchaseKey(namespace="ns", kind=Kind.TRANSCRIPTION, name="it", run_hash="ab", rerun=None, attempt=1)


@pytest.fixture
def ledger() -> Ledger:
    collection: Any = mongomock.MongoClient()["db"]["ledger"]  # naive times, as a careless client gives them
    return Ledger(collection)


def purchase(**changes: Any) -> Purchase:
    given = {"job_id": "j", "provider": "fal", "model": "m", "marker": "a/b", "created_at": NOW, "changed_at": NOW}
    return Purchase(state=PurchaseState.INTENT, **(given | changes))


def move(source: PurchaseState, target: PurchaseState, **changes: Any) -> Move:
    return Move(key=KEY, source=source, target=target, changes=changes)


async def test_one_of_many_pays(ledger: Ledger) -> None:
    # One after another: mongomock is no judge of threads, the integration tests are.
    won = [await ledger.intend(KEY, purchase()) for _ in range(8)]
    assert won == [True] + [False] * 7
    assert await ledger.get(KEY) == purchase()


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
        await ledger.move(move(found.state, state))
        assert not await ledger.intend(KEY, purchase()), f"{state} is paid, or may be"
        await ledger.move(move(state, found.state))


async def test_who_was_refused_may_try_again(ledger: Ledger) -> None:
    await ledger.intend(KEY, purchase(estimated_micros=1))
    await ledger.move(move(PurchaseState.INTENT, PurchaseState.REFUSED, error="busy", permanent=False))
    later = purchase(marker="c/d", created_at=NOW + timedelta(hours=3), estimated_micros=2)
    assert await ledger.intend(KEY, later)
    assert not await ledger.intend(KEY, later)
    found = await ledger.get(KEY)
    assert found is not None
    assert (found.tries, found.error, found.marker, found.created_at) == (2, "", "c/d", NOW + timedelta(hours=3))


async def test_refused_for_good_is_said_to_that_resource(ledger: Ledger) -> None:
    await ledger.intend(KEY, purchase())
    await ledger.move(move(PurchaseState.INTENT, PurchaseState.REFUSED, permanent=True))
    assert not await ledger.intend(KEY, purchase())
    assert await ledger.intend(KEY, purchase(job_id="applied again"))
    found = await ledger.get(KEY)
    assert found is not None
    assert (found.permanent, found.job_id) == (False, "applied again")


class LosesReplies:
    """A collection whose writes arrive, and whose acknowledgements are lost."""

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


@pytest.mark.parametrize("refused_before", [False, True])
async def test_an_intent_whose_reply_was_lost_is_nobodys_payment(refused_before: bool) -> None:
    database = mongomock.MongoClient(tz_aware=True)["db"]
    collection = LosesReplies(database["ledger"])
    made: Any = collection
    ledger, other = Ledger(made), Ledger(database["ledger"])
    if refused_before:
        await other.intend(KEY, purchase())
        await other.move(move(PurchaseState.INTENT, PurchaseState.REFUSED, permanent=False))
    with pytest.raises(AutoReconnect):
        await ledger.intend(KEY, purchase())
    collection.loses = False
    kept = await other.get(KEY)
    assert kept is not None
    assert kept.state is PurchaseState.INTENT, "another process can't know that nothing was sent"
    found = await ledger.get(KEY)
    assert found is not None
    assert (found.state, found.permanent) == (PurchaseState.REFUSED, False)
    assert "nothing was paid" in found.error
    assert await ledger.intend(KEY, purchase())
    mine = await ledger.get(KEY)
    assert mine is not None
    assert mine.state is PurchaseState.INTENT, "this one was acknowledged: its POST may be sent"


async def test_the_rate_is_the_median_of_what_ended(ledger: Ledger) -> None:
    assert await ledger.seconds_per_unit("another") is None
    for attempt, seconds in enumerate((10, 20, 90, None), start=1):
        ended = None if seconds is None else NOW + timedelta(seconds=seconds)
        key = KEY.model_copy(update={"attempt": attempt})
        await ledger.intend(key, purchase(submitted_at=NOW, finished_at=ended, units=4))
    assert await ledger.seconds_per_unit("m") == 5


async def test_the_ids_of_a_marker(ledger: Ledger) -> None:
    for attempt, (marker, request) in enumerate([("a/b", "r1"), ("a/b", None), ("a/b", "r2"), ("c", "r3")]):
        key = KEY.model_copy(update={"attempt": attempt})
        await ledger.intend(key, purchase(marker=marker, request_id=request))
    assert await ledger.request_ids("a/b") == {"r1", "r2"}


def test_no_rerun_token_imitates_another_key() -> None:
    tokens = [None, "", "-", "1", "x/1", "3973e022e93220f9"]
    names = {str(KEY.model_copy(update={"rerun": token, "attempt": n})) for token in tokens for n in (1, 11)}
    assert len(names) == 2 * len(tokens)
    assert len({KEY.model_copy(update={"attempt": n}).token for n in range(50)}) == 50
