"""`/api/usage`: spending from the ledger and storage from the records, by user, kind, model and day."""

from datetime import timedelta
from typing import Any

import pytest

from contentgen_contract.names import Kind
from contentgen_contract.resources.prices import Unit
from contentgen_operator.state.costs import CostSource, cost_of, ending_fields
from contentgen_operator.state.purchases import Purchase, PurchaseState
from contentgen_operator.stores.charges import Charges
from contentgen_simulation.gateway.server import START, GatewayWorld


class World(GatewayWorld):
    """World with a ledger."""

    bought = 0

    def buy(self, kind: Kind, user: str, **fields: Any) -> None:
        """Add a purchase as the operator writes it."""
        self.bought += 1
        usual: dict[str, Any] = {
            "state": PurchaseState.COLLECTED, "job_id": "j", "namespace": "red", "type": kind.record_type,
            "user_id": user, "provider": "fal", "model": "fal-ai/flux-lora", "correlation_key": "m",
            "created_at": START,
            "changed_at": START, "estimated_micros": 35_000, "actual_micros": 35_000,
            "cost_source": "billable units × unit price",
        }  # fmt: skip
        given = usual | fields
        if given["actual_micros"] is None and "cost_source" not in fields:
            given["cost_source"] = None
        document = Purchase(**given).model_dump(mode="python", by_alias=True)
        self.database["ledger"].insert_one({"_id": str(self.bought), **document})


@pytest.fixture
def world() -> World:
    made = World(("ann", "*", "*", "red"), ("bob", "*", "*", "blue"), ("carol", "list", "transcriptions", "red"))
    made.job(1, Kind.IMAGE_GENERATION, config={"model": "flux-lora"}, bytes=2_000_000_000)
    made.job(2, Kind.TRANSCRIPTION, userId="eve", bytes=500_000_000, createdAt=START + timedelta(days=1))
    made.buy(Kind.IMAGE_GENERATION, "ann")
    made.buy(Kind.IMAGE_GENERATION, "ann", job_id="deleted since", state=PurchaseState.DISCARDED)
    made.buy(Kind.LORA_TRAINING, "eve", model="m", actual_micros=2_000_000, created_at=START + timedelta(days=1))
    made.buy(Kind.LORA_TRAINING, "eve", actual_micros=None, estimated_micros=9, state=PurchaseState.REFUSED)
    made.buy(
        Kind.TRANSCRIPTION, "eve", model="t", actual_micros=None, estimated_micros=61_700, state=PurchaseState.SUBMITTED
    )
    made.buy(Kind.IMAGE_GENERATION, "ann", namespace="blue", actual_micros=7_000_000)
    return made


async def usage(world: World, caller: str = "ann", **params: Any) -> dict[str, Any]:
    async with world.client(caller) as client:
        answer = await client.get("/api/usage", params=params)
    assert answer.status_code == 200, answer.text
    body: dict[str, Any] = answer.json()
    return body


@pytest.mark.parametrize(
    ("by", "rows"),
    [
        ("user", [("eve", 1, 3, "2.0000", "0.0617"), ("ann", 1, 2, "0.0700", "0.0000")]),
        (
            "kind",
            [
                ("lora-training", 0, 2, "2.0000", "0.0000"),
                ("image-generation", 1, 2, "0.0700", "0.0000"),
                ("transcription", 1, 1, "0.0000", "0.0617"),
            ],
        ),
        (
            "model",
            [
                ("m", 0, 1, "2.0000", "0.0000"),
                ("fal-ai/flux-lora", 1, 3, "0.0700", "0.0000"),
                ("t", 0, 1, "0.0000", "0.0617"),
                ("unknown", 1, 0, "0.0000", "0.0000"),
            ],
        ),
        ("day", [("2026-11-01", 1, 4, "0.0700", "0.0617"), ("2026-11-02", 1, 1, "2.0000", "0.0000")]),
        ("namespace", [("red", 2, 5, "2.0700", "0.0617")]),
    ],
)
async def test_usage_by(world: World, by: str, rows: list[tuple[Any, ...]]) -> None:
    """Spending includes deleted jobs, unfinished requests are separate, aliases count as their models."""
    told = await usage(world, by=by)
    assert [
        tuple(each[name] for name in ("key", "jobs", "purchases", "paid", "expected")) for each in told["usage"]
    ] == rows
    total = told["total"]
    assert (total["jobs"], total["paid"], total["expected"], total["storageGB"]) == (2, "2.0700", "0.0617", "2.5")
    assert total["storageCost"] == "0.0575"
    assert told["currency"] == "USD"


