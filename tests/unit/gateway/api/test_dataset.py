"""`/api/jobs/{id}/dataset`: training set of a LoRA, and rejected frames with reasons."""

import json
from typing import Any

import pytest
from pydantic import ValidationError

from contentgen_contract.names import Kind
from contentgen_gateway.schemas.dataset import Index
from contentgen_gateway.stores.files import BucketFiles
from contentgen_gateway.stores.verification import OwnedKey
from contentgen_simulation.gateway.bucket import RecordingBucket
from contentgen_simulation.gateway.server import GatewayWorld

# Dataset report in the format of contentgen_worker/media/dataset/dataset.py.
FRAME = {
    "width": 1024, "height": 576, "seconds": 1.5, "shot": 1, "hash": "00ab", "luma": 110.0, "contrast": 50.0,
    "chroma": [1.0, 2.0], "sharpness": 123.5, "motion": 1.5,
    "faces": [{"left": 0.4, "top": 0.2, "width": 0.2, "height": 0.412}],
}  # fmt: skip
REJECTED = [
    {"reason": "Blurred", "figure": 5.068, "limit": 12.0, **FRAME},
    {"reason": "Duplicate", "figure": 3, "limit": 6, "likeSeconds": 0.0, **FRAME},
    {"reason": "Blurred", "figure": 4.0, "limit": 12.0, **FRAME},
]
LAST = {"reason": "TooDark", "figure": 15.0, "limit": 18.0}


def index(images: int = 3) -> dict[str, Any]:
    frames = [{"file": f"images/{n:04}.jpg", "caption": f"a photo of jf, {n}", **FRAME} for n in range(1, images + 1)]
    frames[0]["lastResort"] = LAST
    return {"images": frames, "rejected": REJECTED, "shots": [{"number": 1, "start": 0.0, "end": 10.0}]}


class World(GatewayWorld):
    """World with a bucket."""

    def __init__(self) -> None:
        super().__init__(("ann", "*", "*", "red"), ("bob", "*", "*", "blue"))
        self.bucket = RecordingBucket()
        self.bucket.behind(self.dependencies.files)

    def leave(self, folder: str, document: object) -> None:
        self.bucket.objects[f"{folder}dataset.json"] = json.dumps(document).encode()


@pytest.fixture
def world() -> World:
    return World()


async def get(world: World, job: str, code: int = 200, **params: Any) -> dict[str, Any]:
    async with world.client("ann") as ann:
        answer = await ann.get(f"/api/jobs/{job}/dataset", params=params)
    assert answer.status_code == code, answer.text
    body: dict[str, Any] = answer.json()
    return body


def version(number: int, folder: str) -> dict[str, Any]:
    return {"version": number, "s3Key": f"loras/ann/{folder}/v{number}/model.safetensors"}


async def test_a_dataset_tells_what_was_kept_and_why_the_rest_was_not(world: World) -> None:
    job = world.job(1, versions=[version(1, "j")])
    world.leave("datasets/ann/j/", index())
    told = await get(world, job)
    assert (told["jobId"], told["version"], told["totalImages"], told["totalRejected"]) == (job, 1, 3, 3)
    assert told["rejectedByReason"] == {"Blurred": 2, "Duplicate": 1}
    first, second, _ = told["images"]
    assert first["thumbnailUrl"].startswith("http://s3.test/assets/datasets/ann/j/images/0001.jpg?")
    assert (first["caption"], first["lastResort"]["reason"]) == ("a photo of jf, 1", "TooDark")
    assert (second["lastResort"], second["width"], second["faces"]) == (None, 1024, FRAME["faces"])
    duplicate = told["rejected"][1]
    assert (duplicate["reason"], duplicate["figure"], duplicate["likeSeconds"]) == ("Duplicate", 3, 0.0)
    assert told["sheetUrl"].startswith("http://s3.test/assets/datasets/ann/j/preview.jpg?")
    assert told["shots"] == [{"number": 1, "start": 0.0, "end": 10.0}]


async def test_rejected_frames_are_shown(world: World) -> None:
    job = world.job(1, versions=[version(1, "j")])
    tile = {"left": 256, "top": 0, "width": 256, "height": 144}
    rejected = [{**REJECTED[0], "tile": tile}, *REJECTED[1:]]
    world.leave("datasets/ann/j/", index() | {"rejected": rejected})
    assert (await get(world, job))["rejectedPictures"] is None, "of an earlier release"
    world.leave("datasets/ann/j/", index() | {"rejected": rejected, "rejectedPictures": {"width": 512, "height": 144}})
    told = await get(world, job)
    assert told["rejectedPictures"]["url"].startswith("http://s3.test/assets/datasets/ann/j/rejected.jpg?")
    assert [each["tile"] for each in told["rejected"]] == [tile, None, None]
    async with world.client("ann") as ann:
        page = (await ann.get(f"/loras/{job}")).text
    assert page.count('viewBox="256 0 256 144"') == 1
    assert '<image href="http://s3.test/assets/datasets/ann/j/rejected.jpg?' in page


