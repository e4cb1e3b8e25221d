"""Objects of moto on disk: they are there after a kill, and a damaged file is an error."""

import base64
import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from moto.moto_server.werkzeug_app import create_backend_app
from moto.s3.models import s3_backends
from werkzeug.test import Client

from contentgen_try.programs.s3_store import DamagedStore, DiskCopy, Front

BUCKET = "/some-bucket"
SIGNED = "AWS4-HMAC-SHA256 Credential=local/20260101/us-east-1/s3/aws4_request, SignedHeaders=host, Signature=0"
JSON = {"Content-Type": "application/json"}


@pytest.fixture(autouse=True)
def _forget() -> Iterator[None]:
    yield
    forget()


def forget() -> None:
    """Forget all objects in memory, as a kill does."""
    s3_backends.reset()


class Signed(Client):
    """Client whose requests are those of an account, as all of ours are; moto verifies no signature."""

    def open(self, *given: Any, **named: Any) -> Any:
        return super().open(*given, **named, environ_base={"HTTP_AUTHORIZATION": SIGNED})


def opened(folder: Path) -> Client:
    copy = DiskCopy(folder)
    copy.load()
    return Signed(Front(create_backend_app("s3"), copy))


@pytest.fixture
def store(tmp_path: Path) -> Client:
    made = opened(tmp_path)
    assert made.put(BUCKET).status_code == 200
    versioning = "<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>"
    assert made.put(f"{BUCKET}?versioning", data=versioning).status_code == 200
    return made


def checksum(content: bytes) -> dict[str, str]:
    return {"x-amz-checksum-sha256": base64.b64encode(hashlib.sha256(content).digest()).decode()}


def test_object_outlives_the_process_with_type_and_checksum(store: Client, tmp_path: Path) -> None:
    kept = checksum(b"{}")
    assert store.put(f"{BUCKET}/a/b.json", data=b"{}", headers=JSON | kept).status_code == 200
    forget()
    again = opened(tmp_path)
    found = again.head(f"{BUCKET}/a/b.json", headers={"x-amz-checksum-mode": "ENABLED"})
    assert (found.status_code, found.headers["Content-Type"]) == (200, "application/json")
    assert found.headers["x-amz-checksum-sha256"] == kept["x-amz-checksum-sha256"]
    assert again.get(f"{BUCKET}/a/b.json").data == b"{}"
    assert again.get(f"{BUCKET}?versioning").text.count("Enabled") == 1


def test_versions_and_deletions_outlive_the_process(store: Client, tmp_path: Path) -> None:
    for content in (b"1", b"2"):
        store.put(f"{BUCKET}/key", data=content)
    store.put(f"{BUCKET}/gone", data=b"x")
    store.delete(f"{BUCKET}/gone")
    before = store.get(f"{BUCKET}?versions").text
    forget()
    again = opened(tmp_path)
    assert again.get(f"{BUCKET}/key").data == b"2"
    assert again.get(f"{BUCKET}/gone").status_code == 404
    listed = again.get(f"{BUCKET}?versions").text
    assert listed.count("<Version>") == before.count("<Version>") == 3
    assert listed.count("<DeleteMarker>") == before.count("<DeleteMarker>") == 1


def test_a_create_only_object_stays_so_after_a_kill(store: Client, tmp_path: Path) -> None:
    only = {"If-None-Match": "*"}
    assert store.put(f"{BUCKET}/once", data=b"1", headers=only).status_code == 200
    forget()
    again = opened(tmp_path)
    assert again.put(f"{BUCKET}/once", data=b"2", headers=only).status_code == 412
    assert again.get(f"{BUCKET}/once").data == b"1"


def test_a_body_with_another_checksum_is_refused_and_not_stored(store: Client) -> None:
    answer = store.put(f"{BUCKET}/bad", data=b"other", headers=checksum(b"expected"))
    assert (answer.status_code, b"BadDigest" in answer.data) == (400, True)
    assert store.get(f"{BUCKET}/bad").status_code == 404


@pytest.mark.parametrize("damage", ["changed", "missing", "torn"])
def test_a_damaged_file_is_an_error(damage: str, store: Client, tmp_path: Path) -> None:
    store.put(f"{BUCKET}/key", data=b"content")
    forget()
    [data], [about] = tmp_path.glob("*.data"), tmp_path.glob("*.json")
    if damage == "changed":
        data.write_bytes(b"other")
    elif damage == "missing":
        data.unlink()
    else:
        about.write_text(about.read_text()[:20])
    with pytest.raises(DamagedStore):
        opened(tmp_path)


def test_a_write_that_was_never_answered_is_no_object(store: Client, tmp_path: Path) -> None:
    store.put(f"{BUCKET}/key", data=b"content")
    forget()
    (tmp_path / ("0" * 64 + ".data")).write_bytes(b"half")
    (tmp_path / ("1" * 64 + ".unfinished")).write_bytes(b"half")
    assert opened(tmp_path).get(BUCKET).text.count("<Key>") == 1


@pytest.mark.parametrize("pattern", ["*", "*.bucket", "*.json", "index"])
def test_missing_files_are_an_error(pattern: str, store: Client, tmp_path: Path) -> None:
    store.put(f"{BUCKET}/key", data=b"content")
    forget()
    for path in tmp_path.glob(pattern):
        if pattern != "*" or path.name != "index":
            path.unlink()
    with pytest.raises(DamagedStore, match="missing"):
        opened(tmp_path)


@pytest.mark.parametrize(
    "headers", [{"Origin": "https://evil.example"}, {"Origin": "null"}, {"Host": "evil.example:9000"}]
)
def test_pages_of_other_sites_are_refused(headers: dict[str, str], store: Client) -> None:
    store.put(f"{BUCKET}/key", data=b"content")
    for method in ("GET", "PUT", "POST", "DELETE", "OPTIONS"):
        assert store.open(f"{BUCKET}/key", method=method, headers=headers).status_code == 403
    assert store.get(f"{BUCKET}/key", headers={"Origin": "http://127.0.0.1:5000"}).data == b"content"
