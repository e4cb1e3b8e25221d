"""`/api/assets/{jobId}/download` and `/stats`: file, lifetime of the URL, count of downloads."""

import logging
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from botocore.exceptions import ClientError

from contentgen_contract.names import Kind
from contentgen_gateway.stores.outputs import FILES, stage_of
from contentgen_runtime.logs import JsonFormatter, PlainFormatter
from contentgen_simulation.gateway.bucket import RecordingBucket
from contentgen_simulation.gateway.server import GatewayWorld

BASE = "http://s3.test/assets/"


class World(GatewayWorld):
    """World with a bucket."""

    def __init__(self) -> None:
        super().__init__(("ann", "*", "*", "red"), ("bob", "*", "*", "blue"), ("carol", "*", "loratrainings", "red"))
        self.bucket = RecordingBucket()
        self.bucket.behind(self.dependencies.files)

    def lora(self, number: int = 1, folder: str = "j1", **fields: Any) -> str:
        made = []
        for version in (1, 2):
            key = f"loras/ann/{folder}/v{version}/model.safetensors"
            made.append({"version": version, "s3Key": key, "modelUrl": BASE + key})
            self.bucket.objects[key] = b"12345"
        return self.job(number, Kind.LORA_TRAINING, **({"versions": made, "bytes": 1_300_000_000} | fields))


@pytest.fixture
def world() -> World:
    return World()


def key_of(url: str) -> str:
    return urlsplit(url).path.removeprefix("/assets/")


async def test_a_download_is_a_signed_url_that_ends(world: World) -> None:
    job = world.lora()
    before = datetime.now(UTC)
    async with world.client("ann") as ann:
        answer = await ann.get(f"/api/assets/{job}/download", params={"expires": 3600})
    told = answer.json()
    assert key_of(told["url"]) == "loras/ann/j1/v2/model.safetensors", "the newest version"
    assert parse_qs(urlsplit(told["url"]).query)["X-Amz-Expires"] == ["3600"]
    ends = datetime.fromisoformat(told["expiresAt"])
    assert timedelta(hours=1) <= ends - before < timedelta(hours=1, minutes=1)
    assert (told["file"], told["version"], told["sizeBytes"]) == ("model.safetensors", 2, 5)
    assert answer.headers["cache-control"] == "no-store"
    assert "X-Amz" not in str(list(world.database["jobs"].find())), "nothing signed is stored"


async def test_a_url_lives_a_quarter_of_an_hour_unless_asked(world: World) -> None:
    job = world.lora()
    async with world.client("ann") as ann:
        told = (await ann.get(f"/api/assets/{job}/download")).json()
    assert parse_qs(urlsplit(told["url"]).query)["X-Amz-Expires"] == ["900"]


@pytest.mark.parametrize(
    ("file", "version", "key"),
    [
        ("config.json", None, "loras/ann/j1/v2/config.json"),
        ("config.json", 1, "loras/ann/j1/v1/config.json"),
        ("dataset.zip", 1, "datasets/ann/j1/dataset.zip"),
        ("images/0001.jpg", 2, "datasets/ann/j1/v2/images/0001.jpg"),
    ],
)
async def test_any_file_of_any_version(world: World, file: str, version: int | None, key: str) -> None:
    job = world.lora()
    world.bucket.objects[key] = b"x"
    async with world.client("ann") as ann:
        given: dict[str, Any] = {"file": file} | ({"version": version} if version else {})
        answer = await ann.get(f"/api/assets/{job}/download", params=given)
    assert key_of(answer.json()["url"]) == key


async def test_the_files_of_pictures_and_transcripts(world: World) -> None:
    prefix = "generated-images/ann/p/image_2.png"
    pictures = world.job(2, Kind.IMAGE_GENERATION, versions=[{"images": [{"s3Key": prefix, "url": BASE + prefix}]}])
    text = "transcripts/ann/t/transcript.txt"
    transcript = world.job(3, Kind.TRANSCRIPTION, versions=[{"version": 1, "textUrl": BASE + text}])
    world.bucket.objects |= {prefix: b"x", text: b"x"}
    async with world.client("ann") as ann:
        for job, key in ((pictures, prefix), (transcript, text)):
            assert key_of((await ann.get(f"/api/assets/{job}/download")).json()["url"]) == key


async def test_the_files_that_were_taken_over_lie_where_they_were_made(world: World) -> None:
    job = world.lora(folder="before")
    async with world.client("ann") as ann:
        told = (await ann.get(f"/api/assets/{job}/download")).json()
    assert key_of(told["url"]) == "loras/ann/before/v2/model.safetensors"


@pytest.mark.parametrize(
    "file",
    [
        "../x",
        "model.safetensors/../../x",
        "runs/1",
        "image_1.png",
        "/etc/passwd",
        "images/1.jpg",
        "x" * 65,
        "a\0",
        ".",
    ],
)
async def test_a_file_that_no_job_of_the_kind_has(world: World, file: str) -> None:
    job = world.lora()
    async with world.client("ann") as ann:
        answer = await ann.get(f"/api/assets/{job}/download", params={"file": file})
    assert answer.status_code == 422
    assert answer.json()["detail"].startswith("file")
    assert not world.bucket.reached


@pytest.mark.parametrize("given", [{"version": 3}, {"file": "config.json"}, {"file": "dataset.zip"}])
async def test_a_file_that_is_not_there(world: World, given: dict[str, Any]) -> None:
    job = world.lora()
    async with world.client("ann") as ann:
        answer = await ann.get(f"/api/assets/{job}/download", params=given)
    assert answer.status_code == 404
    assert "has no file" in answer.json()["detail"]
    assert "downloads" not in world.database["jobs"].find_one({"jobId": job})


