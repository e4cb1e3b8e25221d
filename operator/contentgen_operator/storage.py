"""S3: presigned URLs of three classes, the outcomes of workers, the answers of providers.

boto3 is synchronous: signing is arithmetic and needs no thread, everything else runs in one.
"""

import asyncio
import base64
import hashlib
import logging
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import boto3
from botocore.exceptions import BotoCoreError, ClientError
from pydantic import ValidationError

from contentgen_contract.orders import FileClaim, Outcome, UploadGrant
from contentgen_operator.observed import Stored
from contentgen_operator.providers.answers import Answer
from contentgen_runtime import s3

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_s3.type_defs import ObjectIdentifierTypeDef

_log = logging.getLogger(__name__)
_MAX_OUTCOME_BYTES = 4 * 2**20
_LONGEST_URL = timedelta(days=7)  # more than that S3 does not take
PERSON_URL_LIFETIME = timedelta(minutes=15)
_NOT_OURS_TO_SET = {"AccessDenied", "NotImplemented", "MethodNotAllowed"}
_CHUNK = 1 << 20
_MOST_LISTED = 10_000  # objects of one job; an outcome lists 4,096 at most
_NO_BUCKET = {"404", "NotFound", "NoSuchBucket"}


class InvalidOutcome(Exception):
    """A worker left something that is no outcome."""


class BucketMissing(Exception):
    """The bucket is not there: a store that is away, and no file that is missing."""

    def __init__(self, bucket: str) -> None:
        super().__init__(f"bucket {bucket!r} does not exist: create it")


class NotDeleted(Exception):
    """The store kept an object that was to be deleted."""


