"""`/api/assets`: fields of the legacy API's lists, and search results."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from contentgen_contract.names import Kind
from contentgen_contract.records.record import search_terms, version_totals
from contentgen_gateway.services.reports.usage import totals
from contentgen_simulation.gateway.bucket import RecordingBucket
from contentgen_simulation.gateway.server import START, GatewayWorld

BASE = "http://s3.test/assets/"
LORA, IMAGES, TRANSCRIPT = Kind.LORA_TRAINING, Kind.IMAGE_GENERATION, Kind.TRANSCRIPTION


@pytest.fixture
def world() -> GatewayWorld:
    made = GatewayWorld(("ann", "*", "*", "red"), ("bob", "*", "*", "blue"), ("carol", "*", "loratrainings", "red"))
    bucket = RecordingBucket()
    bucket.behind(made.dependencies.files)
    return made


def lora(world: GatewayWorld, number: int, versions: int = 1, **fields: Any) -> str:
    made = [
        {
            "version": n,
            "createdAt": START + timedelta(days=n),
            "modelUrl": f"{BASE}loras/ann/j{number}/v{n}/model.safetensors",
            "s3Key": f"loras/ann/j{number}/v{n}/model.safetensors",
            "previewUrl": f"{BASE}loras/ann/j{number}/v{n}/preview.png",
            "bytes": 125_000_000,
        }
        for n in range(1, versions + 1)
    ]
    config = {"loraName": "jesse_avatar", "trigger": "jf", "model": "fal-ai/flux-lora-fast-training"}
    metadata = {"tags": ["avatar", "headshot"], "description": "Jesse at work", "isPublic": False}
    return put(world, number, LORA, {"config": config, "metadata": metadata, "versions": made} | fields)


def images(world: GatewayWorld, number: int, versions: int = 1, **fields: Any) -> str:
    prefix = f"generated-images/ann/j{number}/"
    made = [
        {
            "version": n,
            "createdAt": START + timedelta(days=n),
            "model": "flux-pro",
            "prompt": f"a cat {n}",
            "images": [
                {
                    "url": f"{BASE}{prefix}{later(n)}image_{i}.png",
                    "s3Key": f"{prefix}{later(n)}image_{i}.png",
                    "thumbnailUrl": f"{BASE}{prefix}{later(n)}image_{i}_thumb.png",
                    "width": 1024,
                    "height": 768,
                }
                for i in (1, 2)
            ],
            "bytes": 2_000_000,
        }
        for n in range(1, versions + 1)
    ]
    return put(world, number, IMAGES, {"config": {"model": "flux-pro", "prompt": "a dog"}, "versions": made} | fields)


def later(version: int) -> str:
    return f"v{version}/" if version > 1 else ""


def transcript(world: GatewayWorld, number: int, **fields: Any) -> str:
    prefix = f"{BASE}transcripts/ann/j{number}/"
    made = {
        "version": 1,
        "createdAt": START,
        "transcriptUrl": f"{prefix}transcript.json",
        "textUrl": f"{prefix}transcript.txt",
        "wordCount": 5000,
        "duration": 3600.0,
        "speakers": 2,
        "bytes": 100_000,
    }
    source = {"url": "s3://r/podcast-ep-01.mp3", "filename": "podcast-ep-01.mp3", "sizeBytes": 9}
    return put(world, number, TRANSCRIPT, {"config": {}, "sourceVideo": source, "versions": [made]} | fields)


def put(world: GatewayWorld, number: int, kind: Kind, fields: dict[str, Any]) -> str:
    """Record with derived fields, computed as by the operator and the import."""
    found = search_terms({"name": f"job-{number}", "metadata": {}} | fields)
    return world.job(number, kind, **(fields | {"terms": found} | version_totals(fields.get("versions", ()))))


async def get(world: GatewayWorld, path: str, caller: str = "ann", **params: Any) -> dict[str, Any]:
    async with world.client(caller) as client:
        answer = await client.get(path, params=params)
    assert answer.status_code == 200, answer.text
    body: dict[str, Any] = answer.json()
    return body


def signed(address: str, key: str) -> bool:
    return address.startswith(f"{BASE}{key}?") and "X-Amz-Signature=" in address


async def test_loras_are_as_the_seeds_have_them(world: GatewayWorld) -> None:
    job = lora(world, 1, versions=3)
    listed = await get(world, "/api/assets/loras", userId="ann")
    (one,) = listed["loras"]
    thumbnail, model = one.pop("thumbnailUrl"), one["latestVersion"].pop("modelUrl")
    assert listed | {"loras": []} == {"total": 1, "loras": [], "nextCursor": None, "incomplete": False}
    assert one == {
        "loraId": job,
        "name": "jesse_avatar",
        "trigger": "jf",
        "versions": 3,
        "latestVersion": {"createdAt": "2026-11-04T12:00:00Z"},
        "tags": ["avatar", "headshot"],
    }
    for address, file in ((thumbnail, "preview.png"), (model, "model.safetensors")):
        assert signed(address, f"loras/ann/j1/v3/{file}")
    assert "response-content-disposition=inline" in thumbnail, "to be shown"
    assert "response-content-disposition=attachment" in model, "to be saved"


async def test_each_picture_is_an_entry(world: GatewayWorld) -> None:
    job = images(world, 1, versions=2)
    listed = await get(world, "/api/assets/images", userId="ann")
    assert listed["total"] == len(listed["images"]) == 4
    assert len({image["imageId"] for image in listed["images"]}) == 4
    newest = listed["images"][0]
    assert signed(newest.pop("thumbnailUrl"), "generated-images/ann/j1/v2/image_1_thumb.png")
    assert signed(newest.pop("imageUrl"), "generated-images/ann/j1/v2/image_1.png")
    assert newest == {
        "imageId": f"{job}-v2-1",
        "jobId": job,
        "version": 2,
        "file": "image_1.png",
        "model": "flux-pro",
        "prompt": "a cat 2",
        "width": 1024,
        "height": 768,
        "createdAt": "2026-11-03T12:00:00Z",
    }
    assert [image["prompt"] for image in listed["images"]] == ["a cat 2", "a cat 2", "a cat 1", "a cat 1"]


@pytest.mark.parametrize("name", ["loras", "images", "transcripts"])
async def test_the_short_names_are_the_same_lists(world: GatewayWorld, name: str) -> None:
    lora(world, 1), images(world, 2), transcript(world, 3)
    short, whole = [await get(world, f"/api/{each}", userId="ann") for each in (name, f"assets/{name}")]
    assert short == whole
    assert short["total"] == len(short[name]) >= 1


@pytest.mark.parametrize(
    ("model", "found"), [("flux-pro", 2), ("fal-ai/flux-pro/v1.1", 2), ("flux-dev", 1), ("flux-schnell", 0)]
)
async def test_pictures_of_a_model_by_any_of_its_names(world: GatewayWorld, model: str, found: int) -> None:
    images(world, 1)
    images(world, 2, config={"model": "fal-ai/flux-pro/v1.1"})
    images(world, 3, config={"model": "fal-ai/flux/dev"})
    listed = await get(world, "/api/assets/images", model=model)
    assert listed["total"] == len(listed["images"]) == 2 * found


async def test_pictures_come_in_pages_of_jobs(world: GatewayWorld) -> None:
    for number in range(7):
        images(world, number)
    seen, cursor, pages = [], None, 0
    while pages == 0 or cursor:
        given = {"limit": 3} | ({"cursor": cursor} if cursor else {})
        page = await get(world, "/api/assets/images", **given)
        assert page["total"] == 14
        seen += [image["imageId"] for image in page["images"]]
        cursor, pages = page["nextCursor"], pages + 1
    assert (pages, len(seen), len(set(seen))) == (3, 14, 14)


async def test_transcripts_are_as_the_seeds_have_them(world: GatewayWorld) -> None:
    job = transcript(world, 1)
    listed = await get(world, "/api/assets/transcripts", userId="ann")
    (one,) = listed["transcripts"]
    for name, file in (("transcriptUrl", "transcript.json"), ("textUrl", "transcript.txt")):
        assert signed(one.pop(name), f"transcripts/ann/j1/{file}")
    assert listed == {
        "total": 1,
        "transcripts": [
            {
                "transcriptId": job,
                "fileName": "podcast-ep-01.mp3",
                "duration": 3600,
                "wordCount": 5000,
                "speakers": 2,
                "createdAt": "2026-11-01T12:00:00Z",
            }
        ],
        "nextCursor": None,
        "incomplete": False,
    }


async def test_only_what_was_made_is_an_asset(world: GatewayWorld) -> None:
    """Also while the next version is in progress, or after it failed."""
    lora(world, 1, versions=0, status="processing")
    busy, failed = lora(world, 2, status="processing"), lora(world, 3, status="failed")
    listed = await get(world, "/api/assets/loras")
    assert [each_lora["loraId"] for each_lora in listed["loras"]] == [failed, busy]
    assert listed["total"] == 2


@pytest.mark.parametrize("path", ["loras", "images", "transcripts", "search"])
async def test_lists_hold_nothing_foreign(world: GatewayWorld, path: str) -> None:
    for make in (lora, images, transcript):
        make(world, 10 + (lora, images, transcript).index(make), namespace="blue", userId="ann")
    mine = await get(world, f"/api/assets/{path}", "ann")
    theirs = await get(world, f"/api/assets/{path}", "bob")
    assert mine["total"] == 0
    assert theirs["total"] > 0


async def test_right_to_one_kind_shows_that_kind_only(world: GatewayWorld) -> None:
    lora(world, 1), images(world, 2)
    assert (await get(world, "/api/assets/loras", "carol"))["total"] == 1
    assert (await get(world, "/api/assets/images", "carol"))["total"] == 0
    assert (await get(world, "/api/assets/stats", "carol"))["totalJobs"] == 1


async def test_lists_take_a_period(world: GatewayWorld) -> None:
    lora(world, 1, createdAt=datetime(2026, 10, 1, 23, 59, tzinfo=UTC))
    found = lora(world, 2, createdAt=datetime(2026, 10, 2, 23, 59, tzinfo=UTC))
    lora(world, 3, createdAt=datetime(2026, 10, 3, tzinfo=UTC))
    given = {"from": "2026-10-02", "to": "2026-10-02"}
    assert [each_lora["loraId"] for each_lora in (await get(world, "/api/assets/loras", **given))["loras"]] == [found]


@pytest.mark.parametrize(
    ("asked", "found"),
    [
        ({"q": "avatar"}, {1}),
        ({"q": "JESSE"}, {1}),
        ({"q": "jesse ava"}, {1}),
        ({"q": "ava jesse"}, set()),  # only the last word may be the beginning of one
        ({"q": "podcast ep 01"}, {3}),
        ({"q": "podcast-ep-01.mp3"}, {3}),
        ({"q": "dog"}, {2}),
        ({"q": "flux"}, {1, 2}),
        ({"q": "flux job"}, {1, 2}),
        ({"q": "headshot dog"}, set()),
        ({"tags": "avatar,headshot"}, {1}),
        ({"tags": " avatar , "}, {1}),
        ({"tags": "avatar,other"}, set()),
        ({"q": "jesse", "tags": "avatar", "type": "lora-training"}, {1}),
        ({"q": "jesse", "type": "transcription"}, set()),
        ({"q": "jesse", "userId": "bob"}, set()),
        ({}, {1, 2, 3}),
        ({"q": "k"}, set()),  # between two words of a record, and the beginning of none
    ],
)
async def test_a_search_finds(world: GatewayWorld, asked: dict[str, str], found: set[int]) -> None:
    lora(world, 1), images(world, 2), transcript(world, 3)
    listed = await get(world, "/api/assets/search", **asked)
    assert {int(job["jobId"][-4:]) for job in listed["jobs"]} == found
    assert listed["total"] == len(found)


@pytest.mark.parametrize(
    ("path", "given", "field"),
    [
        ("search", {"q": "!!!"}, "q"),
        ("search", {"q": "a " * 100 + "b c d e f g h i j k l m n o p q r"}, "q"),
        ("search", {"q": "x" * 300}, "q"),
        ("images", {"model": "$ne"}, "model"),
        ("loras", {"userId": "../x"}, "userId"),
        ("loras", {"limit": "0"}, "limit"),
        ("loras", {"cursor": "x"}, "cursor"),
        ("transcripts", {"from": "yesterday"}, "from"),
    ],
)
async def test_invalid_parameter_is_named(world: GatewayWorld, path: str, given: dict[str, str], field: str) -> None:
    async with world.client("ann") as ann:
        answer = await ann.get(f"/api/assets/{path}", params=given)
    assert answer.status_code == 422
    assert answer.json()["detail"].startswith(field)
    assert answer.headers["content-type"] == "application/problem+json"


async def test_stats_are_as_the_seeds_have_them(world: GatewayWorld) -> None:
    for number in range(20):
        lora(world, number)
    images(world, 30), transcript(world, 31), lora(world, 32, namespace="blue")
    assert await get(world, "/api/assets/stats", userId="ann") == {
        "totalJobs": 22,
        "byType": {"lora-training": 20, "image-generation": 1, "transcription": 1},
        "totalStorageGB": "2.5",
        "estimatedMonthlyCost": "0.06",
    }
    nobody = await get(world, "/api/assets/stats", "dave")
    assert nobody == {
        "totalJobs": 0,
        "byType": {"lora-training": 0, "image-generation": 0, "transcription": 0},
        "totalStorageGB": "0",
        "estimatedMonthlyCost": "0.00",
    }


@pytest.mark.parametrize(
    ("size", "text"),
    [(0, "0"), (125_000, "0.000125"), (2_500_000_000, "2.5"), (1_250_400_000, "1.25"), (10**13, "10000")],
)
def test_gigabytes_are_told_with_what_matters(size: int, text: str) -> None:
    rows = [{"_id": "lora-training", "jobs": 1, "bytes": size}]
    assert totals(rows, 0.023).total_storage_gb == text


async def test_files_of_the_legacy_service_are_shown(world: GatewayWorld) -> None:
    """No thumbnails, no model of a version, no preview; addresses of other buckets stay unchanged."""
    elsewhere = "https://other.s3.amazonaws.com/generated-images/u/j/image_1.png"
    put(
        world,
        1,
        IMAGES,
        {"config": {"model": "flux-pro", "prompt": "p"}, "versions": [{"images": [{"url": elsewhere}]}]},
    )
    (picture,) = (await get(world, "/api/assets/images"))["images"]
    assert (picture["thumbnailUrl"], picture["prompt"], picture["version"]) == (elsewhere, "p", 1)
    put(world, 2, LORA, {"config": {}, "versions": [{"modelUrl": f"{BASE}loras/u/j/v1/model.safetensors"}]})
    (one,) = (await get(world, "/api/assets/loras"))["loras"]
    assert (one["thumbnailUrl"], one["tags"], one["name"]) == (None, [], "job-2")


@pytest.mark.parametrize("key", ["runs/j/1/provider-1.json", "temp/x.png", "loras/u/j/v1/../../x", ""])
async def test_only_outputs_are_signed(world: GatewayWorld, key: str) -> None:
    put(world, 1, LORA, {"config": {}, "versions": [{"version": 1, "previewUrl": BASE + key}]})
    (one,) = (await get(world, "/api/assets/loras"))["loras"]
    assert one["thumbnailUrl"] is None
