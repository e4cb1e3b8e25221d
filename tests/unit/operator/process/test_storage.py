"""S3 storage on moto: signing, reads, errors."""

import hashlib
import json
from collections.abc import Iterator
from datetime import timedelta
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from botocore.awsrequest import AWSResponse
from botocore.compat import HTTPHeaders
from botocore.exceptions import ClientError
from moto import mock_aws

from contentgen_contract.records import keys, ownership
from contentgen_contract.records.ownership import Owner
from contentgen_contract.resources.sources import Address
from contentgen_contract.worker.orders import FileOffer
from contentgen_operator.providers.answers import AnswerFile
from contentgen_operator.state.observed import BucketFile
from contentgen_operator.state.plan import StoredAnswer
from contentgen_operator.stores.requirements import Requirement
from contentgen_operator.stores.s3 import InvalidOutcome, Leftovers, Storage
from contentgen_runtime import s3
from contentgen_runtime.store_errors import CreateOnlyIgnored, NotDeleted, WrongRegion
from contentgen_simulation.object_storage import client, empty_bucket, refuse, storage_of

GOOD = b'{"jobId":"j","stage":"prepare","attempt":1,"reason":"Completed","newer":1}'
MINUTE = timedelta(minutes=1)
OWNER = Owner(folders=frozenset({"p/", "q/", "a/", "runs/"}))
OFFER = FileOffer(name="a.png", size_bytes=7, sha256="00" * 32, content_type="image/png")


@pytest.fixture(scope="module", autouse=True)
def _moto() -> Iterator[None]:
    with mock_aws():
        yield


@pytest.fixture
def storage() -> Storage:
    return empty_bucket()


def put(key: str, body: bytes) -> None:
    client().put_object(Bucket="assets", Key=key, Body=body)


def signed(url: str) -> set[str]:
    return set(parse_qs(urlsplit(url).query)["X-Amz-SignedHeaders"][0].split(";"))


async def test_a_file_is_missing_only_if_the_key_may_read(storage: Storage, monkeypatch: pytest.MonkeyPatch) -> None:
    """A HEAD has no error code: versitygw answers 404 to an unknown access key, such as a revoked one."""
    assert not await storage.exists(OWNER, "p/a.png")

    def refused(**_: Any) -> Any:
        raise ClientError({"Error": {"Code": "InvalidAccessKeyId"}}, "GetObject")

    monkeypatch.setattr(storage._client, "get_object", refused)
    with pytest.raises(ClientError):
        await storage.exists(OWNER, "p/a.png")
    with pytest.raises(ClientError):
        await storage.stored(OWNER, "p/", ["a.png"])


def test_the_bucket_is_versioned_and_made_once(storage: Storage) -> None:
    storage.ensure_bucket()
    assert client().get_bucket_versioning(Bucket="assets")["Status"] == "Enabled"
    assert client().get_bucket_location(Bucket="assets")["LocationConstraint"] == "eu-central-1"


def test_unversioned_bucket_gets_versions_unless_suspended(storage: Storage) -> None:
    client().create_bucket(Bucket="bare", CreateBucketConfiguration={"LocationConstraint": "eu-central-1"})
    bare = storage_of("bare")
    bare.ensure_bucket()
    assert client().get_bucket_versioning(Bucket="bare")["Status"] == "Enabled"
    client().put_bucket_versioning(Bucket="bare", VersioningConfiguration={"Status": "Suspended"})
    bare.ensure_bucket()
    assert client().get_bucket_versioning(Bucket="bare")["Status"] == "Suspended"


def test_a_grant_signs_length_type_and_checksum(storage: Storage) -> None:
    grant = storage.grant(OWNER, "p/", OFFER, MINUTE)
    assert {"content-length", "content-type", "x-amz-checksum-sha256", "host"} <= signed(grant.url)
    assert grant.headers["Content-Length"] == "7"
    query = parse_qs(urlsplit(grant.url).query)
    assert query["X-Amz-Expires"] == ["60"]
    assert "x-amz-sdk-checksum-algorithm" not in {name.lower() for name in query}
    for url in (grant.url, storage.worker_put(OWNER, "runs/a.json", MINUTE)):
        assert "crc32" not in url.lower(), "the sender could not know it"


def test_urls_are_signed_for_who_uses_them() -> None:
    storage = storage_of(endpoint="http://s3.svc:9000", public_endpoint="https://s3.example/")
    assert storage.worker_get(OWNER, "a/b", MINUTE).startswith("http://s3.svc:9000/assets/a/b?")
    assert storage.worker_put(OWNER, "a/b", MINUTE).startswith("http://s3.svc:9000/assets/a/b?")
    assert storage.source_get(Address("recordings", "x/y.mp3"), MINUTE).startswith(
        "http://s3.svc:9000/recordings/x/y.mp3?"
    )
    assert storage.provider_get(OWNER, "a/b").startswith("https://s3.example/assets/a/b?")
    assert storage.plain_url("a/b") == "https://s3.example/assets/a/b"
    aws = storage_of(region="us-east-1")
    assert aws.plain_url("a/b") == "https://assets.s3.amazonaws.com/a/b", "as the seeds have it"


