"""Another paid run: the verb `spend`, the page to confirm the price; resuming over HTTP."""

import re
from typing import Any

import httpx
import pytest

from contentgen_contract.names import (
    CHANGED_BY_ANNOTATION,
    COLLECT_ANNOTATION,
    GROUP,
    RERUN_ANNOTATION,
    RESUBMIT_ANNOTATION,
    Kind,
)
from contentgen_contract.resources.status import ResourceStatus
from contentgen_gateway.auth import csrf
from contentgen_runtime.kube import Body
from contentgen_simulation.gateway.bucket import RecordingBucket
from contentgen_simulation.gateway.cluster import ClusterApi, WritableWorld
from contentgen_simulation.gateway.server import Place

LORA = Kind.LORA_TRAINING
AT: Place = ("red", LORA.plural, "job-1")
PLAIN = ("get", "list", "create", "patch", "delete")
COST = {"estimated": "2.00", "actual": "2.40", "currency": "USD", "source": "prices of 2026-11", "display": "$2.40"}
TOKEN = "0a1b2c3d"


class Api(ClusterApi):
    """API server without events."""

    async def call(self, method: str, path: str, body: Body | None = None) -> Body:
        return {"items": []} if "/events?" in path else await super().call(method, path, body)


class World(WritableWorld):
    api_class = Api

    def __init__(self, *rights: tuple[str, str, str, str]) -> None:
        super().__init__(*rights)
        RecordingBucket().behind(self.dependencies.files)


@pytest.fixture
def world() -> World:
    """World where ann may do everything, and eve everything but spend."""
    return World(("ann", "*", "*", "red"), *(("eve", verb, "*", "red") for verb in PLAIN))


def there(world: World, phase: str = "Completed", reason: str = "Completed", number: int = 1, **more: Any) -> str:
    """Job with its resource; `more` are fields of the status, `spec` of the spec, `token` the one to resubmit."""
    spec, token = more.pop("spec", {}), more.pop("token", None)
    run = {
        "number": number,
        "version": 1,
        "runHash": "x",
        "generation": 1,
        "spec": {},
        "startedAt": "2026-11-21T00:00:00Z",
        "resubmitToken": token,
    }
    status = {"phase": phase, "reason": reason, "run": run, "cost": COST, "observedGeneration": 1} | more
    job = world.job(1)
    world.resource(LORA, "job-1", job, ResourceStatus.model_validate(status), **spec)
    return job


def annotations(world: World) -> dict[str, str]:
    return dict(world.api.resources[AT]["metadata"].get("annotations") or {})


def browser(world: World, who: str = "ann") -> httpx.AsyncClient:
    client = world.client(None)
    client.headers.update({"Accept": "text/html"})
    client.cookies.set(csrf.SESSION, who)
    return client


def fields(page: httpx.Response, action: str) -> dict[str, str]:
    """Hidden fields of a form on a page."""
    form = re.search(rf'<form[^>]*action="{re.escape(action)}".*?</form>', page.text, re.DOTALL)
    assert form, page.text
    return dict(re.findall(r'<input type="hidden" name="(\w+)" value="([^"]*)"', form[0]))


# The verb


@pytest.mark.parametrize(
    ("status", "query", "annotation"),
    [
        ({}, {}, RERUN_ANNOTATION),
        ({"phase": "SubmissionUnknown", "token": TOKEN}, {"resubmit": TOKEN}, RESUBMIT_ANNOTATION),
    ],
)
async def test_paid_action_needs_the_verb_spend(
    world: World, status: dict[str, Any], query: dict[str, str], annotation: str
) -> None:
    job = there(world, **status)
    async with world.client("eve") as eve:
        answer = await eve.post(f"/api/jobs/{job}/retry", params=query)
    assert (answer.status_code, world.api.written) == (403, [])
    detail = answer.json()["detail"]
    for part in ("spend", f"apiGroups: [{GROUP}]", f"resources: [{LORA.plural}]", "verbs: [spend]", "'red'"):
        assert part in detail, detail
    assert {"group": GROUP, "resource": LORA.plural, "verb": "spend", "namespace": "red", "name": "job-1"} in (
        world.api.reviews
    )
    async with world.client("ann") as ann:
        assert (await ann.post(f"/api/jobs/{job}/retry", params=query)).status_code == 202
    assert annotation in annotations(world)