@pytest.mark.parametrize("expires", [0, -1, 86_401, "x"])
async def test_validity_of_a_url_is_bounded(world: World, expires: Any) -> None:
    async with world.client("ann") as ann:
        answer = await ann.get(f"/api/assets/{world.lora()}/download", params={"expires": expires})
    assert answer.status_code == 422


async def test_prepared_files_are_available_before_the_end_of_the_run(world: World) -> None:
    job = world.job(1, Kind.LORA_TRAINING, status="processing")
    world.bucket.objects[f"datasets/ann/{job}/preview.jpg"] = b"x"
    async with world.client("ann") as ann:
        sheet = await ann.get(f"/api/assets/{job}/download", params={"file": "preview.jpg"})
        model = await ann.get(f"/api/assets/{job}/download")
    assert key_of(sheet.json()["url"]) == f"datasets/ann/{job}/preview.jpg"
    assert model.status_code == 404


async def test_stats_are_as_the_seeds_have_them(world: World) -> None:
    job = world.lora()
    pictures = world.job(2, Kind.IMAGE_GENERATION, uses=[job])
    world.job(3, Kind.IMAGE_GENERATION, uses=[job], namespace="blue")
    async with world.client("ann") as ann, world.client("carol") as carol:
        before = (await ann.get(f"/api/assets/{job}/stats")).json()
        for _ in range(3):
            await ann.get(f"/api/assets/{job}/download")
        after = (await ann.get(f"/api/assets/{job}/stats")).json()
        theirs = (await carol.get(f"/api/assets/{job}/stats")).json()
    assert before == {"downloads": 0, "lastAccessed": None, "storageCost": 0.0299, "usedInJobs": [pictures]}
    assert after["downloads"] == 3
    assert datetime.now(UTC) - datetime.fromisoformat(after["lastAccessed"]) < timedelta(minutes=1)
    assert theirs["usedInJobs"] == [], "who may see no pictures does not learn of them"


async def test_uses_of_adopted_files_are_counted(world: World) -> None:
    earlier, later = world.lora(1), world.lora(2, folder="00000000-0000-4000-8000-000000000001")
    pictures = world.job(3, Kind.IMAGE_GENERATION, uses=[earlier])
    async with world.client("ann") as ann:
        assert (await ann.get(f"/api/assets/{later}/stats")).json()["usedInJobs"] == [pictures]


async def test_a_foreign_download_is_neither_signed_nor_counted(world: World) -> None:
    job = world.lora()
    async with world.client("bob") as bob:
        for path in ("download", "stats"):
            assert (await bob.get(f"/api/assets/{job}/{path}")).status_code == 404
    assert not world.bucket.reached
    assert "downloads" not in world.database["jobs"].find_one({"jobId": job})


@pytest.mark.parametrize("kind", list(Kind))
def test_the_files_that_are_named_are_files_of_the_kind(kind: Kind) -> None:
    names = FILES[kind].replace("or of its dataset:", "").split(",")
    assert all(stage_of(kind, name.strip()) for name in names)


async def test_a_file_by_its_path_is_a_redirection(world: World) -> None:
    job = world.lora()
    world.bucket.objects["datasets/ann/j1/v2/images/0001.jpg"] = b"x"
    async with world.client("ann") as ann:
        answer = await ann.get(f"/api/assets/{job}/download/images/0001.jpg")
        assert (await ann.get(f"/api/assets/{job}/stats")).json()["downloads"] == 1
        assert (await ann.get(f"/api/assets/{job}/download/none.txt")).status_code == 422
    assert answer.status_code == 307
    assert key_of(answer.headers["location"]) == "datasets/ann/j1/v2/images/0001.jpg"
    async with world.client("bob") as bob:
        assert (await bob.get(f"/api/assets/{job}/download/images/0001.jpg")).status_code == 404


def away(url: str) -> Exception:
    return ClientError({"Error": {"Code": "SlowDown", "Message": url}}, "GetObject")


@pytest.mark.parametrize("breaks", [None, away, RuntimeError])
async def test_no_log_has_what_is_signed(
    world: World,
    breaks: Callable[[str], Exception] | None,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """In both log formats, and within a logged exception."""
    job = world.lora()
    sign, given = world.dependencies.files.presigned, []

    def signing(*args: Any, **options: Any) -> str:
        given.append(sign(*args, **options))
        if breaks is not None:
            raise breaks(given[-1])
        return given[-1]

    monkeypatch.setattr(world.dependencies.files, "presigned", signing)
    with caplog.at_level(logging.INFO):
        async with world.client("ann") as ann:
            for path in (f"assets/{job}/download", f"assets/{job}/download/model.safetensors", f"jobs/{job}", "loras"):
                answer = await ann.get(f"/api/{path}")
                assert (answer.status_code < 400) == (breaks is None), answer.text
                assert breaks is None or "X-Amz" not in answer.text
    assert breaks is None or "X-Amz-Signature" in str(given)
    written = [
        style.format(log_record) for log_record in caplog.records for style in (JsonFormatter(), PlainFormatter())
    ]
    assert len(written) >= 4
    assert breaks is None or "model.safetensors…" in str(written), "the exception itself is there"
    for secret in ("X-Amz", "%3Bfilename", *(parse_qs(urlsplit(each).query)["X-Amz-Signature"][0] for each in given)):
        assert secret not in str(written)


@pytest.mark.parametrize("user", ["a/b", "..", "", "x" * 2000])
async def test_prepared_file_of_an_impossible_key_is_missing(world: World, user: str) -> None:
    job = world.job(7, Kind.TRANSCRIPTION, imported=True, userId=user, versions=[])
    async with world.client("ann") as ann:
        answer = await ann.get(f"/api/assets/{job}/download", params={"file": "audio.flac"})
    assert answer.status_code == 404
