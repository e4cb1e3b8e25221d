"""Charges from fal's billing events: schedule of the reads, validity of replies, and writes."""

import json
import math
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import mongomock
import pytest

from contentgen_operator.background.settlement import BATCH, BATCHES, ChargeSettlement, batches, next_time, wanted
from contentgen_operator.providers.base import AccessRefused, Unavailable
from contentgen_operator.providers.billing import FalBilling, charges_by_request
from contentgen_operator.providers.keyfile import KeyFile
from contentgen_operator.state.costs import CostSource, cost_of
from contentgen_operator.state.purchases import BilledAccount, Purchase, PurchaseState, SendState, Unsettled
from contentgen_operator.stores.charges import Charges

S, FAL = PurchaseState, BilledAccount("fal")
NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
MODEL = "fal-ai/flux/dev"
MINUTES, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)
R1, R2 = "019f7096-0000-7000-8000-000000000001", "019f7096-0000-7000-8000-000000000002"


def unsettled(request_id: str = R1, **changes: Any) -> Unsettled:
    given: dict[str, Any] = {
        "key": f"ns/k/n/{request_id}",
        "purchase_id": f"p-{request_id}",
        "request_id": request_id,
        "provider": "fal",
        "model": MODEL,
        "created_at": NOW - 2 * HOUR,
        "ended_at": NOW - HOUR,
    }
    return Unsettled(**(given | changes))


def row(request_id: str = R1, **changes: Any) -> dict[str, Any]:
    given = {
        "request_id": request_id,
        "endpoint_id": MODEL,
        "timestamp": "2026-11-22T11:00:00Z",
        "output_units": 2,
        "unit_price": 0.025,
        "percent_discount": 10,
        "cost_subtotal": 0.05,
        "cost_discount": 0.005,
        "cost_total": 0.045,
        "cost_estimate_nano_usd": 45_000_000,
    }
    return given | changes


# Schedule of the requests for charges


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"ended_at": NOW - 14 * MINUTES}, False),
        ({"ended_at": NOW - 15 * MINUTES}, True),
        ({"due_at": NOW + MINUTES}, False),
        ({"due_at": NOW}, True),
        ({"ended_at": NOW - 30 * DAY}, True),
        ({"ended_at": NOW - 30 * DAY - MINUTES}, False),
        ({"ended_at": NOW - 30 * DAY - MINUTES, "due_at": NOW - DAY}, False),
        # a clock that was set back
        ({"due_at": NOW + 2 * DAY}, True),
        ({"request_id": "../x"}, False),
    ],
)
def test_a_purchase_is_asked_for_within_30_days(changes: dict[str, Any], expected: bool) -> None:
    assert wanted(unsettled(**changes), NOW) is expected


def test_the_interval_grows_to_a_day() -> None:
    assert next_time(unsettled(ended_at=NOW - 20 * MINUTES), NOW) == NOW + HOUR
    assert next_time(unsettled(ended_at=NOW - 23 * HOUR), NOW) == NOW + HOUR
    assert next_time(unsettled(ended_at=NOW - 25 * HOUR), NOW) == NOW + DAY


def test_a_round_is_bounded_and_the_longest_waiting_come_first() -> None:
    waiting = [unsettled(f"new-{number}") for number in range(BATCH * BATCHES)]
    late = unsettled("late", due_at=NOW - 3 * HOUR)
    found = batches([*waiting, late, unsettled("early", ended_at=NOW)], NOW)
    assert [len(each) for each in found] == [BATCH] * BATCHES
    assert found[0][0] == late
    assert all(each.request_id != "early" for batch in found for each in batch)


def test_a_request_that_two_purchases_name_is_not_asked_for() -> None:
    twice = [unsettled(key="a"), unsettled(key="b"), unsettled(R2)]
    assert batches(twice, NOW) == [[twice[2]]]


