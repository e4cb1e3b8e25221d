"""Temporary files on a real S3 server without lifecycle rules: the collector's rounds, with a clock that is moved."""

from datetime import UTC, datetime, timedelta
from typing import Any

from pymongo.database import Database

from contentgen_contract.names import Kind
from contentgen_contract.records import keys
from contentgen_operator.cleanup.temporary_files import TemporaryFiles
from contentgen_operator.state.run_document import FrozenRun, RunDocument
from contentgen_operator.stores.records import RecordStore
from contentgen_operator.stores.run_documents import RunDocuments
from contentgen_operator.stores.s3 import Storage

DAY = timedelta(hours=24)
ENDED, FAILED, RUNNING = (f"0c8d8a52-6a5e-4a1c-9f3e-2f3c7c1b9a0{number}" for number in (1, 2, 3))
UPLOAD = f"transcripts/ann/{FAILED}/audio.flac"
TEMPORARY = {"temp/j/video.mp4", "temp/j/My Video (1).mp4", f"runs/{ENDED}/1/prepare-1.json", UPLOAD}
YOUNG = {"temp/j/later.mp4", f"runs/{ENDED}/1/collect-2.json"}
KEPT = {
    f"runs/{RUNNING}/1/prepare-1.json",
    f"transcripts/ann/{ENDED}/audio.flac",
    f"transcripts/ann/{ENDED}/transcript.json",
    f"purchases/{ENDED}/response.json",
    "datasets/ann/j/dataset.zip",
    "temporary",
    keys.CREATE_ONLY_CHECK,
}


def put(storage: Storage, *names: str) -> None:
    for name in names:
        storage._client.put_object(Bucket=storage.bucket, Key=name, Body=b"1")


def left(storage: Storage) -> set[str]:
    """Keys with a version or a delete marker."""
    listed = storage._client.list_object_versions(Bucket=storage.bucket)
    return {version["Key"] for version in (*listed.get("Versions", ()), *listed.get("DeleteMarkers", ()))}


def later_than_all(storage: Storage) -> datetime:
    """A time of the store after those of all versions and delete markers so far; its times may be whole seconds."""
    listed = storage._client.list_object_versions(Bucket=storage.bucket)
    newest = max(version["LastModified"] for version in (*listed["Versions"], *listed["DeleteMarkers"]))
    while True:
        put(storage, "temporary")
        now: datetime = storage._client.head_object(Bucket=storage.bucket, Key="temporary")["LastModified"]
        if now > newest:
            return now


async def job(database: Database[dict[str, Any]], uid: str, status: str, ended: datetime | None) -> None:
    """Record and run document of a job whose prepare stage is not done."""
    run = FrozenRun(
        number=1, version=1, run_hash="h", generation=1, spec={}, started_at=datetime(2026, 11, 1, tzinfo=UTC)
    )
    named = RunDocument(uid=uid, namespace="ns", kind=Kind.TRANSCRIPTION, name=uid, number=1, run=run)
    await RunDocuments(database["runs"]).put(named)
    record = {"jobId": uid, "userId": "ann", "type": "transcription", "status": status, "completedAt": ended}
    database["jobs"].insert_one(record)


async def test_only_files_older_than_a_day_are_deleted(storage: Storage, database: Database[dict[str, Any]]) -> None:
    """`temp/`, outcomes of attempts of ended runs, and uploads of a prepare stage that never finished."""
    now = datetime.now(UTC)
    await job(database, ENDED, "completed", now)
    await job(database, FAILED, "failed", now)
    await job(database, RUNNING, "processing", None)
    put(storage, *TEMPORARY, *KEPT, "temp/j/video.mp4", "temp/j/deleted.mp4")
    storage._client.delete_object(Bucket=storage.bucket, Key="temp/j/deleted.mp4")
    between = later_than_all(storage)
    put(storage, *YOUNG)

    runs = RunDocuments(database["runs"])
    records = RecordStore(database["jobs"], storage)
    files = TemporaryFiles(storage=storage, records=records, runs=runs, clock=lambda: now)
    await files.round()
    assert left(storage) == TEMPORARY | YOUNG | KEPT | {"temp/j/deleted.mp4"}
    now = between + DAY
    await files.round()
    assert left(storage) == YOUNG | KEPT
    now += DAY
    await files.round()
    assert left(storage) == KEPT
