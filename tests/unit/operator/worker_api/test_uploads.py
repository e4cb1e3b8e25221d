"""Presigned uploads: lifetime, type and condition; files of a failed attempt; ended attempts."""

import asyncio
import base64
import hashlib
from collections.abc import AsyncIterator, Iterator
from datetime import timedelta
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
from moto import mock_aws

from contentgen_contract.names import Kind, Stage
from contentgen_contract.records import keys
from contentgen_operator.state.assignment import Assignment
from contentgen_operator.state.observed import JobView, Resource, ResourceRef
from contentgen_operator.state.upload_limits import FileLimit
from contentgen_operator.stores.ledger import Ledger
from contentgen_operator.stores.records import RecordStore
from contentgen_operator.stores.run_documents import RunDocuments
from contentgen_operator.stores.s3 import Storage
from contentgen_operator.stores.status_verification import StatusVerifier
from contentgen_operator.worker_api import server
from contentgen_operator.worker_api.reports import Reports
from contentgen_operator.worker_api.server import WorkerApi, create_app
from contentgen_operator.worker_api.work_orders import OrderSettings
from contentgen_runtime.tenancy import Tenancy
from contentgen_simulation.object_storage import client, empty_bucket
from contentgen_simulation.world import SPECS, UID, World, Writes

KIND = Kind.TRANSCRIPTION
REF = ResourceRef(kind=KIND, namespace="ns", name="it", uid=UID)
PREFIX = f"transcripts/ns/{UID}/"
SOUND = b"sound"
OUTCOME = keys.outcome(UID, 1, Stage.PREPARE, 1)
OUTCOME_URL_SECONDS = 3600


class Door:
    """Authenticates every caller as the worker of the world's resource, with its Job at the start of the test."""

    def __init__(self, world: World) -> None:
        resource = Resource.parse(KIND, world.kube.resources[KIND, "it"])
        assert resource.status.run is not None
        assert resource.status.run.job is not None
        self.answer = Assignment(resource=resource, run=resource.status.run, job=resource.status.run.job)

    async def assignment(self, _token: str) -> Assignment:
        return self.answer


class Setting:
    """Worker API with moto's bucket and an operator in memory."""

    def __init__(self, world: World, storage: Storage) -> None:
        self.world = world
        self.storage = storage
        self.s3 = client()
        self.reports = Reports()
        world.process.observer.reports = self.reports
        door: Any = Door(world)
        self.job_uid, self.job_name = door.answer.job.uid, door.answer.job.name
        ledger = Ledger(world.database["ledger"])
        worker_api = WorkerApi(
            authenticator=door,
            storage=storage,
            ledger=ledger,
            reports=self.reports,
            settings=OrderSettings(stage_deadline=timedelta(seconds=OUTCOME_URL_SECONDS)),
            wake=world.process.wake,
            verifier=StatusVerifier(
                ledger=ledger,
                records=RecordStore(world.database["jobs"], storage),
                runs=RunDocuments(world.database["runs"]),
                tenancy=Tenancy(world.kube, world.database),
            ),
        )
        self.app = create_app(worker_api)
        self.client: Any = None

    async def ask(self, *offers: dict[str, Any]) -> httpx.Response:
        answer = await self.client.post("/v1/uploads", json={"files": list(offers)})
        assert isinstance(answer, httpx.Response)
        return answer

    async def grant(self, content: bytes = SOUND) -> dict[str, Any]:
        answer = await self.ask(offer(content))
        assert answer.status_code == 200, answer.text
        (grant,) = answer.json()["grants"]
        return dict(grant)

    def put(self, content: bytes = SOUND, name: str = "audio.flac") -> None:
        """Store a file as granted, unconditionally."""
        self.s3.put_object(
            Bucket="assets", Key=PREFIX + name, Body=content, ContentType="audio/flac", ChecksumAlgorithm="SHA256"
        )

    def leave_outcome(self) -> None:
        self.s3.put_object(Bucket="assets", Key=OUTCOME, Body=b"{}")

    def versions(self, prefix: str = PREFIX) -> list[str]:
        listed = self.s3.list_object_versions(Bucket="assets", Prefix=prefix)
        return [
            stored_object["Key"] for part in ("Versions", "DeleteMarkers") for stored_object in listed.get(part, ())
        ]

    def content(self, name: str = "audio.flac") -> bytes:
        return bytes(self.s3.get_object(Bucket="assets", Key=PREFIX + name)["Body"].read())


