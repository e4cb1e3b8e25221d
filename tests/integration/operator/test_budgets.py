"""Claims and sums of budgets on a real MongoDB server, from many threads at once."""

import asyncio
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

from pymongo.database import Database

from contentgen_contract.resources.content_budget import ContentBudget
from contentgen_operator.budgets.store import BudgetStore
from contentgen_operator.budgets.values import BudgetClaim, BudgetClaims, BudgetRelease, WindowRef, windows_of

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
ONE = 70_000
Document = dict[str, Any]


def refs(**limits: str) -> tuple[WindowRef, ...]:
    body: Document = {"metadata": {"name": "all", "uid": "u"}, "spec": {"limits": limits}}
    return windows_of(ContentBudget.parse(body), NOW)


def claims(purchase: str, windows: Iterable[WindowRef], micros: int = ONE) -> BudgetClaims:
    each = tuple(BudgetClaim(ref=ref, micros=micros) for ref in windows)
    return BudgetClaims(purchase=purchase, each=each)


def store_of(database: Database[Document]) -> BudgetStore:
    store = BudgetStore(database["budgets"], database["ledger"])
    store.create_indexes()
    return store


def check_books(database: Database[Document]) -> None:
    for budget in database["budgets"].find():
        assert budget["held"] == budget["spent"] + sum(claim["micros"] for claim in budget["open"].values())
        assert sorted(budget["keys"]) == sorted(budget["open"])
        assert budget["held"] <= budget["limit"] + budget["overrun"]


async def test_two_hundred_concurrent_claims_exceed_no_limit(database: Database[Document]) -> None:
    store, windows = store_of(database), refs(day="3.50", month="5", total="4.20")
    granted = set[str]()
    for _ in range(20):  # one that is refused by the second window holds the first one for a moment
        left = [f"p{number}" for number in range(200) if f"p{number}" not in granted]
        refused = await asyncio.gather(*(store.claim(claims(name, windows), NOW) for name in left))
        granted |= {name for name, each in zip(left, refused, strict=True) if each is None}
        if len(granted) == 50:
            break
    assert len(granted) == 50
    check_books(database)
    assert {budget["held"] for budget in database["budgets"].find()} == {50 * ONE}


async def test_claims_of_one_purchase_at_once_are_one_claim(database: Database[Document]) -> None:
    store, windows = store_of(database), refs(day="3.50")
    await asyncio.gather(*(store.claim(claims("p", windows), NOW) for _ in range(4)))
    check_books(database)
    assert [budget["held"] for budget in database["budgets"].find()] == [ONE]


async def test_claims_sums_and_releases_at_once_keep_the_books(database: Database[Document]) -> None:
    store, (window,) = store_of(database), refs(day="3.50")
    ended = {"state": "collected", "budgets": [window.id], "boundMicros": ONE, "actualMicros": 50_000}

    async def run(number: int) -> None:
        name = f"p{number}"
        if await store.claim(claims(name, (window,)), NOW) is not None:
            return
        if number % 3:
            await asyncio.to_thread(database["ledger"].insert_one, {"_id": name, **ended})
            return
        usage = await store.usage([window.id], name)
        await store.release([BudgetRelease(purchase=name, window=window.id, token=usage[window.id].token)])

    async def sum_up() -> None:
        for _ in range(20):
            await store.sum_up(window.id, NOW, thorough=True)

    database["ledger"].insert_many([{"_id": "old", **ended}])
    await asyncio.gather(*(run(number) for number in range(60)), sum_up())
    for _ in range(2):
        await store.sum_up(window.id, NOW, thorough=True)
    check_books(database)
    (left,) = database["budgets"].find()
    bought = list(database["ledger"].find({"budgets": window.id}))
    assert (left["spent"], left["open"]) == (50_000 * len(bought), {})


async def test_an_overrun_and_an_unknown_charge_are_summed(database: Database[Document]) -> None:
    store, (window,) = store_of(database), refs(total="1")
    costs: list[Document] = [
        {"state": "collected", "actualMicros": 90_000},
        {"state": "succeeded", "actualMicros": None, "billedMicros": None},
        {"state": "failed", "actualMicros": 50_000, "billedMicros": 10_000},
        {"state": "intent", "sendState": "abandoned"},
        {"state": "refused", "actualMicros": 0},
    ]
    common = {"budgets": [window.id], "boundMicros": ONE}
    database["ledger"].insert_many([{"_id": f"p{number}", **common, **cost} for number, cost in enumerate(costs)])
    await store.claim(claims("new", (window,)), NOW)
    (left,) = database["budgets"].find()
    assert (left["spent"], left["overrun"]) == (90_000 + ONE + 10_000 + ONE, 20_000)
    check_books(database)