async def test_usage_row_per_day_namespace_user_kind_and_model(world: World) -> None:
    world.buy(Kind.IMAGE_GENERATION, "=HYPERLINK()", actual_micros=1)
    async with world.client("ann") as client:
        answer = await client.get("/api/usage.csv")
    assert answer.headers["content-type"].startswith("text/csv")
    assert answer.text.splitlines() == [
        "day,namespace,user,kind,model,purchases,paid,estimated,expected,unknown",
        "2026-11-01,red,'=HYPERLINK(),image-generation,fal-ai/flux-lora,1,0.000001,0.000000,0.000000,0",
        "2026-11-01,red,ann,image-generation,fal-ai/flux-lora,2,0.070000,0.000000,0.000000,0",
        "2026-11-01,red,eve,lora-training,fal-ai/flux-lora,1,0.000000,0.000000,0.000000,0",
        "2026-11-01,red,eve,transcription,t,1,0.000000,0.000000,0.061700,0",
        "2026-11-02,red,eve,lora-training,m,1,2.000000,0.000000,0.000000,0",
    ]


async def test_the_table_of_a_caller_without_rights_is_empty(world: World) -> None:
    async with world.client("dave") as client:
        answer = await client.get("/api/usage.csv")
    assert answer.text.splitlines() == ["day,namespace,user,kind,model,purchases,paid,estimated,expected,unknown"]


S = PurchaseState


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({}, ("0.0350", "0.0000", "0.0000", 0)),
        ({"cost_source": "seconds × rate"}, ("0.0350", "0.0000", "0.0000", 0)),
        ({"cost_source": "not billed", "actual_micros": 0, "state": S.FAILED}, ("0.0000", "0.0000", "0.0000", 0)),
        ({"cost_source": "estimate", "actual_micros": None}, ("0.0000", "0.0350", "0.0000", 0)),
        ({"cost_source": "billing events", "actual_micros": 31_000}, ("0.0310", "0.0000", "0.0000", 0)),
        ({"cost_source": "billing events", "actual_micros": 0}, ("0.0000", "0.0000", "0.0000", 0)),
        (
            {"cost_source": "billing events", "actual_micros": 31_000, "state": S.CANCELLED},
            ("0.0310", "0.0000", "0.0000", 0),
        ),
        (
            {"cost_source": "unknown", "actual_micros": None, "estimated_micros": None},
            ("0.0000", "0.0000", "0.0000", 1),
        ),
        ({"cost_source": "unknown", "actual_micros": None, "state": S.FAILED}, ("0.0000", "0.0000", "0.0000", 1)),
        ({"cost_source": None, "actual_micros": None, "state": S.CANCELLED}, ("0.0000", "0.0000", "0.0000", 1)),
        ({"actual_micros": None, "state": S.SUBMITTED}, ("0.0000", "0.0000", "0.0350", 0)),
        (
            {"actual_micros": None, "estimated_micros": None, "state": S.SUBMITTED},
            ("0.0000", "0.0000", "0.0000", 1),
        ),
        ({"actual_micros": None, "state": S.REFUSED}, ("0.0000", "0.0000", "0.0000", 0)),
        ({"actual_micros": None, "state": S.INTENT, "send_state": "planned"}, ("0.0000", "0.0000", "0.0000", 0)),
        ({"actual_micros": None, "state": S.INTENT, "send_state": "sending"}, ("0.0000", "0.0000", "0.0350", 0)),
        ({"actual_micros": None, "state": S.INTENT, "send_state": "abandoned"}, ("0.0000", "0.0000", "0.0000", 1)),
    ],
)
async def test_unknown_amount_is_not_0(fields: dict[str, Any], told: tuple[str, str, str, int]) -> None:
    world = World(("ann", "*", "*", "red"))
    world.job(1, Kind.IMAGE_GENERATION)
    world.buy(Kind.IMAGE_GENERATION, "ann", **fields)
    total = (await usage(world))["total"]
    assert (total["paid"], total["estimated"], total["expected"], total["unknown"]) == told


