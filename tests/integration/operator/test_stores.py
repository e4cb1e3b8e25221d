"""Ledger, records and bucket against real servers, on which payment and file guarantees depend."""

# ruff: noqa: ASYNC210 - a blocking request in a test blocks nobody
import asyncio
import base64
import hashlib
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
from botocore.compat import get_current_datetime
from pymongo.database import Database

from contentgen_contract.names import Kind, Phase, Reason, Stage
from contentgen_contract.records import keys, ownership
from contentgen_contract.records.ownership import Owner
from contentgen_contract.resources.sources import Address
from contentgen_contract.worker.orders import FileOffer, StoredFile
from contentgen_operator.audit.store import Audits
from contentgen_operator.budgets.store import BudgetStore
from contentgen_operator.notifications.outbox import NotificationOutbox
from contentgen_operator.providers.answers import AnswerFile
from contentgen_operator.state.observed import BucketFile, JobView, ResourceRef
from contentgen_operator.state.plan import StoredAnswer
from contentgen_operator.state.purchases import LedgerTransition, Purchase, PurchaseKey, PurchaseState, SendState
from contentgen_operator.stores.ledger import Ledger
from contentgen_operator.stores.preparation import prepare_stores
from contentgen_operator.stores.records import RecordStore
from contentgen_operator.stores.s3 import InvalidOutcome, Storage
from contentgen_operator.stores.worker_jobs import WorkerJobs
from contentgen_runtime.store_errors import BucketMissing
from contentgen_simulation.world import SPECS, UID, World, Writes, blocking, outcome_of

NOW = datetime(2026, 11, 21, tzinfo=UTC)
KEY = PurchaseKey(namespace="ns", kind=Kind.TRANSCRIPTION, name="it", run_hash="ab", rerun=None, attempt=1)


FOLDERS = ("right", "wrong", "other", "changed", "dataset", "readable", "gone", "runs", "p")
OWNER = ownership.job_owner(Kind.TRANSCRIPTION, UID, ("ns",)) | Owner(
    folders=frozenset(f"{folder}/" for folder in FOLDERS), keys=frozenset({"k"})
)


def storage_of_another(storage: Storage) -> Storage:
    """Storage of an operator with another bucket, for which `storage`'s bucket is a source."""
    endpoint = storage._client.meta.endpoint_url
    return Storage(bucket="another", region="us-east-1", endpoint=endpoint, public_endpoint=None)


def purchase(**changes: Any) -> Purchase:
    return Purchase(
        state=PurchaseState.INTENT,
        job_id="j",
        provider="assemblyai",
        model="m",
        correlation_key="a/b",
        created_at=NOW,
        changed_at=NOW,
    ).model_copy(update=changes)


def test_sixteen_concurrent_intents_yield_one_payer(database: Database[dict[str, Any]]) -> None:
    ledger = Ledger(database["ledger"])
    with ThreadPoolExecutor(16) as pool:
        for attempt in range(1, 11):
            key = KEY.model_copy(update={"attempt": attempt})
            won = list(pool.map(lambda _, key=key: blocking(ledger.intend)(key, purchase()), range(16)))
            assert won.count(True) == 1


async def test_sixteen_concurrent_retries_of_a_refusal_yield_one(database: Database[dict[str, Any]]) -> None:
    ledger = Ledger(database["ledger"])
    assert await ledger.intend(KEY, purchase())
    refuse = LedgerTransition(
        key=KEY, source=PurchaseState.INTENT, target=PurchaseState.REFUSED, changes={"error": "busy"}
    )
    assert await ledger.move(refuse)
    won = await asyncio.gather(*(ledger.intend(KEY, purchase()) for _ in range(16)))
    assert won.count(True) == 1
    found = await ledger.get(KEY)
    assert found is not None
    assert (found.state, found.tries, found.error) == (PurchaseState.INTENT, 2, "")


async def test_a_purchase_comes_back_as_it_was_written(database: Database[dict[str, Any]]) -> None:
    ledger = Ledger(database["ledger"])
    whole = purchase(request_id="r", submitted_at=NOW, estimated_micros=2_000_000, outputs={"version": 1, "files": []})
    assert await ledger.intend(KEY, whole)
    kept = await ledger.get(KEY)
    assert kept is not None
    assert kept == whole.model_copy(update={"purchase_id": kept.purchase_id, "operator_class": ledger.operator_class})
    assert await ledger.request_ids(purchase(correlation_key="a/b")) == {"r"}
    assert await ledger.request_ids(purchase(correlation_key="a/c")) == frozenset()


