"""Listing of a bucket's assets, and comparison of a listing with a bucket."""

import base64
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError

from contentgen_contract.records import keys
from contentgen_runtime import s3

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

Document = dict[str, Any]
PREFIXES = (*(f"{folder}/" for folder in keys.FOLDERS), "runs/", "purchases/")
"""All prefixes except `temp/`."""


def assets(client: "S3Client", bucket: str, *, checksums: bool) -> Iterator[Document]:
    """Key, bytes and etag of each object; with `checksums`, sha256 too if the store has it (one request per object)."""
    with ThreadPoolExecutor(s3.PARALLEL) as pool:
        for page in _pages(client, bucket):
            found = [
                {"key": stored_object["Key"], "bytes": stored_object["Size"], "etag": stored_object["ETag"].strip('"')}
                for stored_object in page
            ]
            digests = pool.map(lambda each: _sha256(client, bucket, each["key"]), found) if checksums else ()
            for each, digest in (
                zip(found, digests, strict=True) if checksums else ((stored_object, None) for stored_object in found)
            ):
                yield each | ({"sha256": digest} if digest else {})


def _pages(client: "S3Client", bucket: str) -> Iterator[list[Any]]:
    pages = client.get_paginator("list_objects_v2")
    for prefix in PREFIXES:
        for page in pages.paginate(Bucket=bucket, Prefix=prefix):
            yield list(page.get("Contents", ()))


def _sha256(client: "S3Client", bucket: str, key: str) -> str | None:
    try:
        head = client.head_object(Bucket=bucket, Key=key, ChecksumMode="ENABLED")
    except ClientError as error:
        if s3.code(error) in s3.MISSING:  # deleted since the listing
            return None
        raise
    checksum = head.get("ChecksumSHA256", "")
    # A checksum with "-N" is a hash of N parts' checksums, not of the content.
    return base64.b64decode(checksum).hex() if checksum and "-" not in checksum else None


@dataclass(slots=True)
class Comparison:
    """Result of a comparison: number of identical objects, and the keys of missing and different ones."""

    same: int = 0
    missing: list[str] = field(default_factory=list)
    different: list[str] = field(default_factory=list)


def compare(client: "S3Client", bucket: str, listed: Iterable[Document]) -> Comparison:
    """Compare listed objects with the bucket by size and ETag. If only the ETag differs, as after a copy, by sha256."""
    present = {stored_object["Key"]: stored_object for page in _pages(client, bucket) for stored_object in page}
    found = Comparison()
    for asset in listed:
        now = present.get(asset["key"])
        if now is None:
            found.missing.append(asset["key"])
        elif _is_same(client, bucket, asset, now):
            found.same += 1
        else:
            found.different.append(asset["key"])
    return found


def _is_same(client: "S3Client", bucket: str, listed: Document, now: Any) -> bool:
    if listed["bytes"] != now["Size"]:
        return False
    if listed["etag"] == now["ETag"].strip('"'):
        return True
    digest = listed.get("sha256")
    return digest is not None and digest == _sha256(client, bucket, listed["key"])


def copy_missing(client: "S3Client", source: str, target: str, prefixes: Iterable[str]) -> None:
    """Copy objects under some prefixes from another bucket of the same store; existing keys are skipped.

    The only use of S3 copies in this project, because some stores overwrite even if a condition forbids it.
    """
    pages = client.get_paginator("list_objects_v2")
    for prefix in prefixes:
        for key in sorted(_keys(pages, source, prefix) - _keys(pages, target, prefix)):
            client.copy({"Bucket": source, "Key": key}, target, key)


def _keys(pages: Any, bucket: str, prefix: str) -> set[str]:
    return {
        content["Key"] for page in pages.paginate(Bucket=bucket, Prefix=prefix) for content in page.get("Contents", ())
    }
