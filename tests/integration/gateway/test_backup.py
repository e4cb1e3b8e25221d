"""Commands `contentgen backup | restore | import` over real stores that are emptied in between."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from pymongo import MongoClient
from typer.testing import CliRunner

from contentgen_contract.records import indexes
from contentgen_gateway.migration.commands import app
from contentgen_sandbox.testing import S3Server

JOB = "50000000-0000-4000-8000-000000000001"
KEY = f"transcripts/ann/{JOB}/transcript"


class Stores:
    """Database and bucket of one test, and the command with their settings."""

    def __init__(self, uri: str, server: S3Server, name: str) -> None:
        self.client: MongoClient[dict[str, Any]] = MongoClient(uri, tz_aware=True)
        self.database = self.client[name]
        self.database["jobs"].create_index(list(indexes.JOBS["job_id"]), name="job_id", unique=True)
        self.bucket = name
        self.s3 = boto3.client(
            "s3", endpoint_url=server.endpoint, region_name="us-east-1",
            aws_access_key_id=server.access_key, aws_secret_access_key=server.secret_key,
        )  # fmt: skip
        self.s3.create_bucket(Bucket=name)
        self.settings = {
            "CONTENTGEN_MONGODB_URI": uri, "CONTENTGEN_MONGODB_DATABASE": name,
            "CONTENTGEN_S3_ENDPOINT": server.endpoint, "CONTENTGEN_S3_BUCKET": name,
            "AWS_ACCESS_KEY_ID": server.access_key, "AWS_SECRET_ACCESS_KEY": server.secret_key,
        }  # fmt: skip

    def run(self, *arguments: object, status: int = 0) -> str:
        ran = CliRunner().invoke(app, [str(argument) for argument in arguments], env=self.settings)
        assert ran.exit_code == status, f"{ran.output}\n{ran.exception!r}"
        return ran.output

    def put(self, key: str, body: bytes, bucket: str | None = None) -> None:
        self.s3.put_object(Bucket=bucket or self.bucket, Key=key, Body=body, ChecksumAlgorithm="SHA256")

    def content(self) -> dict[str, list[Any]]:
        return {name: list(self.database[name].find({}, {"_id": False})) for name in ("jobs", "ledger", "collections")}


@pytest.fixture
def world(mongo_uri: str, s3: S3Server, database_name: str) -> Iterator[Stores]:
    world = Stores(mongo_uri, s3, database_name)
    yield world
    for name in (database_name, f"old-{database_name}"):
        world.client.drop_database(name)
    world.client.close()


def old_job(bucket: str) -> dict[str, Any]:
    version = {"version": 1, "transcriptUrl": f"s3://{bucket}/{KEY}.json", "textUrl": f"s3://{bucket}/{KEY}.txt"}
    return {
        "jobId": JOB, "userId": "ann", "type": "transcription", "status": "completed", "progress": 100, "config": {},
        "versions": [version | {"wordCount": 861, "duration": 282}],
        "createdAt": {"$date": "2025-11-27T20:50:09.651Z"},
    }  # fmt: skip


def test_everything_deleted_comes_back(world: Stores, tmp_path: Path) -> None:
    world.database["jobs"].insert_many(
        [{"jobId": f"job-{n}", "versions": [], "status": "completed"} for n in range(450)]
    )
    states = ("intent", "submitted", "collected", "failed")
    world.database["ledger"].insert_many(
        [{"_id": f"{s}/{n}", "state": s, "jobId": s} for n in range(60) for s in states]
    )
    world.database["collections"].insert_one({"_id": "c", "name": "campaign"})
    world.put(f"{KEY}.txt", b"hello")
    world.put(f"{KEY}.json", b"{}")
    before = world.content()
    archive = tmp_path / "backup.tar.gz"
    world.run("backup", archive)
    for name in before:
        world.database[name].drop()
    world.database["jobs"].create_index(list(indexes.JOBS["job_id"]), name="job_id", unique=True)
    world.run("restore", archive)
    found = world.content()
    assert {name: sorted(each, key=repr) for name, each in found.items()} == {
        name: sorted(each, key=repr) for name, each in before.items()
    }
    output = world.run("restore", archive)
    assert "jobs: 0 added, 0 replaced, 450 unchanged" in output
    assert world.content() == found


def test_a_file_that_is_missing_is_named(world: Stores, tmp_path: Path) -> None:
    world.put(f"{KEY}.txt", b"hello")
    world.put(f"{KEY}.json", b"{}")
    world.run("backup", tmp_path / "b")
    world.s3.delete_object(Bucket=world.bucket, Key=f"{KEY}.txt")
    world.put(f"{KEY}.json", b"[]")
    output = world.run("restore", tmp_path / "b", "--report", tmp_path / "r.json", status=2)
    assert f"missing: {KEY}.txt" in output
    report = json.loads((tmp_path / "r.json").read_text())
    assert (report["missing"], report["different"]) == ([f"{KEY}.txt"], [f"{KEY}.json"])


def test_an_old_collection_and_bucket_are_taken_over(world: Stores, tmp_path: Path) -> None:
    source = f"old-{world.bucket}"
    world.s3.create_bucket(Bucket=source)
    world.put(f"{KEY}.txt", b"hello", source)
    world.put(f"{KEY}.json", b"{}", source)
    uri = world.settings["CONTENTGEN_MONGODB_URI"]
    world.client[source]["jobs"].insert_one(old_job(source) | {"createdAt": "2025-11-27T20:50:09Z"})
    arguments = ("import", "-n", "red", "--from-uri", uri, "--from-database", source, "--from-bucket", source)
    assert "1 imported" in world.run(*arguments)
    assert "1 unchanged" in world.run(*arguments)
    record = world.database["jobs"].find_one({})
    assert (record["namespace"], record["bytes"], record["versions"][0]["wordCount"]) == ("red", 7, 861)
    assert world.s3.get_object(Bucket=world.bucket, Key=f"{KEY}.txt")["Body"].read() == b"hello"


def test_a_bad_line_is_one_refusal(world: Stores, tmp_path: Path) -> None:
    file = tmp_path / "jobs.jsonl"
    file.write_text("\n".join([json.dumps(old_job(world.bucket)), "{not json", "[]", '{"jobId": {"$ne": 1}}']))
    output = world.run("import", "-n", "red", file, "--report", tmp_path / "r.json", status=2)
    assert "1 imported, 0 updated, 0 unchanged, 3 refused" in output
    report = json.loads((tmp_path / "r.json").read_text())
    assert [job["outcome"] for job in report["jobs"]] == ["imported", "refused", "refused", "refused"]
    assert report["jobs"][0]["missing"] == [f"{KEY}.json", f"{KEY}.txt"]
