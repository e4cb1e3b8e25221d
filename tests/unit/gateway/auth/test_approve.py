"""Approval and rejection over HTTP and by a page: the verb `approve`, the user, and the run that was shown."""

import pytest

from contentgen_contract.names import (
    APPROVE_ANNOTATION,
    APPROVED_BY_ANNOTATION,
    CHANGED_BY_ANNOTATION,
    GROUP,
    REJECT_ANNOTATION,
    Kind,
)
from contentgen_contract.resources.status import ResourceStatus
from contentgen_gateway.auth import csrf
from contentgen_simulation.gateway.bucket import RecordingBucket
from contentgen_simulation.gateway.cluster import WritableWorld
from contentgen_simulation.gateway.server import Place

LORA = Kind.LORA_TRAINING
AT: Place = ("red", LORA.plural, "job-1")
WITHOUT_APPROVE = ("get", "list", "create", "patch", "delete", "spend")
COST = {"estimated": "2.00", "currency": "USD", "source": "prices of 2026-11", "display": "~$2.00"}


class World(WritableWorld):
    def __init__(self, *rights: tuple[str, str, str, str]) -> None:
        super().__init__(*rights)
        RecordingBucket().behind(self.dependencies.files)


@pytest.fixture
def world() -> World:
    """World where ann may do everything, eve everything but approve, and pat approve but not patch."""
    eve = (("eve", verb, "*", "red") for verb in WITHOUT_APPROVE)
    return World(("ann", "*", "*", "red"), *eve, *(("pat", verb, "*", "red") for verb in ("get", "list", "approve")))


def there(world: World, phase: str = "AwaitingApproval", number: int = 3) -> str:
    run = {
        "number": number,
        "version": 2,
        "runHash": "x",
        "generation": 1,
        "spec": {"paidAttempts": 2},
        "startedAt": "2026-11-21T00:00:00Z",
    }
    job = world.job(1)
    status = {"phase": phase, "reason": phase, "run": run, "cost": COST}
    world.resource(LORA, "job-1", job, ResourceStatus.model_validate(status))
    return job


def annotations(world: World) -> dict[str, str]:
    return dict(world.api.resources[AT]["metadata"].get("annotations") or {})


@pytest.mark.parametrize(("action", "name"), [("approve", APPROVE_ANNOTATION), ("reject", REJECT_ANNOTATION)])
async def test_the_caller_is_named_beside_the_run(world: World, action: str, name: str) -> None:
    job = there(world)
    async with world.client("ann") as ann:
        answer = await ann.post(f"/api/jobs/{job}/{action}")
    assert (answer.status_code, answer.json()["run"]) == (202, 3)
    given = annotations(world)
    assert {key: given.get(key) for key in (name, APPROVED_BY_ANNOTATION, CHANGED_BY_ANNOTATION)} == {
        name: "3",
        APPROVED_BY_ANNOTATION: "ann",
        CHANGED_BY_ANNOTATION: "ann",
    }


@pytest.mark.parametrize("action", ["approve", "reject"])
@pytest.mark.parametrize("who", ["eve", "pat"])
async def test_it_needs_the_verbs_approve_and_patch(world: World, who: str, action: str) -> None:
    job = there(world)
    async with world.client(who) as client:
        answer = await client.post(f"/api/jobs/{job}/{action}")
        assert (answer.status_code, world.api.written) == (403, [])
        if who == "eve":
            assert f"apiGroups: [{GROUP}], resources: [{LORA.plural}], verbs: [approve]" in answer.json()["detail"]
            client.cookies.set(csrf.SESSION, who)
            page = await client.get(f"/jobs/{job}/approve", headers={"Accept": "text/html"})
            assert page.status_code == 403


@pytest.mark.parametrize("phase", ["Pending", "Preparing", "Submitting", "Suspended", "Completed", "Failed"])
async def test_only_a_run_that_waits_is_approved(world: World, phase: str) -> None:
    job = there(world, phase)
    async with world.client("ann") as ann:
        answer = await ann.post(f"/api/jobs/{job}/approve")
    assert (answer.status_code, world.api.written) == (409, [])
    assert "no run waits for an approval" in answer.json()["detail"]


async def test_a_run_that_was_replaced_since_it_was_shown_is_not_approved(world: World) -> None:
    job = there(world)
    async with world.client("ann") as ann:
        answer = await ann.post(f"/api/jobs/{job}/approve", params={"run": 2})
    assert (answer.status_code, world.api.written) == (409, [])
    assert "run 3 waits for an approval, and not run 2" in answer.json()["detail"]


async def test_an_approval_that_lapsed_is_given_again_with_another_value(world: World) -> None:
    job = there(world)
    world.api.resources[AT]["metadata"]["annotations"] = {APPROVE_ANNOTATION: "3", REJECT_ANNOTATION: "3"}
    async with world.client("ann") as ann:
        assert (await ann.post(f"/api/jobs/{job}/approve")).status_code == 202
    given = annotations(world)
    assert given[APPROVE_ANNOTATION].startswith("3-")
    assert given.get(REJECT_ANNOTATION) is None


async def test_the_page_shows_run_and_price_and_approves_what_it_shows(world: World) -> None:
    job = there(world)
    client = world.client(None)
    client.headers.update({"Accept": "text/html"})
    client.cookies.set(csrf.SESSION, "ann")
    async with client as browser:
        page = await browser.get(f"/jobs/{job}/approve")
        assert page.status_code == 200
        assert "Approve run 3" in page.text
        assert "$2.00" in page.text
        assert "each of up to 2 attempts" in page.text
        assert page.text.count('<input type="hidden" name="run" value="3">') == 2