# Charges in a reply


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        ([row()], {R1: 45_000}),
        ([row(), row(cost_total=0.005)], {R1: 50_000}),
        ([row(cost_total=0)], {R1: 0}),
        ([row(cost_total=0.0000004)], {R1: 1}),
        ([row(cost_total=None)], {R1: 45_000}),
        ([row(endpoint_id="fal-ai/flux")], {R1: 45_000}),
        ([row(), row(R2, cost_total=1), row("another's", cost_total=9)], {R1: 45_000, R2: 1_000_000}),
        ([], {}),
        ([None, 5, "x", [], {}, row(request_id=None), row(request_id=["x"]), row()], {R1: 45_000}),
        # part of a sum is a wrong sum
        ([row(), row(cost_total="0.045")], {}),
        ([row(), row(cost_total=-0.01)], {}),
        ([row(), row(cost_total=True)], {}),
        ([row(), row(cost_total=math.nan)], {}),
        ([row(), row(cost_total=math.inf)], {}),
        ([row(), row(cost_total=10**400)], {}),
        ([row(), row(cost_total=1e9)], {}),
        ([row(cost_total=90_000), row(cost_total=90_000)], {}),
        ([row(), row(cost_total=None, cost_estimate_nano_usd=None)], {}),
        ([row(), row(cost_total=None, cost_estimate_nano_usd=-1)], {}),
        # billed under another endpoint (x-fal-bill-as): the request id counts
        ([row(), row(endpoint_id="fal-ai/other/pro")], {R1: 90_000}),
        ([row(endpoint_id=None)], {R1: 45_000}),
    ],
)
def test_the_charge_of_a_request_is_the_sum_of_its_rows(rows: list[Any], expected: dict[str, int]) -> None:
    assert charges_by_request(rows, {R1, R2}) == expected


class Endpoint:
    """fal's platform API with the replies in turn; the last one is repeated."""

    def __init__(self, *replies: tuple[int, Any]) -> None:
        self.replies = list(replies)
        self.asked: list[httpx.Request] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.asked.append(request)
        status, body = self.replies.pop(0) if len(self.replies) > 1 else self.replies[0]
        if isinstance(body, Exception):
            raise body
        return httpx.Response(status, content=body if isinstance(body, bytes) else json.dumps(body).encode())


def page(*rows: Any, **more: Any) -> tuple[int, Any]:
    return 200, {"billing_events": list(rows), "has_more": False, "next_cursor": None} | more


@pytest.fixture
def keys(tmp_path: Path) -> Path:
    (tmp_path / "fal-key").write_text("plain")
    return tmp_path


def billing(keys: Path, endpoint: Endpoint) -> FalBilling:
    files = (KeyFile(str(keys / "fal-billing-key")), KeyFile(str(keys / "fal-key")))
    return FalBilling(files, "https://api.fal.test/", transport=httpx.MockTransport(endpoint))


async def test_the_request_is_as_documented(keys: Path) -> None:
    endpoint = Endpoint(page(row()))
    asked = [unsettled(), unsettled(R2, created_at=NOW - 3 * DAY)]
    assert await billing(keys, endpoint).charges(asked) == {R1: 45_000}
    (request,) = endpoint.asked
    assert request.url.path == "/v1/models/billing-events"
    assert request.url.params.get_list("request_id") == [R1, R2]
    assert request.url.params["start"] == "2026-11-18T12:00:00Z"  # a day before the first: without it fal shows 24 h
    assert request.headers["authorization"] == "Key plain"
    assert request.headers["accept-encoding"] == "identity"


async def test_the_key_for_billing_comes_before_the_one_for_requests(keys: Path) -> None:
    (keys / "fal-billing-key").write_text("billing")
    endpoint = Endpoint(page())
    await billing(keys, endpoint).charges([unsettled()])
    assert endpoint.asked[0].headers["authorization"] == "Key billing"


async def test_all_pages_are_read(keys: Path) -> None:
    endpoint = Endpoint(page(row(), has_more=True, next_cursor="c1"), page(row(cost_total=0.005)))
    assert await billing(keys, endpoint).charges([unsettled()]) == {R1: 50_000}
    assert endpoint.asked[1].url.params["cursor"] == "c1"


