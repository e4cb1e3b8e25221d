"""Approval and rejection over HTTP and by a page: the verb `approve`, the user, and the run that was shown."""

import html
import json
import re
from typing import Any

import httpx
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
AMOUNT = "4.00"
COST = {"estimated": "2.00", "currency": "USD", "source": "prices of 2026-11", "display": "~$2.00"}


class World(WritableWorld):
    def __init__(self, *rights: tuple[str, str, str, str]) -> None:
        super().__init__(*rights)
        self.bucket = RecordingBucket()
        self.bucket.behind(self.dependencies.files)


@pytest.fixture
def world() -> World:
    """World where ann may do everything, eve everything but approve, and pat approve but not patch."""
    eve = (("eve", verb, "*", "red") for verb in WITHOUT_APPROVE)
    return World(("ann", "*", "*", "red"), *eve, *(("pat", verb, "*", "red") for verb in ("get", "list", "approve")))


FACTS = {
    "type": "dataset", "images": 2, "scenes": 1, "rejected": {"Blurred": 2, "TooDark": 1}, "durationSeconds": 60,
    "width": 1, "height": 1, "sourceBytes": 1,
}  # fmt: skip


def there(world: World, phase: str = "AwaitingApproval", number: int = 3, **more: Any) -> str:
    run = more | {
        "number": number,
        "version": 2,
        "runHash": "x",
        "generation": 1,
        "spec": {"paidAttempts": 2},
        "startedAt": "2026-11-21T00:00:00Z",
        "approval": {"run": number, "since": "2026-11-21T00:00:00Z", "bound": "2.00", "amount": AMOUNT},
    }
    job = world.job(1, runVersion=2)
    status = {"phase": phase, "reason": phase, "run": run, "cost": COST}
    world.resource(LORA, "job-1", job, ResourceStatus.model_validate(status))
    return job


def annotations(world: World) -> dict[str, str]:
    return dict(world.api.resources[AT]["metadata"].get("annotations") or {})


@pytest.mark.parametrize(
    ("action", "name", "value"), [("approve", APPROVE_ANNOTATION, "3-4.00"), ("reject", REJECT_ANNOTATION, "3")]
)
async def test_the_caller_is_named_beside_the_run(world: World, action: str, name: str, value: str) -> None:
    job = there(world)
    async with world.client("ann") as ann:
        answer = await ann.post(f"/api/jobs/{job}/{action}", params={"amount": AMOUNT} if action == "approve" else {})
    assert (answer.status_code, answer.json()["run"]) == (202, 3)
    given = annotations(world)
    assert {key: given.get(key) for key in (name, APPROVED_BY_ANNOTATION, CHANGED_BY_ANNOTATION)} == {
        name: value,
        APPROVED_BY_ANNOTATION: "ann",
        CHANGED_BY_ANNOTATION: "ann",
    }


@pytest.mark.parametrize("action", ["approve", "reject"])
@pytest.mark.parametrize("who", ["eve", "pat"])
async def test_approval_needs_the_verbs_approve_and_patch(world: World, who: str, action: str) -> None:
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


async def test_run_replaced_since_it_was_shown_is_not_approved(world: World) -> None:
    job = there(world)
    async with world.client("ann") as ann:
        answer = await ann.post(f"/api/jobs/{job}/approve", params={"run": 2, "amount": AMOUNT})
    assert (answer.status_code, world.api.written) == (409, [])
    assert "run 3 waits for an approval, and not run 2" in answer.json()["detail"]


@pytest.mark.parametrize(("given", "code"), [({}, 422), ({"amount": "2.00"}, 409), ({"amount": "unknown"}, 409)])
async def test_a_price_that_the_caller_was_not_shown_is_not_approved(
    world: World, given: dict[str, str], code: int
) -> None:
    job = there(world)
    async with world.client("ann") as ann:
        answer = await ann.post(f"/api/jobs/{job}/approve", params=given)
    assert (answer.status_code, answer.json()["amount"], world.api.written) == (code, AMOUNT, [])


async def test_lapsed_approval_is_repeated_with_another_value(world: World) -> None:
    job = there(world)
    world.api.resources[AT]["metadata"]["annotations"] = {APPROVE_ANNOTATION: "3-4.00", REJECT_ANNOTATION: "3"}
    async with world.client("ann") as ann:
        assert (await ann.post(f"/api/jobs/{job}/approve", params={"amount": AMOUNT})).status_code == 202
    given = annotations(world)
    assert given[APPROVE_ANNOTATION].startswith("3-4.00-")
    assert given.get(REJECT_ANNOTATION) is None