async def test_sixteen_concurrent_sends_yield_one_post(database: Database[dict[str, Any]]) -> None:
    ledger = Ledger(database["ledger"])
    planned = purchase(send_state=SendState.PLANNED)
    assert await ledger.intend(KEY, planned)
    sent = await asyncio.gather(*(ledger.send(KEY, planned, NOW) for _ in range(16)))
    assert sum(each is not None for each in sent) == 1


async def test_sixteen_concurrent_adoptions_yield_one_owner(database: Database[dict[str, Any]]) -> None:
    ledger = Ledger(database["ledger"])
    ledger.create_indexes()
    await ledger.intend(KEY, purchase(state=PurchaseState.COLLECTED))
    seen = await ledger.get(KEY)
    assert seen is not None
    adopted = await asyncio.gather(*(ledger.adopt(KEY, seen, f"job-{n}") for n in range(16)))
    assert adopted.count(True) == 1
    bound = await asyncio.gather(*(ledger.bind_request(purchase(purchase_id=f"p{n}"), "r1", NOW) for n in range(16)))
    assert bound.count(True) == 1


async def test_stores_are_prepared_twice(database: Database[dict[str, Any]], storage: Storage) -> None:
    ledger, records = Ledger(database["ledger"]), RecordStore(database["jobs"], storage)
    for _ in range(2):
        budgets = BudgetStore(database["budgets"], database["ledger"])
        outbox = NotificationOutbox(database["notifications"])
        jobs = WorkerJobs(database["worker_jobs"])
        await prepare_stores(storage, (ledger, records, jobs, Audits(database), budgets, outbox))
    assert "uid" in database["worker_jobs"].index_information()
    assert {"model_finished", "correlation_key"} <= set(database["ledger"].index_information())
    assert {"job_id", "user_created"} <= set(database["jobs"].index_information())
    assert storage._client.get_bucket_versioning(Bucket=storage.bucket)["Status"] == "Enabled"


CONTENT = b"some bytes of a picture"
OFFER = FileOffer(
    name="image_1.png", size_bytes=len(CONTENT), sha256=hashlib.sha256(CONTENT).hexdigest(), content_type="image/png"
)


@contextmanager
def signed_ago(seconds: int) -> Iterator[None]:
    """Sign with a past time, so that signatures expire without waiting."""

    def then(*, remove_tzinfo: bool = True) -> datetime:
        return get_current_datetime(remove_tzinfo) - timedelta(seconds=seconds)

    with pytest.MonkeyPatch.context() as patch:
        for module in ("botocore.auth", "botocore.crt.auth"):  # the latter if the AWS CRT is installed
            patch.setattr(f"{module}.get_current_datetime", then)
        yield


def put(storage: Storage, prefix: str, content: bytes, signed_before: int = 0, **other: str) -> int:
    with signed_ago(signed_before):
        grant = storage.grant(OWNER, prefix, OFFER, timedelta(minutes=5))
    headers = grant.headers | {"Content-Length": str(len(content))} | other
    return httpx.put(grant.url, content=content, headers=headers).status_code


async def stored(storage: Storage, prefix: str) -> dict[str, BucketFile]:
    return await storage.stored(OWNER, prefix, [OFFER.name])


def checksum(content: bytes) -> str:
    return base64.b64encode(hashlib.sha256(content).digest()).decode()


async def test_a_grant_is_for_exactly_these_bytes(storage: Storage) -> None:
    assert put(storage, "right/", CONTENT, signed_before=4 * 60) == 200
    assert await stored(storage, "right/") == {"image_1.png": BucketFile(size_bytes=len(CONTENT), sha256=OFFER.sha256)}
    forged = CONTENT[::-1]
    refusals = {
        "other bytes": put(storage, "wrong/", forged),
        "other bytes, own checksum": put(storage, "wrong/", forged, **{"x-amz-checksum-sha256": checksum(forged)}),
        "longer": put(storage, "wrong/", CONTENT + b"!"),
        "longer, own checksum": put(
            storage, "wrong/", CONTENT + b"!", **{"x-amz-checksum-sha256": checksum(CONTENT + b"!")}
        ),
        "another type": put(storage, "wrong/", CONTENT, **{"Content-Type": "text/html"}),
        "too late": put(storage, "wrong/", CONTENT, signed_before=6 * 60),
    }
    assert all(400 <= status < 500 for status in refusals.values()), refusals
    grant = storage.grant(OWNER, "wrong/", OFFER, timedelta(minutes=5))
    elsewhere = httpx.put(grant.url.replace("wrong/", "other/"), content=CONTENT, headers=grant.headers)
    assert 400 <= elsewhere.status_code < 500
    assert await stored(storage, "wrong/") == {}
    assert await stored(storage, "other/") == {}


