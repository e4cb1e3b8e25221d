"""Cancellation, retry, deletion and editing of jobs: permissions, writes and responses."""

import asyncio
from typing import Any

import pytest

from contentgen_contract.names import (
    CANCEL_ANNOTATION,
    CHANGED_BY_ANNOTATION,
    FINALIZER,
    RERUN_ANNOTATION,
    RESUBMIT_ANNOTATION,
    Kind,
)
from contentgen_contract.resources.status import ResourceStatus
from contentgen_gateway.services.changes import actions
from contentgen_operator.stores.records import RecordStore
from contentgen_simulation.gateway.cluster import WritableWorld
from contentgen_simulation.gateway.server import Place

ANN = ("ann", "*", "*", "red")
VERA = ("vera", "get", "*", "red")
LORA = Kind.LORA_TRAINING
AT: Place = ("red", LORA.plural, "job-1")


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(actions, "_POLL_SECONDS", 0)


@pytest.fixture
def world() -> WritableWorld:
    return WritableWorld(ANN, VERA, ("bob", "*", "*", "blue"))


def status(phase: str, reason: str = "", number: int = 1, **run: Any) -> ResourceStatus:
    given = {"number": number, "version": 1, "runHash": "x", "generation": 1, "spec": {}, "startedAt": NOW} | run
    message = run.pop("message", "")
    return ResourceStatus.model_validate({"phase": phase, "reason": reason, "message": message, "run": given})


NOW = "2026-11-21T00:00:00Z"


def there(world: WritableWorld, state: ResourceStatus | None, number: int = 1, **record: Any) -> str:
    """Job with its resource."""
    job = world.job(number, **record)
    world.resource(LORA, f"job-{number}", job, state)
    return job


def annotations(world: WritableWorld) -> dict[str, str]:
    return dict(world.api.resources[AT]["metadata"].get("annotations") or {})


async def post(world: WritableWorld, path: str, who: str = "ann", **query: Any) -> Any:
    async with world.client(who) as client:
        return await client.post(path, params=query)


# Cancelling


@pytest.mark.parametrize(
    ("state", "number"), [(None, "1"), (status("Processing"), "1"), (status("Preparing", "", 3), "3")]
)
async def test_the_run_under_way_is_named(world: WritableWorld, state: ResourceStatus | None, number: str) -> None:
    job = there(world, state)
    answer = await post(world, f"/api/jobs/{job}/cancel", wait=0)
    assert (answer.status_code, answer.json()["status"], answer.json()["billed"]) == (202, "processing", None)
    assert annotations(world) == {CANCEL_ANNOTATION: number, CHANGED_BY_ANNOTATION: "ann"}


@pytest.mark.parametrize(
    ("end", "told"),
    [
        (status("Failed", "Cancelled", billed=False), ("cancelled", False)),
        (status("Failed", "Cancelled", billed=True), ("cancelled", True)),
        (status("Failed", "Cancelled"), ("cancelled", None)),
        (status("Completed", "Completed"), ("completed", True)),
    ],
)
async def test_the_answer_says_whether_it_is_billed(
    world: WritableWorld, end: ResourceStatus, told: tuple[str, bool | None]
) -> None:
    job = there(world, status("Processing"))

    def operator(place: Place) -> None:
        world.api.resources[place]["status"] = end.model_dump(mode="json", by_alias=True)

    world.api.reacts = operator
    answer = await post(world, f"/api/jobs/{job}/cancel")
    assert answer.status_code == 200
    assert (answer.json()["status"], answer.json()["billed"]) == told


async def test_cancelled_again_it_says_the_same_and_writes_nothing(world: WritableWorld) -> None:
    job = there(world, status("Failed", "Cancelled", billed=False))
    answer = await post(world, f"/api/jobs/{job}/cancel")
    assert (answer.status_code, answer.json()["billed"], world.api.written) == (200, False, [])


@pytest.mark.parametrize("state", [status("Completed", "Completed"), status("Failed", "NoVideo"), status("Collecting")])
async def test_finished_or_paid_job_is_not_cancelled(world: WritableWorld, state: ResourceStatus) -> None:
    job = there(world, state)
    answer = await post(world, f"/api/jobs/{job}/cancel")
    assert (answer.status_code, world.api.written) == (409, [])
    assert answer.json().get("billed") == (True if state.phase == "Collecting" else None)


