"""Listing and deletion in stores without ListObjectVersions or DeleteObjects, by facts/s3/requests.json."""

import json
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from botocore.awsrequest import AWSResponse
from botocore.compat import HTTPHeaders
from botocore.parsers import ResponseParserError
from moto import mock_aws

from contentgen_contract.records.ownership import Owner
from contentgen_contract.worker.orders import FileOffer
from contentgen_operator.clock import utc_now
from contentgen_operator.stores.requirements import Requirement
from contentgen_operator.stores.s3 import Storage
from contentgen_runtime.store_errors import NotDeleted
from contentgen_simulation.object_storage import client, empty_bucket, refuse

FACTS = json.loads((Path(__file__).parents[4] / "facts/s3/requests.json").read_text())
SERVICES = sorted(FACTS["services"])
LATER = timedelta(hours=1)
OWNER = Owner(folders=frozenset({"p/"}))


@pytest.fixture(scope="module", autouse=True)
def _moto() -> Iterator[None]:
    with mock_aws():
        yield


def service(name: str) -> Storage:
    """Storage of a service: refuses what the facts say it refuses."""
    storage = empty_bucket()
    if FACTS["requests"]["listVersions"]["services"][name]["supported"] is False:
        refuse(storage, "ListObjectVersions", 501, "NotImplemented")
        client().put_bucket_versioning(Bucket="assets", VersioningConfiguration={"Status": "Suspended"})
    many = FACTS["requests"]["deleteMany"]["services"][name]
    if many["supported"] is False:
        status, code = many["refusal"][0].split()
        refuse(storage, "DeleteObjects", int(status), code)
    return storage


def put(*names: str) -> None:
    for name in names:
        client().put_object(Bucket="assets", Key=name, Body=b"content", ContentType="image/png")


def keys_left(prefix: str = "p/") -> list[str]:
    found = client().list_objects_v2(Bucket="assets", Prefix=prefix)
    return [content["Key"] for content in found.get("Contents", ())]


def test_two_of_the_services_lack_a_request() -> None:
    lists, many = (FACTS["requests"][request]["services"] for request in ("listVersions", "deleteMany"))
    assert {name for name in SERVICES if lists[name]["supported"] is False} == {"r2"}
    assert {name for name in SERVICES if many[name]["supported"] is False} == {"minioOld", "gcs"}


@pytest.mark.parametrize("name", SERVICES)
async def test_files_are_deleted_in_a_store_without_a_request(name: str) -> None:
    storage = service(name)
    put("p/a", "p/b", "p/c", "p/kept")
    pages = [await storage.delete_prefix(OWNER, "p/", 2, frozenset({"p/kept"})) for _ in range(3)]
    assert [page.count for page in pages] == [2, 1, 0]
    assert keys_left() == ["p/kept"]


