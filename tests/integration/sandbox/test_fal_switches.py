"""Behaviour of fal that the sandbox shows on demand: by a fault or a setting."""

import time
from typing import Any

import httpx
import pytest

from contentgen_sandbox.testing import PATIENCE_S, SandboxServer, sandbox_server

MODEL = "fal-ai/flux/schnell"
PICTURE = {"prompt": "x", "image_size": "square"}
AUTH = {"Authorization": "Key test"}
BILLING = {"Authorization": "Key billing-1"}


@pytest.fixture(autouse=True)
def _clean(server: SandboxServer) -> None:
    server.reset()


def submitted(server: SandboxServer, model: str = MODEL, body: dict[str, Any] = PICTURE) -> dict[str, Any]:
    reply = httpx.post(f"{server.fal_queue_url}{model}", json=body, headers=AUTH)
    accepted: dict[str, Any] = reply.raise_for_status().json()
    return accepted


def ended(accepted: dict[str, Any]) -> httpx.Response:
    """Result of a request, once it has ended."""
    deadline = time.monotonic() + PATIENCE_S
    while httpx.get(accepted["status_url"], headers=AUTH).status_code == 202:
        assert time.monotonic() < deadline
    return httpx.get(accepted["response_url"], headers=AUTH)


def bills(server: SandboxServer, request_id: str) -> list[dict[str, Any]]:
    url = f"{server.fal_api_url}/v1/models/billing-events"
    found: list[dict[str, Any]] = httpx.get(url, params={"request_id": request_id}, headers=BILLING).json()[
        "billing_events"
    ]
    return found


def test_unknown_path_is_accepted_and_missing_at_the_result(server: SandboxServer) -> None:
    accepted = submitted(server, "fal-ai/flux/no-such-path")
    result = ended(accepted)
    assert accepted["status"] == "IN_QUEUE"
    assert (result.status_code, result.headers["x-fal-billable-units"]) == (404, "0")
    assert result.json() == {"detail": "Path of fal-ai/flux/no-such-path not found"}
    assert "error" not in httpx.get(accepted["status_url"], headers=AUTH).json()
    assert server.ledger()["total_usd"] == "0"


def test_ignored_cancellation_completes_and_is_billed(server: SandboxServer) -> None:
    server.arm({"fault": "cancel_ignored"}, {"fault": "stuck"})
    accepted = submitted(server)
    cancelled = httpx.put(accepted["cancel_url"], headers=AUTH)
    assert (cancelled.status_code, cancelled.json()) == (202, {"status": "CANCELLATION_REQUESTED"})
    assert httpx.get(accepted["status_url"], headers=AUTH).json()["status"] == "IN_PROGRESS"
    server.heal(accepted["request_id"])
    assert ended(accepted).status_code == 200
    assert bills(server, accepted["request_id"])[0]["cost_total"] == 0.003


def test_request_is_billed_as_another_endpoint(server: SandboxServer) -> None:
    server.arm({"fault": "billed_as"})
    accepted = submitted(server)
    named = ended(accepted).headers["x-fal-bill-as"]
    (event,) = bills(server, accepted["request_id"])
    assert event["endpoint_id"] == named != MODEL


def test_bill_comes_late(server: SandboxServer) -> None:
    server.arm({"fault": "billed_late", "delay_s": 600})
    accepted = submitted(server)
    ended(accepted)
    assert bills(server, accepted["request_id"]) == []
    server.heal(accepted["request_id"])
    assert len(bills(server, accepted["request_id"])) == 1


def test_no_units_in_the_header_and_a_charge_in_the_bill(server: SandboxServer) -> None:
    server.arm({"fault": "units_zero"})
    accepted = submitted(server)
    assert ended(accepted).headers["x-fal-billable-units"] == "0"
    (event,) = bills(server, accepted["request_id"])
    assert (event["output_units"], event["cost_total"]) == (1, 0.003)


def test_discount_is_in_the_bill_alone(server: SandboxServer) -> None:
    server.arm({"fault": "discounted"})
    accepted = submitted(server)
    assert ended(accepted).headers["x-fal-billable-units"] == "1"
    (event,) = bills(server, accepted["request_id"])
    assert (event["percent_discount"], event["cost_subtotal"], event["cost_total"]) == (10, 0.003, 0.0027)


def test_history_has_the_defaults_of_the_model(server: SandboxServer) -> None:
    server.arm({"fault": "history_filled"})
    accepted = submitted(server)
    ended(accepted)
    url = f"{server.fal_api_url}/v1/models/requests/by-endpoint"
    params = {"endpoint_id": MODEL, "request_id": accepted["request_id"], "expand": "payloads"}
    (item,) = httpx.get(url, params=params, headers=AUTH).json()["items"]
    assert item["json_input"].items() > PICTURE.items()
    assert item["json_input"]["num_inference_steps"] == 4


def test_unknown_inputs_are_ignored_and_logged(server: SandboxServer) -> None:
    accepted = submitted(server, body=PICTURE | {"trigger_word": "jf"})
    assert ended(accepted).status_code == 200
    lines = httpx.get(accepted["status_url"], params={"logs": "true"}, headers=AUTH).json()["logs"]
    assert [line["level"] for line in lines if "trigger_word" in line["message"]] == ["WARN"]


def test_further_requests_of_an_account_wait_in_the_queue() -> None:
    with sandbox_server(fal_parallel=2) as server:
        slow = {"fault": "slow_model", "delay_s": 600, "count": 2}
        server.arm(slow)
        first = [submitted(server) for _ in range(3)]
        other = httpx.post(f"{server.fal_queue_url}{MODEL}", json=PICTURE, headers={"Authorization": "Key b:1"}).json()
        deadline = time.monotonic() + PATIENCE_S
        while httpx.get(other["status_url"], headers={"Authorization": "Key b:1"}).json()["status"] != "COMPLETED":
            assert time.monotonic() < deadline
        states = [httpx.get(each["status_url"], headers=AUTH).json()["status"] for each in first]
        assert states == ["IN_PROGRESS", "IN_PROGRESS", "IN_QUEUE"]