async def test_a_run_that_was_asked_for_and_has_not_begun_is_cancelled(world: WritableWorld) -> None:
    job = there(world, status("Completed", "Completed"))
    await post(world, f"/api/jobs/{job}/retry")
    await post(world, f"/api/jobs/{job}/cancel", wait=0)
    assert annotations(world)[CANCEL_ANNOTATION] == "2"


# Retry


async def test_retry_is_the_rerun_annotation(world: WritableWorld) -> None:
    job = there(world, status("Failed", "NoVideo"))
    answer = await post(world, f"/api/jobs/{job}/retry")
    assert (answer.status_code, answer.json()["run"]) == (202, 2)
    assert annotations(world).keys() == {RERUN_ANNOTATION, CHANGED_BY_ANNOTATION}


async def test_asked_by_many_at_a_time_it_is_paid_for_once(world: WritableWorld) -> None:
    job = there(world, status("Completed", "Completed"))
    answers = await asyncio.gather(*(post(world, f"/api/jobs/{job}/retry") for _ in range(20)))
    assert {(answer.status_code, answer.json()["run"]) for answer in answers} == {(202, 2)}
    assert world.api.written == [("PATCH", AT)]


@pytest.mark.parametrize(
    "state", [None, status("Processing"), status("Failed", "InvalidSpec"), status("SubmissionUnknown")]
)
async def test_refused_rerun_has_its_reason(world: WritableWorld, state: ResourceStatus | None) -> None:
    job = there(world, state)
    assert (await post(world, f"/api/jobs/{job}/retry")).status_code == 409
    assert world.api.written == []


async def test_a_lost_request_is_sent_again_by_its_own_word_alone(world: WritableWorld) -> None:
    unknown = status("SubmissionUnknown")
    assert unknown.run is not None
    run = unknown.run.model_copy(update={"resubmit_token": "0a1b2c3d"})
    job = there(world, unknown.model_copy(update={"run": run, "message": "contentgen.dev/resubmit=ffff"}))
    for code, asked in ((409, {}), (422, {"resubmit": "ffff"})):
        refused = await post(world, f"/api/jobs/{job}/retry", **asked)
        assert (refused.status_code, refused.json()["resubmit"]) == (code, "0a1b2c3d")
        assert "resubmit=0a1b2c3d" in refused.json()["detail"]
    assert (await post(world, f"/api/jobs/{job}/retry", resubmit="0a1b2c3d")).status_code == 202
    assert annotations(world)[RESUBMIT_ANNOTATION] == "0a1b2c3d"


@pytest.mark.parametrize("what", ["cancel", "retry"])
async def test_a_job_without_its_resource_says_so(world: WritableWorld, what: str) -> None:
    job = world.job(1)
    world.resource(LORA, "job-1", "another-uid", status("Processing"))
    answer = await post(world, f"/api/jobs/{job}/{what}")
    assert (answer.status_code, "is deleted" in answer.json()["detail"], world.api.written) == (409, True, [])


# Authorization


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/api/jobs/{}/cancel"),
        ("POST", "/api/jobs/{}/retry"),
        ("DELETE", "/api/jobs/{}"),
        ("PATCH", "/api/assets/{}"),
    ],
)
async def test_viewer_may_not_change_and_stranger_finds_nothing(world: WritableWorld, method: str, path: str) -> None:
    job = there(world, status("Processing"))
    before = list(world.database["jobs"].find())
    for who, code in (("vera", 403), ("bob", 404)):
        async with world.client(who) as client:
            answer = await client.request(method, path.format(job), json={"tags": ["x"]})
        assert answer.status_code == code
    assert (world.api.written, list(world.database["jobs"].find())) == ([], before)


# Deleting


async def delete(world: WritableWorld, job: str, **query: Any) -> Any:
    async with world.client("ann") as client:
        return await client.delete(f"/api/jobs/{job}", params=query)


async def test_operator_deletes_the_files_of_an_existing_resource(world: WritableWorld) -> None:
    job = there(world, status("Completed", "Completed"))
    assert (await delete(world, job)).status_code == 202
    assert world.api.written == [("PATCH", AT), ("DELETE", AT)]
    left = world.api.resources[AT]
    assert left["spec"]["deletionPolicy"] == "Delete"
    assert left["metadata"]["finalizers"] == [FINALIZER], "else it were gone before its files are"
    assert "deletionTimestamp" in left["metadata"]
    async with world.client("ann") as ann:
        assert (await ann.get(f"/api/jobs/{job}")).status_code == 404
        assert (await ann.get("/api/jobs")).json()["total"] == 0


