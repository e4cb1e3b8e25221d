"""Gateway over real stores: records of the operator are listed, found and counted, and files download."""

# ruff: noqa: ASYNC210 - a blocking request in a test blocks nobody
import json
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
from pymongo.database import Database

from contentgen_contract.names import Kind
from contentgen_gateway.stores.shares import Grantee, Share
from contentgen_sandbox.testing import S3Server
from contentgen_simulation.gateway.real_stores import NOW, TYPES, StoredWorld


@pytest.fixture
async def world(database: Database[dict[str, Any]], s3: S3Server) -> StoredWorld:
    made = StoredWorld(database, s3.endpoint)
    for kind, job in TYPES.items():
        loras = (f"loras/user123/{TYPES[Kind.LORA_TRAINING]}/v1/model.safetensors",)
        await made.make(kind, job, loras=loras if kind is Kind.IMAGE_GENERATION else ())
    await made.make(Kind.LORA_TRAINING, "foreign", namespace="blue")
    return made


async def test_operators_records_are_listed_in_the_seeds_form(world: StoredWorld) -> None:
    (lora,) = (await world.get("/api/assets/loras", userId="user123"))["loras"]
    (image,) = (await world.get("/api/assets/images", userId="user123", model="flux-lora"))["images"]
    (transcript,) = (await world.get("/api/assets/transcripts", userId="user123"))["transcripts"]
    assert (lora["name"], lora["trigger"], lora["tags"]) == ("jesse_avatar", "jf", ["avatar", "headshot"])
    assert urlsplit(lora["latestVersion"]["modelUrl"]).path.endswith(
        "/loras/user123/lora-training-1/v1/model.safetensors"
    )
    assert (image["prompt"], image["model"], image["width"]) == ("jf in a suit", "flux-lora", 64)
    assert (transcript["fileName"], transcript["wordCount"], transcript["speakers"]) == ("podcast-ep-01.mp3", 861, 2)
    for thumbnail, name in ((lora["thumbnailUrl"], "preview.png"), (image["thumbnailUrl"], "image_1_thumb.png")):
        response = httpx.get(thumbnail)
        assert response.status_code == 200
        assert response.text.startswith(name)
        assert response.headers["content-disposition"].startswith("inline;"), "to be shown, and not saved"
        assert response.headers["content-type"] == "image/png", "by its name: it was stored without a type"
    text = httpx.get(transcript["textUrl"])
    assert (text.status_code, text.text) == (200, "transcript.txt of transcription-1")
    assert text.headers["content-disposition"].startswith("inline;")
    plain = transcript["textUrl"].partition("?")[0]
    assert httpx.get(plain).status_code == 403, "the bucket is private"
    signature = parse_qs(urlsplit(transcript["textUrl"]).query)["X-Amz-Signature"][0]
    for spoilt in (signature[::-1], "0" * len(signature), ""):
        assert httpx.get(transcript["textUrl"].replace(signature, spoilt)).status_code in (400, 403)


async def test_a_search_finds_by_words_and_tags(world: StoredWorld) -> None:
    for asked, found in (
        ({"q": "avat"}, {"lora-training-1"}),
        ({"q": "podcast"}, {"transcription-1"}),
        ({"q": "jf"}, {"lora-training-1", "image-generation-1"}),
        ({"tags": "avatar,headshot"}, {"lora-training-1"}),
        ({"q": "k"}, set()),
    ):
        listed = await world.get("/api/assets/search", userId="user123", **asked)
        assert {job["jobId"] for job in listed["jobs"]} == found
        assert listed["total"] == len(found)


