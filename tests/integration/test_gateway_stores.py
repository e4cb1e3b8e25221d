"""The gateway over real stores: what the operator wrote is listed, found, counted, and can be fetched."""

# ruff: noqa: ASYNC210 - a blocking request in a test blocks nobody
import hashlib
import json
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from pymongo import MongoClient
from pymongo.database import Database

from contentgen_contract.names import Kind, Phase
from contentgen_contract.spec import parse_spec, run_hash
from contentgen_contract.status import OutputFile, ResourceStatus, RunStatus, VersionStatus
from contentgen_gateway.files import Files
from contentgen_gateway.shares import Grantee, Share
from contentgen_operator.ledger import Ledger
from contentgen_operator.observed import Resource
from contentgen_operator.purchases import Purchase, PurchaseKey, PurchaseState
from contentgen_operator.records import Records
from contentgen_operator.storage import Storage
from contentgen_sandbox.testing import mongo_server, s3_server
from contentgen_simulation.gateway import GatewayWorld

NOW = datetime(2026, 11, 21, tzinfo=UTC)
SPECS: dict[Kind, dict[str, Any]] = {
    Kind.LORA_TRAINING: {
        "userId": "user123",
        "loraName": "jesse_avatar",
        "triggerWord": "jf",
        "source": {"url": "https://h/talk.mp4"},
        "metadata": {"tags": ["avatar", "headshot"], "description": "Jesse professional headshot avatar"},
    },
    Kind.IMAGE_GENERATION: {"userId": "user123", "prompt": "jf in a suit", "model": "flux-lora"},
    Kind.TRANSCRIPTION: {"userId": "user123", "source": {"url": "s3://recordings/podcast-ep-01.mp3"}},
}
IMAGE = {"name": "image_1.png", "thumbnail": "image_1_thumb.png", "width": 64, "height": 48, "sizeBytes": 9}
OUTPUTS: dict[Kind, tuple[str, list[str], dict[str, Any]]] = {
    Kind.LORA_TRAINING: ("loras/user123/{}/v1/", ["model.safetensors", "config.json", "preview.png"], {}),
    Kind.IMAGE_GENERATION: (
        "generated-images/user123/{}/",
        ["image_1.png", "image_1_thumb.png"],
        {"seed": 1, "images": [IMAGE]},
    ),
    Kind.TRANSCRIPTION: (
        "transcripts/user123/{}/",
        ["transcript.json", "transcript.txt"],
        {"wordCount": 861, "durationSeconds": 282.0, "speakers": 2, "language": "en"},
    ),
}
TYPES = {kind: f"{kind.record_type}-1" for kind in Kind}


@pytest.fixture(scope="module")
def mongo() -> Iterator[MongoClient[dict[str, Any]]]:
    with mongo_server() as uri, MongoClient[dict[str, Any]](uri, tz_aware=True) as client:
        yield client


