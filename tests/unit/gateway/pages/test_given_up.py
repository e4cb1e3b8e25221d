"""`/api/given-up` and its page: rights, the present status, remedies with their costs and commands."""

import html
import re
from typing import Any

import pytest

from contentgen_contract.names import COLLECT_ANNOTATION, GIVEN_UP_LABEL, RERUN_ANNOTATION, Kind
from contentgen_runtime.kube import Body
from contentgen_simulation.gateway.cluster import WritableWorld

TALK = Kind.TRANSCRIPTION
RUN = {
    "number": 1, "version": 1, "runHash": "h", "generation": 1, "spec": {}, "startedAt": "2026-11-21T00:00:00Z",
}  # fmt: skip
PAID = RUN | {"requestId": "r-1", "sentAt": "2026-11-21T00:00:00Z"}
ENDED: Body = {
    "phase": "Failed", "reason": "JobFailed", "message": "the pod was killed", "stage": "Storing",
    "completionTime": "2026-11-21T01:00:00Z", "cost": {"display": "$0.0350"},
}  # fmt: skip


class World(WritableWorld):
    """World with failed jobs."""

    def failed(self, number: int, run: Body = PAID, namespace: str = "red", **status: Any) -> str:
        """A failed job, with its record; returns its jobId."""
        name = f"job-{number}"
        job_id = self.job(number, TALK, status="failed", phase="Failed", namespace=namespace, name=name)
        body = self.resource(TALK, name, job_id)
        body["status"] = ENDED | {"run": run} | status
        if namespace != "red":
            body["metadata"]["namespace"] = namespace
            self.api.resources[namespace, TALK.plural, name] = self.api.resources.pop(("red", TALK.plural, name))
        return job_id

    def body_of(self, number: int) -> Body:
        return self.api.resources["red", TALK.plural, f"job-{number}"]


@pytest.fixture
def world() -> World:
    return World(("ann", "*", "*", "red"), ("bob", "*", "*", "blue"), ("carol", "list", "loratrainings", "red"))


async def listed(world: World, caller: str = "ann", **params: Any) -> dict[str, Any]:
    async with world.client(caller) as client:
        answer = await client.get("/api/given-up", params={"namespace": "red"} | params)
    assert answer.status_code == 200, answer.text
    body: dict[str, Any] = answer.json()
    return body


async def test_an_entry_has_everything_that_a_retry_needs(world: World) -> None:
    job_id = world.failed(1)
    (told,) = (await listed(world))["givenUp"]
    assert (told["jobId"], told["namespace"], told["kind"], told["name"]) == (job_id, "red", "Transcription", "job-1")
    assert (told["reason"], told["message"], told["cost"]) == ("JobFailed", "the pod was killed", "$0.0350")
    assert (told["paid"], told["resultKept"], told["requestId"]) == ("the request", True, "r-1")
    options = {remedy["action"]: remedy for remedy in told["remedies"]}
    assert options["collect"]["command"] == "kubectl contentgen collect transcript/job-1 --namespace red"
    assert options["collect"]["costs"] == "pays nothing"
    assert options["rerun"]["command"] == "kubectl contentgen retry transcript/job-1 --namespace red"
    assert options["rerun"]["costs"] == "pays once more"


async def test_a_run_that_paid_nothing_can_be_retried_too(world: World) -> None:
    world.failed(1, RUN, stage="Downloading", cost=None)
    (told,) = (await listed(world))["givenUp"]
    assert (told["paid"], told["resultKept"], told["cost"]) == ("nothing", False, None)
    assert [remedy["action"] for remedy in told["remedies"]] == ["rerun"]


@pytest.mark.parametrize(
    ("earlier", "paid", "costs"),
    [
        ({"billed": True}, "the request", "pays once more"),
        ({}, "nobody knows; the request may have been paid", "an earlier attempt of the run may have been paid"),
        ({"requestOpen": True}, "nobody knows; the request may have been paid", "it is paid twice"),
        ({"billed": False}, "nothing", "pays for the run, once"),
    ],
)
async def test_an_earlier_attempt_of_the_run_counts_as_paid(world: World, earlier: Body, paid: str, costs: str) -> None:
    world.failed(1, RUN | {"paidAttempt": 2} | earlier, reason="BudgetExceeded", stage="Transcribing")
    (told,) = (await listed(world))["givenUp"]
    assert told["paid"] == paid
    assert all(remedy["costs"].endswith(costs) for remedy in told["remedies"])
    async with world.client("ann") as client:
        page = html.unescape((await client.get("/given-up", params={"namespace": "red"})).text)
    assert paid in page
    assert costs in page