async def test_a_download_reads_one_file_until_it_ends(world: StoredWorld) -> None:
    path = "/api/assets/transcription-1/download"
    body = await world.get(path, file="transcript.txt", expires=3600)
    read = httpx.get(body["url"])
    assert (read.status_code, read.text) == (200, "transcript.txt of transcription-1")
    assert read.headers["content-disposition"] == 'attachment; filename="transcript.txt"'
    assert httpx.get(body["url"].replace("transcript.txt?", "transcript.json?")).status_code == 403
    assert httpx.get(body["url"].replace("X-Amz-Expires=3600", "X-Amz-Expires=86400")).status_code == 403
    assert datetime.fromisoformat(body["expiresAt"]) - datetime.now(UTC) <= timedelta(hours=1)
    await world.get(path, code=404, file="transcript.srt")
    stats = await world.get("/api/assets/transcription-1/stats")
    assert stats["downloads"] == 1
    await world.get(path, "bob", 404)
    lora = await world.get("/api/assets/lora-training-1/stats")
    assert (lora["usedInJobs"], lora["storageCost"]) == (["image-generation-1"], 0.000069)


async def test_a_dataset_is_shown_from_the_bucket(world: StoredWorld) -> None:
    folder = "datasets/user123/lora-training-1/"
    index = {
        "images": [{"file": "images/0001.jpg", "caption": "a photo of jf", "width": 8, "height": 8}],
        "rejected": [{"reason": "Blurred", "seconds": 1.0, "shot": 1, "figure": 3.0, "limit": 12.0}],
        "shots": [],
    }
    for name, body in (("dataset.json", json.dumps(index).encode()), ("images/0001.jpg", b"a picture")):
        world.storage._client.put_object(Bucket="assets", Key=folder + name, Body=body)
    body = await world.get("/api/jobs/lora-training-1/dataset")
    assert body["rejectedByReason"] == {"Blurred": 1}
    assert httpx.get(body["images"][0]["thumbnailUrl"]).content == b"a picture"
    await world.get("/api/jobs/transcription-1/dataset", code=404)


async def test_sums_are_the_servers(world: StoredWorld) -> None:
    assert await world.get("/api/assets/stats", userId="user123") == {
        "totalJobs": 3,
        "byType": {"lora-training": 1, "image-generation": 1, "transcription": 1},
        "totalStorageGB": "0.007",
        "estimatedMonthlyCost": "0.00",
    }
    for by, keys in (
        ("user", {"user123"}),
        ("kind", {kind.record_type for kind in Kind}),
        ("day", {"2026-11-21"}),
        ("model", {f"model-of-{kind.value}" for kind in Kind}),
    ):
        body = await world.get("/api/usage", by=by, namespace="red")
        assert keys <= {file["key"] for file in body["usage"]}
        assert (body["total"]["paid"], body["total"]["jobs"]) == ("0.7500", 3)


async def test_pages_hold_each_job_once(world: StoredWorld) -> None:
    for number in range(7):
        await world.make(Kind.IMAGE_GENERATION, f"more-{number}")
    seen: list[str] = []
    cursor = None
    while not seen or cursor:
        page = await world.get("/api/assets/images", limit=3, **({"cursor": cursor} if cursor else {}))
        seen += [image["imageId"] for image in page["images"]]
        cursor = page["nextCursor"]
        assert page["total"] == 8
    assert len(seen) == len(set(seen)) == 8


async def test_shared_job_is_listed_and_fetched(world: StoredWorld) -> None:
    assert (await world.get("/api/assets/loras", "bob"))["total"] == 1
    to = Grantee("user", "bob")
    await world.dependencies.shares.add(
        [Share("lora-training-1", "red", Kind.LORA_TRAINING.record_type, to, "ann", NOW)]
    )
    assert (await world.get("/api/assets/loras", "bob"))["total"] == 2
    assert (await world.get("/api/assets/stats", "bob"))["totalJobs"] == 1, "what is another's is not counted"
    body = await world.get("/api/assets/lora-training-1/download", "bob")
    assert httpx.get(body["url"]).text == "model.safetensors of lora-training-1"
    await world.dependencies.shares.revoke("lora-training-1", [to])
    await world.get("/api/assets/lora-training-1/download", "bob", 404)
