"""Legacy import: valid documents become records, others are refused with reasons."""

import json
import threading
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest

from contentgen_contract.names import Kind
from contentgen_simulation.gateway.tenants import TenantWorld

LORA, PICTURE, TALK = (f"40000000-0000-4000-8000-{number:012}" for number in range(3))
AWS = "https://content-generation-assets.s3.amazonaws.com/"
SEEDS: list[dict[str, Any]] = [
    {
        "_id": {"$oid": "656500000000000000000001"},
        "jobId": LORA,
        "userId": "user-456",
        "type": "lora-training",
        "sourceVideo": {"url": "s3://recordings/video.mp4", "filename": "video.mp4", "sizeBytes": 150000000},
        "config": {"loraName": "jesse_avatar", "trigger": "jf"},
        "status": "completed",
        "progress": 100,
        "versions": [
            {
                "version": 1,
                "modelUrl": f"{AWS}loras/user-456/{LORA}/v1/model.safetensors",
                "s3Key": f"loras/user-456/{LORA}/v1/model.safetensors",
                "sizeBytes": 125000000,
                "createdAt": "2025-11-27T21:02:00Z",
                "config": {"trigger": "jf", "steps": 1000, "learning_rate": 0.0004, "frame_count": 140},
            }
        ],
        "createdAt": {"$date": "2025-11-27T20:50:09.651Z"},
        "startedAt": "2025-11-27T20:50:09.651Z",
        "completedAt": "2025-11-27T21:02:00Z",
    },
    {
        "jobId": PICTURE,
        "userId": "user-456",
        "type": "image-generation",
        "config": {"model": "flux-pro", "prompt": "Professional headshot"},
        "status": "completed",
        "versions": [
            {
                "version": 1,
                "images": [
                    {
                        "url": f"{AWS}generated-images/user-456/{PICTURE}/image_1.png?X-Amz-Signature=abc",
                        "s3Key": f"generated-images/user-456/{PICTURE}/image_1.png",
                        "width": 1024,
                        "height": 1024,
                        "sizeBytes": 2500000,
                    }
                ],
            }
        ],
        "createdAt": "2025-11-27T20:00:00Z",
    },
    {
        "jobId": TALK,
        "userId": "test-transcribe-2",
        "type": "transcription",
        "sourceVideo": {"url": "https://h/podcast.mp3?token=x", "filename": "podcast.mp3"},
        "status": "completed",
        "versions": [
            {
                "transcriptUrl": f"s3://content-generation-assets/transcripts/test-transcribe-2/{TALK}/transcript.json",
                "textUrl": f"https://s3.us-east-1.amazonaws.com/content-generation-assets/transcripts/test-transcribe-2/{TALK}/transcript.txt",
                "wordCount": 861,
                "duration": 282,
                "version": 1,
            }
        ],
        "createdAt": "2025-11-27T19:00:00Z",
    },
]


async def send(world: TenantWorld, jobs: list[Any], caller: str = "ann", namespace: str = "red") -> httpx.Response:
    async with world.client(caller) as client:
        body = {"namespace": namespace, "bucket": "content-generation-assets", "jobs": jobs}
        return await client.post("/api/admin/import", json=body)


def copy(document: dict[str, Any], **changed: Any) -> dict[str, Any]:
    return json.loads(json.dumps(document)) | changed


@pytest.fixture
def world() -> TenantWorld:
    world = TenantWorld()
    world.bucket.objects |= {
        f"loras/user-456/{LORA}/v1/model.safetensors": b"x" * 125,
        f"transcripts/test-transcribe-2/{TALK}/transcript.json": b"{}",
        f"transcripts/test-transcribe-2/{TALK}/transcript.txt": b"hello",
    }
    return world