def offer(content: bytes = SOUND, name: str = "audio.flac", **changes: Any) -> dict[str, Any]:
    sha256 = hashlib.sha256(content).hexdigest()
    return {"name": name, "sizeBytes": len(content), "sha256": sha256, "contentType": "audio/flac"} | changes


@pytest.fixture(scope="module", autouse=True)
def _moto() -> Iterator[None]:
    with mock_aws():
        yield


@pytest.fixture
def storage() -> Storage:
    return empty_bucket()


@pytest.fixture
async def setting(monkeypatch: pytest.MonkeyPatch, storage: Storage) -> AsyncIterator[Setting]:
    world = World(monkeypatch, Writes())
    world.kube.apply(KIND, SPECS[KIND])
    await world.process._read_and_reconcile(REF)
    monkeypatch.setattr(server, "utc_now", lambda: world.now)
    made = Setting(world, storage)
    transport = httpx.ASGITransport(made.app)
    headers = {"Authorization": "Bearer token"}
    async with httpx.AsyncClient(transport=transport, base_url="https://worker-api", headers=headers) as client:
        made.client = client
        yield made


def query(url: str) -> dict[str, list[str]]:
    return parse_qs(urlsplit(url).query)


# Signatures


async def test_a_grant_lives_ten_minutes_and_creates_only(setting: Setting) -> None:
    grant = await setting.grant()
    assert query(grant["url"])["X-Amz-Expires"] == ["600"]
    assert grant["expiresSeconds"] == 600
    signed = set(query(grant["url"])["X-Amz-SignedHeaders"][0].split(";"))
    assert signed >= {"content-length", "content-type", "if-none-match", "x-amz-checksum-sha256"}
    assert grant["headers"]["If-None-Match"] == "*"
    assert grant["headers"]["Content-Type"] == "audio/flac"
    assert grant["headers"]["x-amz-checksum-sha256"] == base64.b64encode(hashlib.sha256(SOUND).digest()).decode()


async def test_a_grant_ends_with_its_attempt(setting: Setting, monkeypatch: pytest.MonkeyPatch) -> None:
    """Jobs end at their deadline, within a quarter of an hour; no URL is valid for longer."""
    near_the_end = setting.world.now + timedelta(seconds=OUTCOME_URL_SECONDS, minutes=11)
    monkeypatch.setattr(server, "utc_now", lambda: near_the_end)
    assert query((await setting.grant())["url"])["X-Amz-Expires"] == ["240"]


async def test_the_outcome_url_lives_until_the_attempts_deadline(setting: Setting) -> None:
    url = (await setting.client.get("/v1/order")).json()["outcomeUrl"]
    assert int(query(url)["X-Amz-Expires"][0]) >= OUTCOME_URL_SECONDS
    assert "content-length" not in query(url)["X-Amz-SignedHeaders"][0]


@pytest.mark.parametrize("content_type", ["text/html", "application/json", "audio/x-flac"])
async def test_the_file_name_decides_the_content_type(setting: Setting, content_type: str) -> None:
    answer = await setting.ask(offer(contentType=content_type))
    assert answer.status_code == 422
    assert "audio/flac" in answer.text
    assert "Signature" not in answer.text


async def test_a_name_of_unknown_type_is_refused(setting: Setting, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keys, "is_output", lambda *_: True)
    answer = await setting.ask(offer(name="audio.html", contentType="text/html"))
    assert answer.status_code == 422


