"""States of jobs in answers and lists, and the actions that a viewer may take."""

from typing import Any

import pytest

from contentgen_contract.names import RERUN_ANNOTATION, Kind
from contentgen_contract.resources.status import ResourceStatus
from contentgen_gateway.live.watching import ObjectChanged
from contentgen_gateway.services.changes.actions import JobActions
from contentgen_gateway.stores.state_filters import StateFilter
from contentgen_simulation.gateway.cluster import WritableWorld
from contentgen_simulation.gateway.server import GatewayWorld, Place

LORA = Kind.LORA_TRAINING
AT: Place = ("red", LORA.plural, "job-1")
COST = {"estimated": "0.14", "currency": "USD", "source": "prices of 2026-11", "display": "~$0.14"}
RUN = {"number": 1, "version": 1, "runHash": "x", "generation": 1, "spec": {}, "startedAt": "2026-11-21T00:00:00Z"}
READ, CHANGE, PAY, ALLOW = ("get", "list"), ("patch", "delete"), ("spend",), ("approve",)


@pytest.fixture
def world() -> WritableWorld:
    """Ann may do everything in red, pat all but pay, vera see it."""
    pat = [("pat", verb, "*", "red") for verb in (*READ, *CHANGE)]
    return WritableWorld(("ann", "*", "*", "red"), *pat, *(("vera", verb, "*", "red") for verb in READ))


def there(world: WritableWorld, phase: str, reason: str, *, run: dict[str, Any] | None = None, **spec: Any) -> str:
    """A job with its resource, and a record of the same state."""
    status = {"phase": phase, "reason": reason, "run": RUN | (run or {}), "cost": COST, "observedGeneration": 1}
    legacy = {"Completed": "cancelled" if reason == "Estimated" else "completed", "Failed": "failed"}
    fields = {"phase": phase, "reason": reason, "status": legacy.get(phase, "processing"), "runVersion": 1}
    job = world.job(1, **fields)
    world.resource(LORA, "job-1", job, ResourceStatus.model_validate(status), **spec)
    world.api.resources[AT]["metadata"] |= {"generation": 1, "creationTimestamp": "2026-11-21T00:00:00Z"}
    return job


async def actions(world: WritableWorld, job: str, who: str) -> dict[str, bool]:
    async with world.client(who) as client:
        answer = await client.get(f"/api/jobs/{job}/actions")
    assert answer.status_code == 200, answer.text
    return {action["action"]: action["pays"] for action in answer.json()["actions"]}


ANYBODY = {"edit": False, "share": False, "delete": False}


@pytest.mark.parametrize(
    ("phase", "reason", "spec", "own"),
    [
        ("Completed", "Completed", {}, {"retry": True}),
        ("Completed", "Estimated", {"dryRun": "Estimate"}, {"pay": True, "retry": False}),
        ("Processing", "Processing", {}, {"cancel": False}),
    ],
)
async def test_only_permitted_actions_are_offered(
    world: WritableWorld, phase: str, reason: str, spec: dict[str, Any], own: dict[str, bool]
) -> None:
    job = there(world, phase, reason, run={"requestId": "r"}, **spec)
    assert await actions(world, job, "ann") == own | ANYBODY
    free = {name: pays for name, pays in own.items() if name == "cancel"}
    assert await actions(world, job, "pat") == free | ANYBODY
    assert await actions(world, job, "vera") == {}


async def test_an_approval_is_offered_to_those_who_may_give_it(world: WritableWorld) -> None:
    waiting = {"approval": {"run": 1, "since": "2026-11-21T00:00:00Z", "amount": "0.28"}}
    job = there(world, "AwaitingApproval", "AwaitingApproval", run=waiting)
    assert {"approve", "reject"} <= set(await actions(world, job, "ann"))
    assert set(await actions(world, job, "pat")) == {"cancel", *ANYBODY}
    world.api.rights.add(("pat", "approve", "*", "red"))
    async with world.client("ann") as ann:
        body = (await ann.get(f"/api/jobs/{job}")).json()
    assert (body["status"], body["state"], body["badge"], body["needsPerson"]) == (
        "processing", "waiting-for-approval", "Waiting for approval", True,
    )  # fmt: skip


