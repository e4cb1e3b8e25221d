"""Temporary files: lifecycle rules on moto, beside the rules of others, and the collector's rounds."""

import logging
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import mongomock
import pytest
from botocore.exceptions import ClientError
from moto import mock_aws

from contentgen_contract.names import Kind
from contentgen_contract.records import keys
from contentgen_operator.cleanup.temporary_files import TemporaryFileDeletion, TemporaryFiles
from contentgen_operator.leader.leadership import Leadership, NotLeading
from contentgen_operator.state.run_document import FrozenRun, RunDocument
from contentgen_operator.stores.records import RecordStore
from contentgen_operator.stores.run_documents import RunDocuments
from contentgen_operator.stores.s3 import OldVersions, Storage
from contentgen_simulation.object_storage import client, empty_bucket

BUCKET = "assets"
UID = "0c8d8a52-6a5e-4a1c-9f3e-2f3c7c1b9a01"
LATER = timedelta(hours=25)
FOREIGN: list[dict[str, Any]] = [
    {"ID": "logs", "Status": "Enabled", "Filter": {"Prefix": "logs/"}, "Expiration": {"Days": 30}},
    {"ID": "archive", "Status": "Disabled", "Filter": {"Prefix": "datasets/"}, "Expiration": {"Days": 365}},
]


@pytest.fixture(scope="module", autouse=True)
def _moto() -> Iterator[None]:
    with mock_aws():
        yield


@pytest.fixture
def storage() -> Storage:
    return empty_bucket()


def rules() -> dict[str, Any]:
    try:
        found = client().get_bucket_lifecycle_configuration(Bucket=BUCKET)["Rules"]
    except ClientError:
        return {}
    return {rule["ID"]: rule for rule in found}


def put_rules(*given: dict[str, Any]) -> None:
    client().put_bucket_lifecycle_configuration(Bucket=BUCKET, LifecycleConfiguration={"Rules": list(given)})


def keys_left() -> set[str]:
    listed = client().list_object_versions(Bucket=BUCKET)
    found = {version["Key"] for version in (*listed.get("Versions", ()), *listed.get("DeleteMarkers", ()))}
    return found - {keys.CREATE_ONLY_CHECK}


def failing(code: str, status: int) -> Any:
    def call(**_: Any) -> Any:
        raise ClientError({"Error": {"Code": code}, "ResponseMetadata": {"HTTPStatusCode": status}}, "op")  # type: ignore[typeddict-item]

    return call


# The rules


async def test_rules_delete_temporary_data_after_a_day(storage: Storage) -> None:
    assert await storage.set_temporary_rules(wanted=True)
    files, markers = rules()["contentgen-temporary-files"], rules()["contentgen-temporary-files-delete-markers"]
    assert (files["Status"], files["Filter"]["Prefix"], files["Expiration"]["Days"]) == ("Enabled", "temp/", 1)
    assert files["NoncurrentVersionExpiration"] == {"NoncurrentDays": 1}
    assert files["AbortIncompleteMultipartUpload"] == {"DaysAfterInitiation": 1}
    assert (markers["Filter"]["Prefix"], markers["Expiration"]) == ("temp/", {"ExpiredObjectDeleteMarker": True})


async def test_rules_of_others_stay_as_they_are(storage: Storage) -> None:
    put_rules(*FOREIGN)
    before = rules()
    assert await storage.set_temporary_rules(wanted=True)
    after = rules()
    assert {name: after[name] for name in before} == before
    assert set(after) == {*before, "contentgen-temporary-files", "contentgen-temporary-files-delete-markers"}
    assert not await storage.set_temporary_rules(wanted=False)
    assert rules() == before


async def test_rules_are_written_once(storage: Storage, monkeypatch: pytest.MonkeyPatch) -> None:
    put_rules(*FOREIGN)
    await storage.set_temporary_rules(wanted=True)
    monkeypatch.setattr(storage._client, "put_bucket_lifecycle_configuration", failing("Unexpected", 500))
    assert await storage.set_temporary_rules(wanted=True)


async def test_a_changed_rule_of_ours_is_corrected(storage: Storage) -> None:
    await storage.set_temporary_rules(wanted=True)
    changed = rules()["contentgen-temporary-files"] | {"Filter": {"Prefix": ""}}
    put_rules(changed)
    assert await storage.set_temporary_rules(wanted=True)
    assert rules()["contentgen-temporary-files"]["Filter"]["Prefix"] == "temp/"