def test_each_output_has_a_content_type() -> None:
    """One name of each pattern; a pattern for another suffix needs a row in the table."""
    names = ["images/0001.jpg", "captions/0001.txt", "dataset.json", "dataset.zip", "preview.jpg", "rejected.jpg"]
    names += ["model.safetensors", "config.json", "preview.png", "image_1.png", "image_1.jpg", "audio.flac"]
    names += [f"transcript.{suffix}" for suffix in ("json", "txt", "srt", "vtt")]
    outputs = [(kind, stage) for kind in Kind for stage in Stage]
    assert all(any(keys.is_output(kind, stage, name) for kind, stage in outputs) for name in names)
    patterns = "".join(files.names for kind in Kind for files in kind.info.stages.values())
    assert {name.rpartition(".")[2] for name in names} == {s for s in keys.CONTENT_TYPES if s in patterns}
    assert all(keys.content_type(name) == keys.CONTENT_TYPES[name.rpartition(".")[2]] for name in names)
    for dangerous in ("text/html", "image/svg+xml", "application/javascript", "text/xml"):
        assert dangerous not in keys.CONTENT_TYPES.values()


# Upload limits

SOUND_BYTES = int(12 * 3600 * 16_000 * 2 * 1.05) + (1 << 20)


async def test_a_file_is_not_larger_than_the_pipeline_makes_it(
    setting: Setting, caplog: pytest.LogCaptureFixture
) -> None:
    assert (await setting.ask(offer(sizeBytes=SOUND_BYTES))).status_code == 200
    caplog.clear()
    answer = await setting.ask(offer(sizeBytes=SOUND_BYTES + 1))
    assert answer.status_code == 422
    expected = f"audio.flac has {SOUND_BYTES + 1} bytes; expected at most {SOUND_BYTES}"
    assert expected in answer.text
    (line,) = [
        log_record.getMessage()
        for log_record in caplog.records
        if log_record.name == "contentgen_operator.worker_api.server"
    ]
    assert line == f"Job {setting.job_name} was refused uploads: {expected}"


async def test_an_attempt_asks_for_a_bounded_total(setting: Setting, monkeypatch: pytest.MonkeyPatch) -> None:
    """Different bytes under the same name, repeatedly: each time a PUT is signed."""
    monkeypatch.setattr(server, "_ASKED_AGAIN", 3)
    answers = [await setting.ask(offer(b"%d" % number)) for number in range(5)]
    assert [answer.status_code for answer in answers] == [200, 200, 200, 409, 409]
    assert f"4 files of 4 bytes in total; expected at most 3 files and {3 * SOUND_BYTES} bytes" in answers[3].text


async def test_an_attempt_asks_for_a_bounded_number_of_bytes(setting: Setting, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "_ASKED_AGAIN", 3)
    monkeypatch.setattr(server, "limit_of", lambda *_: FileLimit(name="audio.flac", size_bytes=2**40))
    answers = [await setting.ask(offer(sizeBytes=2 * SOUND_BYTES)) for _ in range(2)]
    assert [answer.status_code for answer in answers] == [200, 409]


# Files of a failed attempt


async def test_the_same_file_is_not_sent_again(setting: Setting) -> None:
    setting.put()
    assert (await setting.grant())["stored"]
    assert setting.versions() == [PREFIX + "audio.flac"]


async def test_file_of_the_same_name_is_replaced_with_all_versions(setting: Setting) -> None:
    for content in (b"one", b"two", b"SOUND"):
        setting.put(content)
    setting.put(name="audio.flac2")  # not offered: its key only begins with the offered one
    setting.s3.put_object(Bucket="assets", Key=PREFIX + "v2/audio.flac", Body=b"of another version")
    grant = await setting.grant()
    assert not grant["stored"]
    assert setting.versions() == [PREFIX + "audio.flac2", PREFIX + "v2/audio.flac"]