@pytest.mark.parametrize("state", [S.SUCCEEDED, S.COLLECTED, S.DISCARDED, S.FAILED, S.CANCELLED])
@pytest.mark.parametrize("charge", [None, 0, 31_000])
@pytest.mark.parametrize("units", [None, 0.0, 2.0])
async def test_usage_and_the_cost_of_a_purchase_are_the_same(
    state: PurchaseState, charge: int | None, units: float | None
) -> None:
    """Costs at the end of a request, and after later billing events."""
    world = World(("ann", "*", "*", "red"))
    world.job(1, Kind.IMAGE_GENERATION)
    priced = {"unit_micros": 25_000, "unit": Unit.MEGAPIXEL, "billing": True}
    asked = Purchase(
        state=S.SUBMITTED, job_id="j", provider="fal", model="m", correlation_key="x", created_at=START,
        changed_at=START,
        estimated_micros=35_000, **priced,
    )  # fmt: skip
    world.buy(
        Kind.IMAGE_GENERATION,
        "ann",
        state=state,
        request_id="r1",
        **priced,
        **ending_fields(asked, state, billable_units=units),
    )
    if charge is not None:
        bills = Charges(world.database["ledger"])
        (one,) = await bills.unsettled(START + timedelta(days=1), ["fal"])
        assert await bills.settle(one, charge)
    document = world.database["ledger"].find_one()
    cost = cost_of(Purchase.model_validate(document | {"createdAt": START, "changedAt": START}))
    total = (await usage(world))["total"]
    shown = cost.micros if cost.known else 0, cost.micros if cost.source is CostSource.ESTIMATE else 0
    assert (float(total["paid"]), float(total["estimated"])) == tuple((each or 0) / 1e6 for each in shown)
    assert total["unknown"] == (cost.micros is None)


async def test_the_page_says_what_is_unknown() -> None:
    world = World(("ann", "*", "*", "red"))
    world.job(1, Kind.IMAGE_GENERATION)
    world.buy(Kind.IMAGE_GENERATION, "ann", state=S.CANCELLED, actual_micros=None)
    async with world.client("ann") as client:
        page = (await client.get("/usage")).text
        assert "<dt>Spent</dt><dd>1 unknown</dd>" in page
        world.buy(Kind.IMAGE_GENERATION, "ann", actual_micros=None, cost_source="estimate")
        world.buy(Kind.IMAGE_GENERATION, "ann")
        page = (await client.get("/usage")).text
    assert "<dt>Spent</dt><dd>$0.035 + ~$0.035 + 1 unknown</dd>" in page.replace("$0.0350", "$0.035")


async def test_usage_of_a_period_a_user_and_a_kind(world: World) -> None:
    assert (await usage(world, **{"from": "2026-11-02"}))["total"]["paid"] == "2.0000"
    assert (await usage(world, to="2026-11-01"))["total"]["paid"] == "0.0700"
    assert (await usage(world, userId="eve"))["total"]["paid"] == "2.0000"
    assert (await usage(world, type="image-generation"))["total"]["paid"] == "0.0700"


async def test_usage_is_of_what_the_caller_may_list(world: World) -> None:
    assert (await usage(world, "bob"))["total"]["paid"] == "0.0000", "he has no records, so no namespace is looked at"
    assert (await usage(world, "bob", namespace="blue"))["total"]["paid"] == "7.0000"
    assert (await usage(world, "bob", namespace="red"))["total"]["purchases"] == 0
    assert (await usage(world, "carol", by="kind"))["usage"] == [
        {
            "key": "transcription", "jobs": 1, "purchases": 1, "paid": "0.0000", "estimated": "0.0000", "unknown": 0,
            "expected": "0.0617", "storageGB": "0.5", "storageCost": "0.0115",
        }
    ]  # fmt: skip