@pytest.fixture(scope="module")
def endpoint(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with s3_server(tmp_path_factory.mktemp("s3")) as server, pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ACCESS_KEY_ID", server.access_key)
        patch.setenv("AWS_SECRET_ACCESS_KEY", server.secret_key)
        yield server.endpoint


class World(GatewayWorld):
    """The app over real stores, and an operator that fills them."""

    def __init__(self, database: Database[dict[str, Any]], endpoint: str) -> None:
        where = {"bucket": "assets", "region": "us-east-1", "endpoint": endpoint, "public_endpoint": None}
        files = Files(**where)  # type: ignore[arg-type]  # strings, and one None
        super().__init__(("ann", "*", "*", "red"), ("bob", "*", "*", "blue"), database=database, files=files)
        self.storage = Storage(**where)  # type: ignore[arg-type]  # as above
        self.storage.ensure_bucket()
        self.written = Records(database["jobs"], self.storage)
        self.ledger = Ledger(database["ledger"])
        self.written.create_indexes()
        self.ledger.create_indexes()
        self.parts.shares.create_indexes()

    async def make(self, kind: Kind, job: str, namespace: str = "red", loras: tuple[str, ...] = ()) -> None:
        """One finished run, with its files and its purchase."""
        prefix, names, facts = OUTPUTS[kind]
        folder = prefix.format(job)
        for name in names:
            content = f"{name} of {job}".encode()
            self.storage._client.put_object(Bucket="assets", Key=folder + name, Body=content)
        meta = {
            "name": f"it-{job}", "namespace": namespace, "uid": job, "resourceVersion": "1",
            "creationTimestamp": NOW.isoformat(),
        }  # fmt: skip
        resource = Resource.parse(kind, {"metadata": meta, "spec": SPECS[kind]})
        version = VersionStatus(
            version=1,
            job_id=job,
            completed_at=NOW,
            files=tuple(OutputFile(key=folder + name, size_bytes=1_000_000) for name in names),
            facts=facts,
        )
        run = RunStatus(
            number=1, version=1, run_hash=run_hash(kind, parse_spec(kind, SPECS[kind])), generation=1,
            spec=SPECS[kind], started_at=NOW, loras=loras,
        )  # fmt: skip
        status = ResourceStatus(
            phase=Phase.COMPLETED, job_id=job, progress=100, run=run, versions=(version,), completion_time=NOW
        )
        await self.written.write(resource, status)
        key = PurchaseKey(namespace=namespace, kind=kind, name=job, run_hash="a", rerun=None, attempt=1)
        await self.ledger.intend(
            key,
            Purchase(
                state=PurchaseState.COLLECTED, job_id=job, namespace=namespace, type=kind.record_type,
                user_id="user123", provider="fal", model=f"model-of-{kind.value}", marker=job, created_at=NOW,
                changed_at=NOW, actual_micros=250_000,
            ),
        )  # fmt: skip

    async def get(self, path: str, caller: str = "ann", code: int = 200, **params: Any) -> dict[str, Any]:
        async with self.client(caller) as client:
            answer = await client.get(path, params=params)
        assert answer.status_code == code, answer.text
        body: dict[str, Any] = answer.json()
        return body


@pytest.fixture
async def world(
    mongo: MongoClient[dict[str, Any]], endpoint: str, request: pytest.FixtureRequest
) -> AsyncIterator[World]:
    name = hashlib.sha256(request.node.name.encode()).hexdigest()[:16]
    made = World(mongo.get_database(name), endpoint)
    for kind, job in TYPES.items():
        loras = (f"loras/user123/{TYPES[Kind.LORA_TRAINING]}/v1/model.safetensors",)
        await made.make(kind, job, loras=loras if kind is Kind.IMAGE_GENERATION else ())
    await made.make(Kind.LORA_TRAINING, "foreign", namespace="blue")
    yield made
    mongo.drop_database(name)


async def test_what_the_operator_wrote_is_listed_as_the_seeds_have_it(world: World) -> None:
    (lora,) = (await world.get("/api/assets/loras", userId="user123"))["loras"]
    (image,) = (await world.get("/api/assets/images", userId="user123", model="flux-lora"))["images"]
    (transcript,) = (await world.get("/api/assets/transcripts", userId="user123"))["transcripts"]
    assert (lora["name"], lora["trigger"], lora["tags"]) == ("jesse_avatar", "jf", ["avatar", "headshot"])
    assert lora["latestVersion"]["modelUrl"].endswith("/loras/user123/lora-training-1/v1/model.safetensors")
    assert (image["prompt"], image["model"], image["width"]) == ("jf in a suit", "flux-lora", 64)
    assert (transcript["fileName"], transcript["wordCount"], transcript["speakers"]) == ("podcast-ep-01.mp3", 861, 2)
    for thumbnail, name in ((lora["thumbnailUrl"], "preview.png"), (image["thumbnailUrl"], "image_1_thumb.png")):
        shown = httpx.get(thumbnail)
        assert shown.status_code == 200
        assert shown.text.startswith(name)
        assert shown.headers["content-disposition"].startswith("inline")
    assert httpx.get(transcript["textUrl"]).status_code == 403, "the bucket is private"


async def test_a_search_finds_by_words_and_tags(world: World) -> None:
    for asked, found in (
        ({"q": "avat"}, {"lora-training-1"}),
        ({"q": "podcast"}, {"transcription-1"}),
        ({"q": "jf"}, {"lora-training-1", "image-generation-1"}),
        ({"tags": "avatar,headshot"}, {"lora-training-1"}),
        ({"q": "k"}, set()),
    ):
        listed = await world.get("/api/assets/search", userId="user123", **asked)
        assert {each["jobId"] for each in listed["jobs"]} == found
        assert listed["total"] == len(found)


async def test_a_download_reads_one_file_until_it_ends(world: World) -> None:
    path = "/api/assets/transcription-1/download"
    told = await world.get(path, file="transcript.txt", expires=3600)
    read = httpx.get(told["url"])
    assert (read.status_code, read.text) == (200, "transcript.txt of transcription-1")
    assert read.headers["content-disposition"] == 'attachment; filename="transcript.txt"'
    assert httpx.get(told["url"].replace("transcript.txt?", "transcript.json?")).status_code == 403
    assert httpx.get(told["url"].replace("X-Amz-Expires=3600", "X-Amz-Expires=86400")).status_code == 403
    assert datetime.fromisoformat(told["expiresAt"]) - datetime.now(UTC) <= timedelta(hours=1)
    await world.get(path, code=404, file="transcript.srt")
    stats = await world.get("/api/assets/transcription-1/stats")
    assert stats["downloads"] == 1
    await world.get(path, "bob", 404)
    lora = await world.get("/api/assets/lora-training-1/stats")
    assert (lora["usedInJobs"], lora["storageCost"]) == (["image-generation-1"], 0.000069)


async def test_a_dataset_is_shown_from_the_bucket(world: World) -> None:
    folder = "datasets/user123/lora-training-1/"
    index = {
        "images": [{"file": "images/0001.jpg", "caption": "a photo of jf", "width": 8, "height": 8}],
        "rejected": [{"reason": "Blurred", "seconds": 1.0, "shot": 1, "figure": 3.0, "limit": 12.0}],
        "shots": [],
    }
    for name, body in (("dataset.json", json.dumps(index).encode()), ("images/0001.jpg", b"a picture")):
        world.storage._client.put_object(Bucket="assets", Key=folder + name, Body=body)
    told = await world.get("/api/jobs/lora-training-1/dataset")
    assert told["rejectedByReason"] == {"Blurred": 1}
    assert httpx.get(told["images"][0]["thumbnailUrl"]).content == b"a picture"
    await world.get("/api/jobs/transcription-1/dataset", code=404)


async def test_sums_are_the_servers(world: World) -> None:
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
        told = await world.get("/api/usage", by=by, namespace="red")
        assert keys <= {each["key"] for each in told["usage"]}
        assert (told["total"]["paid"], told["total"]["jobs"]) == ("0.7500", 3)


async def test_pages_hold_each_job_once(world: World) -> None:
    for number in range(7):
        await world.make(Kind.IMAGE_GENERATION, f"more-{number}")
    seen: list[str] = []
    cursor = None
    while not seen or cursor:
        page = await world.get("/api/assets/images", limit=3, **({"cursor": cursor} if cursor else {}))
        seen += [each["imageId"] for each in page["images"]]
        cursor = page["nextCursor"]
        assert page["total"] == 8
    assert len(seen) == len(set(seen)) == 8


async def test_what_is_shared_is_listed_and_fetched(world: World) -> None:
    assert (await world.get("/api/assets/loras", "bob"))["total"] == 1
    to = Grantee("user", "bob")
    await world.parts.shares.add([Share("lora-training-1", "red", Kind.LORA_TRAINING.record_type, to, "ann", NOW)])
    assert (await world.get("/api/assets/loras", "bob"))["total"] == 2
    assert (await world.get("/api/assets/stats", "bob"))["totalJobs"] == 1, "what is another's is not counted"
    told = await world.get("/api/assets/lora-training-1/download", "bob")
    assert httpx.get(told["url"]).text == "model.safetensors of lora-training-1"
    await world.parts.shares.revoke("lora-training-1", [to])
    await world.get("/api/assets/lora-training-1/download", "bob", 404)