async def test_free_action_needs_no_verb_spend(world: World) -> None:
    job = there(world, "Suspended", "Suspended", spec={"suspend": True})
    async with world.client("eve") as eve:
        assert (await eve.post(f"/api/jobs/{job}/resume")).status_code == 200
        assert (await eve.post(f"/api/jobs/{job}/cancel", params={"wait": 0})).status_code == 202


async def test_caller_without_spend_is_told_before_the_question(world: World) -> None:
    job = there(world)
    async with browser(world, "eve") as eve:
        page = await eve.get(f"/jobs/{job}/retry")
    assert (page.status_code, "verbs: [spend]" in page.text) == (403, True)


async def test_caller_with_spend_and_without_patch_is_refused(world: World) -> None:
    job = there(world)
    world.api.rights |= {("ivy", verb, "*", "red") for verb in ("get", "spend")}
    async with world.client("ivy") as ivy:
        assert (await ivy.post(f"/api/jobs/{job}/retry")).status_code == 403
    assert world.api.written == []


# The paid result of a failed run, once more


def paid(world: World, phase: str = "Failed", reason: str = "ResultUnreachable", **run: Any) -> str:
    """Job with a paid run."""
    job = there(world, phase, reason)
    world.api.resources[AT]["status"]["run"] |= {"number": 2, "requestId": "r1", "stageAttempt": 4} | run
    return job


async def test_a_paid_result_is_fetched_again_without_the_verb_spend(world: World) -> None:
    job = paid(world)
    async with world.client("eve") as eve:
        answers = [await eve.post(f"/api/jobs/{job}/collect") for _ in range(2)]
    assert [answer.status_code for answer in answers] == [202, 202]
    assert answers[0].json() == {"jobId": job, "state": "running", "status": "processing", "run": 2}
    assert world.api.written == [("PATCH", AT)], "asked for twice before it begins, it is one"
    assert annotations(world) == {COLLECT_ANNOTATION: "2", CHANGED_BY_ANNOTATION: "eve"}


async def test_another_try_has_a_value_that_was_not_used(world: World) -> None:
    job = paid(world, collect={"asked": "2"})
    world.api.resources[AT]["metadata"]["annotations"] = {COLLECT_ANNOTATION: "2"}
    async with world.client("eve") as eve:
        assert (await eve.post(f"/api/jobs/{job}/collect")).status_code == 202
    assert annotations(world)[COLLECT_ANNOTATION] == "2-2"


@pytest.mark.parametrize(
    ("phase", "request_id", "said"),
    [("Completed", "r1", "it is Completed"), ("Collecting", "r1", "it is Collecting"), ("Failed", None, "nothing was")],
)
async def test_missing_result_asks_no_question(world: World, phase: str, request_id: str | None, said: str) -> None:
    job = paid(world, phase, requestId=request_id)
    async with world.client("ann") as ann:
        answer = await ann.post(f"/api/jobs/{job}/collect")
    assert (answer.status_code, world.api.written) == (409, [])
    assert said in answer.json()["detail"]


async def test_collect_needs_the_right_to_change_the_job(world: World) -> None:
    job = paid(world)
    world.api.rights |= {("ivy", "get", "*", "red")}
    async with world.client("ivy") as ivy:
        assert (await ivy.post(f"/api/jobs/{job}/collect")).status_code == 403
    assert world.api.written == []


async def test_the_page_of_a_paid_run_that_failed_has_the_button(world: World) -> None:
    job = paid(world)
    async with browser(world, "eve") as eve:
        form = fields(await eve.get(f"/jobs/{job}"), f"/jobs/{job}/fetch")
        answer = await eve.post(f"/jobs/{job}/fetch", data=form)
        assert answer.headers["location"] == f"/jobs/{job}?said=fetching"
        assert "without another payment" in (await eve.get(f"/jobs/{job}?said=fetching")).text
    assert annotations(world)[COLLECT_ANNOTATION] == "2"
    world.api.resources[AT]["status"]["run"]["requestId"] = None
    async with browser(world, "eve") as eve:
        assert f"/jobs/{job}/fetch" not in (await eve.get(f"/jobs/{job}")).text


async def test_free_action_is_offered_before_another_paid_run(world: World) -> None:
    job = paid(world)
    async with browser(world) as ann:
        page = (await ann.get(f"/jobs/{job}/retry")).text
    assert "Fetch the paid result once more: kubectl contentgen collect job-1" in page
    assert "(pays nothing)" in page