class Storage:
    """One bucket. URLs for workers are signed for `endpoint`, those for providers and people for `public_endpoint`."""

    def __init__(
        self,
        *,
        bucket: str,
        region: str,
        endpoint: str | None,
        public_endpoint: str | None,
        provider_lifetime: timedelta = timedelta(days=1),
    ) -> None:
        self.bucket = bucket
        self._provider_lifetime = provider_lifetime
        self._region = region
        self._endpoint = endpoint
        self._public_endpoint = public_endpoint or endpoint
        session = boto3.session.Session()
        self._client = s3.connect(session, region, endpoint)
        same = self._public_endpoint == endpoint
        self._public = self._client if same else s3.connect(session, region, self._public_endpoint)
        self._heads = ThreadPoolExecutor(s3.PARALLEL, thread_name_prefix="head")

    def ensure_bucket(self) -> None:
        """Create the bucket where it is missing, and keep versions of its objects. Idempotent.

        A bucket that somebody else made and never set versions for gets them too; one where they were switched off
        on purpose ("Suspended") is left as it is.
        """
        try:
            self._client.head_bucket(Bucket=self.bucket)
        except ClientError as error:
            if s3.code(error) not in _NO_BUCKET:
                raise
            self._create_bucket()
        self._ensure_versioning()

    def _ensure_versioning(self) -> None:
        try:
            if "Status" not in self._client.get_bucket_versioning(Bucket=self.bucket):
                self._client.put_bucket_versioning(Bucket=self.bucket, VersioningConfiguration={"Status": "Enabled"})
        except ClientError as error:
            if s3.code(error) not in _NOT_OURS_TO_SET:
                raise
            _log.warning("bucket %s: versions are not kept by us: %s", self.bucket, s3.code(error))

    def _create_bucket(self) -> None:
        if self._region == "us-east-1":  # S3 refuses to be told its default region
            self._client.create_bucket(Bucket=self.bucket)
        else:
            self._client.create_bucket(
                Bucket=self.bucket,
                CreateBucketConfiguration={"LocationConstraint": self._region},  # type: ignore[typeddict-item]  # any region's name
            )

    def worker_get(self, key: str, lifetime: timedelta) -> str:
        """A URL with which a worker reads one object."""
        return self._sign(self._client, "get_object", {"Bucket": self.bucket, "Key": key}, lifetime)

    def worker_put(self, key: str, lifetime: timedelta) -> str:
        """A URL with which a worker writes one small JSON document."""
        params = {"Bucket": self.bucket, "Key": key, "ContentType": "application/json"}
        return self._sign(self._client, "put_object", params, lifetime)

    def source_get(self, url: str, lifetime: timedelta) -> str:
        """A URL for an `s3://bucket/key` source."""
        parts = urlsplit(url)
        params = {"Bucket": parts.netloc, "Key": parts.path.lstrip("/")}
        return self._sign(self._client, "get_object", params, lifetime)

    def provider_get(self, key: str) -> str:
        """A URL with which a provider reads one object."""
        return self._sign(self._public, "get_object", {"Bucket": self.bucket, "Key": key}, self._provider_lifetime)

    def person_get(self, key: str) -> str:
        """A URL with which a person downloads one object; it is short-lived, for it may be passed on."""
        name = key.rpartition("/")[2]
        params = {"Bucket": self.bucket, "Key": key, "ResponseContentDisposition": f'attachment; filename="{name}"'}
        return self._sign(self._public, "get_object", params, PERSON_URL_LIFETIME)

    def grant(self, prefix: str, claim: FileClaim, lifetime: timedelta) -> UploadGrant:
        """One single PUT of exactly these bytes: length, type and checksum are part of the signature."""
        checksum = _checksum(claim)
        params = {
            "Bucket": self.bucket,
            "Key": prefix + claim.name,
            "ContentType": claim.content_type,
            "ContentLength": claim.size_bytes,
            "ChecksumSHA256": checksum,
        }
        headers = {
            "Content-Type": claim.content_type,
            "Content-Length": str(claim.size_bytes),
            "x-amz-checksum-sha256": checksum,
        }
        url = self._sign(self._client, "put_object", params, lifetime)
        return UploadGrant(name=claim.name, url=url, headers=headers)

    def plain_url(self, key: str) -> str:
        """The unsigned address of an object, as the seeds' records have it."""
        if self._public_endpoint:
            return f"{self._public_endpoint.rstrip('/')}/{self.bucket}/{key}"
        return f"https://{self.bucket}.s3.amazonaws.com/{key}"

    async def require_bucket(self) -> None:
        """Raises BucketMissing, or what boto3 raises for a store that is away."""
        await asyncio.to_thread(self._require_bucket)

    def _require_bucket(self) -> None:
        try:
            self._client.head_bucket(Bucket=self.bucket)
        except ClientError as error:
            if s3.code(error) in _NO_BUCKET:
                raise BucketMissing(self.bucket) from None
            raise

    async def outcome(self, key: str) -> Outcome | None:
        """What a worker left, or None. Raises InvalidOutcome: a worker's words are checked, not believed."""
        body = await asyncio.to_thread(self._read, key, _MAX_OUTCOME_BYTES)
        try:
            return Outcome.model_validate_json(body) if body is not None else None
        except ValidationError as error:
            raise InvalidOutcome(f"the worker's outcome is malformed: {error.errors()[0]['msg']}") from error

    async def stored(self, prefix: str, names: Iterable[str]) -> dict[str, Stored]:
        """What is really there under these names, relative to a prefix; a name that is missing is left out."""
        loop, wanted = asyncio.get_running_loop(), sorted(set(names))
        heads = (loop.run_in_executor(self._heads, self._stored, prefix + name) for name in wanted)
        found = await asyncio.gather(*heads)
        return {name: each for name, each in zip(wanted, found, strict=True) if each is not None}

    async def kept(self, prefix: str, claims: Sequence[FileClaim]) -> frozenset[str]:
        """The names of those files that are stored already, with the same bytes and type.

        One listing tells whether any may be, so a first attempt costs no more. A store that does not answer keeps
        nobody from storing anew.
        """
        loop = asyncio.get_running_loop()
        try:
            sizes = await loop.run_in_executor(self._heads, self._sizes, prefix)
            likely = [claim for claim in claims if sizes.get(prefix + claim.name) == claim.size_bytes]
            checks = (loop.run_in_executor(self._heads, self._keeps, prefix, claim) for claim in likely)
            same = await asyncio.gather(*checks)
        except (ClientError, BotoCoreError) as error:
            _log.warning("what is stored already is stored again: %s", type(error).__name__)
            return frozenset()
        return frozenset(claim.name for claim, kept in zip(likely, same, strict=True) if kept)

    def _sizes(self, prefix: str) -> dict[str, int]:
        pages = self._client.get_paginator("list_objects_v2").paginate(
            Bucket=self.bucket, Prefix=prefix, PaginationConfig={"MaxItems": _MOST_LISTED}
        )
        return {each["Key"]: each["Size"] for page in pages for each in page.get("Contents", ())}

    def _keeps(self, prefix: str, claim: FileClaim) -> bool:
        """Where the store has no checksum of it, the answer is no: to send it again costs less than to read it."""
        try:
            head = self._client.head_object(Bucket=self.bucket, Key=prefix + claim.name, ChecksumMode="ENABLED")
        except ClientError as error:
            if s3.code(error) in s3.MISSING:
                return False
            raise
        found = (head["ContentLength"], head.get("ChecksumSHA256"), head.get("ContentType"))
        return found == (claim.size_bytes, _checksum(claim), claim.content_type)

    def _stored(self, key: str) -> Stored | None:
        try:
            head = self._client.head_object(Bucket=self.bucket, Key=key, ChecksumMode="ENABLED")
        except ClientError as error:
            if s3.code(error) in s3.MISSING:
                return None
            raise
        checksum = head.get("ChecksumSHA256")
        if not checksum:
            return self._hashed(key)
        return Stored(size_bytes=head["ContentLength"], sha256=base64.b64decode(checksum).hex())

    def _hashed(self, key: str) -> Stored:
        """Not every S3 keeps checksums, and not every writer sends one: then it takes a look at the bytes."""
        digest, size = hashlib.sha256(), 0
        for chunk in self._client.get_object(Bucket=self.bucket, Key=key)["Body"].iter_chunks(_CHUNK):
            digest.update(chunk)
            size += len(chunk)
        return Stored(size_bytes=size, sha256=digest.hexdigest())

    async def delete_prefix(self, prefix: str) -> None:
        """Delete everything under a prefix, with all its versions and delete markers."""
        await asyncio.to_thread(self._delete_prefix, prefix)

    def _delete_prefix(self, prefix: str) -> None:
        for page in self._client.get_paginator("list_object_versions").paginate(Bucket=self.bucket, Prefix=prefix):
            listed = [*page.get("Versions", ()), *page.get("DeleteMarkers", ())]
            doomed: list[ObjectIdentifierTypeDef] = [
                {"Key": each["Key"], "VersionId": each["VersionId"]} for each in listed
            ]
            if doomed:
                reply = self._client.delete_objects(Bucket=self.bucket, Delete={"Objects": doomed, "Quiet": True})
                if errors := reply.get("Errors"):
                    raise NotDeleted(f"{errors[0].get('Key')}: {errors[0].get('Code')}")

    async def put_answer(self, key: str, answer: Answer) -> None:
        """Store a provider's answer, which is read from its file and goes with it."""
        await asyncio.to_thread(self._put_answer, key, answer)

    def _put_answer(self, key: str, answer: Answer) -> None:
        with self._bucket_expected():
            self._client.put_object(Bucket=self.bucket, Key=key, Body=answer.file(), ContentType="application/json")
        answer.close()

    @contextmanager
    def _bucket_expected(self) -> Iterator[None]:
        try:
            yield
        except ClientError as error:
            if s3.code(error) == "NoSuchBucket":
                raise BucketMissing(self.bucket) from None
            raise

    def _read(self, key: str, limit: int) -> bytes | None:
        try:
            with self._bucket_expected():
                reply = self._client.get_object(Bucket=self.bucket, Key=key)
        except ClientError as error:
            if s3.code(error) in s3.MISSING:
                return None
            raise
        if reply["ContentLength"] > limit:
            raise InvalidOutcome(f"the worker's outcome has {reply['ContentLength']} bytes, at most {limit} are read")
        return reply["Body"].read()

    def _sign(self, client: "S3Client", method: str, params: dict[str, Any], lifetime: timedelta) -> str:
        return client.generate_presigned_url(
            method, Params=params, ExpiresIn=int(min(lifetime, _LONGEST_URL).total_seconds())
        )


def _checksum(claim: FileClaim) -> str:
    """As S3 writes it."""
    return base64.b64encode(bytes.fromhex(claim.sha256)).decode()