async def test_the_seeds_documents_are_found_as_if_they_were_made_here(world: TenantWorld) -> None:
    told = (await send(world, SEEDS)).json()
    assert told["outcomes"] == {"imported": 3, "updated": 0, "unchanged": 0, "refused": 0}
    assert [each_job["missing"] for each_job in told["jobs"]] == [
        [],
        [f"generated-images/user-456/{PICTURE}/image_1.png"],
        [],
    ]
    async with world.client("ann") as ann:
        job = (await ann.get(f"/api/jobs/{LORA}")).json()
        loras = (await ann.get("/api/assets/loras", params={"userId": "user-456"})).json()
        pictures = (await ann.get("/api/assets/images", params={"userId": "user-456", "model": "flux-pro"})).json()
        talks = (await ann.get("/api/assets/transcripts", params={"userId": "test-transcribe-2"})).json()
        found = (await ann.get("/api/assets/search", params={"q": "jesse"})).json()
        file = await ann.get(f"/api/assets/{LORA}/download")
    assert job["versions"][0]["s3Key"] == f"loras/user-456/{LORA}/v1/model.safetensors"
    assert job["createdAt"].startswith("2025-11-27T20:50:09")
    assert loras["loras"][0]["name"] == "jesse_avatar"
    assert pictures["images"][0]["prompt"] == "Professional headshot"
    assert talks["transcripts"][0]["wordCount"] == 861
    assert [each_job["jobId"] for each_job in found["jobs"]] == [LORA]
    assert f"/assets/loras/user-456/{LORA}/v1/model.safetensors?" in file.json()["url"]


async def test_signed_urls_are_not_imported(world: TenantWorld) -> None:
    signed = "https://civitai.com/api/download/models/7?token=secret"
    config = {"prompt": "what? https://h/a", "loras": [{"path": signed}], "url": f"{signed}&X-Amz-Signature=a"}
    picture = next(seed for seed in SEEDS if seed["jobId"] == PICTURE)
    await send(world, [*(seed for seed in SEEDS if seed is not picture), copy(picture, config=config)])
    kept = list(world.database["jobs"].find({"imported": True}))
    assert "X-Amz" not in repr(kept)
    assert "token=" not in repr(kept)
    (made,) = [record["config"] for record in kept if record["jobId"] == PICTURE]
    assert made == {"prompt": config["prompt"], "loras": [{"path": signed.partition("?")[0]}]} | {
        "url": signed.partition("?")[0]
    }


async def test_twice_changes_nothing(world: TenantWorld) -> None:
    await send(world, SEEDS)
    async with world.client("ann"):
        world.database["jobs"].update_one({"jobId": LORA}, {"$set": {"metadata.tags": ["mine"]}})
    before = list(world.database["jobs"].find())
    told = (await send(world, SEEDS)).json()
    assert told["outcomes"]["unchanged"] == 3
    assert list(world.database["jobs"].find()) == before


async def test_jobs_finished_since_the_last_import_are_added(world: TenantWorld) -> None:
    under_way = copy(SEEDS[0], versions=[], status="processing", progress=20, completedAt=None)
    told = (await send(world, [under_way])).json()
    assert "processing" in told["jobs"][0]["note"]
    assert world.database["jobs"].find_one({"jobId": LORA})["status"] == "cancelled"
    world.database["jobs"].update_one({"jobId": LORA}, {"$set": {"metadata.tags": ["mine"], "downloads": 3}})
    assert (await send(world, SEEDS[:1])).json()["outcomes"]["updated"] == 1
    record = world.database["jobs"].find_one({"jobId": LORA})
    assert (record["status"], record["downloads"], record["metadata"]["tags"]) == ("completed", 3, ["mine"])


LORA_KEY = f"loras/user-456/{LORA}/v1/model.safetensors"
WRONG = {
    "versions.0.s3Key": [
        {"s3Key": key}
        for key in (
            f"loras/user-456/{TALK}/v1/model.safetensors",
            f"loras/other/{LORA}/v1/model.safetensors",
            f"loras/user-456/{LORA}/v2/model.safetensors",
            f"loras/user-456/{LORA}/v1/../v1/model.safetensors",
            f"loras/user-456/{LORA}/v1/secrets.txt",
            f"/loras/user-456/{LORA}/v1/model.safetensors",
            f"temp/{LORA}/model.safetensors",
            "",
        )
    ],
    "versions.0.modelUrl": [
        {"modelUrl": url}
        for url in (
            f"https://content-generation-assets.s3.amazonaws.com.evil.example/{LORA_KEY}",
            f"https://other-bucket.s3.amazonaws.com/{LORA_KEY}",
            f"http://content-generation-assets.s3.amazonaws.com/{LORA_KEY}",
            f"s3://other/{LORA_KEY}",
            f"https://evil.example/{LORA_KEY}",
            f"{AWS}loras/user-456/{LORA}/v1/%2e%2e/%2e%2e/x/model.safetensors",
            f"file:///{LORA_KEY}",
        )
    ],
    "versions.0.config": [{"config": {"$where": "1"}}, {"config": {"a.b": 1}}, {"config": {"a": 2**70}}],
    "versions.0.unknown": [{"unknown": 1}],
    "versions.0.version": [{"version": 0}, {"version": "$ne"}, {"version": 10**9}],
}