async def test_a_worker_leaves_its_outcome_and_reads_its_files(storage: Storage) -> None:
    url = storage.worker_put(OWNER, "runs/j/1/prepare-1.json", timedelta(minutes=5))
    assert await storage.outcome(OWNER, "runs/j/1/prepare-1.json") is None
    body = b'{"jobId":"j","stage":"prepare","attempt":1,"reason":"NoVideo","message":"no picture"}'
    assert httpx.put(url, content=body, headers={"Content-Type": "application/json"}).status_code == 200
    outcome = await storage.outcome(OWNER, "runs/j/1/prepare-1.json")
    assert outcome is not None
    assert not outcome.succeeded
    assert httpx.get(storage.worker_get(OWNER, "runs/j/1/prepare-1.json", timedelta(minutes=5))).content == body
    assert httpx.get(storage.provider_get(OWNER, "runs/j/1/prepare-1.json")).content == body
    source = Address("assets", "runs/j/1/prepare-1.json")
    assert httpx.get(storage_of_another(storage).source_get(source, timedelta(minutes=5))).content == body
    assert httpx.get(storage.plain_url("runs/j/1/prepare-1.json")).status_code == 403, "the bucket is private"
    assert httpx.put(url, content=b"{", headers={"Content-Type": "application/json"}).status_code == 200
    with pytest.raises(InvalidOutcome):
        await storage.outcome(OWNER, "runs/j/1/prepare-1.json")


@pytest.mark.parametrize("algorithm", ["SHA256", "CRC32", None])
async def test_a_file_that_somebody_else_has_put_there_shows(storage: Storage, algorithm: str | None) -> None:
    """The foreign object has the size of the worker's, and a checksum of the same or another algorithm, or none."""
    prefix = f"changed/{algorithm}/"
    assert put(storage, prefix, CONTENT) == 200
    forged = CONTENT[::-1]
    more: dict[str, Any] = {"ChecksumAlgorithm": algorithm} if algorithm else {}
    storage._client.put_object(Bucket=storage.bucket, Key=f"{prefix}image_1.png", Body=forged, **more)
    (found,) = (await stored(storage, prefix)).values()
    assert found == BucketFile(size_bytes=len(CONTENT), sha256=hashlib.sha256(forged).hexdigest())