async def test_an_outcome_is_checked(storage: Storage) -> None:
    assert await storage.outcome(OWNER, "runs/none.json") is None
    put("runs/a.json", GOOD)
    outcome = await storage.outcome(OWNER, "runs/a.json")
    assert outcome is not None
    assert outcome.succeeded
    unknown = b'{"jobId":"j","stage":"prepare","attempt":1,"reason":"Fine"}'
    large = GOOD + b" " * (4 * 2**20)
    for body in (b"", b"{", b"[]", b"null", b'{"jobId":"j"}', b"\xff\xfe", unknown, large):
        put("runs/bad.json", body)
        with pytest.raises(InvalidOutcome):
            await storage.outcome(OWNER, "runs/bad.json")


async def test_stored_objects_are_verified(storage: Storage) -> None:
    contents = {f"{n}.txt": f"content {n}".encode() for n in range(40)}
    for name, content in contents.items():
        put(f"p/{name}", content)
    put("p/other.txt", b"not asked for")
    found = await storage.stored(OWNER, "p/", [*contents, "none.txt"])
    assert found == {
        name: BucketFile(size_bytes=len(content), sha256=hashlib.sha256(content).hexdigest())
        for name, content in contents.items()
    }


def put_as_a_worker_does(offer: FileOffer, content: bytes) -> None:
    client().put_object(
        Bucket="assets", Key=f"p/{offer.name}", Body=content, ContentType=offer.content_type, ChecksumAlgorithm="SHA256"
    )


def offer_of(name: str, content: bytes, content_type: str = "image/png") -> FileOffer:
    sha256 = hashlib.sha256(content).hexdigest()
    return FileOffer(name=name, size_bytes=len(content), sha256=sha256, content_type=content_type)


async def test_only_the_very_same_file_is_kept(storage: Storage) -> None:
    same, shorter, other, typed = (offer_of(f"{name}.png", b"content") for name in "abcd")
    put_as_a_worker_does(same, b"content")
    put_as_a_worker_does(shorter, b"conten")
    put_as_a_worker_does(other, b"CONTENT")
    put_as_a_worker_does(typed.model_copy(update={"content_type": "image/jpeg"}), b"content")
    put("p/unchecked.png", b"content")
    offers = [same, shorter, other, typed, offer_of("unchecked.png", b"content"), offer_of("none.png", b"content")]
    found = await storage.leftovers(OWNER, "p/", offers)
    assert found.kept == {"a.png"}
    assert {key for key, _ in found.stale} == {"p/b.png", "p/c.png", "p/d.png", "p/unchecked.png"}
    assert await storage.leftovers(OWNER, "q/", offers) == Leftovers()