@pytest.mark.parametrize(
    ("field", "change"), [(f, c) for f, cs in WRONG.items() for c in cs], ids=lambda each: str(each)[:60]
)
async def test_a_version_that_is_not_the_jobs_own_refuses_the_document(
    world: TenantWorld, field: str, change: dict[str, Any]
) -> None:
    wrong = copy(SEEDS[0])
    wrong["versions"][0] |= change
    told = (await send(world, [wrong, SEEDS[2]])).json()
    assert told["outcomes"] == {"imported": 1, "updated": 0, "unchanged": 0, "refused": 1}
    assert any(problem["field"].startswith(field) for problem in told["jobs"][0]["problems"]), told["jobs"][0]
    assert world.database["jobs"].find_one({"jobId": LORA}) is None


@pytest.mark.parametrize(
    "change",
    [
        {"jobId": {"$ne": ""}},
        {"jobId": "../x"},
        {"jobId": None},
        {"userId": "a/b"},
        {"userId": {"$gt": ""}},
        {"type": "video"},
        {"status": "done"},
        {"progress": 101},
        {"createdAt": "yesterday"},
        {"createdAt": {"$date": {"$gt": 1}}},
        {"createdAt": None},
        {"config": {"prompt": {"$regex": "."}}},
        {"config": {"a": {"a": {"a": {"a": {"a": {"a": {}}}}}}}},
        {"metadata": {"tags": ["<b>"]}},
        {"namespace": "blue"},
        {"terms": ["x"]},
        {"discard": {"prefixes": [""]}},
        {"versions": {"0": {}}},
    ],
    ids=str,
)
async def test_a_document_outside_of_the_seeds_shape_is_refused_whole(
    world: TenantWorld, change: dict[str, Any]
) -> None:
    told = (await send(world, [copy(SEEDS[0], **change)])).json()
    assert told["outcomes"]["refused"] == 1
    assert any(problem["field"].split(".")[0] in change for problem in told["jobs"][0]["problems"]), told["jobs"][0]
    assert world.database["jobs"].find_one({"imported": True}) is None


async def test_everything_that_is_wrong_is_said_at_once(world: TenantWorld) -> None:
    wrong = copy(SEEDS[1])
    wrong["versions"][0]["images"][0] |= {"s3Key": "a", "url": "https://h/b"}
    problems = (await send(world, [wrong])).json()["jobs"][0]["problems"]
    assert {problem["field"] for problem in problems} == {"versions.0.images.0.s3Key", "versions.0.images.0.url"}


async def test_existing_job_is_not_overwritten(world: TenantWorld) -> None:
    """Neither created here, nor imported by another namespace, nor paid here."""
    await send(world, SEEDS[:1])
    world.database["ledger"].insert_one({"_id": "p", "jobId": PICTURE})
    made_here = copy(SEEDS[2], jobId=world.jobs[0].job_id, versions=[])
    before = list(world.database["jobs"].find())
    told = (await send(world, [SEEDS[0], SEEDS[1], made_here], "bob", "blue")).json()
    assert told["outcomes"]["refused"] == 3
    assert {job["problems"][0]["field"] for job in told["jobs"]} == {"jobId"}
    assert list(world.database["jobs"].find()) == before


@pytest.mark.parametrize(("caller", "namespace"), [("bob", "red"), ("carol", "red"), ("vera", "red"), ("dave", "x")])
async def test_import_needs_its_verb_on_all_kinds(world: TenantWorld, caller: str, namespace: str) -> None:
    answer = await send(world, SEEDS, caller, namespace)
    assert answer.status_code == 403
    assert "verb import on loratrainings" in answer.json()["detail"]
    assert world.database["jobs"].find_one({"imported": True}) is None


async def test_the_right_to_create_all_kinds_is_no_right_to_import(world: TenantWorld) -> None:
    world.api.rights |= {("dave", verb, "*", "x") for verb in ("create", "get", "list", "patch", "delete", "use")}
    assert (await send(world, SEEDS, "dave", "x")).status_code == 403


async def test_the_verb_import_is_enough(world: TenantWorld) -> None:
    world.api.rights |= {("dave", "import", kind.plural, "x") for kind in Kind} | {("dave", "use", "userids", "x")}
    assert (await send(world, SEEDS, "dave", "x")).json()["outcomes"]["imported"] == 3


async def test_verb_on_one_kind_is_not_enough(world: TenantWorld) -> None:
    world.api.rights.add(("dave", "import", "transcriptions", "x"))
    assert (await send(world, SEEDS[2:], "dave", "x")).status_code == 403