@pytest.mark.parametrize("name", SERVICES)
async def test_old_files_are_found_page_by_page(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("contentgen_operator.stores.s3.MOST_LISTED", 2)
    storage = service(name)
    put("temp/a", "temp/b", "temp/c")
    position: Any = ("", "")
    found: list[tuple[str, str]] = []
    while position is not None:
        page = await storage.old_versions("temp/", utc_now() + LATER, position)
        found.extend(page.versions)
        position = page.following
    await storage.remove_temporary(found)
    assert keys_left("temp/") == []
    assert (await storage.old_versions("temp/", utc_now() - LATER, ("", ""))).versions == ()


@pytest.mark.parametrize("name", SERVICES)
async def test_leftovers_make_room_for_an_upload(name: str) -> None:
    storage = service(name)
    put("p/a.png")
    offer = FileOffer(name="a.png", size_bytes=9, sha256="00" * 32, content_type="image/png")
    await storage.remove(OWNER, (await storage.leftovers(OWNER, "p/", [offer])).stale)
    assert keys_left() == []


async def test_a_refusal_is_remembered_and_said_once(caplog: pytest.LogCaptureFixture) -> None:
    storage = empty_bucket()
    lists, many = (
        refuse(storage, "ListObjectVersions", 501, "NotImplemented"),
        refuse(storage, "DeleteObjects", 400, "MissingContentMD5"),
    )
    for _ in range(2):
        put("p/a")
        await storage.delete_prefix(OWNER, "p/")
    assert (len(lists), len(many)) == (1, 1)
    assert [record.levelname for record in caplog.records if "assets" in record.getMessage()] == ["WARNING"] * 2


@pytest.mark.parametrize(("status", "code"), [(403, "AccessDenied"), (503, "SlowDown")])
async def test_another_refusal_changes_no_request(status: int, code: str) -> None:
    storage = empty_bucket()
    put("p/a")
    for operation in ("ListObjectVersions", "DeleteObjects"):
        refuse(storage, operation, status, code)
    with pytest.raises(Exception, match=code):
        await storage.delete_prefix(OWNER, "p/")
    with pytest.raises(Exception, match=code):
        await storage.remove(OWNER, [("p/a", "1")])
    assert keys_left() == ["p/a"]


async def test_a_single_deletion_that_is_refused_is_an_error() -> None:
    storage = service("minioOld")
    put("p/a")
    refuse(storage, "DeleteObject", 403, "AccessDenied")
    with pytest.raises(NotDeleted, match="p/a: AccessDenied"):
        await storage.delete_prefix(OWNER, "p/")


def versions_answered(storage: Storage, answer: dict[str, Any]) -> None:
    """Let the store answer 200 with this document to ListObjectVersions."""

    def answered(params: Any, **_: Any) -> Any:
        return AWSResponse(params["url"], 200, HTTPHeaders(), None), answer

    storage._client.meta.events.register("before-call.s3.ListObjectVersions", answered)


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param({}, id="versitygw without versions"),
        pytest.param({"IsTruncated": True}, id="the parameter is ignored"),
        pytest.param({"Versions": [{"Key": "p/a"}]}, id="entries without a version id"),
    ],
)
async def test_files_are_deleted_where_versions_are_not_listed(answer: dict[str, Any]) -> None:
    storage = empty_bucket()
    client().put_bucket_versioning(Bucket="assets", VersioningConfiguration={"Status": "Suspended"})
    versions_answered(storage, answer)
    storage.ensure_bucket()
    assert [unmet.requirement for unmet in storage.unmet_requirements] == [Requirement.VERSIONS]
    assert keys_left("temp/") == []
    put("p/a")
    assert (await storage.delete_prefix(OWNER, "p/")).count == 1
    assert keys_left() == []


def test_an_unreadable_answer_keeps_no_operator_from_starting() -> None:
    storage = empty_bucket()

    def unreadable(**_: Any) -> None:
        raise ResponseParserError("no XML")

    storage._client.meta.events.register("before-call.s3.ListObjectVersions", unreadable)
    storage.ensure_bucket()
    assert Requirement.VERSIONS in {unmet.requirement for unmet in storage.unmet_requirements}


def test_the_object_of_the_check_is_deleted_without_a_listing() -> None:
    storage = empty_bucket()
    refuse(storage, "ListObjectVersions", 403, "AccessDenied")
    storage.ensure_bucket()
    assert keys_left("temp/") == []


def test_bulk_deletion_is_tried_in_a_store_without_checksums() -> None:
    storage = empty_bucket()
    refuse(storage, "DeleteObjects", 400, "MissingContentMD5")

    def without_checksums(params: Any, **_: Any) -> Any:
        if "x-amz-checksum-sha256" in {name.lower() for name in params["headers"]}:
            return AWSResponse(params["url"], 501, HTTPHeaders(), None), {"Error": {"Code": "NotImplemented"}}
        return None

    storage._client.meta.events.register("before-call.s3.PutObject", without_checksums)
    storage.ensure_bucket()
    expected = {unmet.requirement for unmet in storage.unmet_requirements}
    assert expected == {Requirement.CHECKSUMS, Requirement.BULK_DELETION}