def leave_dataset(world: World, job: str) -> str:
    """Store the report and the contact sheet of the run that waits; returns the folder."""
    folder = f"datasets/ann/{job}/v2/"
    shape = {"width": 1024, "height": 576, "seconds": 1.5, "shot": 1}
    rejected = [{"reason": reason, **shape} for reason in ("Blurred", "TooDark", "Blurred")]
    images = [{"file": f"images/000{number}.jpg", "caption": "a photo", **shape} for number in (1, 2)]
    index = {"images": images, "rejected": rejected, "shots": []}
    world.bucket.objects[f"{folder}dataset.json"] = json.dumps(index).encode()
    world.bucket.objects[f"{folder}preview.jpg"] = b"sheet"
    return folder


def page_client(world: World) -> httpx.AsyncClient:
    """Client of a browser in which ann is signed in."""
    client = world.client(None)
    client.headers.update({"Accept": "text/html"})
    client.cookies.set(csrf.SESSION, "ann")
    return client


async def test_page_has_price_contact_sheet_and_rejected_frames(world: World) -> None:
    job = there(world, facts=FACTS)
    folder = leave_dataset(world, job)
    async with page_client(world) as browser:
        page = await browser.get(f"/jobs/{job}/approve")
    assert page.status_code == 200
    assert "Approve run 3" in page.text
    assert "$2.00" in page.text
    assert "each of up to 2 attempts" in page.text
    assert "at most <strong>4.00 USD</strong> in all" in page.text
    assert page.text.count('<input type="hidden" name="amount" value="4.00">') == 1
    assert page.text.count('<input type="hidden" name="run" value="3">') == 2
    assert "has 2 pictures; 3 frames were rejected: 2 Blurred, 1 TooDark." in page.text
    sheet = re.search(r'<img src="([^"]+)" alt="Contact sheet', page.text)
    assert sheet, page.text
    assert html.unescape(sheet[1]).startswith(f"http://s3.test/assets/{folder}preview.jpg?")


async def test_unreadable_dataset_keeps_price_and_forms(world: World) -> None:
    job = there(world, facts=FACTS)
    world.bucket.objects[f"{leave_dataset(world, job)}dataset.json"] = b"{"
    async with page_client(world) as browser:
        page = await browser.get(f"/jobs/{job}/approve")
    assert (page.status_code, "$2.00" in page.text, "Contact sheet" in page.text) == (200, True, False)
    assert page.text.count('<input type="hidden" name="run" value="3">') == 2


@pytest.mark.parametrize(
    ("verdict", "name", "value", "said"),
    [
        ("approve", APPROVE_ANNOTATION, "3-4.00", "approved"),
        ("reject", REJECT_ANNOTATION, "3", "rejected"),
    ],
)
async def test_a_form_of_the_page_decides_on_the_run_that_it_shows(
    world: World, verdict: str, name: str, value: str, said: str
) -> None:
    job = there(world)
    async with page_client(world) as browser:
        page = await browser.get(f"/jobs/{job}/approve")
        forms = re.findall(r'<form method="post" action="([^"]+)">(.*?)</form>', page.text, re.DOTALL)
        (form,) = [inputs for action, inputs in forms if action == f"/jobs/{job}/{verdict}"]
        fields = dict(re.findall(r'name="(\w+)" value="([\w.]+)"', form))
        assert set(fields) == {"csrf", "run"} | ({"amount"} if verdict == "approve" else set())
        answer = await browser.post(f"/jobs/{job}/{verdict}", data=fields)
    assert (answer.status_code, answer.headers["location"]) == (303, f"/jobs/{job}?said={said}")
    given = annotations(world)
    assert {key: given.get(key) for key in (APPROVE_ANNOTATION, REJECT_ANNOTATION, APPROVED_BY_ANNOTATION)} == {
        APPROVE_ANNOTATION: None,
        REJECT_ANNOTATION: None,
        name: value,
        APPROVED_BY_ANNOTATION: "ann",
    }


async def test_a_form_of_a_run_that_was_replaced_since_changes_nothing(world: World) -> None:
    job = there(world)
    async with page_client(world) as browser:
        page = await browser.get(f"/jobs/{job}/approve")
        token = re.search(r'name="csrf" value="(\w+)"', page.text)
        assert token
        answer = await browser.post(f"/jobs/{job}/approve", data={"csrf": token[1], "run": "2", "amount": AMOUNT})
    assert (answer.status_code, world.api.written) == (409, [])


async def test_no_request_lowers_the_approval_of_a_spec(world: World) -> None:
    """The admission policy sees the gateway's account, which may approve: only bodies that create have the field."""
    async with world.client("ann") as ann:
        schemas = (await ann.get("/openapi.json")).json()["components"]["schemas"]
    having = {name for name, schema in schemas.items() if "approval" in schema.get("properties", {})}
    assert having == {"GenerateOrder", "TrainOrder", "TranscribeOrder"}