async def test_documents_of_users_that_may_not_be_named_are_refused(world: TenantWorld) -> None:
    """dave has no permission for user-456, but for test-transcribe-2; a namespace's own name is always allowed."""
    world.api.rights |= {("dave", "import", "*", "x"), ("dave", "use", "userids/test-transcribe-2", "x")}
    own = copy(SEEDS[0], jobId=LORA[:-1] + "9", userId="x", versions=[])
    told = (await send(world, [*SEEDS, own], "dave", "x")).json()
    assert [job["outcome"] for job in told["jobs"]] == ["refused", "refused", "imported", "imported"]
    (problem,) = told["jobs"][0]["problems"]
    assert problem["field"] == "userId"
    assert "'user-456'" in problem["why"]
    assert "verb use on userids.contentgen.dev" in problem["why"]
    assert world.database["jobs"].find_one({"userId": "user-456"}) is None
    assert not [key for key in world.bucket.reached if "user-456" in key], "the bucket was not asked for their files"


async def test_an_import_does_not_give_a_job_to_another_user(world: TenantWorld) -> None:
    """carol may import only for mallory; the job was imported for user-456 and has finished since."""
    await send(world, [copy(SEEDS[0], versions=[], status="processing", completedAt=None)])
    world.api.rights |= {("carol", "import", "*", "red"), ("carol", "use", "userids/mallory", "red")}
    before = list(world.database["jobs"].find())
    theirs = copy(SEEDS[0], userId="mallory", versions=[])
    told = (await send(world, [theirs], "carol")).json()
    assert [problem["field"] for problem in told["jobs"][0]["problems"]] == ["userId"]
    assert list(world.database["jobs"].find()) == before


async def test_times_are_times(world: TenantWorld) -> None:
    await send(world, SEEDS)
    record = world.database["jobs"].find_one({"jobId": LORA})
    assert record["createdAt"] == datetime(2025, 11, 27, 20, 50, 9, 651000, UTC)
    assert record["bytes"] == 125


async def test_several_documents_wait_for_the_bucket_at_a_time(
    world: TenantWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two imports must run in parallel; the report keeps the order."""
    together, sizes = threading.Barrier(2), world.dependencies.files.sizes_now

    def slow(prefixes: Iterable[str]) -> dict[str, int]:
        together.wait(timeout=60)
        return sizes(prefixes)

    monkeypatch.setattr(world.dependencies.files, "sizes_now", slow)
    jobs = [copy(SEEDS[0], jobId=job_id, versions=[]) for job_id in (LORA, PICTURE, TALK, LORA[:-1] + "9")]
    told = (await send(world, jobs)).json()
    assert [(job["document"], job["jobId"]) for job in told["jobs"]] == [
        (number, job["jobId"]) for number, job in enumerate(jobs)
    ]
    assert told["outcomes"]["imported"] == 4


async def test_a_job_that_comes_twice_is_taken_over_once(world: TenantWorld) -> None:
    told = (await send(world, [SEEDS[0], SEEDS[2], SEEDS[0], SEEDS[0]])).json()
    assert [job["outcome"] for job in told["jobs"]] == ["imported", "imported", "unchanged", "unchanged"]
    assert world.database["jobs"].count_documents({"jobId": LORA}) == 1


@pytest.mark.parametrize("url", ["https://u:hunter2@h/a?x=hunter2", "https://u:hun/ter2@h/a#hunter2", "u:hunter2@h/a"])
async def test_a_refusal_repeats_no_password_and_no_query(world: TenantWorld, url: str) -> None:
    document = copy(SEEDS[0])
    document["versions"][0]["modelUrl"] = url
    answer = await send(world, [document])
    assert [problem["field"] for problem in answer.json()["jobs"][0]["problems"]] == ["versions.0.modelUrl"]
    assert "hunter2" not in answer.text
    assert "ter2" not in answer.text


async def test_no_password_of_a_source_is_taken_over(world: TenantWorld) -> None:
    source = {"url": "https://u:hunter2@h/podcast.mp3?token=hunter2#hunter2", "filename": "podcast.mp3"}
    told = (await send(world, [copy(SEEDS[2], sourceVideo=source)])).json()
    assert told["outcomes"]["imported"] == 1
    record = world.database["jobs"].find_one({"jobId": TALK})
    assert record["sourceVideo"]["url"] == "https://h/podcast.mp3"
    assert "hunter2" not in repr(record)