async def test_a_job_without_its_resource_can_be_edited_and_deleted(world: WritableWorld) -> None:
    job = world.job(2)
    assert await actions(world, job, "ann") == ANYBODY


async def test_actions_of_a_foreign_job_are_not_shown(world: WritableWorld) -> None:
    async with world.client("bob") as bob:
        assert (await bob.get(f"/api/jobs/{world.job(3)}/actions")).status_code == 404


# Running again


async def test_a_requested_run_is_shown_at_once_and_not_offered_again(world: WritableWorld) -> None:
    job = there(world, "Completed", "Completed", run={"requestId": "r"})
    async with world.client("ann") as ann:
        answer = await ann.post(f"/api/jobs/{job}/retry", params={"run": 2})
        assert (answer.status_code, answer.json()) == (
            202, {"jobId": job, "state": "running-again", "status": "queued", "run": 2},
        )  # fmt: skip
        for path in (f"/api/jobs/{job}", "/api/jobs"):
            body = (await ann.get(path)).json()
            shown = body["jobs"][0] if "jobs" in body else body
            assert (shown["state"], shown["badge"]) == ("running-again", "Running again (version 2)"), path
        assert await actions(world, job, "ann") == {"cancel": False} | ANYBODY
        token = world.api.resources[AT]["metadata"]["annotations"][RERUN_ANNOTATION]
        assert (await ann.post(f"/api/jobs/{job}/retry")).status_code == 202
        assert world.api.resources[AT]["metadata"]["annotations"][RERUN_ANNOTATION] == token
        world.api.resources[AT]["status"] |= {"run": RUN | {"number": 2, "version": 2, "rerun": token}}
        again = await ann.post(f"/api/jobs/{job}/retry", params={"run": 2})
        assert (again.status_code, "run 2 has begun" in again.json()["detail"]) == (409, True)


async def test_request_of_an_earlier_run_is_not_shown_for_a_later_one(world: WritableWorld) -> None:
    """The watch of this replica may lag behind the record."""
    job = there(world, "Completed", "Completed", run={"requestId": "r"})
    async with world.client("ann") as ann:
        await ann.post(f"/api/jobs/{job}/retry")
        world.database["jobs"].update_one({"jobId": job}, {"$set": {"runVersion": 2}})
        assert (await ann.get(f"/api/jobs/{job}")).json()["state"] == "completed"


# Dry runs


async def test_a_dry_run_leads_to_the_paid_run(world: WritableWorld) -> None:
    job = there(world, "Completed", "Estimated", dryRun="Estimate")
    async with world.client("ann") as ann, world.client("pat") as pat:
        body = (await ann.get(f"/api/jobs/{job}")).json()
        assert (body["state"], body["status"]) == ("estimated", "cancelled")
        assert (await pat.post(f"/api/jobs/{job}/retry", params={"paid": True})).status_code == 403
        answer = await ann.post(f"/api/jobs/{job}/retry", params={"paid": True, "run": 2})
        assert (answer.status_code, answer.json()["state"]) == (202, "running-again")
        assert "dryRun" not in world.api.resources[AT]["spec"]
        assert RERUN_ANNOTATION not in world.api.resources[AT]["metadata"]["annotations"]
        written = len(world.api.written)
        assert (await ann.post(f"/api/jobs/{job}/retry", params={"paid": True})).status_code == 202
        assert (await ann.post(f"/api/jobs/{job}/retry")).status_code == 202
        assert len(world.api.written) == written, "one paid run is requested"


async def test_only_an_estimate_leads_to_the_paid_run(world: WritableWorld) -> None:
    job = there(world, "Completed", "Completed", run={"requestId": "r"})
    async with world.client("ann") as ann:
        answer = await ann.post(f"/api/jobs/{job}/retry", params={"paid": True})
    assert (answer.status_code, world.api.written) == (409, [])