async def test_a_whole_dataset_is_looked_at_in_one_request_a_file(
    storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = [f"images/{n:04}.jpg" for n in range(1, 301)]

    def store(name: str) -> int:
        grant = storage.grant(OWNER, "dataset/", OFFER.model_copy(update={"name": name}), timedelta(minutes=5))
        return client.put(grant.url, content=CONTENT, headers=grant.headers).status_code

    with httpx.Client() as client, ThreadPoolExecutor(8) as pool:
        assert set(pool.map(store, names)) == {200}
    calls = Calls(storage)
    found = await storage.stored(OWNER, "dataset/", names)
    assert set(found) == set(names)
    assert {each.sha256 for each in found.values()} == {OFFER.sha256}
    assert (calls.made, 1 < calls.most_at_once <= 16) == ({"HeadObject": 300}, True)


class Calls:
    """Counter of the operator's S3 requests."""

    def __init__(self, storage: Storage) -> None:
        self.made: Counter[str] = Counter()
        self.most_at_once = 0
        self._now = 0
        self._lock = threading.Lock()
        events = storage._client.meta.events
        events.register("before-send.s3", self._begin)
        events.register("response-received.s3", self._end)

    def _begin(self, event_name: str, **_: Any) -> None:
        with self._lock:
            self.made[event_name.rpartition(".")[2]] += 1
            self._now += 1
            self.most_at_once = max(self.most_at_once, self._now)

    def _end(self, **_: Any) -> None:
        with self._lock:
            self._now -= 1


# Presigned URLs: who may do what with them, for how long


@pytest.mark.parametrize("reader", ["worker", "provider", "source"])
async def test_a_url_reads_one_object_and_ends(storage: Storage, reader: str, monkeypatch: pytest.MonkeyPatch) -> None:
    await storage.put_answer(StoredAnswer(owner=OWNER, key="readable/a.json", answer=AnswerFile.of({"n": 1})))
    await storage.put_answer(StoredAnswer(owner=OWNER, key="readable/b.json", answer=AnswerFile.of({"n": 2})))
    lifetime = timedelta(minutes=5)
    monkeypatch.setattr(storage, "_provider_lifetime", lifetime)
    signers: dict[str, Callable[[], str]] = {
        "worker": lambda: storage.worker_get(OWNER, "readable/a.json", lifetime),
        "provider": lambda: storage.provider_get(OWNER, "readable/a.json"),
        "source": lambda: storage_of_another(storage).source_get(Address(storage.bucket, "readable/a.json"), lifetime),
    }
    with signed_ago(4 * 60):
        url = signers[reader]()
    with signed_ago(6 * 60):
        ended = signers[reader]()
    assert "X-Amz-Expires=300&" in url
    read = httpx.get(url)
    assert (read.status_code, read.json()) == (200, {"n": 1})
    refused = {
        "another object": httpx.get(url.replace("a.json", "b.json", 1)),
        "written": httpx.put(url, content=b"{}"),
        "deleted": httpx.delete(url),
        "listed": httpx.get(url.replace("/readable/a.json", "", 1)),
        "for longer": httpx.get(url.replace("X-Amz-Expires=300", "X-Amz-Expires=900")),
        "of another version": httpx.get(f"{url}&versionId=x"),
        "too late": httpx.get(ended),
        "too late, for longer": httpx.get(ended.replace("X-Amz-Expires=300", "X-Amz-Expires=900")),
    }
    assert {name: reply.status_code for name, reply in refused.items()} == dict.fromkeys(refused, 403)


async def test_the_start_finds_what_payments_need_and_leaves_nothing(storage: Storage) -> None:
    assert [unmet.text for unmet in storage.unmet_requirements if unmet.stops_payments] == []
    if "versions" not in {unmet.requirement for unmet in storage.unmet_requirements}:
        left = await storage.old_versions("temp/store-check/", datetime.now(UTC) + timedelta(days=1), ("", ""))
        assert left.versions == ()


def test_urls_live_as_long_as_their_class() -> None:
    storage = Storage(
        bucket="b",
        region="us-east-1",
        endpoint="http://s3:1",
        public_endpoint="https://public:2",
        provider_lifetime=timedelta(hours=30),
    )
    expected = {
        storage.worker_get(OWNER, "k", timedelta(days=30)): ("s3:1", 7 * 24 * 3600),
        storage.provider_get(OWNER, "k"): ("public:2", 30 * 3600),
        storage.worker_get(OWNER, "k", timedelta(hours=4)): ("s3:1", 4 * 3600),
        storage.worker_put(OWNER, "k", timedelta(hours=4)): ("s3:1", 4 * 3600),
        storage.grant(OWNER, "p/", OFFER, timedelta(hours=4)).url: ("s3:1", 4 * 3600),
    }
    for url, (host, seconds) in expected.items():
        parts = urlsplit(url)
        assert (parts.netloc, parse_qs(parts.query)["X-Amz-Expires"]) == (host, [str(seconds)])


async def test_outcome_url_is_refused_if_expired_or_of_another_type(storage: Storage) -> None:
    json_type = {"Content-Type": "application/json"}
    url = storage.worker_put(OWNER, "runs/late/1/prepare-1.json", timedelta(minutes=5))
    assert httpx.put(url, content=b"{}", headers={"Content-Type": "text/html"}).status_code == 403
    with signed_ago(6 * 60):
        late = storage.worker_put(OWNER, "runs/late/1/prepare-1.json", timedelta(minutes=5))
    assert httpx.put(late, content=b"{}", headers=json_type).status_code == 403
    assert await storage.outcome(OWNER, "runs/late/1/prepare-1.json") is None


async def test_a_document_of_the_providers_is_kept(storage: Storage) -> None:
    await storage.put_answer(
        StoredAnswer(
            owner=OWNER, key="runs/j/1/provider-1.json", answer=AnswerFile.of({"text": "grüezi", "words": [None, 1.5]})
        )
    )
    again = StoredAnswer(owner=OWNER, key="runs/j/1/provider-1.json", answer=AnswerFile.of({"text": "another"}))
    await storage.put_answer(again)
    assert [await storage.put_marker("a/b", word) for word in ("one", "two")] == ["one", "one"]
    got = httpx.get(storage.worker_get(OWNER, "runs/j/1/provider-1.json", timedelta(minutes=1)))
    assert got.json() == {"text": "grüezi", "words": [None, 1.5]}


async def test_deletion_removes_all_object_versions(storage: Storage) -> None:
    client = storage._client
    for key in ("gone/u/1/a", "gone/u/1/b/c", "gone/u/10/a"):
        for body in (b"one", b"two"):
            client.put_object(Bucket=storage.bucket, Key=key, Body=body)
    client.delete_object(Bucket=storage.bucket, Key="gone/u/1/a")  # leaves a marker
    listed = client.list_object_versions(Bucket=storage.bucket, Prefix="gone/u/1/")
    assert (len(listed["Versions"]), len(listed["DeleteMarkers"])) == (4, 1), "there is something to delete"
    await storage.delete_prefix(OWNER, "gone/u/1/")
    await storage.delete_prefix(OWNER, "gone/u/1/")
    left = client.list_object_versions(Bucket=storage.bucket, Prefix="gone/")
    assert {version["Key"] for version in left["Versions"]} == {"gone/u/10/a"}
    assert not left.get("DeleteMarkers")


async def test_a_discarded_purchase_is_found_as_such(database: Database[dict[str, Any]]) -> None:
    ledger = Ledger(database["ledger"])
    for index, state in enumerate([PurchaseState.COLLECTED, PurchaseState.SUCCEEDED, PurchaseState.SUBMITTED]):
        await ledger.intend(KEY.model_copy(update={"attempt": index}), purchase(state=state))
    assert await ledger.discard("another job") == ()
    assert {each_purchase["state"] for each_purchase in database["ledger"].find()} == {
        "collected",
        "succeeded",
        "submitted",
    }
    assert len(await ledger.discard(purchase().job_id)) == 2
    states = [found.state for i in range(3) if (found := await ledger.get(KEY.model_copy(update={"attempt": i})))]
    assert states == [PurchaseState.DISCARDED, PurchaseState.DISCARDED, PurchaseState.SUBMITTED]


async def test_a_missing_bucket_is_no_missing_file(storage: Storage, monkeypatch: pytest.MonkeyPatch) -> None:
    await storage.require_bucket()
    monkeypatch.setattr(storage, "bucket", "vanished")
    with pytest.raises(BucketMissing, match="vanished"):
        await storage.require_bucket()
    with pytest.raises(BucketMissing, match="vanished"):
        await storage.outcome(OWNER, "runs/j/1/prepare-1.json")
    with pytest.raises(BucketMissing, match="vanished"):
        await storage.put_answer(StoredAnswer(owner=OWNER, key="runs/j/1/answer.json", answer=AnswerFile.of({})))


@pytest.mark.parametrize("changed", [False, True])
async def test_a_file_changed_behind_the_workers_back_fails_the_run(
    storage: Storage, monkeypatch: pytest.MonkeyPatch, *, changed: bool
) -> None:
    """Observed in a real bucket and decided: as large as before, other bytes, nothing is paid."""
    world = World(monkeypatch, Writes())
    bucket: Any = storage
    world.storage = bucket
    monkeypatch.setattr(world, "work", lambda: None)  # we are the worker
    world.restart()
    kind = Kind.TRANSCRIPTION
    world.kube.apply(kind, SPECS[kind])
    await world.reconcile(kind)
    offer = OFFER.model_copy(update={"name": "audio.flac", "content_type": "audio/flac"})
    prefix = keys.prefix(kind, Stage.PREPARE, "ns", UID, 1)
    await storage.delete_prefix(OWNER, prefix)  # of the previous parameter: a grant only creates objects
    grant = storage.grant(OWNER, prefix, offer, timedelta(minutes=5))
    assert httpx.put(grant.url, content=CONTENT, headers=grant.headers).status_code == 200
    left = outcome_of(kind, Stage.PREPARE, UID).model_copy(update={"files": (StoredFile(**offer.model_dump()),)})
    url = storage.worker_put(OWNER, keys.outcome(UID, 1, Stage.PREPARE, 1), timedelta(minutes=5))
    sent = httpx.put(url, content=left.model_dump_json(by_alias=True), headers={"Content-Type": "application/json"})
    assert sent.status_code == 200
    if changed:
        storage._client.put_object(Bucket=storage.bucket, Key=prefix + "audio.flac", Body=CONTENT[::-1])
    for job in world.kube.jobs.values():
        job["status"] = {"conditions": [{"type": "Complete", "status": "True"}]}
        world.process.cache.note_job(ResourceRef(kind=kind, namespace="ns", name="it", uid=UID), JobView.parse(job))
    calls = Calls(storage)
    await world.reconcile(kind)
    status = world.status(kind)
    assert calls.made == {"GetObject": 1 + changed, "HeadObject": 1}
    if changed:
        assert (status.phase, status.reason) == (Phase.FAILED, Reason.OUTPUT_CHANGED)
        assert f"audio.flac has the SHA-256 {hashlib.sha256(CONTENT[::-1]).hexdigest()}" in status.message
        assert world.provider.posts == []
    else:
        assert status.run.facts is not None
