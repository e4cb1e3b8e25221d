"""Records with values of wrong types: imports refuse them, and stored ones break no response."""

import copy
import itertools
import json
import math
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

import pytest

from contentgen_contract.names import Kind
from contentgen_simulation.gateway.server import START, GatewayWorld
from contentgen_simulation.gateway.tenants import TenantWorld

ANN = ("ann", "*", "*", "red")
JOB = "50000000-0000-4000-8000-000000000001"
OTHER = "50000000-0000-4000-8000-999999999999"
FOLDERS = {
    Kind.LORA_TRAINING: f"loras/ann/{JOB}/v1/",
    Kind.IMAGE_GENERATION: f"generated-images/ann/{JOB}/",
    Kind.TRANSCRIPTION: f"transcripts/ann/{JOB}/",
}
BUCKET = "http://s3.test/assets/"
_VERSION = {"version": 1, "createdAt": START, "loras": [], "cost": {"display": "$1"}, "bytes": 9}
VERSIONS: dict[Kind, dict[str, Any]] = {
    Kind.LORA_TRAINING: {
        "modelUrl": BUCKET + FOLDERS[Kind.LORA_TRAINING] + "model.safetensors",
        "s3Key": FOLDERS[Kind.LORA_TRAINING] + "model.safetensors",
        "sizeBytes": 9,
        "previewUrl": BUCKET + FOLDERS[Kind.LORA_TRAINING] + "preview.png",
        "config": {"trigger": "jf", "steps": 1000, "learning_rate": 0.1, "frame_count": 9},
    },
    Kind.IMAGE_GENERATION: {
        "seed": 1,
        "model": "fal-ai/flux/dev",
        "prompt": "a lighthouse",
        "images": [
            {
                "url": BUCKET + FOLDERS[Kind.IMAGE_GENERATION] + "image_1.png",
                "s3Key": FOLDERS[Kind.IMAGE_GENERATION] + "image_1.png",
                "thumbnailUrl": BUCKET + FOLDERS[Kind.IMAGE_GENERATION] + "image_1_thumb.png",
                "width": 64,
                "height": 48,
                "sizeBytes": 9,
            }
        ],
    },
    Kind.TRANSCRIPTION: {
        "transcriptUrl": BUCKET + FOLDERS[Kind.TRANSCRIPTION] + "transcript.json",
        "textUrl": BUCKET + FOLDERS[Kind.TRANSCRIPTION] + "transcript.txt",
        "srtUrl": None,
        "vttUrl": None,
        "wordCount": 9,
        "duration": 2.5,
        "speakers": 2,
        "language": "en",
    },
}
CONFIG = {"loraName": "face", "trigger": "jf", "model": "flux-dev", "prompt": "a lighthouse", "steps": 1000}
METADATA = {"tags": ["podcast"], "description": "about", "isPublic": False}
ASSETS = {Kind.LORA_TRAINING: "loras", Kind.IMAGE_GENERATION: "images", Kind.TRANSCRIPTION: "transcripts"}
PAGES = {Kind.LORA_TRAINING: "loras", Kind.IMAGE_GENERATION: "pictures", Kind.TRANSCRIPTION: "transcripts"}
WRONG: tuple[Any, ...] = (7, 1.5, math.inf, math.nan, True, "text", {"a": {"b": 1}}, [1, {"a": 1}], [], START, b"bytes")


def good(kind: Kind) -> dict[str, Any]:
    """A record with all fields that have a schema."""
    return {
        "jobId": JOB, "userId": "ann", "type": kind.record_type, "namespace": "red", "name": "job",
        "config": CONFIG, "metadata": METADATA, "versions": [_VERSION | VERSIONS[kind]], "status": "completed",
        "phase": "Completed", "progress": 100, "reason": "Completed", "error": None, "message": "", "stage": None,
        "sourceVideo": {"url": "https://h/a.mp4", "filename": "a.mp4", "sizeBytes": 9}, "cost": {"display": "$1"},
        "createdAt": START, "startedAt": START, "completedAt": START + timedelta(minutes=1), "downloads": 1,
        "lastAccessed": START, "bytes": 9, "pictures": 1, "uses": [], "terms": ["face"], "imported": True,
        "estimatedCompletionTime": START,
    }  # fmt: skip


