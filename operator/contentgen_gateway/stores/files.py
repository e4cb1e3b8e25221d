"""Read access to the bucket: presigned download URLs, object sizes and small documents."""

import asyncio
from collections.abc import Iterable
from contextlib import closing
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from urllib.parse import unquote, urlsplit

import boto3
from botocore.credentials import ReadOnlyCredentials
from botocore.exceptions import ClientError, NoCredentialsError

from contentgen_contract.records import keys
from contentgen_contract.records.content_types import content_type_of, disposition_of
from contentgen_contract.resources.addresses import split_url
from contentgen_gateway.stores.presigning import Presigner
from contentgen_gateway.stores.verification import OwnedKey
from contentgen_runtime import s3
from contentgen_runtime.clock import Clock, utc_now
from contentgen_runtime.stores import in_thread

PERSON_URL_LIFETIME = timedelta(minutes=15)
LONGEST = timedelta(hours=24)
_URL_WINDOW_SECONDS = 300  # a third of a URL's lifetime: at the end of the window it is still valid for ten minutes
_CACHED_URLS = 8192  # a few megabytes; open pages request the same URLs every few seconds


class BucketFiles:
    """One bucket. `session` has the credentials.

    The gateway itself uses `endpoint`, addresses in records have `public_endpoint`, and download URLs have
    `people_endpoint`; each defaults to the one before it.
    """

    def __init__(
        self,
        *,
        bucket: str,
        region: str,
        endpoint: str | None,
        public_endpoint: str | None,
        people_endpoint: str | None = None,
        session: boto3.session.Session,
        clock: Clock = utc_now,
    ) -> None:
        self._clock = clock
        self.bucket = bucket
        # Parsing a document of a few MiB may take a few hundred MiB of memory, so one at a time, subprocess included.
        self.parsing = asyncio.Semaphore(1)
        self._client = s3.connect(session, region, endpoint)
        self._credentials = session.get_credentials()
        named = people_endpoint or public_endpoint or endpoint
        self._in_records, on_aws = s3.bucket_url(public_endpoint or endpoint, bucket), s3.bucket_url(None, bucket)
        for_people = s3.bucket_url(named, bucket) if named else _virtual(self._client.meta.endpoint_url, bucket)
        self._for_people, self._presigner = for_people, Presigner(for_people, region)
        self._ours = tuple(f"{each}/" for each in (self._in_records, for_people, on_aws))

    @property
    def origin(self) -> str:
        """Scheme and host of the download URLs."""
        parts = urlsplit(self._for_people)
        return f"{parts.scheme}://{parts.netloc}"

    def url(self, key: OwnedKey, lifetime: timedelta = PERSON_URL_LIFETIME) -> str:
        """A presigned URL that downloads one object as a file; valid for up to `LONGEST`; never stored or logged."""
        return self.presigned(key, self._clock(), min(lifetime, LONGEST), saved=True)

    def _current_credentials(self) -> ReadOnlyCredentials:
        """The current credentials, which may be rotated. Raises NoCredentialsError."""
        if self._credentials is None:
            raise NoCredentialsError
        return self._credentials.get_frozen_credentials()

    def presigned(self, key: OwnedKey, since: datetime, lifetime: timedelta, *, saved: bool) -> str:
        """A presigned URL of one object, as a download (`saved`) or to be displayed. Raises NoCredentialsError."""
        name = key.rpartition("/")[2]
        return self._presigner.get(
            key,
            self._current_credentials(),
            since=since,
            lifetime=lifetime,
            disposition=disposition_of(name, saved=saved),
            content_type=content_type_of(name),
        )

    def resolve_address(self, address: object) -> str | None:
        """A record's address as a URL that browsers can fetch: outputs in the bucket presigned, other hosts unchanged.

        None for other types, empty texts, and objects in the bucket that are not outputs.
        """
        if not isinstance(address, str) or not address:
            return None
        key = self.key_of(address)
        if key is None:
            return address
        # `Records` returns verified records only, so the key belongs to the record's job.
        return self.display_url(OwnedKey(key)) if keys.run_of(key) is not None else None

    def display_url(self, key: OwnedKey) -> str:
        """A presigned URL that displays one object, valid for at least ten minutes. All replicas return the same URL
        within a window of five minutes, so that browsers can cache the response.
        """
        return _cached_url(
            self, key, int(self._clock().timestamp() // _URL_WINDOW_SECONDS), self._current_credentials().access_key
        )

    def key_of(self, address: str) -> str | None:
        """The key of an s3:// URL, a stored address or a download URL of this bucket; else None."""
        for base in self._ours:
            if address.startswith(base):
                return unquote(address[len(base) :].partition("?")[0])
        parts = split_url(address)
        if parts is None or (parts.scheme, parts.netloc) != ("s3", self.bucket):
            return None
        return unquote(parts.path.lstrip("/"))

    def address(self, key: str) -> str:
        """The address of an object as stored in records, without a signature; the inverse of `key_of`."""
        return f"{self._in_records}/{key}"

    @in_thread
    def read(self, key: OwnedKey, limit: int) -> bytes | None:
        """Content of an object; None if it is missing or has more than `limit` bytes."""
        try:
            reply = self._client.get_object(Bucket=self.bucket, Key=key)
        except ClientError as error:
            if s3.code(error) in s3.MISSING:
                return None
            raise
        with closing(reply["Body"]) as body:
            return body.read() if reply["ContentLength"] <= limit else None

    @in_thread
    def size(self, key: OwnedKey) -> int | None:
        """Size in bytes, or None if the object is missing."""
        head = s3.head(self._client, self.bucket, key)
        return head["ContentLength"] if head is not None else None

    @in_thread
    def sizes(self, prefixes: Iterable[str]) -> dict[str, int]:
        """Sizes in bytes by key, for all objects under these prefixes."""
        return self.sizes_now(tuple(prefixes))

    def sizes_now(self, prefixes: Iterable[str]) -> dict[str, int]:
        """Synchronous `sizes`, for callers that already run in a thread."""
        pages = self._client.get_paginator("list_objects_v2")
        return {
            content["Key"]: content["Size"]
            for prefix in prefixes
            for page in pages.paginate(Bucket=self.bucket, Prefix=prefix)
            for content in page.get("Contents", ())
        }


@lru_cache(_CACHED_URLS)
def _cached_url(files: BucketFiles, key: OwnedKey, window: int, _access_key: str) -> str:
    # Cached by access key too, because S3 may reject URLs signed with a replaced one.
    return files.presigned(
        key, datetime.fromtimestamp(window * _URL_WINDOW_SECONDS, UTC), PERSON_URL_LIFETIME, saved=False
    )


def _virtual(endpoint: str, bucket: str) -> str:
    parts = urlsplit(endpoint)
    return f"{parts.scheme}://{bucket}.{parts.netloc}"
