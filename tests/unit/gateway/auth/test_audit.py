"""`/api/admin/audit`: only callers with the verb `audit` on the installation's OperatorClass see a report."""

from datetime import timedelta
from typing import Any

import pytest

from contentgen_contract.records.audits import AuditFinding, AuditReport, FindingKind, request_id
from contentgen_simulation.gateway.server import START, GatewayWorld

URL = "/api/admin/audit"


@pytest.fixture
def world() -> GatewayWorld:
    # `(caller, verb, resource, namespace)`; an empty namespace is the whole cluster
    return GatewayWorld(
        ("root", "audit", "operatorclasses", ""), ("ann", "*", "*", "red"), ("eve", "audit", "operatorclasses", "red"),
        ("get", "get", "operatorclasses", ""),
    )  # fmt: skip


def stored(world: GatewayWorld, report_id: str = "r1", operator_class: str = "default", **changes: Any) -> None:
    """A report as the operator writes it."""
    finding = AuditFinding(kind=FindingKind.UNKNOWN_REQUEST, provider="fal", request_id="x", namespace="blue", text="t")
    given: dict[str, Any] = {
        "report_id": report_id, "started_at": START, "finished_at": START, "since": START - timedelta(days=14),
        "findings": (finding,), "counts": {"UnknownRequest": 1}, "new": 1,
    }  # fmt: skip
    document = AuditReport(**(given | changes)).model_dump(mode="json", by_alias=True)
    times = {name: given[key] for name, key in (("startedAt", "started_at"), ("since", "since"))}
    finished = changes.get("finished_at", START)
    entry = {"_id": report_id, "operatorClass": operator_class, **document, **times, "finishedAt": finished}
    world.database["audits"].insert_one(entry)


async def test_the_newest_report_is_shown(world: GatewayWorld) -> None:
    stored(world)
    stored(world, "r2", finished_at=START + timedelta(days=1))
    async with world.client("root") as client:
        body = (await client.get(URL)).json()
    assert body["report"]["reportId"] == "r2"
    assert body["report"]["findings"][0] | {"kind": "UnknownRequest", "requestId": "x"} == body["report"]["findings"][0]
    assert body["request"] is None


async def test_report_of_another_installation_is_not_shown(world: GatewayWorld) -> None:
    """The right to audit is on one OperatorClass."""
    stored(world)
    stored(world, "r2", "other", finished_at=START + timedelta(days=1))
    world.database["audits"].insert_one(
        {"_id": request_id("other"), "token": "t", "requestedAt": START, "requestedBy": "a"}
    )
    async with world.client("root") as client:
        body = (await client.get(URL)).json()
    assert (body["report"]["reportId"], body["request"]) == ("r1", None)


@pytest.mark.parametrize("caller", ["ann", "eve", "get"])
@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_tenants_may_neither_see_nor_request_one(world: GatewayWorld, caller: str, method: str) -> None:
    stored(world)
    async with world.client(caller) as client:
        answer = await client.request(method, URL)
    assert answer.status_code == 403
    assert "blue" not in answer.text
    assert world.database["audits"].find_one({"_id": request_id("default")}) is None


async def test_an_audit_is_requested_once_until_it_is_answered(world: GatewayWorld) -> None:
    async with world.client("root") as client:
        first = await client.post(URL)
        second = await client.post(URL)
        waiting = (await client.get(URL)).json()["request"]
    assert first.status_code == 202
    assert first.json()["token"] == second.json()["token"] == waiting["token"]
    assert waiting["requestedBy"] == "root"


async def test_malformed_documents_are_replaced_and_not_shown(world: GatewayWorld) -> None:
    world.database["audits"].insert_one({"_id": request_id("default"), "token": ["x"]})
    world.database["audits"].insert_one({"_id": "r", "finishedAt": START, "findings": "x"})
    async with world.client("root") as client:
        assert (await client.get(URL)).json() == {"report": None, "request": None}
        token = (await client.post(URL)).json()["token"]
        assert (await client.get(URL)).json()["request"]["token"] == token
