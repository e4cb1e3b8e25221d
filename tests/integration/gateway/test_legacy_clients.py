"""Clients of the legacy API against the app over real stores: every line, response shape and file URL."""

# ruff: noqa: ASYNC210 - a blocking request in a test blocks nobody
import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from pymongo.database import Database

from contentgen_contract.names import Kind
from contentgen_sandbox.testing import S3Server
from contentgen_simulation.gateway import legacy_clients
from contentgen_simulation.gateway.real_stores import TYPES, StoredWorld

IDS = legacy_clients.Ids(*(TYPES[kind] for kind in (Kind.LORA_TRAINING, Kind.IMAGE_GENERATION, Kind.TRANSCRIPTION)))
MODEL = f"loras/user123/{IDS.lora}/v1/model.safetensors"


@pytest.fixture
async def world(database: Database[dict[str, Any]], s3: S3Server) -> StoredWorld:
    made = StoredWorld(database, s3.endpoint)
    for kind, job in TYPES.items():
        await made.make(kind, job, loras=(MODEL,) if kind is Kind.IMAGE_GENERATION else ())
    return made


async def test_each_line_is_answered_as_promised(world: StoredWorld) -> None:
    for line in legacy_clients.LINES:
        path = legacy_clients.path_of(IDS.filled(line))
        legacy_clients.assert_as_promised(path, await world.get(path))


async def test_a_file_is_fetched_by_its_path(world: StoredWorld) -> None:
    """`curl -L`: its second request goes elsewhere, and takes no token along."""
    async with world.client("ann") as ann:
        answer = await ann.get(legacy_clients.path_of(IDS.filled(legacy_clients.FILE_LINE)))
    assert answer.status_code == 307
    assert httpx.get(answer.headers["location"]).text == f"transcript.txt of {IDS.transcript}"


@pytest.mark.parametrize(
    "path",
    [
        *("/api/jobs", "/api/lora/list", "/api/assets/search?q=k", "/api/assets/loras", "/api/assets/images"),
        *("/api/assets/transcripts", "/api/loras", "/api/images", "/api/transcripts"),
        *(f"/api/jobs/{job}" for job in TYPES.values()),
    ],
)
async def test_every_address_is_fetched_without_a_token(world: StoredWorld, path: str) -> None:
    """But for those that are not the bucket's, such as the video's."""
    given = dict(addresses(await world.get(path.replace("?q=k", ""))))
    assert given
    for where, address in given.items():
        answer = httpx.get(address)
        name = address.partition("?")[0].rpartition("/")[2]
        assert (answer.status_code, answer.text.partition(" ")[0]) == (200, name), where
    assert {where.rpartition(".")[2] for where in given} <= {
        "url", "thumbnailUrl", "modelUrl", "imageUrl", "transcriptUrl", "textUrl", "previewUrl", "configUrl", "srtUrl",
        "vttUrl", "datasetUrl",
    }  # fmt: skip


def addresses(given: Any, where: str = "") -> Iterator[tuple[str, str]]:
    """Fields that a client uses as file URLs, by path."""
    if isinstance(given, dict):
        for name, member in given.items():
            if name != "sourceVideo":
                yield from addresses(member, f"{where}.{name}")
    elif isinstance(given, list):
        for number, element in enumerate(given):
            yield from addresses(element, f"{where}.{number}")
    elif isinstance(given, str) and given.startswith(("http", "s3:")):
        yield where, given


def ours(world: StoredWorld, name: str) -> dict[str, Any]:
    made: dict[str, Any] = world.api.resources["red", Kind.IMAGE_GENERATION.plural, name]
    return made


async def test_a_lora_is_used_by_the_address_that_a_list_gives(world: StoredWorld) -> None:
    """Example of the legacy API: found by name, its URL used unchanged."""
    loras = await world.get("/api/assets/loras?userId=user123")
    found = next(lora for lora in loras["loras"] if lora["name"] == "jesse_avatar")
    body = legacy_clients.generate(found["latestVersion"]["modelUrl"]) | {"namespace": "red"}
    async with world.client("ann") as ann:
        answer = await ann.post("/api/images/generate", json=body)
    assert answer.status_code == 202, answer.text
    spec = ours(world, answer.json()["name"])["spec"]
    assert spec["loras"] == [{"loraRef": {"name": f"it-{IDS.lora}"}, "scale": "0.8"}]
    assert "X-Amz" not in str(ours(world, answer.json()["name"])), "nothing signed is stored"


async def test_another_signature_of_the_same_model_is_the_same_request(world: StoredWorld) -> None:
    first, second = world.dependencies.files.url(MODEL), world.dependencies.files.display_url(MODEL)
    assert first != second
    async with world.client("ann") as ann:
        answers = [
            await ann.post(
                "/api/images/generate",
                json=legacy_clients.generate(address) | {"namespace": "red"},
                headers={"Idempotency-Key": "a key"},
            )
            for address in (first, second, world.dependencies.files.address(MODEL))
        ]
        other = await ann.post(
            "/api/images/generate",
            json=legacy_clients.generate("https://example.com/model.safetensors") | {"namespace": "red"},
            headers={"Idempotency-Key": "a key"},
        )
    assert [answer.status_code for answer in answers] == [202, 202, 202], answers[-1].text
    assert len({answer.json()["jobId"] for answer in answers}) == 1
    assert other.status_code == 422


async def test_a_transcript_is_read_by_the_address_that_a_list_gives(world: StoredWorld) -> None:
    transcripts = await world.get("/api/assets/transcripts?userId=user123")
    assert httpx.get(transcripts["transcripts"][0]["textUrl"]).text == f"transcript.txt of {IDS.transcript}"


async def test_body_without_content_type_is_json(world: StoredWorld) -> None:
    """The legacy API's example passes a string to `fetch`, which browsers send as plain text."""
    for headers in ({"Content-Type": "text/plain;charset=UTF-8"}, {}):
        content = json.dumps(legacy_clients.generate("https://example.com/m.safetensors") | {"namespace": "red"})
        async with world.client("ann") as ann:
            answer = await ann.post("/api/images/generate", content=content, headers=headers)
        assert answer.status_code == 202, answer.text


async def test_training_and_collection_from_the_seeds_bodies(world: StoredWorld) -> None:
    async with world.client("ann") as ann:
        body = legacy_clients.TRAIN | {"videoUrl": "https://example.com/talk.mp4", "namespace": "red"}
        made = await ann.post("/api/lora/train", json=body)
        assert made.status_code == 202, made.text
        collection = await ann.post(
            "/api/collections", json=legacy_clients.collection(IDS.lora, IDS.pictures) | {"namespace": "red"}
        )
        assert collection.status_code == 201, collection.text
        listed = (await ann.get("/api/collections?userId=user123")).json()["collections"]
    assert [(each["name"], each["assetCount"]) for each in listed] == [("SEO Workshop Campaign", 2)]


async def test_a_job_is_deleted(world: StoredWorld) -> None:
    async with world.client("ann") as ann:
        assert (await ann.delete(legacy_clients.path_of(IDS.filled(legacy_clients.DELETE_LINE)))).status_code == 202
        assert (await ann.get(f"/api/jobs/{IDS.pictures}")).status_code == 404