async def test_failed_request_has_no_result_to_fetch(world: World) -> None:
    job = paid(world, reason="ProviderFailed")
    async with browser(world) as ann:
        page = (await ann.get(f"/jobs/{job}")).text
        assert f"/jobs/{job}/fetch" not in page
        assert f'href="/jobs/{job}/retry"' in page


async def test_question_after_a_restored_mongodb_is_not_a_lost_replys(world: World) -> None:
    job = there(world, "SubmissionUnknown", "StoresDisagree", token=TOKEN)
    async with browser(world) as ann:
        page = (await ann.get(f"/jobs/{job}/retry")).text
    assert "Restore MongoDB" in page
    assert "reply was lost" not in page


# A word that names no purchase


@pytest.mark.parametrize("given", ["true", "ffff", "", "0A1B2C3D", "0a1b2c3d "])
async def test_wrong_resubmit_token_is_refused_with_the_right_one(world: World, given: str) -> None:
    job = there(world, "SubmissionUnknown", token=TOKEN)
    async with world.client("ann") as ann:
        answer = await ann.post(f"/api/jobs/{job}/retry", params={"resubmit": given})
    assert (answer.status_code, world.api.written) == (422, [])
    assert f"{given!r} names no purchase" in answer.json()["detail"]
    assert "resubmit=0a1b2c3d" in answer.json()["detail"]


async def test_restored_mongodb_advises_its_newest_backup(world: World) -> None:
    job = there(world, "SubmissionUnknown", "StoresDisagree", token=TOKEN)
    async with world.client("ann") as ann:
        answer = await ann.post(f"/api/jobs/{job}/retry")
    assert (answer.status_code, world.api.written) == (409, [])
    assert "Restore MongoDB's newest backup" in answer.json()["detail"]
    assert "retry with resubmit=0a1b2c3d" in answer.json()["detail"]


async def test_a_resubmit_where_nothing_waits_for_one_says_so(world: World) -> None:
    job = there(world)
    async with world.client("ann") as ann:
        answer = await ann.post(f"/api/jobs/{job}/retry", params={"resubmit": "0a1b2c3d"})
    assert (answer.status_code, world.api.written) == (422, [])
    assert "Completed" in answer.json()["detail"]
    assert "without resubmit" in answer.json()["detail"]


async def test_the_page_tells_of_an_annotation_that_names_nothing(world: World) -> None:
    job = there(world, "Processing", "Processing", 2)
    world.api.resources[AT]["metadata"]["annotations"] = {"contentgen.dev/cancel": "<true>"}
    async with browser(world) as ann:
        page = (await ann.get(f"/jobs/{job}")).text
    assert "contentgen.dev/cancel=&#39;&lt;true&gt;&#39; is ignored: it names no run; the run under way is 2" in page


# The question


async def test_page_shows_the_price_with_its_source_and_pays_nothing(world: World) -> None:
    job = there(world)
    async with browser(world) as ann:
        assert f'href="/jobs/{job}/retry"' in (await ann.get(f"/jobs/{job}")).text
        page = await ann.get(f"/jobs/{job}/retry")
    assert (page.status_code, world.api.written) == (200, [])
    assert "$2.00" in page.text
    assert "prices of 2026-11" in page.text


@pytest.mark.parametrize(
    "cost", [None, {}, {"estimated": "", "currency": "USD"}, {"estimated": "much"}, {"estimated": "NaN"}]
)
async def test_a_price_that_nobody_knows_is_called_unknown(world: World, cost: dict[str, Any] | None) -> None:
    job = there(world, cost=cost)
    async with browser(world) as ann:
        assert "price is unknown" in (await ann.get(f"/jobs/{job}/retry")).text


async def test_single_click_on_the_jobs_page_pays_nothing(world: World) -> None:
    """Also from a form without a run number."""
    job = there(world)
    async with browser(world) as ann:
        page = await ann.get(f"/jobs/{job}")
        assert f'action="/jobs/{job}/retry"' not in page.text
        token = re.search(r'name="csrf" value="(\w+)"', page.text)
        assert token
        answer = await ann.post(f"/jobs/{job}/retry", data={"csrf": token[1]})
    assert (answer.status_code, answer.headers["location"], world.api.written) == (303, f"/jobs/{job}/retry", [])