@pytest.mark.parametrize(
    "reply",
    [
        page(row(), has_more=True, next_cursor="same"),  # endless
        page(row(), has_more=True),
        page(row(), next_cursor=7),
        (500, {"error": {"type": "server_error"}}),
        (422, {}),
        (429, {}),
        (302, {}),
        (200, []),
        (200, {"billing_events": None}),
        (200, b"<html>"),
        (200, b"[" * 100_000),
        (200, b'{"billing_events": [' + b"9" * 5000 + b"]}"),
        (200, b" " * (5 << 20)),
        (200, httpx.ConnectError("no")),
        (200, httpx.ReadTimeout("slow")),
    ],
)
async def test_a_reply_that_is_not_whole_is_none(keys: Path, reply: tuple[int, Any]) -> None:
    endpoint = Endpoint(reply)
    with pytest.raises(Unavailable) as raised:
        await billing(keys, endpoint).charges([unsettled()])
    assert not isinstance(raised.value, AccessRefused)
    assert len(endpoint.asked) <= 10


@pytest.mark.parametrize("status", [401, 403])
async def test_a_key_without_the_permission(keys: Path, status: int) -> None:
    with pytest.raises(AccessRefused):
        await billing(keys, Endpoint((status, {"detail": "no"}))).charges([unsettled()])


# Charges in the ledger


def document(request_id: str | None = R1, **changes: Any) -> dict[str, Any]:
    given: dict[str, Any] = {
        "state": S.COLLECTED,
        "purchase_id": f"p-{request_id}",
        "job_id": "j",
        "namespace": "ns",
        "user_id": "u",
        "provider": "fal",
        "model": MODEL,
        "correlation_key": "x",
        "created_at": NOW - 2 * HOUR,
        "changed_at": NOW - HOUR,
        "request_id": request_id,
        "estimated_micros": 50_000,
        "unit_micros": 25_000,
        "billing": True,
        "billable_units": 2,
        "actual_micros": 50_000,
        "cost_source": "billable units × unit price",
    }
    stored = Purchase(**(given | changes)).model_dump(mode="python", by_alias=True)
    return {"_id": f"ns/k/n/{request_id}"} | stored


class Store:
    """Ledger collection on mongomock, which returns naive times."""

    def __init__(self, *documents: dict[str, Any]) -> None:
        self.database: Any = mongomock.MongoClient()["db"]
        for document in documents:
            self.database["ledger"].insert_one(document)
        self.bills = Charges(self.database["ledger"])

    def stored(self, key: str = f"ns/k/n/{R1}") -> dict[str, Any]:
        found: dict[str, Any] = self.database["ledger"].find_one({"_id": key})
        return found


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        *[({"state": each}, True) for each in (S.SUCCEEDED, S.COLLECTED, S.DISCARDED, S.FAILED, S.CANCELLED)],
        *[({"state": each}, False) for each in (S.SUBMITTED, S.REFUSED)],
        ({"state": S.INTENT, "send_state": SendState.SENDING}, False),
        ({"request_id": None}, False),
        ({"provider": "assemblyai"}, False),
        ({"billed_micros": 0}, False),
        ({"billing_due_at": NOW + MINUTES}, False),
        ({"billing_due_at": NOW}, True),
        ({"created_at": NOW - 40 * DAY}, False),
    ],
)
async def test_finished_fal_purchases_without_charge_are_unsettled(changes: dict[str, Any], expected: bool) -> None:
    found = await Store(document(**changes)).bills.unsettled(NOW, ["fal"])
    assert [each.request_id for each in found] == ([R1] if expected else [])
    assert all(each.ended_at == NOW - HOUR for each in found)


async def test_a_document_that_cannot_be_read_keeps_no_other() -> None:
    store = Store(document(), document(R2) | {"model": 7})
    assert [each.request_id for each in await store.bills.unsettled(NOW, ["fal"])] == [R1]


async def test_the_charge_is_written_and_nothing_else() -> None:
    store = Store(document())
    before = store.stored()
    (asked,) = await store.bills.unsettled(NOW, ["fal"])
    assert await store.bills.settle(asked, 45_000)
    changed = {name: value for name, value in store.stored().items() if value != before.get(name)}
    assert changed == {"billedMicros": 45_000, "actualMicros": 45_000, "costSource": "billing events"}
    assert await store.bills.unsettled(NOW, ["fal"]) == ()
    assert not await store.bills.settle(asked, 1), "it is written once"


@pytest.mark.parametrize("changes", [{"requestId": R2}, {"state": "refused"}, {"state": "intent"}])
async def test_a_purchase_that_has_changed_meanwhile_stays(changes: dict[str, Any]) -> None:
    store = Store(document())
    (asked,) = await store.bills.unsettled(NOW, ["fal"])
    store.database["ledger"].update_one({}, {"$set": changes})
    before = store.stored()
    assert not await store.bills.settle(asked, 45_000)
    await store.bills.put_off(asked, NOW + HOUR)
    assert store.stored() == before