def places(value: object, at: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    """The path of each field and element of a document."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for name, element in inner:
        yield (*at, name)
        yield from places(element, (*at, name))


def spoilt(record: dict[str, Any], place: tuple[str | int, ...], value: object) -> dict[str, Any]:
    """The record with the value at one path replaced."""
    made: Any = copy.deepcopy(record)
    part = made
    for each in place[:-1]:
        part = part[each]
    part[place[-1]] = value
    return made  # type: ignore[no-any-return]  # it was a record


def every(kind: Kind) -> list[tuple[tuple[str | int, ...], object, dict[str, Any]]]:
    """Records of separate jobs, one for each path and each wrong value."""
    pairs = itertools.product(places(good(kind)), WRONG)
    made = [(place, value, spoilt(good(kind), place, value)) for place, value in pairs]
    for number, (place, _, record) in enumerate(made):
        if place[0] != "jobId":
            record["jobId"] = f"50000000-0000-4000-8000-{number:012}"
    return made


@pytest.mark.parametrize("kind", list(Kind))
async def test_a_value_of_a_wrong_type_breaks_no_list(kind: Kind) -> None:
    world, broken = GatewayWorld(ANN), []
    jobs = world.database["jobs"]
    neighbour = good(kind) | {"jobId": OTHER, "versions": [], "createdAt": START - timedelta(days=1)}
    records = every(kind)
    assert len(records) > 500
    async with world.client("ann") as ann:
        for batch in batches(records, 150):
            jobs.delete_many({})
            jobs.insert_many([neighbour, *(record for *_, record in batch)])
            for path in (
                "/api/jobs",
                f"/api/assets/{ASSETS[kind]}",
                "/jobs",
                f"/{PAGES[kind]}",
                "/api/assets/search?q=",
            ):
                answer = await ann.get(path, params={"namespace": "red"})
                if answer.status_code != 200:
                    broken.append(f"{path} over {batch[0][0]} to {batch[-1][0]}: {answer.status_code}")
            listed = json.loads((await ann.get("/api/jobs?namespace=red")).text, parse_constant=pytest.fail)
            assert OTHER in [job["jobId"] for job in listed.get("jobs", ())] or broken
    assert broken == []


def batches(given: list[Any], size: int) -> Iterator[list[Any]]:
    """In lists with pages of this length."""
    return (given[first : first + size] for first in range(0, len(given), size))


@pytest.mark.parametrize("kind", list(Kind))
async def test_a_value_of_a_wrong_type_breaks_no_page_of_its_job(kind: Kind) -> None:
    world, broken = GatewayWorld(ANN), []
    world.dependencies.files.size = nothing  # type: ignore[method-assign]
    world.dependencies.files.read = nothing  # type: ignore[method-assign,assignment]
    async with world.client("ann") as ann:
        for place, value in itertools.product(places(good(kind)), ("text", {"a": 1})):
            world.database["jobs"].delete_many({})
            world.database["jobs"].insert_one(spoilt(good(kind), place, value))
            paths = (f"/api/jobs/{JOB}", f"/jobs/{JOB}", f"/{PAGES[kind]}/{JOB}")
            broken += [f"{place} = {value!r}: {path}" for path in paths if (await ann.get(path)).status_code == 500]
    assert broken == []


async def nothing(*_: object) -> None:
    """A bucket without files."""


@pytest.mark.parametrize("value", WRONG, ids=str)
async def test_sums_and_pages_over_all_jobs_stand_a_wrong_value(value: object) -> None:
    paths = ["/api/usage?by=model", "/api/usage?by=kind", "/api/usage?by=day", "/api/assets/stats", "/usage", "/"]
    paths += ["/jobs", "/loras", "/api/assets/search?q=face", "/api/collections", "/api/lora/list"]
    of_one = ("/api/assets/{}/stats", "/api/assets/{}/download", "/api/lora/status/{}")
    world, jobs = GatewayWorld(ANN), []
    world.dependencies.files.size = nothing  # type: ignore[method-assign]
    record = good(Kind.LORA_TRAINING)
    for number, name in enumerate(
        ("config", "metadata", "bytes", "pictures", "downloads", "lastAccessed", "versions"), 1
    ):
        jobs.append(f"{JOB[:-1]}{number}")
        world.database["jobs"].insert_one(record | {"jobId": jobs[-1], name: value})
    async with world.client("ann") as ann:
        codes = {path: (await ann.get(path)).status_code for path in paths}
        codes |= {
            path: (await ann.get(path)).status_code for path in (each.format(job) for each in of_one for job in jobs)
        }
    assert [path for path, code in codes.items() if code >= 500] == []


async def test_a_record_whose_values_are_right_is_shown_as_it_is() -> None:
    for kind in Kind:
        world = GatewayWorld(ANN)
        kept = good(kind) | {"config": CONFIG | {"more": {"deep": [1, 2.5, None, "x"]}, "steps": 1000.0}}
        world.database["jobs"].insert_one(dict(kept))
        found = await world.dependencies.records.get(JOB)
        assert found is not None
        for name in ("config", "metadata", "cost", "sourceVideo", "createdAt", "progress"):
            assert found[name] == kept[name]
        assert found["versions"][0].keys() == kept["versions"][0].keys()
        assert isinstance(found["createdAt"], datetime)


# Import

DOCUMENT = {
    "jobId": JOB,
    "userId": "ann",
    "type": "lora-training",
    "status": "completed",
    "createdAt": "2025-11-27T20:50:09Z",
}


@pytest.mark.parametrize(
    ("config", "field", "told"),
    [
        ({"loraName": ["x"]}, "config.loraName", "a list: expected a text"),
        ({"trigger": 7}, "config.trigger", "7: expected a text"),
        ({"model": {"a": 1}}, "config.model", "an object: expected a text"),
        ({"prompt": False}, "config.prompt", "false: expected a text"),
        ({"steps": "many"}, "config.steps", "'many': expected a whole number"),
        ({"steps": 1.5}, "config.steps", "1.5: expected a whole number"),
        ({"frame_count": "https://u:hunter2@h/a"}, "config.frame_count", "a text: expected a whole number"),
    ],
)
async def test_an_import_refuses_a_field_of_a_wrong_type(config: dict[str, Any], field: str, told: str) -> None:
    world = TenantWorld()
    version = {"version": 1, "config": config}
    for document, where in (
        (DOCUMENT | {"config": config}, field),
        (DOCUMENT | {"versions": [version]}, f"versions.0.{field}"),
    ):
        async with world.client("ann") as ann:
            body = {"namespace": "red", "jobs": [DOCUMENT | {"jobId": OTHER}, document]}
            answer = (await ann.post("/api/admin/import", json=body)).json()
        assert (answer["jobs"][1]["outcome"], answer["jobs"][1]["jobId"]) == ("refused", JOB)
        assert answer["jobs"][1]["problems"] == [{"field": where, "why": told}]
        assert world.database["jobs"].find_one({"jobId": JOB}) is None


@pytest.mark.parametrize(
    "document",
    [
        '{"config": {"a": 1e999}}',
        '{"config": {"a": NaN}}',
        '{"config": {"a": [[-Infinity]]}}',
        '{"versions": [{"version": 1, "duration": 1e999}]}',
    ],
)
async def test_an_import_refuses_numbers_that_no_answer_could_have(document: str) -> None:
    world = TenantWorld()
    content = f'{{"namespace": "red", "jobs": [{json.dumps(DOCUMENT)[:-1]}, {document[1:]}]}}'
    async with world.client("ann") as ann:
        headers = {"content-type": "application/json"}
        answer = await ann.post("/api/admin/import", content=content, headers=headers)
    assert (answer.status_code, answer.json()["outcomes"]["refused"]) == (200, 1), answer.text
    assert world.database["jobs"].find_one({"jobId": JOB}) is None
