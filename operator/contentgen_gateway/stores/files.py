"""The bucket, as the gateway reads it: URLs for people, and the few documents that it shows."""

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

PERSON_URL_LIFETIME = timedelta(minutes=15)
LONGEST = timedelta(hours=24)
_SAME_SECONDS = 300  # a third of a URL's life: who gets it last can still use it for ten minutes
_REMEMBERED = 8192  # some megabytes: who watches a page asks for the same addresses again every few seconds


class BucketFiles:
    """One bucket. `endpoint` is for us, `public_endpoint` is in the addresses of records, and `people_endpoint` in the
    URLs that people get; each is the one before it where it is not given. `session` knows the credentials.
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
        # A document of some MiB may cost some hundred to parse: one at a time in this process, and its child.
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
        """The scheme and host that its URLs lead to."""
        parts = urlsplit(self._for_people)
        return f"{parts.scheme}://{parts.netloc}"

    def url(self, key: OwnedKey, lifetime: timedelta = PERSON_URL_LIFETIME) -> str:
        """A URL with which a person saves one object; never stored, never logged."""
        return self.presigned(key, self._clock(), min(lifetime, LONGEST), saved=True)

    def _known(self) -> ReadOnlyCredentials:
        """The credentials in use. Raises NoCredentialsError."""
        if self._credentials is None:
            raise NoCredentialsError
        return self._credentials.get_frozen_credentials()

    def presigned(self, key: OwnedKey, since: datetime, lifetime: timedelta, *, saved: bool) -> str:
        """A URL that reads one object for so long, to be saved or to be shown. Raises NoCredentialsError."""
        name = key.rpartition("/")[2]
        return self._presigner.get(
            key,
            self._known(),
            since=since,
            lifetime=lifetime,
            disposition=disposition_of(name, saved=saved),
            content_type=content_type_of(name),
        )

    def shown(self, address: object) -> str | None:
        """An address of a record as one that can be fetched: that of an output of ours is signed, others stay.

        None for what is no address, or of ours and no output.
        """
        if not isinstance(address, str) or not address:
            return None
        key = self.key_of(address)
        if key is None:
            return address
        # An address of a record is its job's: `Records` gives out no other.
        return self.signed(OwnedKey(key)) if keys.run_of(key) is not None else None

    def signed(self, key: OwnedKey) -> str:
        """A URL that shows one object. It is good for ten minutes at least, and for some minutes the same from every
        replica: browsers keep what they got.
        """
        return _signed(self, key, int(self._clock().timestamp() // _SAME_SECONDS), self._known().access_key)

    def key_of(self, address: str) -> str | None:
        """The key of an s3:// URL or an address of this bucket, as records hold it or people got it; else None."""
        for base in self._ours:
            if address.startswith(base):
                return unquote(address[len(base) :].partition("?")[0])
        parts = split_url(address)
        if parts is None or (parts.scheme, parts.netloc) != ("s3", self.bucket):
            return None
        return unquote(parts.path.lstrip("/"))

    def address(self, key: str) -> str:
        """The plain address of an object, as records have it: `key_of` takes it back."""
        return f"{self._in_records}/{key}"

    async def read(self, key: OwnedKey, limit: int) -> bytes | None:
        """An object of at most so many bytes; None where there is none, or a larger one."""
        return await asyncio.to_thread(self._read, key, limit)

    def _read(self, key: OwnedKey, limit: int) -> bytes | None:
        try:
            reply = self._client.get_object(Bucket=self.bucket, Key=key)
        except ClientError as error:
            if s3.code(error) in s3.MISSING:
                return None
            raise
        with closing(reply["Body"]) as body:
            return body.read() if reply["ContentLength"] <= limit else None

    async def size(self, key: OwnedKey) -> int | None:
        """How many bytes an object has; None where there is none."""
        return await asyncio.to_thread(self._size, key)

    def _size(self, key: OwnedKey) -> int | None:
        head = s3.head(self._client, self.bucket, key)
        return head["ContentLength"] if head is not None else None

    async def sizes(self, prefixes: Iterable[str]) -> dict[str, int]:
        """The keys under some prefixes, with their sizes in bytes."""
        return await asyncio.to_thread(self.sizes_now, tuple(prefixes))

    def sizes_now(self, prefixes: Iterable[str]) -> dict[str, int]:
        """The same, for those who are in a thread already."""
        pages = self._client.get_paginator("list_objects_v2")
        return {
            each["Key"]: each["Size"]
            for prefix in prefixes
            for page in pages.paginate(Bucket=self.bucket, Prefix=prefix)
            for each in page.get("Contents", ())
        }


@lru_cache(_REMEMBERED)
def _signed(files: BucketFiles, key: OwnedKey, window: int, _access_key: str) -> str:
    # By access key too: a URL signed with a key that was replaced may be refused.
    return files.presigned(key, datetime.fromtimestamp(window * _SAME_SECONDS, UTC), PERSON_URL_LIFETIME, saved=False)


def _virtual(endpoint: str, bucket: str) -> str:
    parts = urlsplit(endpoint)
    return f"{parts.scheme}://{bucket}.{parts.netloc}"
