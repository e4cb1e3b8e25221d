"""The bucket, as the gateway reads it: URLs for people, and the few documents that it shows."""

import asyncio
from collections.abc import Iterable
from datetime import timedelta
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

import boto3
from botocore.exceptions import ClientError

from contentgen_runtime import s3

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

PERSON_URL_LIFETIME = timedelta(minutes=15)
LONGEST = timedelta(hours=24)


class Files:
    """One bucket. `endpoint` is for us, `public_endpoint` for those who get a URL."""

    def __init__(self, *, bucket: str, region: str, endpoint: str | None, public_endpoint: str | None) -> None:
        self.bucket = bucket
        self._public_endpoint = public_endpoint or endpoint
        session = boto3.session.Session()
        self._client = s3.connect(session, region, endpoint)
        same = self._public_endpoint == endpoint
        self._public: S3Client = self._client if same else s3.connect(session, region, self._public_endpoint)

    @property
    def origin(self) -> str:
        """The scheme and host that its URLs lead to."""
        parts = urlsplit(self._public.meta.endpoint_url)
        return f"{parts.scheme}://{parts.netloc if self._public_endpoint else f'{self.bucket}.{parts.netloc}'}"

    def url(self, key: str, lifetime: timedelta = PERSON_URL_LIFETIME, *, inline: bool = False) -> str:
        """A URL with which a person reads one object; never stored, never logged. `inline`: to be shown, not saved."""
        name = key.rpartition("/")[2]
        how = "inline" if inline else "attachment"
        params = {"Bucket": self.bucket, "Key": key, "ResponseContentDisposition": f'{how}; filename="{name}"'}
        seconds = int(min(lifetime, LONGEST).total_seconds())
        return self._public.generate_presigned_url("get_object", Params=params, ExpiresIn=seconds)

    def key_of(self, address: str) -> str | None:
        """The key of a plain address or an s3:// URL of this bucket, as records hold them; None for any other."""
        parts = urlsplit(address)
        if parts.scheme == "s3":
            return unquote(parts.path.lstrip("/")) if parts.netloc == self.bucket else None
        plain = f"{self._public_endpoint.rstrip('/')}/{self.bucket}/" if self._public_endpoint else None
        virtual = f"https://{self.bucket}.s3.amazonaws.com/"
        for prefix in filter(None, (plain, virtual)):
            if address.startswith(prefix):
                return unquote(address[len(prefix) :].partition("?")[0])
        return None

    def address(self, key: str) -> str:
        """The plain address of an object, as records have it: `key_of` takes it back."""
        if self._public_endpoint:
            return f"{self._public_endpoint.rstrip('/')}/{self.bucket}/{key}"
        return f"https://{self.bucket}.s3.amazonaws.com/{key}"

    async def read(self, key: str, limit: int) -> bytes | None:
        """An object of at most so many bytes; None where there is none, or a larger one."""
        return await asyncio.to_thread(self._read, key, limit)

    def _read(self, key: str, limit: int) -> bytes | None:
        try:
            reply = self._client.get_object(Bucket=self.bucket, Key=key)
        except ClientError as error:
            if s3.code(error) in s3.MISSING:
                return None
            raise
        return reply["Body"].read() if reply["ContentLength"] <= limit else None

    async def size(self, key: str) -> int | None:
        """How many bytes an object has; None where there is none."""
        return await asyncio.to_thread(self._size, key)

    def _size(self, key: str) -> int | None:
        try:
            return self._client.head_object(Bucket=self.bucket, Key=key)["ContentLength"]
        except ClientError as error:
            if s3.code(error) in s3.MISSING:
                return None
            raise

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