async def test_a_dataset_is_seen_before_it_is_paid_for(world: World) -> None:
    job = world.job(1, status="processing")
    world.leave(f"datasets/ann/{job}/", index())
    assert (await get(world, job))["version"] == 1


async def test_the_dataset_under_way_comes_before_those_that_are_done(world: World) -> None:
    job = world.job(1, versions=[version(1, "j"), version(2, "j")])
    world.leave("datasets/ann/j/", index(1))
    world.leave("datasets/ann/j/v2/", index(2))
    assert (await get(world, job))["totalImages"] == 2
    world.leave(f"datasets/ann/{job}/v3/", index(3))
    assert (await get(world, job))["totalImages"] == 3
    assert [(await get(world, job, version=n))["totalImages"] for n in (1, 2, 3)] == [1, 2, 3]
    await get(world, job, 404, version=4)


async def test_a_dataset_comes_in_pages(world: World) -> None:
    job = world.job(1)
    world.leave(f"datasets/ann/{job}/", index(120))
    files, offset, left_out = [], 0, 0
    while offset is not None:
        page = await get(world, job, offset=offset, limit=50)
        files += [image["file"] for image in page["images"]]
        left_out += len(page["rejected"])
        offset = page["nextOffset"]
    assert files == [f"images/{n:04}.jpg" for n in range(1, 121)]
    assert left_out == 3


@pytest.mark.parametrize(
    "document",
    [
        [],
        {"images": [{"file": "../../../secret"}]},
        {"images": [{"file": "model.safetensors"}]},
        {"images": [{"caption": "x"}]},
        {"images": "x"},
        {"rejected": [{"reason": {"a": 1}}]},
        {"rejected": [{"reason": "Blurred", "seconds": float("nan")}]},
        {"rejected": [{"reason": "Blurred", "tile": {"left": -1, "top": 0, "width": 1, "height": 1}}]},
        {"rejectedPictures": {"width": 1e9, "height": 1}},
        {"images": [{"file": "images/0001.jpg", "seconds": float("inf")}]},
    ],
)
async def test_a_dataset_that_is_none_of_ours_is_refused(world: World, document: object) -> None:
    job = world.job(1)
    world.leave(f"datasets/ann/{job}/", document)
    assert "dataset.json" in (await get(world, job, 404))["detail"]
    assert {key.rpartition("/")[2] for key in world.bucket.reached} == {"dataset.json"}


async def test_a_dataset_that_is_too_large_is_downloaded_instead(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    async def refused(*_: object) -> None:
        raise AssertionError("it is read")

    monkeypatch.setattr(BucketFiles, "read", refused)
    job = world.job(1)
    world.bucket.objects[f"datasets/ann/{job}/dataset.json"] = b'{"x": "' + b"x" * 2**22 + b'"}'
    told = (await get(world, job, 404))["detail"]
    assert "larger than 4 MiB" in told
    assert f"/api/assets/{job}/download/dataset.json" in told


@pytest.mark.parametrize(
    "document",
    [f'{{"{name}": [{"[]," * 99}[]]}}' for name in ("images", "rejected", "shots")]
    + [json.dumps({"images": [{"file": "images/0001.jpg", "faces": [{str(n): [] for n in range(99)}]}]})]
    + [json.dumps({"images": [{"file": "images/0001.jpg", "faces": [[]] * 99}]})],
)
def test_a_dataset_of_errors_does_not_cost_memory_for_each(document: str) -> None:
    with pytest.raises(ValidationError) as caught:
        Index.model_validate_json(document)
    assert caught.value.error_count() == 1


def test_a_dataset_has_so_many_shots_and_no_more() -> None:
    shot = {"number": 1, "start": 0, "end": 1}
    with pytest.raises(ValidationError, match="too_long"):
        Index.model_validate({"shots": [shot] * 20_001})


async def test_documents_are_parsed_one_at_a_time(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two at a time would exceed the container's memory limit."""
    held, read = [], BucketFiles.read

    async def noted(files: BucketFiles, key: OwnedKey, limit: int) -> bytes | None:
        held.append(files.parsing.locked())
        return await read(files, key, limit)

    monkeypatch.setattr(BucketFiles, "read", noted)
    job = world.job(1)
    world.leave(f"datasets/ann/{job}/", index())
    await get(world, job)
    assert held == [True]


async def test_jobs_without_a_dataset(world: World) -> None:
    assert "not prepared yet" in (await get(world, world.job(1), 404))["detail"]
    assert "there is no job" in (await get(world, world.job(2, Kind.TRANSCRIPTION), 404))["detail"]


async def test_a_foreign_dataset_is_not_read(world: World) -> None:
    job = world.job(1, namespace="blue")
    world.leave(f"datasets/ann/{job}/", index())
    await get(world, job, 404)
    assert not world.bucket.reached