@pytest.mark.parametrize("change", ["gone", "another", "goes on", "completed", "asked again", "forged", "cancelled"])
async def test_the_present_status_decides_and_not_record_or_label(world: World, change: str) -> None:
    world.failed(1)
    body = world.body_of(1)
    body["metadata"]["labels"] = {GIVEN_UP_LABEL: "true"}
    match change:
        case "gone":
            world.api.resources.clear()
        case "another":
            body["metadata"]["uid"] = "another"
        case "goes on":
            body["status"]["phase"] = "Collecting"
        case "completed":
            body["status"] |= {"phase": "Completed", "reason": "Completed"}
        case "asked again":
            body["metadata"]["annotations"] = {RERUN_ANNOTATION: "again"}
        case "forged":
            body["status"]["run"] = {"number": {"a": 1}, "collect": 7}
        case _:
            body["status"] |= {"reason": "Cancelled", "stage": "Transcribing", "run": PAID | {"billed": False}}
    assert (await listed(world))["givenUp"] == []


async def test_a_job_without_the_label_is_listed(world: World) -> None:
    world.failed(1)
    assert "labels" not in world.body_of(1)["metadata"]
    assert len((await listed(world))["givenUp"]) == 1


async def test_a_cancelled_run_whose_result_is_kept_is_listed(world: World) -> None:
    world.failed(1, PAID | {"billed": True}, reason="Cancelled")
    world.database["jobs"].update_one({}, {"$set": {"status": "cancelled"}})
    (told,) = (await listed(world))["givenUp"]
    assert told["resultKept"]


@pytest.mark.parametrize("caller", ["bob", "carol"])
async def test_callers_without_the_right_to_list_see_nothing(world: World, caller: str) -> None:
    world.failed(1)
    assert (await listed(world, caller))["givenUp"] == []


async def test_public_jobs_of_others_are_not_listed(world: World) -> None:
    world.failed(1)
    world.database["jobs"].update_one({}, {"$set": {"metadata.isPublic": True}})
    async with world.client("bob") as client:
        assert (await client.get("/api/given-up")).json()["givenUp"] == []


async def test_the_lists_of_two_callers_are_apart(world: World) -> None:
    world.failed(1)
    world.failed(2, namespace="blue")
    async with world.client("bob") as client:
        told = (await client.get("/api/given-up")).json()["givenUp"]
    assert [each["name"] for each in told] == ["job-2"]


async def test_pages_lead_to_all_of_them(world: World) -> None:
    for number in range(5):
        world.failed(number)
    world.body_of(3)["status"]["phase"] = "Completed"
    names: list[str] = []
    page = await listed(world, limit=2)
    while True:
        names += [each["name"] for each in page["givenUp"]]
        if page["nextCursor"] is None:
            break
        page = await listed(world, limit=2, cursor=page["nextCursor"])
    assert names == ["job-4", "job-2", "job-1", "job-0"]


@pytest.mark.parametrize("query", ["limit=0", "limit=51", "cursor=x", "nope=1"])
async def test_wrong_parameters_are_refused(world: World, query: str) -> None:
    async with world.client("ann") as client:
        assert (await client.get(f"/api/given-up?{query}")).status_code in (400, 422)


async def test_a_signed_url_in_a_message_is_not_shown(world: World) -> None:
    world.failed(1, message="GET https://b/k?X-Amz-Signature=abc123&x=1 failed")
    (told,) = (await listed(world))["givenUp"]
    assert "abc123" not in told["message"]


async def test_the_page_has_the_remedies_and_escapes(world: World) -> None:
    job_id = world.failed(1, message="<script>alert(1)</script>")
    async with world.client("ann") as client:
        answer = await client.get("/given-up", headers={"Accept": "text/html"})
    assert answer.status_code == 200, answer.text
    shown = html.unescape(answer.text)
    assert "kubectl contentgen" not in shown.partition("<article")[2], "a button does it"
    assert f'href="/jobs/{job_id}/retry"' in shown
    assert f'method="post" action="/jobs/{job_id}/fetch"' in shown
    assert "<script>alert" not in answer.text
    async with world.client("bob") as client:
        answer = await client.get("/given-up", headers={"Accept": "text/html"})
    assert "Nothing is given up" in answer.text


@pytest.mark.parametrize(
    ("caller", "status", "shown"),
    [
        ("ann", {}, True),
        ("ann", {"reason": "InvalidSpec", "run": RUN}, False),  # the gateway refuses another run of the same spec
        ("vera", {}, False),
    ],
)
async def test_the_page_has_buttons_for_permitted_actions_alone(
    world: World, caller: str, status: Body, shown: bool
) -> None:
    world.api.rights |= {("vera", "list", "*", "red"), ("vera", "get", "*", "red")}
    job_id = world.failed(1, **status)
    async with world.client(caller) as client:
        page = (await client.get("/given-up", headers={"Accept": "text/html"})).text
    assert re.findall(rf'(?:href|action)="/jobs/{job_id}/(\w+)"', page) == (["retry", "fetch"] if shown else [])
    assert job_id in page
    assert ("kubectl contentgen retry" in page) is not shown
    (told,) = (await listed(world, caller))["givenUp"]
    assert ("retry" in told["actions"], "collect" in told["actions"]) == (shown, shown)


async def test_a_requested_collection_is_not_given_up(world: World) -> None:
    world.failed(1)
    world.body_of(1)["metadata"]["annotations"] = {COLLECT_ANNOTATION: "1"}
    assert (await listed(world))["givenUp"] == []