async def test_a_delete_marker_is_removed(setting: Setting) -> None:
    """With a delete marker, versitygw answers 412 to a create-only PUT, and 404 to HEAD."""
    setting.put()
    setting.s3.delete_object(Bucket="assets", Key=PREFIX + "audio.flac")
    assert not (await setting.grant())["stored"]
    assert setting.versions() == []


async def test_an_attempt_makes_the_operator_remove_a_bounded_number(
    setting: Setting, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Store a file, offer a different one, store that, and so on: each round costs a deletion."""
    monkeypatch.setattr(server, "_MOST_REMOVED", 3)
    codes = []
    for number in range(5):
        codes.append((await setting.ask(offer(b"%d" % number))).status_code)
        setting.put(b"%d" % number)
    assert codes == [200, 200, 200, 200, 409]
    assert setting.content() == b"4"


# Ended attempts


async def ended_codes(setting: Setting) -> tuple[int, int]:
    uploads, order = await setting.ask(offer()), await setting.client.get("/v1/order")
    assert "Signature" not in uploads.text + order.text
    return uploads.status_code, order.status_code


async def test_uploads_end_once_the_outcome_was_reported(setting: Setting) -> None:
    assert (await setting.client.post("/v1/outcome")).status_code == 204
    assert await ended_codes(setting) == (403, 403)


async def test_uploads_end_once_the_outcome_is_stored(setting: Setting) -> None:
    """Also by an operator that has started since, and for a worker that does not report it."""
    setting.leave_outcome()
    setting.put(b"verified")
    assert await ended_codes(setting) == (403, 403)
    assert setting.content() == b"verified"


async def test_uploads_end_once_the_job_has_ended(setting: Setting) -> None:
    """The token and the assignment may be cached for longer."""
    (job,) = setting.world.kube.jobs.values()
    job["status"] = {"conditions": [{"type": "Failed", "status": "True"}]}
    setting.world.process.cache.note_job(REF, JobView.parse(job))
    await setting.world.process._read_and_reconcile(REF)
    assert await ended_codes(setting) == (403, 403)


async def test_uploads_end_once_the_job_is_gone(setting: Setting) -> None:
    setting.world.kube.jobs.clear()
    setting.world.restart()
    setting.world.process.observer.reports = setting.reports
    await setting.world.process._read_and_reconcile(REF)
    assert await ended_codes(setting) == (403, 403)


async def test_a_store_that_is_away_signs_nothing(setting: Setting, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(setting.storage, "bucket", "none")
    assert await ended_codes(setting) == (503, 503)


async def test_files_are_not_verified_while_they_are_replaced(
    setting: Setting, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A worker requests a replacement and stores its outcome at once: verification waits for the removal."""
    setting.put(b"verified")
    removing, go_on = asyncio.Event(), asyncio.Event()
    events: list[str] = []
    remove = setting.storage.remove

    async def slowly(*args: Any) -> None:
        removing.set()
        await go_on.wait()
        await remove(*args)
        events.append("removed")

    async def outcome(_owner: object, _key: str) -> None:
        events.append("outcome read")

    monkeypatch.setattr(setting.storage, "remove", slowly)
    monkeypatch.setattr(setting.world.storage, "outcome", outcome)
    asking = asyncio.create_task(setting.ask(offer(b"other")))
    await removing.wait()
    setting.reports.note_finished(setting.job_uid)
    reconciling = asyncio.create_task(setting.world.process._read_and_reconcile(REF))
    for _ in range(50):
        await asyncio.sleep(0)
    go_on.set()
    await asyncio.gather(asking, reconciling)
    assert events == ["removed", "outcome read"]


async def test_a_request_that_waited_for_verification_is_refused(
    setting: Setting, monkeypatch: pytest.MonkeyPatch
) -> None:
    setting.put(b"verified")
    async with setting.reports.exclusive(setting.job_uid):
        asking = asyncio.create_task(setting.ask(offer(b"other")))
        for _ in range(50):
            await asyncio.sleep(0)
        setting.leave_outcome()
    assert (await asking).status_code == 403
    assert setting.content() == b"verified"