@pytest.mark.parametrize(
    ("verbs", "code", "missing"),
    [(("delete",), 403, "not patch it"), (("patch",), 403, "not delete it"), (("delete", "patch"), 202, "")],
)
@pytest.mark.parametrize("made", [True, False], ids=["resource", "record alone"])
async def test_a_deletion_of_files_needs_the_verbs_delete_and_patch(
    verbs: tuple[str, ...], code: int, missing: str, made: bool
) -> None:
    """Files are kept by default: their deletion is a change of the spec, which the gateway's account would allow."""
    world = WritableWorld(*(("ann", verb, "*", "red") for verb in ("get", *verbs)))
    job = there(world, status("Completed", "Completed")) if made else world.job(1)
    answer = await delete(world, job)
    assert (answer.status_code, missing in answer.text) == (code, True), answer.text
    changed = bool(world.api.written) or "discard" in (world.database["jobs"].find_one({"jobId": job}) or {})
    assert changed is (code == 202)


async def test_job_in_deletion_is_hidden_while_its_resource_exists(world: WritableWorld) -> None:
    job = there(world, status("Processing"))
    await delete(world, job)
    world.dependencies.live.add(LORA, world.api.resources[AT])
    async with world.client("ann") as ann:
        assert (await ann.get(f"/api/jobs/{job}")).status_code == 404


async def test_others_finalizers_stay(world: WritableWorld) -> None:
    job = there(world, None)
    world.api.resources[AT]["metadata"]["finalizers"] = ["example.com/theirs"]
    await delete(world, job)
    assert world.api.resources[AT]["metadata"]["finalizers"] == [FINALIZER, "example.com/theirs"]


async def test_absent_resource_leaves_a_tombstone_for_the_operator(world: WritableWorld) -> None:
    job = world.job(1, userId="user-1")
    world.resource(LORA, "job-1", "another-uid", status("Processing"))
    assert (await delete(world, job)).status_code == 202
    assert world.api.written == [], "the later one of the same name is nobody's business"
    storage: Any = None
    records = RecordStore(world.database["jobs"], storage)
    (mark,) = await records.marks(10)
    left = await records.discard_of(mark)
    assert left is not None
    assert (left.uid, left.job_ids) == (job, (job,))
    assert set(left.prefixes) == {
        f"{top}/{user}/{job}/" for top in ("loras", "datasets") for user in ("user-1", "red")
    } | {f"runs/{job}/"}


async def test_used_lora_is_kept_unless_forced(world: WritableWorld) -> None:
    job = there(world, status("Completed", "Completed"))
    picture = world.job(2, Kind.IMAGE_GENERATION, uses=[job])
    answer = await delete(world, job)
    assert (answer.status_code, answer.json()["usedInJobs"], world.api.written) == (409, [picture], [])
    assert (await delete(world, job, force=True)).status_code == 202


async def test_lora_of_a_running_image_is_kept(world: WritableWorld) -> None:
    """Without the files, the provider could not fetch the LoRA of a paid request."""
    job = there(world, status("Completed", "Completed"))
    loras = {"loras": [{"path": "https://h/x"}, {"loraRef": {"name": "job-1"}}]}
    world.job(3, Kind.IMAGE_GENERATION, status="processing", namespace="blue", config=loras)
    world.job(4, Kind.IMAGE_GENERATION, status="failed", config=loras)
    assert (await delete(world, job)).status_code == 202
    other = there(world, status("Completed", "Completed"), 5)
    picture = world.job(
        6, Kind.IMAGE_GENERATION, status="processing", config={"loras": [{"loraRef": {"name": "job-5"}}]}
    )
    answer = await delete(world, other)
    assert (answer.status_code, answer.json()["usedInJobs"]) == (409, [picture])


