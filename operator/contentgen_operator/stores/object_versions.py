"""Listing and deletion of objects with all their versions, also in stores without one of the two requests.

Cloudflare R2 has no versions and answers 501 to ListObjectVersions: current objects are listed and deleted instead.
Others answer 200 without any version (versitygw without a folder of versions, stores that ignore `?versions`), so the
start tries the listing with an object of its own (`find_out`).
MinIO before 2025 answers MissingContentMD5 to DeleteObjects, since botocore sends a CRC32 instead since 1.36: objects
are deleted one by one. Both are remembered until the process ends.
"""

import logging
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError

from contentgen_runtime import s3
from contentgen_runtime.store_errors import NotDeleted

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

_log = logging.getLogger(__name__)
MOST_LISTED = MOST_DELETED = 1000  # S3's maximum of one request
CURRENT = ""  # version id of the current object in a store without versions
_NO_REQUEST = {"NotImplemented", "MethodNotAllowed"}
_NO_BULK = _NO_REQUEST | {"MissingContentMD5", "InvalidArgument"}  # the last by Google Cloud Storage
_GONE = s3.MISSING | {"NoSuchVersion"}
_DELETED_AT_A_TIME = 8  # single DELETE requests
Version = tuple[str, str]  # key and version id


class _NotOfVersions(Exception):
    """The answer to ListObjectVersions has entries without a version id, or continues nowhere."""


@dataclass(frozen=True)
class Listed:
    """A version, or a delete marker: `size_bytes` is None. `latest` is true for what a GET without version id finds."""

    key: str
    version_id: str
    latest: bool
    modified: datetime
    size_bytes: int | None

    @property
    def version(self) -> Version:
        """Key and version id."""
        return self.key, self.version_id


@dataclass(frozen=True)
class VersionsPage:
    """One page of a listing; `following` is the position of the next one, None after the last one."""

    listed: tuple[Listed, ...]
    following: Version | None


@dataclass
class ObjectVersions:
    """Versions of the objects of one bucket. `lists_versions` and `deletes_many` become False once the store has
    answered that it lacks the request.
    """

    client: "S3Client"
    bucket: str
    lists_versions: bool = field(default=True, init=False)
    deletes_many: bool = field(default=True, init=False)

    def page(self, prefix: str, after: Version = ("", ""), most: int = MOST_LISTED) -> VersionsPage:
        """Up to `most` versions and delete markers under a prefix that follow a position. Raises ClientError."""
        if self.lists_versions:
            try:
                return self._page_of_versions(prefix, after, most)
            except ClientError as error:
                if s3.code(error) not in _NO_REQUEST:
                    raise
            except _NotOfVersions:
                pass
            self._list_objects()
        return self._page_of_objects(prefix, after[0], most)

    def find_out(self, key: str) -> bool:
        """True if the store lists the versions of an existing object; else current objects are listed from now on. A
        listing of objects that lacks the key too decides nothing. Raises ClientError.
        """
        found = self.page(key).listed
        if self.lists_versions and not found and self._page_of_objects(key, "", 1).listed:
            self._list_objects()
        return self.lists_versions

    def _list_objects(self) -> None:
        _log.warning("bucket %s: the store lists no versions; only current objects are deleted", self.bucket)
        self.lists_versions = False

    def pages(self, prefix: str, most: int = MOST_LISTED) -> Iterator[VersionsPage]:
        """All pages under a prefix. Raises ClientError."""
        position: Version | None = ("", "")
        while position is not None:
            page = self.page(prefix, position, most)
            yield page
            position = page.following

    def _page_of_versions(self, prefix: str, after: Version, most: int) -> VersionsPage:
        marker, version = after
        more: Any = ({"KeyMarker": marker} if marker else {}) | ({"VersionIdMarker": version} if version else {})
        reply = self.client.list_object_versions(Bucket=self.bucket, Prefix=prefix, MaxKeys=most, **more)
        entries = (*reply.get("Versions", ()), *reply.get("DeleteMarkers", ()))
        if not all(entry.get("VersionId") for entry in entries):
            raise _NotOfVersions
        found = [_listed(version, version["Size"]) for version in reply.get("Versions", ())]
        found += [_listed(marker, None) for marker in reply.get("DeleteMarkers", ())]
        following = (reply.get("NextKeyMarker", ""), reply.get("NextVersionIdMarker", ""))
        if reply.get("IsTruncated") and not following[0]:
            raise _NotOfVersions  # the next page would be the first one again
        return VersionsPage(tuple(found), following if reply.get("IsTruncated") else None)

    def _page_of_objects(self, prefix: str, after: str, most: int) -> VersionsPage:
        more: Any = {"StartAfter": after} if after else {}
        reply = self.client.list_objects_v2(Bucket=self.bucket, Prefix=prefix, MaxKeys=most, **more)
        found = [
            Listed(content["Key"], CURRENT, latest=True, modified=content["LastModified"], size_bytes=content["Size"])
            for content in reply.get("Contents", ())
        ]
        return VersionsPage(tuple(found), (found[-1].key, CURRENT) if found and reply.get("IsTruncated") else None)

    def delete(self, versions: Sequence[Version]) -> None:
        """Delete versions and delete markers. Raises NotDeleted if the store kept one, and ClientError."""
        for start in range(0, len(versions), MOST_DELETED):
            self._delete(versions[start : start + MOST_DELETED])

    def _delete(self, versions: Sequence[Version]) -> None:
        if self.deletes_many:
            try:
                return self._delete_many(versions)
            except ClientError as error:
                if s3.code(error) not in _NO_BULK:
                    raise
                what = "bucket %s: DeleteObjects is refused (%s); objects are deleted one by one"
                _log.warning(what, self.bucket, s3.code(error))
                self.deletes_many = False
        with ThreadPoolExecutor(_DELETED_AT_A_TIME, thread_name_prefix="delete") as threads:
            list(threads.map(self._delete_one, versions))
        return None

    def _delete_many(self, versions: Sequence[Version]) -> None:
        doomed: Any = [{"Key": key} | _of(version_id) for key, version_id in versions]
        reply = self.client.delete_objects(Bucket=self.bucket, Delete={"Objects": doomed, "Quiet": True})
        if errors := reply.get("Errors"):
            raise NotDeleted(f"{errors[0].get('Key')}: {errors[0].get('Code')}")

    def _delete_one(self, version: Version) -> None:
        key, version_id = version
        try:
            self.client.delete_object(Bucket=self.bucket, Key=key, **_of(version_id))
        except ClientError as error:
            if s3.code(error) not in _GONE:
                raise NotDeleted(f"{key}: {s3.code(error)}") from error


def _of(version_id: str) -> Any:
    return {"VersionId": version_id} if version_id else {}


def _listed(found: Any, size_bytes: int | None) -> Listed:
    return Listed(found["Key"], found["VersionId"], found["IsLatest"], found["LastModified"], size_bytes)