async def test_request_of_two_purchases_is_charged_once() -> None:
    store = Store(document())
    store.database["request_bindings"].insert_one({"_id": f"fal/{R1}", "purchaseId": "another"})
    (asked,) = await store.bills.unsettled(NOW, ["fal"])
    assert not await store.bills.settle(asked, 45_000)
    store.database["request_bindings"].update_one({}, {"$set": {"purchaseId": asked.purchase_id}})
    assert await store.bills.settle(asked, 45_000)


@pytest.mark.parametrize("state", [S.SUCCEEDED, S.COLLECTED, S.DISCARDED, S.FAILED, S.CANCELLED])
@pytest.mark.parametrize("micros", [0, 45_000])
async def test_a_charge_is_the_cost(state: PurchaseState, micros: int) -> None:
    for units in (None, 0, 2):
        cost = cost_of(Purchase.model_validate(document(state=state, billable_units=units, billed_micros=micros)))
        assert (cost.source, cost.micros, cost.billed) == (CostSource.BILLING_EVENTS, micros, micros > 0)
        assert cost.known


# Rounds of the charge settlement


class Bill:
    """Billing events in memory."""

    def __init__(self, charges: Mapping[str, int] | Exception, key: str | None = "k") -> None:
        self.replies: list[Mapping[str, int] | Exception] = [charges]
        self.key_text = key
        self.asked: list[list[str]] = []

    def key(self) -> str | None:
        return self.key_text

    async def charges(self, asked: Sequence[Unsettled]) -> Mapping[str, int]:
        self.asked.append([each.request_id for each in asked])
        reply = self.replies.pop(0) if len(self.replies) > 1 else self.replies[0]
        if isinstance(reply, Exception):
            raise reply
        return reply


class Clock:
    now = NOW

    def __call__(self) -> datetime:
        return self.now


async def test_round_settles_known_charges_and_postpones_the_others() -> None:
    store, bill, clock = Store(document(), document(R2)), Bill({R1: 45_000, "foreign": 9}), Clock()
    settler = ChargeSettlement(store.bills, {FAL: bill}, clock=clock)
    await settler.round()
    assert sorted(bill.asked[0]) == [R1, R2]
    assert store.stored()["billedMicros"] == 45_000
    unknown = store.stored(f"ns/k/n/{R2}")
    assert (unknown["billedMicros"], unknown["costSource"]) == (None, "billable units × unit price"), "no row is not 0"
    await settler.round()
    assert len(bill.asked) == 1
    clock.now = NOW + HOUR
    await settler.round()
    assert bill.asked[1:] == [[R2]]


async def test_missing_permission_silences_settling_for_a_day(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("INFO")
    store, clock = Store(document()), Clock()
    bill = Bill(AccessRefused("fal", "fal answered 403"))
    settler = ChargeSettlement(store.bills, {FAL: bill}, clock=clock)
    for clock.now in (NOW, NOW + HOUR, NOW + DAY + MINUTES):
        await settler.round()
    assert len(bill.asked) == 2
    assert len([log_record for log_record in caplog.records if "permission" in log_record.message]) == 1
    bill.key_text, bill.replies = "another", [{R1: 45_000}]
    await settler.round()
    assert store.stored()["billedMicros"] == 45_000


async def test_an_error_puts_the_batch_off_and_ends_the_round() -> None:
    many = [document(f"{number:04}") for number in range(BATCH + 1)]
    store, bill, clock = Store(*many), Bill(Unavailable("fal answered 500")), Clock()
    settler = ChargeSettlement(store.bills, {FAL: bill}, clock=clock)
    await settler.round()
    assert len(bill.asked) == 1
    bill.replies = [{}]
    await settler.round()
    assert not set(bill.asked[0]) & set(bill.asked[1]), "a batch that fal never answers keeps no other"


async def test_without_a_key_nothing_is_asked() -> None:
    store, bill = Store(document()), Bill({}, key=None)
    await ChargeSettlement(store.bills, {FAL: bill}, clock=Clock()).round()
    assert bill.asked == []