async def test_adopted_lora_is_guarded_like_a_trained_one(world: WritableWorld) -> None:
    """Files of an adopted run stay under the earlier job's id, to which pictures refer."""
    earlier = world.job(1)
    adopted = {"version": 1, "s3Key": f"loras/ann/{earlier}/v1/model.safetensors"}
    later = there(world, status("Completed", "AdoptedFinishedRun"), 2, versions=[adopted])
    picture = world.job(3, Kind.IMAGE_GENERATION, uses=[earlier])
    answer = await delete(world, later)
    assert (answer.status_code, answer.json().get("usedInJobs"), world.api.written) == (409, [picture], [])
    async with world.client("ann") as ann:
        stats = (await ann.get(f"/api/assets/{later}/stats")).json()
    assert stats["usedInJobs"] == [picture], "statistics and guard give the same answer"
    assert (await delete(world, later, force=True)).status_code == 202


async def test_a_forged_key_tells_nothing_of_another_namespaces_lora(world: WritableWorld) -> None:
    """Keys in a record come from a status, which a tenant may have forged."""
    theirs = world.job(1, namespace="blue")
    world.job(2, Kind.IMAGE_GENERATION, namespace="blue", uses=[theirs])
    forged = {"version": 1, "s3Key": f"loras/bob/{theirs}/v1/model.safetensors"}
    mine = there(world, status("Completed", "Completed"), 3, versions=[forged])
    assert (await delete(world, mine)).status_code == 202, "not even their number is told"


async def test_statistics_and_guard_name_the_same_running_images(world: WritableWorld) -> None:
    job = there(world, status("Completed", "Completed"))
    picture = world.job(
        2, Kind.IMAGE_GENERATION, status="processing", config={"loras": [{"loraRef": {"name": "job-1"}}]}
    )
    async with world.client("ann") as ann:
        stats = (await ann.get(f"/api/assets/{job}/stats")).json()
    assert stats["usedInJobs"] == (await delete(world, job)).json()["usedInJobs"] == [picture]


async def test_outputs_that_a_later_resource_took_over_are_kept(world: WritableWorld) -> None:
    job = world.job(1)
    world.resource(LORA, "job-1", "heir", ResourceStatus.model_validate({"versions": [{"version": 1, "jobId": job}]}))
    answer = await delete(world, job)
    assert (answer.status_code, answer.json()["usedInJobs"]) == (409, ["heir"])


async def test_used_job_is_named_only_to_its_viewers() -> None:
    world = WritableWorld(("ann", "*", LORA.plural, "red"))
    job = there(world, status("Completed", "Completed"))
    world.job(2, Kind.IMAGE_GENERATION, uses=[job])
    answer = await delete(world, job)
    assert (answer.status_code, answer.json()["usedInJobs"]) == (409, [])


# Describing


async def test_tags_change_on_the_resource_and_in_the_record_at_once(world: WritableWorld) -> None:
    job = there(world, status("Completed", "Completed"), metadata={"tags": ["old"], "description": "kept"})
    async with world.client("ann") as ann:
        answer = await ann.patch(f"/api/assets/{job}", json={"tags": ["headshot"], "isPublic": True})
    assert answer.json()["metadata"] == {"tags": ["headshot"], "description": "kept", "isPublic": True}
    assert world.api.resources[AT]["spec"] == {"metadata": {"tags": ["headshot"], "isPublic": True}}
    record = world.database["jobs"].find_one({"jobId": job})
    assert record["metadata"] == answer.json()["metadata"]
    assert {"headshot", "kept"} <= set(record["terms"])
    assert "old" not in record["terms"]


async def test_without_its_resource_the_record_changes_alone(world: WritableWorld) -> None:
    job = world.job(1)
    async with world.client("ann") as ann:
        assert (await ann.patch(f"/api/assets/{job}", json={"description": "new words"})).status_code == 200
    assert world.api.written == []
    assert "words" in world.database["jobs"].find_one({"jobId": job})["terms"]


@pytest.mark.parametrize(
    "body",
    [{}, {"tag": []}, {"tags": ["$x"]}, {"tags": [{"$gt": ""}]}, {"isPublic": "perhaps"}, {"status": "completed"}],
)
async def test_invalid_description_is_refused(world: WritableWorld, body: dict[str, Any]) -> None:
    job = there(world, status("Completed", "Completed"))
    async with world.client("ann") as ann:
        assert (await ann.patch(f"/api/assets/{job}", json=body)).status_code == 422
    assert world.api.written == []