async def test_a_quote_says_whether_the_run_pays(world: WritableWorld) -> None:
    job = there(world, "Completed", "Estimated", dryRun="Estimate")
    services: Any = world.app.state.services
    given: JobActions = services.actions
    async with world.client("ann"):
        caller = await world.dependencies.authenticator.authenticate("ann")
    assert [(await given.quote(caller, job, paid=paid)).pays for paid in (False, True)] == [False, True]
    await given.run_again(caller, job, paid=True)
    with pytest.raises(Exception, match="requested already"):
        await given.quote(caller, job)


# Deletions


@pytest.mark.parametrize("phase", ["Completed", "Failed", "Processing"])
async def test_a_deletion_is_the_only_state_of_a_job(world: WritableWorld, phase: str) -> None:
    """Of a resource that kubectl deletes: its finalizer waits, and its record says nothing."""
    job = there(world, phase, "JobFailed" if phase == "Failed" else phase, run={"requestId": "r"})
    world.api.resources[AT]["metadata"]["deletionTimestamp"] = "2026-11-22T00:00:00Z"
    world.dependencies.live.apply(LORA, ObjectChanged(world.api.resources[AT]))
    async with world.client("ann") as ann:
        for path in (f"/api/jobs/{job}", f"/api/jobs/{job}/actions", "/api/jobs", "/api/jobs?state=deleting"):
            body = (await ann.get(path)).json()
            shown = body["jobs"][0] if "jobs" in body else body
            assert (shown["state"], shown["badge"], shown["sentence"], shown["needsPerson"]) == (
                "deleting", "Deleting", "It is being deleted.", False,
            ), path  # fmt: skip
        for state in StateFilter:
            found = (await ann.get("/api/jobs", params={"state": state.value})).json()
            assert found["total"] == len(found["jobs"]) == (state is StateFilter.DELETING), state
        assert (await ann.get("/api/given-up")).json()["givenUp"] == []
    assert await actions(world, job, "ann") == {}


# Lists


async def test_lists_by_state() -> None:
    world = GatewayWorld(("ann", "*", "*", "red"), *(("pat", verb, "*", "red") for verb in (*READ, *CHANGE)))
    rows = {
        "approval": {"status": "processing", "phase": "AwaitingApproval", "reason": "AwaitingApproval"},
        "paused": {"status": "processing", "phase": "Suspended", "reason": "Suspended"},
        "key": {"status": "queued", "phase": "Pending", "reason": "ProviderNotConfigured"},
        "budget": {"status": "queued", "phase": "Pending", "reason": "BudgetExceeded"},
        "lora": {"status": "queued", "phase": "Pending", "reason": "WaitingForLora"},
        "place": {"status": "processing", "phase": "Submitting", "reason": "Queued"},
        "work": {"status": "processing", "phase": "Processing", "reason": "Processing"},
        "estimate": {"status": "cancelled", "phase": "Completed", "reason": "Estimated"},
        "end": {"status": "cancelled", "phase": "Failed", "reason": "Cancelled"},
        "failure": {"status": "failed", "phase": "Failed", "reason": "NoVideo"},
    }
    for number, (name, fields) in enumerate(rows.items()):
        world.job(number, name=name, **fields)
    expected = {
        "needs-me": {"approval", "paused", "key"}, "waiting": {"budget", "lora", "place"}, "running": {"work"},
        "failed": {"failure"}, "estimated": {"estimate"}, "cancelled": {"end"}, "paused": {"paused"},
        "waiting-for-lora": {"lora"}, "queued": {"place"}, "completed": set(),
    }  # fmt: skip
    async with world.client("ann") as ann, world.client("pat") as pat:
        for state, names in expected.items():
            found = (await ann.get("/api/jobs", params={"state": state})).json()
            assert ({job["name"] for job in found["jobs"]}, found["total"]) == (names, len(names)), state
            listed = (await ann.get("/api/lora/list", params={"state": state})).json()
            assert {job["name"] for job in listed["jobs"]} == names
        found = (await pat.get("/api/jobs", params={"state": "needs-me"})).json()
        assert {job["name"] for job in found["jobs"]} == {"paused", "key"}, "pat may not approve"
        assert (await ann.get("/api/jobs", params={"state": "stuck"})).status_code == 422
