"""A person's bucket: S3_BUCKET, S3_ACCESS_KEY, S3_SECRET_KEY, and S3_REGION, S3_ENDPOINT where they differ from AWS.

All objects of these steps are below `temp/real-…/`, and each step deletes its own.
"""

import asyncio
import secrets
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import boto3

from contentgen_contract.records.ownership import Owner
from contentgen_operator.stores.s3 import Storage
from contentgen_runtime import s3

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

_DEFAULT_REGION = "us-east-1"


@dataclass(frozen=True)
class Bucket:
    """The bucket by the operator's own storage, and by a client of the same settings."""

    name: str
    region: str
    folder: str  # with a trailing slash
    storage: Storage
    client: "S3Client"

    @classmethod
    def of(cls, environment: Mapping[str, str]) -> "Bucket":
        """Raises botocore's errors for malformed settings."""
        region, endpoint = environment.get("S3_REGION") or _DEFAULT_REGION, environment.get("S3_ENDPOINT") or None
        session = boto3.session.Session(
            environment["S3_ACCESS_KEY"], environment["S3_SECRET_KEY"], environment.get("S3_SESSION_TOKEN") or None
        )
        name = environment["S3_BUCKET"]
        storage = Storage(bucket=name, region=region, endpoint=endpoint, public_endpoint=None, session=session)
        folder = f"temp/real-{secrets.token_hex(6)}/"
        return cls(name, region, folder, storage, s3.connect(session, region, endpoint))

    @property
    def owner(self) -> Owner:
        """Owner of this run's objects."""
        return Owner(folders=frozenset({self.folder}))

    @asynccontextmanager
    async def stored(self, name: str, content: bytes, content_type: str) -> AsyncIterator[str]:
        """Presigned URL of an object, which is deleted at the end. Raises botocore's errors."""
        key: dict[str, Any] = {"Bucket": self.name, "Key": self.folder + name}
        put = await asyncio.to_thread(lambda: self.client.put_object(**key, Body=content, ContentType=content_type))
        version: dict[str, Any] = {"VersionId": put["VersionId"]} if put.get("VersionId") else {}
        try:
            yield self.storage.provider_get(self.owner, self.folder + name)
        finally:
            await asyncio.to_thread(lambda: self.client.delete_object(**key, **version))