async def test_the_answer_pays_once(world: World) -> None:
    job = there(world)
    async with browser(world) as ann:
        form = fields(await ann.get(f"/jobs/{job}/retry"), f"/jobs/{job}/retry")
        refused = await ann.post(f"/jobs/{job}/retry", data=form | {"csrf": "0" * 64})
        assert (refused.status_code, world.api.written) == (403, [])
        for _ in range(2):
            assert (await ann.post(f"/jobs/{job}/retry", data=form)).headers["location"] == f"/jobs/{job}?said=again"
    assert world.api.written == [("PATCH", AT)]
    assert annotations(world).keys() == {RERUN_ANNOTATION, CHANGED_BY_ANNOTATION}


async def test_an_answer_to_an_old_question_pays_nothing(world: World) -> None:
    """The same form again after its run has ended, as with a browser's back button."""
    job = there(world)
    async with browser(world) as ann:
        form = fields(await ann.get(f"/jobs/{job}/retry"), f"/jobs/{job}/retry")
        world.api.resources[AT]["status"]["run"]["number"] = 2
        answer = await ann.post(f"/jobs/{job}/retry", data=form)
    assert (answer.status_code, world.api.written) == (409, [])
    assert "has begun since" in answer.text


async def test_a_lost_request_is_asked_about_with_its_risk(world: World) -> None:
    job = there(world, "SubmissionUnknown", "SubmissionUnknown", token=TOKEN)
    world.database["jobs"].update_one({"jobId": job}, {"$set": {"phase": "SubmissionUnknown", "status": "processing"}})
    async with browser(world) as ann:
        assert f'href="/jobs/{job}/retry"' in (await ann.get(f"/jobs/{job}")).text
        page = await ann.get(f"/jobs/{job}/retry")
        assert "may have been paid already" in page.text
        answer = await ann.post(f"/jobs/{job}/retry", data=fields(page, f"/jobs/{job}/retry"))
    assert answer.status_code == 303
    assert annotations(world)[RESUBMIT_ANNOTATION] == "0a1b2c3d"


@pytest.mark.parametrize("phase", ["Processing", "Preparing"])
async def test_running_job_has_no_question(world: World, phase: str) -> None:
    job = there(world, phase, phase)
    async with browser(world) as ann:
        assert (await ann.get(f"/jobs/{job}/retry")).status_code == 409


# Resuming


async def test_a_suspended_job_is_resumed(world: World) -> None:
    job = there(world, "Suspended", "Suspended", spec={"suspend": True})
    async with world.client("ann") as ann:
        refused = await ann.post(f"/api/jobs/{job}/retry")
        assert (refused.status_code, f"POST /api/jobs/{job}/resume" in refused.json()["detail"]) == (409, True)
        answer = await ann.post(f"/api/jobs/{job}/resume")
        assert (answer.status_code, answer.json()) == (
            200,
            {"jobId": job, "state": "queued", "status": "processing", "phase": "Suspended"},
        )
        assert world.api.resources[AT]["spec"] == {"suspend": False}
        assert annotations(world) == {CHANGED_BY_ANNOTATION: "ann"}
        assert (await ann.post(f"/api/jobs/{job}/resume")).status_code == 200
    assert world.api.written == [("PATCH", AT)], "the second one changes nothing"


async def test_the_page_of_a_suspended_job_resumes_it(world: World) -> None:
    job = there(world, "Suspended", "Suspended", spec={"suspend": True})
    world.database["jobs"].update_one({"jobId": job}, {"$set": {"phase": "Suspended", "status": "processing"}})
    async with browser(world) as ann:
        form = fields(await ann.get(f"/jobs/{job}"), f"/jobs/{job}/resume")
        assert (await ann.post(f"/jobs/{job}/resume", data=form)).headers["location"] == f"/jobs/{job}?said=resumed"
        assert f'action="/jobs/{job}/resume"' not in (await ann.get(f"/jobs/{job}")).text
    assert world.api.resources[AT]["spec"] == {"suspend": False}


async def test_viewer_resumes_nothing_and_jobs_need_a_resource(world: World) -> None:
    job = there(world, "Suspended", "Suspended", spec={"suspend": True})
    world.api.rights.add(("vera", "get", "*", "red"))
    gone = world.job(2)
    async with world.client("vera") as vera, world.client("ann") as ann:
        assert (await vera.post(f"/api/jobs/{job}/resume")).status_code == 403
        assert (await ann.post(f"/api/jobs/{gone}/resume")).status_code == 409
    assert world.api.written == []