async def test_without_other_rules_the_configuration_is_deleted(storage: Storage) -> None:
    await storage.set_temporary_rules(wanted=True)
    assert not await storage.set_temporary_rules(wanted=False)
    assert rules() == {}
    assert not await storage.set_temporary_rules(wanted=False)


async def test_beside_rules_of_the_old_style_ours_have_no_filter(
    storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """S3 refuses a mix; moto does not."""
    old = {"ID": "old", "Prefix": "logs/", "Status": "Enabled", "Expiration": {"Days": 30}}
    monkeypatch.setattr(storage._client, "get_bucket_lifecycle_configuration", lambda **_: {"Rules": [old]})
    given: list[Any] = []
    monkeypatch.setattr(storage._client, "put_bucket_lifecycle_configuration", lambda **asked: given.append(asked))
    assert await storage.set_temporary_rules(wanted=True)
    (written,) = given
    assert written["LifecycleConfiguration"]["Rules"][0] == old
    assert all("Filter" not in rule and rule["Prefix"] for rule in written["LifecycleConfiguration"]["Rules"])


async def test_the_minimum_size_of_transitions_stays(storage: Storage, monkeypatch: pytest.MonkeyPatch) -> None:
    size = "varies_by_storage_class"
    reply = {"Rules": FOREIGN, "TransitionDefaultMinimumObjectSize": size}
    monkeypatch.setattr(storage._client, "get_bucket_lifecycle_configuration", lambda **_: reply)
    given: list[Any] = []
    monkeypatch.setattr(storage._client, "put_bucket_lifecycle_configuration", lambda **asked: given.append(asked))
    assert await storage.set_temporary_rules(wanted=True)
    assert given[0]["TransitionDefaultMinimumObjectSize"] == size


async def test_rules_with_elements_unknown_to_boto3_are_not_touched(
    storage: Storage, caplog: pytest.LogCaptureFixture
) -> None:
    """MinIO has more elements than S3."""
    put_rules(*FOREIGN)
    before = rules()
    caplog.set_level(logging.INFO)

    def extended(http_response: Any, **_: Any) -> None:
        http_response._content = http_response.content.replace(b"<Status>", b"<DelMarkerExpiration/><Status>")

    event = "after-call.s3.GetBucketLifecycleConfiguration"
    storage._client.meta.events.register_first(event, extended)
    assert not await storage.set_temporary_rules(wanted=True)
    assert rules() == before
    assert "elements that would be lost: DelMarkerExpiration" in caplog.text
    storage._client.meta.events.unregister(event, extended)
    assert await storage.set_temporary_rules(wanted=True)


@pytest.mark.parametrize(
    ("code", "status"), [("AccessDenied", 403), ("NotImplemented", 501), ("MethodNotAllowed", 405), ("", 400)]
)
@pytest.mark.parametrize("method", ["get_bucket_lifecycle_configuration", "put_bucket_lifecycle_configuration"])
async def test_a_store_that_refuses_has_no_rule(
    storage: Storage, monkeypatch: pytest.MonkeyPatch, method: str, code: str, status: int
) -> None:
    monkeypatch.setattr(storage._client, method, failing(code, status))
    assert not await storage.set_temporary_rules(wanted=True)


async def test_an_error_that_may_pass_is_raised(storage: Storage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(storage._client, "get_bucket_lifecycle_configuration", failing("SlowDown", 503))
    with pytest.raises(ClientError):
        await storage.set_temporary_rules(wanted=True)


# The collector


class Rounds:
    """The collector, at a time that a test moves."""

    def __init__(self, storage: Storage, deletion: TemporaryFileDeletion, leadership: Leadership | None = None) -> None:
        self.database: Any = mongomock.MongoClient(tz_aware=True)["db"]
        self.now = datetime.now(UTC)
        self.runs = RunDocuments(self.database["runs"])
        self.files = TemporaryFiles(
            storage=storage,
            records=RecordStore(self.database["jobs"], storage),
            runs=self.runs,
            deletion=deletion,
            clock=lambda: self.now,
            check=(leadership or Leadership.always()).check,
        )

    async def job(self, uid: str = UID, run: int = 1, **record: Any) -> None:
        await self.runs.put(RunDocument(uid=uid, namespace="ns", kind=Kind.TRANSCRIPTION, name="it", number=run))
        self.database["jobs"].insert_one({"jobId": uid, "status": "completed", "completedAt": self.now} | record)

    async def after(self, passed: timedelta) -> set[str]:
        self.now += passed
        await self.files.round()
        return keys_left()


@pytest.fixture
def rounds(storage: Storage) -> Rounds:
    return Rounds(storage, TemporaryFileDeletion.COLLECTOR)


def put(*names: str) -> None:
    for name in names:
        client().put_object(Bucket=BUCKET, Key=name, Body=b"1")


async def test_files_are_deleted_after_a_day_with_all_versions(rounds: Rounds) -> None:
    put("temp/j/a", "temp/j/a", "temp/j/b", "datasets/u/j/dataset.zip")
    client().delete_object(Bucket=BUCKET, Key="temp/j/b")
    assert "temp/j/a" in await rounds.after(timedelta(hours=23))
    assert await rounds.after(timedelta(hours=2)) == {"datasets/u/j/dataset.zip"}


async def test_names_of_the_legacy_service_may_have_any_characters(rounds: Rounds) -> None:
    put("temp/j/My Video (1).mp4", "temp/j/ü?", "temp//x", "temporary")
    assert await rounds.after(LATER) == {"temporary"}


async def test_a_rule_spares_the_listing_of_temp(storage: Storage, monkeypatch: pytest.MonkeyPatch) -> None:
    listed: list[str] = []
    monkeypatch.setattr(storage, "old_versions", _listing(listed))
    await Rounds(storage, TemporaryFileDeletion.LIFECYCLE).after(LATER)
    assert (listed, "contentgen-temporary-files" in rules()) == ([keys.OUTCOMES], True)
    await Rounds(storage, TemporaryFileDeletion.COLLECTOR).after(LATER)
    assert (listed[1:], rules()) == ([keys.TEMPORARY, keys.OUTCOMES], {})


async def test_without_the_right_to_set_rules_the_collector_works(
    storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(storage._client, "get_bucket_lifecycle_configuration", failing("AccessDenied", 403))
    put("temp/j/a")
    assert await Rounds(storage, TemporaryFileDeletion.LIFECYCLE).after(LATER) == set()


async def test_turned_off_nothing_is_deleted_and_the_rules_go(storage: Storage) -> None:
    await storage.set_temporary_rules(wanted=True)
    put("temp/j/a")
    assert await Rounds(storage, TemporaryFileDeletion.NONE).after(LATER) == {"temp/j/a"}
    assert rules() == {}


def _listing(listed: list[str]) -> Any:
    async def old_versions(prefix: str, *_: Any) -> OldVersions:
        listed.append(prefix)
        return OldVersions(versions=(), following=None)

    return old_versions


OUTCOME, SECOND = f"runs/{UID}/1/prepare-1.json", f"runs/{UID}/2/collect-3.json"


async def test_outcomes_of_ended_runs_are_deleted_after_a_day(rounds: Rounds) -> None:
    await rounds.job()
    put(OUTCOME)
    assert await rounds.after(timedelta(hours=23)) == {OUTCOME}
    assert await rounds.after(timedelta(hours=2)) == set()


@pytest.mark.parametrize("status", ["queued", "processing"])
async def test_outcomes_that_a_run_may_wait_for_are_kept_however_old(rounds: Rounds, status: str) -> None:
    await rounds.job(run=2, status=status, completedAt=None)
    put(OUTCOME, SECOND)
    assert await rounds.after(timedelta(days=90)) == {SECOND}, "that of the run before is not needed"


async def test_a_run_that_ended_within_a_day_keeps_its_outcomes(rounds: Rounds) -> None:
    await rounds.job(completedAt=rounds.now + timedelta(hours=3))
    put(OUTCOME)
    assert await rounds.after(LATER) == {OUTCOME}
    assert await rounds.after(LATER) == set()


async def test_outcomes_of_jobs_that_mongodb_does_not_know_are_kept(rounds: Rounds) -> None:
    """Another installation's database, or one restored from a backup."""
    put(OUTCOME)
    assert await rounds.after(LATER) == {OUTCOME}
    await rounds.job()
    put(SECOND)
    assert await rounds.after(2 * LATER) == {SECOND}


@pytest.mark.parametrize(
    "name",
    [
        f"runs/{UID}/1/provider-1.json",
        f"runs/{UID}/1/prepare-1.json.bak",
        f"runs/{UID}/1/prepare-x.json",
        f"runs/{UID}/x/prepare-1.json",
        f"runs/{UID}/prepare-1.json",
        f"runs/{UID}/1/2/prepare-1.json",
        f"purchases/{UID}/response.json",
        f"transcripts/ns/{UID}/audio.flac",
    ],
)
async def test_other_files_are_kept(rounds: Rounds, name: str) -> None:
    await rounds.job(run=9)
    put(name)
    assert await rounds.after(timedelta(days=90)) == {name}


async def test_a_long_list_is_continued_where_the_last_round_ended(
    rounds: Rounds, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("contentgen_operator.cleanup.temporary_files._PAGES", 1)
    monkeypatch.setattr("contentgen_operator.stores.s3.MOST_LISTED", 2)
    await rounds.job(status="processing", completedAt=None)
    waiting = [f"runs/{UID}/1/collect-{number}.json" for number in range(1, 5)]
    put(*waiting, "runs/j/1/prepare-1.json")
    rounds.database["jobs"].insert_one({"jobId": "j", "status": "failed", "completedAt": rounds.now})
    await rounds.runs.put(RunDocument(uid="j", namespace="ns", kind=Kind.TRANSCRIPTION, name="j", number=1))
    left = [len(await rounds.after(LATER)) for _ in range(3)]
    assert left == [5, 5, 4]


AUDIO = f"transcripts/ann/{UID}/audio.flac"
OF_THE_SECOND, RESULT = f"transcripts/ann/{UID}/v2/audio.flac", f"transcripts/ann/{UID}/transcript.json"


def run_of(version: int = 1, **fields: Any) -> FrozenRun:
    at = datetime(2026, 11, 1, tzinfo=UTC)
    made = FrozenRun(number=version, version=version, run_hash="h", generation=1, spec={}, started_at=at)
    return made.model_copy(update=fields)


async def failed(rounds: Rounds, run: FrozenRun | None, **record: Any) -> None:
    """A job whose last run has failed."""
    named = RunDocument(uid=UID, namespace="ns", kind=Kind.TRANSCRIPTION, name="it", number=1, run=run)
    await rounds.runs.put(named)
    base = {"jobId": UID, "userId": "ann", "type": "transcription", "status": "failed", "completedAt": rounds.now}
    rounds.database["jobs"].insert_one(base | record)


async def test_abandoned_prepare_uploads_are_deleted_after_a_day(rounds: Rounds) -> None:
    await failed(rounds, run_of())
    put(AUDIO, AUDIO, OF_THE_SECOND, RESULT)
    assert AUDIO in await rounds.after(timedelta(hours=23))
    assert await rounds.after(timedelta(hours=2)) == {OF_THE_SECOND, RESULT}, "of this run alone"


async def test_uploads_of_a_later_version_are_deleted_alone(rounds: Rounds) -> None:
    await failed(rounds, run_of(2))
    put(AUDIO, OF_THE_SECOND)
    assert await rounds.after(LATER) == {AUDIO}


@pytest.mark.parametrize(
    ("run", "record"),
    [
        (run_of(facts={"type": "audio"}), {}),
        (run_of(purchase_id="p"), {}),
        (None, {}),
        (run_of(), {"status": "processing"}),
        (run_of(), {"status": "completed"}),
        (run_of(), {"type": "image-generation"}),
        (run_of(), {"type": "unknown"}),
        (run_of(), {"userId": "../bob"}),
        (run_of(), {"userId": "bob"}),
        (run_of(), {"completedAt": None}),
    ],
)
async def test_other_uploads_are_kept(rounds: Rounds, run: FrozenRun | None, record: dict[str, Any]) -> None:
    """A prepared file is an output, which may have been bought with, and which the gateway shows."""
    await failed(rounds, run, **record)
    put(AUDIO)
    assert await rounds.after(LATER) == {AUDIO}


async def test_a_former_leader_deletes_nothing(storage: Storage) -> None:
    put("temp/j/a")
    rounds = Rounds(storage, TemporaryFileDeletion.COLLECTOR, Leadership())
    with pytest.raises(NotLeading):
        await rounds.after(LATER)
    assert keys_left() == {"temp/j/a"}


async def test_an_error_of_a_store_ends_the_round_only(rounds: Rounds, monkeypatch: pytest.MonkeyPatch) -> None:
    put("temp/j/a")
    with monkeypatch.context() as broken:
        broken.setattr(rounds.files.storage._client, "list_object_versions", failing("SlowDown", 503))
        with pytest.raises(ClientError):
            await rounds.after(LATER)
    assert keys_left() == {"temp/j/a"}
    assert await rounds.after(LATER) == set()