async def test_a_first_attempt_asks_once_for_what_is_kept(storage: Storage, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    storage._client.meta.events.register("before-call.s3", lambda model, **_: asked.append(model.name))
    put("p/other.png", b"another job's")
    offers = [offer_of(f"{number}.png", b"content") for number in range(200)]
    assert await storage.leftovers(OWNER, "p/", offers) == Leftovers()
    assert asked == ["ListObjectVersions"]


async def test_a_store_that_is_away_keeps_nothing(storage: Storage, monkeypatch: pytest.MonkeyPatch) -> None:
    put_as_a_worker_does(OFFER, b"1234567")
    none = storage_of("none")
    assert await none.leftovers(OWNER, "p/", [OFFER]) == Leftovers()


async def test_removing_takes_the_named_versions_only(storage: Storage) -> None:
    for content in (b"one", b"two"):
        put("p/a.png", content)
    (first,) = (key for key in (await storage.leftovers(OWNER, "p/", [OFFER])).stale[-1:])
    put("p/a.png", b"put since")
    await storage.remove(OWNER, [first])
    assert client().get_object(Bucket="assets", Key="p/a.png")["Body"].read() == b"put since"
    assert len((await storage.leftovers(OWNER, "p/", [OFFER])).stale) == 2
    await storage.remove(OWNER, [])


async def test_a_version_that_is_not_removed_is_an_error(storage: Storage, monkeypatch: pytest.MonkeyPatch) -> None:
    refused = {"Errors": [{"Key": "p/a.png", "Code": "AccessDenied"}]}
    monkeypatch.setattr(storage._client, "delete_objects", lambda **_: refused)
    with pytest.raises(NotDeleted, match=r"p/a\.png: AccessDenied"):
        await storage.remove(OWNER, [("p/a.png", "1")])


async def test_a_document_is_stored(storage: Storage) -> None:
    await storage.put_answer(
        StoredAnswer(owner=OWNER, key="runs/p.json", answer=AnswerFile.of({"text": "grüezi", "n": None}))
    )
    assert (await storage.stored(OWNER, "runs/", ["p.json"]))["p.json"].size_bytes == len(
        b'{"text": "gr\\u00fcezi", "n": null}'
    )


async def test_a_marker_and_a_response_are_written_once(storage: Storage) -> None:
    assert [await storage.put_marker("ns/Kind/it/hash/-/1", word) for word in ("one", "two")] == ["one", "one"]
    assert await storage.put_marker("ns/Kind/it/hash/-/2", "two") == "two"
    owner, key = ownership.purchase_owner("one"), keys.purchase_response("one")
    for answer in ({"n": 1}, {"n": 2}):
        await storage.put_answer(StoredAnswer(owner=owner, key=key, answer=AnswerFile.of(answer)))
    assert json.loads(storage._read(key, 99) or b"") == {"n": 1}


async def test_a_marker_is_of_one_namespace(storage: Storage) -> None:
    await storage.put_marker("k", "one", "a-namespace")
    await storage.put_marker("of no namespace", "two")
    assert [await storage.marker("k", each) for each in (None, "a-namespace", "another")] == ["one", "one", None]
    assert [await storage.marker("of no namespace", each) for each in (None, "a-namespace")] == ["two", None]


@pytest.mark.parametrize("body", [b"", b"[]", b'{"purchaseId": "../x"}', b'{"purchaseId": 7}'])
async def test_unreadable_marker_belongs_to_another_purchase(storage: Storage, body: bytes) -> None:
    storage._client.put_object(Bucket="assets", Key=keys.purchase_marker("k"), Body=body)
    assert await storage.put_marker("k", "one") == "unreadable"


async def test_evidence_is_created_once_and_listed_in_order(storage: Storage) -> None:
    at = [keys.send_object("k", 10), keys.send_object("k", 9), keys.send_end("k", 9), keys.send_object("k", 2)]
    assert [await storage.put_evidence(each, b"{}") for each in (*at, at[0])] == [True] * 4 + [False]
    await storage.put_marker("k", "one")
    assert await storage.evidence(at[0]) == b"{}"
    assert await storage.evidence(keys.send_object("k", 7)) is None
    for known, found in ((0, [at[3], at[2], at[1], at[0]]), (9, [at[2], at[1], at[0]]), (10, at[:1]), (11, [])):
        assert await storage.evidence_keys(keys.sends_prefix("k"), keys.sends_prefix("k", known)) == found


def test_an_object_that_proves_a_try_is_created_by_one_attempt(storage: Storage) -> None:
    """A repetition after a lost reply would find its own object."""
    for each, attempts, seconds in ((storage._client, 2, 10), (storage._hurried, 1, 2)):
        config: Any = each.meta.config
        assert (config.retries["total_max_attempts"], config.read_timeout) == (attempts, seconds)


async def test_bucket_without_conditional_puts_stops_payments(
    storage: Storage, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    await storage.require_bucket()
    put = storage._client.put_object

    def ignoring(**given: Any) -> Any:
        return put(**{name: value for name, value in given.items() if name != "IfNoneMatch"})

    careless = storage_of()
    monkeypatch.setattr(careless._client, "put_object", ignoring)
    careless.ensure_bucket()
    assert "nothing is paid" in caplog.text
    with pytest.raises(CreateOnlyIgnored, match="If-None-Match"):
        await careless.require_bucket()


async def test_wrong_region_is_said_before_a_payment(storage: Storage, caplog: pytest.LogCaptureFixture) -> None:
    """boto3 follows S3's redirect, so that only workers and providers would notice."""
    elsewhere = storage_of(region="us-east-1")
    with pytest.raises(WrongRegion, match=r"is in region eu-central-1, not in us-east-1.*set storage.region"):
        await elsewhere.require_bucket()
    elsewhere.ensure_bucket()
    assert [(unmet.requirement, unmet.stops_payments) for unmet in elsewhere.unmet_requirements] == [
        (Requirement.REGION, True)
    ]
    assert "nothing is paid: bucket 'assets' is in region eu-central-1" in caplog.text


@pytest.mark.parametrize(
    ("endpoint", "aws"),
    [
        (None, True),
        ("https://bucket.vpce-1.s3.eu-central-1.vpce.amazonaws.com", True),
        ("https://s3.cn-north-1.amazonaws.com.cn", True),
        ("https://account.r2.cloudflarestorage.com", False),
        ("http://minio:9000", False),
        ("https://notamazonaws.com", False),
    ],
)
def test_only_aws_is_held_to_the_names_of_its_regions(endpoint: str | None, aws: bool) -> None:
    assert s3.is_aws(endpoint) is aws


REFUSALS: list[tuple[tuple[str, int, str] | None, set[str]]] = [
    (None, set()),
    (("ListObjectVersions", 501, "NotImplemented"), {"versions"}),
    (("DeleteObjects", 400, "MissingContentMD5"), {"bulk_deletion"}),
    (("DeleteObjects", 403, "AccessDenied"), {"bulk_deletion"}),
    (("HeadObject", 403, "AccessDenied"), {"checksums"}),
    (("PutObject", 403, "AccessDenied"), {"create_only", "checksums"}),
]


@pytest.mark.parametrize(("refused", "names"), REFUSALS)
def test_a_store_is_checked_at_the_start(
    refused: tuple[str, int, str] | None, names: set[str], storage: Storage, caplog: pytest.LogCaptureFixture
) -> None:
    checked = storage_of()
    if refused is not None:
        refuse(checked, *refused)
    caplog.clear()
    checked.ensure_bucket()
    assert {unmet.requirement for unmet in checked.unmet_requirements} == names
    for unmet in checked.unmet_requirements:
        assert f"bucket assets: {unmet.text}" in caplog.messages, "one line for each"


@pytest.mark.parametrize("operation", ["PutObject", "ListObjectVersions", "DeleteObjects"])
def test_a_busy_store_is_checked_again(operation: str, storage: Storage) -> None:
    checked = storage_of()
    refuse(checked, operation, 503, "SlowDown")
    with pytest.raises(ClientError, match="SlowDown"):
        checked.ensure_bucket()
    assert checked.unmet_requirements == ()


def test_account_and_role_are_in_the_log_alone(storage: Storage, caplog: pytest.LogCaptureFixture) -> None:
    checked, role = storage_of(), "arn:aws:sts::123456789012:assumed-role/contentgen/1"

    def denied(params: Any, **_: Any) -> Any:
        error = {"Code": "AccessDenied", "Message": f"User: {role} is not authorized to perform: s3:PutObject"}
        return AWSResponse(params["url"], 403, HTTPHeaders(), None), {"Error": error}

    checked._client.meta.events.register("before-call.s3.PutObject", denied)
    checked.ensure_bucket()
    assert checked.unmet_requirements[0].text == "nothing is paid: PutObject: AccessDenied"
    assert not any(role in unmet.text for unmet in checked.unmet_requirements)
    assert role in caplog.text


def test_a_store_without_checksums_is_noticed(storage: Storage) -> None:
    checked = storage_of()
    checked._client.meta.events.register("after-call.s3.HeadObject", lambda parsed, **_: parsed.pop("ChecksumSHA256"))
    checked.ensure_bucket()
    assert [unmet.requirement for unmet in checked.unmet_requirements] == [Requirement.CHECKSUMS]


def test_the_check_of_a_store_leaves_nothing(storage: Storage) -> None:
    found = client().list_object_versions(Bucket="assets", Prefix="temp/")
    assert (found.get("Versions"), found.get("DeleteMarkers")) == (None, None)


async def test_files_to_keep_stay_where_a_prefix_is_deleted(storage: Storage) -> None:
    folder = "loras/u/j/v1/"
    for name in ("a", "b"):
        storage._client.put_object(Bucket="assets", Key=folder + name, Body=b"x")
    await storage.delete_prefix(Owner(folders=frozenset({folder})), folder, keep=frozenset({f"{folder}a"}))
    assert [storage._read(folder + name, 9) for name in ("a", "b")] == [b"x", None]


async def test_keys_to_keep_hide_no_other_however_many_they_are(storage: Storage) -> None:
    for name in "abcdefg":
        put(f"p/{name}", b"x")
    keep = frozenset(f"p/{name}" for name in "abcdf")
    pages = [await storage.delete_prefix(OWNER, "p/", 2, keep) for _ in range(3)]
    assert [(page.count, page.more) for page in pages] == [(1, True), (1, False), (0, False)]
    assert {name for name in "abcdefg" if storage._read(f"p/{name}", 9)} == set("abcdf")


async def test_call_deletes_a_bounded_number_of_versions(storage: Storage) -> None:
    for number in range(7):
        put(f"p/{number}", b"x")
    client().delete_object(Bucket="assets", Key="p/0")  # a delete marker
    asked: list[str] = []
    storage._client.meta.events.register("before-call.s3", lambda model, **_: asked.append(model.name))
    pages = [await storage.delete_prefix(OWNER, "p/", 5) for _ in range(3)]
    assert [(page.count, page.more) for page in pages] == [(5, True), (3, False), (0, False)]
    assert asked == ["ListObjectVersions", "DeleteObjects"] * 2 + ["ListObjectVersions"]
