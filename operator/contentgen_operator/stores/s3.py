"""S3 storage: presigned URLs for workers and providers, workers' outcomes, providers' responses.

boto3 is synchronous: requests run in threads. Signing sends nothing, but takes 0.7 ms of CPU time per URL: the worker
API signs in a thread.
"""

import asyncio
import base64
import hashlib
import json
import logging
import re
import secrets
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import islice
from os.path import commonprefix
from typing import IO, TYPE_CHECKING, Any

import boto3
from botocore.exceptions import BotoCoreError, ClientError
from botocore.parsers import ResponseParserError
from pydantic import ValidationError

from contentgen_contract import patterns
from contentgen_contract.base import Value
from contentgen_contract.records import keys
from contentgen_contract.records.ownership import NotOwned, Owner, require_owned
from contentgen_contract.resources.sources import Address, same_bucket
from contentgen_contract.worker.orders import FileOffer, Outcome, UploadGrant
from contentgen_operator.fairness.fair_pool import FairPool
from contentgen_operator.state.observed import BucketFile
from contentgen_operator.state.plan import StoredAnswer
from contentgen_operator.stores import bucket_lifecycle
from contentgen_operator.stores.object_versions import MOST_DELETED, MOST_LISTED, Listed, ObjectVersions
from contentgen_operator.stores.requirements import Requirement, UnmetRequirement
from contentgen_runtime import s3
from contentgen_runtime.shared_reads import SharedReads
from contentgen_runtime.store_errors import BucketMissing, CreateOnlyIgnored, NotDeleted, WrongRegion
from contentgen_runtime.stores import in_thread

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

_log = logging.getLogger(__name__)
_MAX_OUTCOME_BYTES = 4 * 2**20
_LONGEST_URL = timedelta(days=7)  # S3's maximum
_NOT_OURS_TO_SET = {"AccessDenied", "NotImplemented", "MethodNotAllowed"}
_CHUNK = 1 << 20
_MOST_LEFT = 10_000  # versions under the common prefix of one request's names (256 at most)
_NAMESPACE_HEADS = s3.PARALLEL // 2  # concurrent requests of one namespace, so that threads remain for others
_UNREADABLE = "unreadable"  # id of a malformed marker
_EXISTS = {"412", "PreconditionFailed"}
_BUSY = {"SlowDown", "ServiceUnavailable", "RequestTimeout"}  # shows no ability of a store
_NO_BUCKET = {"404", "NotFound", "NoSuchBucket"}


class InvalidOutcome(Exception):
    """A worker's file is not a valid outcome."""


class Leftovers(Value):
    """Existing objects under the keys of an upload request: names to keep, and (key, version id) pairs to remove.

    The version id is empty in a store without versions, here and below.
    """

    kept: frozenset[str] = frozenset()
    stale: tuple[tuple[str, str], ...] = ()


class DeletedPage(Value):
    """Number of versions and delete markers that one request deleted; `more` if others remain under the prefix."""

    count: int
    more: bool


class OldVersions(Value):
    """(key, version id) pairs of one page that are old, and the position of the next page (None: the last one)."""

    versions: tuple[tuple[str, str], ...]
    following: tuple[str, str] | None


class Storage:
    """One bucket. URLs for workers are signed for `endpoint`, those for providers for `public_endpoint`.

    `session` has the credentials; None uses those of the environment.
    """

    def __init__(
        self,
        *,
        bucket: str,
        region: str,
        endpoint: str | None,
        public_endpoint: str | None,
        provider_lifetime: timedelta = timedelta(days=1),
        least_lifetime: timedelta = timedelta(0),
        session: boto3.session.Session | None = None,
    ) -> None:
        self.bucket = bucket
        self._provider_lifetime = provider_lifetime
        self._least_lifetime = least_lifetime
        self._region = region
        self._endpoint = endpoint
        self._public_endpoint = public_endpoint or endpoint
        session = session or s3.session()
        self._credentials = session.get_credentials()
        self._client = s3.connect(session, region, endpoint)
        same = self._public_endpoint == endpoint
        self._public = self._client if same else s3.connect(session, region, self._public_endpoint)
        self._hurried = s3.connect(session, region, endpoint, hurried=True)
        self._versions = ObjectVersions(self._client, bucket)
        self._creates_only = False  # not known yet
        self._check_key = f"{keys.STORE_CHECK}{secrets.token_hex(8)}"
        self._unmet: tuple[UnmetRequirement, ...] = ()
        self._heads = FairPool(s3.PARALLEL, _NAMESPACE_HEADS, "head")
        self._checks: SharedReads[None, None] = SharedReads(lambda _: asyncio.to_thread(self._require_bucket))

    def ensure_bucket(self) -> None:
        """Create the bucket if it is missing, enable versioning, and check what the store can do. Idempotent.

        Versioning is also enabled for an existing bucket without a versioning status, but not if it was suspended.
        """
        region = None  # a new bucket is in the configured one
        try:
            region = self._client.head_bucket(Bucket=self.bucket).get("BucketRegion")
        except ClientError as error:
            if s3.code(error) not in _NO_BUCKET:
                raise
            self._create_bucket()
        self._ensure_versioning()
        self._unmet = tuple(self._check(region))
        for unmet in self._unmet:
            _log.log(
                logging.ERROR if unmet.stops_payments else logging.WARNING, "bucket %s: %s", self.bucket, unmet.text
            )

    @property
    def unmet_requirements(self) -> tuple[UnmetRequirement, ...]:
        """Requirements that the store did not meet at the start of the process."""
        return self._unmet

    def _check(self, region: str | None) -> Iterator[UnmetRequirement]:
        """Requirements that the store does not meet, tried on an object of our own. Raises BotoCoreError, and
        ClientError of a busy store.
        """
        for requirement, require in (
            (Requirement.REGION, partial(self._require_region, region)),
            (Requirement.CREATE_ONLY, self._require_create_only),
        ):
            try:
                require()
            except (WrongRegion, CreateOnlyIgnored, ClientError) as error:  # raised by `require_bucket` again
                _raise_busy(error)
                yield UnmetRequirement(requirement=requirement, text=f"nothing is paid: {self._cause(error)}")
        key = self._check_key
        for recommended, tried, text in (
            (Requirement.CHECKSUMS, self._keeps_checksums, "stored files have no SHA-256 and are read to compare them"),
            (Requirement.VERSIONS, self._lists_versions, "no versions are listed: only current objects are deleted"),
            (Requirement.BULK_DELETION, self._deletes_many, "objects are not deleted in bulk, but one by one"),
        ):
            try:
                if not tried(key):
                    yield UnmetRequirement(requirement=recommended, text=text)
            except (ClientError, ResponseParserError, NotDeleted) as error:
                _raise_busy(error)
                yield UnmetRequirement(requirement=recommended, text=f"{text}, or not at all: {self._cause(error)}")

    def _cause(self, error: Exception) -> str:
        """Cause for /stores, which every pod may read: AWS names account and role in its messages. The log has them."""
        if not isinstance(error, ClientError):
            return str(error)
        _log.warning("bucket %s: %s", self.bucket, error)
        return f"{error.operation_name}: {s3.code(error)}"

    def _keeps_checksums(self, key: str) -> bool:
        checksum = base64.b64encode(hashlib.sha256(b"{}").digest()).decode()  # in a header, as workers send it
        self._client.put_object(
            Bucket=self.bucket, Key=key, Body=b"{}", ChecksumAlgorithm="SHA256", ChecksumSHA256=checksum
        )
        head = s3.head(self._client, self.bucket, key)
        return head is not None and bool(head.get("ChecksumSHA256"))

    def _lists_versions(self, key: str) -> bool:
        with suppress(ClientError):  # a refused checksum left no object; without the right to write there is none
            self._client.put_object(Bucket=self.bucket, Key=key, Body=b"{}")
        return self._versions.find_out(key)

    def _deletes_many(self, key: str) -> bool:
        try:
            for page in self._versions.pages(key):
                self._versions.delete([version.version for version in page.listed])
        except (ClientError, ResponseParserError, NotDeleted):
            with suppress(ClientError):
                self._client.delete_object(Bucket=self.bucket, Key=key)
            raise
        return self._versions.deletes_many

    def _require_region(self, found: str | None) -> None:
        """Raises WrongRegion if AWS has the bucket in another region. Other services name regions as they like."""
        if s3.is_aws(self._endpoint) and found and found != self._region:
            raise WrongRegion(self.bucket, found, self._region)

    def _require_create_only(self) -> None:
        """Raises CreateOnlyIgnored if the second creation of an object succeeds."""
        if self._creates_only:
            return
        created = [self._create(keys.CREATE_ONLY_CHECK, b"{}") for _ in range(2)]
        if created[-1]:
            raise CreateOnlyIgnored(self.bucket)
        self._creates_only = True

    def _ensure_versioning(self) -> None:
        try:
            if "Status" not in self._client.get_bucket_versioning(Bucket=self.bucket):
                self._client.put_bucket_versioning(Bucket=self.bucket, VersioningConfiguration={"Status": "Enabled"})
        except ClientError as error:
            if s3.code(error) not in _NOT_OURS_TO_SET:
                raise
            _log.warning("bucket %s: versioning cannot be enabled: %s", self.bucket, s3.code(error))

    def _create_bucket(self) -> None:
        if self._region == "us-east-1":  # S3 refuses its default region as a constraint
            self._client.create_bucket(Bucket=self.bucket)
        else:
            self._client.create_bucket(
                Bucket=self.bucket,
                CreateBucketConfiguration={"LocationConstraint": self._region},  # type: ignore[typeddict-item]  # any region's name
            )

    def worker_get(self, owner: Owner, key: str, lifetime: timedelta) -> str:
        """URL with which a worker reads one object. Raises NotOwned."""
        return self._sign(
            self._client, "get_object", {"Bucket": self.bucket, "Key": require_owned(owner, key)}, lifetime
        )

    def worker_put(self, owner: Owner, key: str, lifetime: timedelta) -> str:
        """URL with which a worker writes one small JSON document. Raises NotOwned."""
        params = {"Bucket": self.bucket, "Key": require_owned(owner, key), "ContentType": "application/json"}
        return self._sign(self._client, "put_object", params, lifetime)

    def source_get(self, source: Address, lifetime: timedelta) -> str:
        """URL of a granted `s3://bucket/key` source. Raises NotOwned for any key of our own bucket."""
        if same_bucket(source.bucket, self.bucket):
            raise NotOwned(f"s3://{source.bucket}/{source.key}")
        params = {"Bucket": source.bucket, "Key": source.key}
        return self._sign(self._client, "get_object", params, lifetime)

    def provider_get(self, owner: Owner, key: str) -> str:
        """URL with which a provider reads one object, valid until the credentials end. Raises NotOwned."""
        params = {"Bucket": self.bucket, "Key": require_owned(owner, key)}
        left = s3.lasts(self._credentials, datetime.now(UTC))
        lifetime = self._provider_lifetime if left is None else min(left, self._provider_lifetime)
        return self._sign(self._public, "get_object", params, lifetime)

    @in_thread
    def require_session(self) -> None:
        """Renew credentials that end too early for a provider. Raises SessionTooShort if the new ones do too, and the
        errors of STS.
        """
        s3.require_lasting(self._credentials, self._least_lifetime)

    def grant(self, owner: Owner, prefix: str, offer: FileOffer, lifetime: timedelta) -> UploadGrant:
        """URL and headers for one PUT of exactly these bytes under a new key.

        Raises NotOwned, and ValueError for a name without a content type. Length, type, checksum and `If-None-Match: *`
        are signed; the name determines the type.
        """
        checksum, content_type = _checksum(offer), keys.content_type(offer.name)
        params = {
            "Bucket": self.bucket,
            "Key": require_owned(owner, prefix + offer.name),
            "ContentType": content_type,
            "ContentLength": offer.size_bytes,
            "ChecksumSHA256": checksum,
            "IfNoneMatch": "*",
        }
        headers = {
            "Content-Type": content_type,
            "Content-Length": str(offer.size_bytes),
            "x-amz-checksum-sha256": checksum,
            "If-None-Match": "*",
        }
        url = self._sign(self._client, "put_object", params, lifetime)
        return UploadGrant(name=offer.name, url=url, headers=headers, expires_seconds=int(lifetime.total_seconds()))

    def plain_url(self, key: str) -> str:
        """Unsigned address of an object, as in the records of the legacy API."""
        return f"{s3.bucket_url(self._public_endpoint, self.bucket)}/{key}"

    async def require_bucket(self) -> None:
        """Raises BucketMissing, WrongRegion, CreateOnlyIgnored, or boto3's errors for an unavailable store. Concurrent
        callers share the next check.
        """
        await self._checks(None)

    def _require_bucket(self) -> None:
        try:
            found = self._client.head_bucket(Bucket=self.bucket).get("BucketRegion")
        except ClientError as error:
            if s3.code(error) in _NO_BUCKET:
                raise BucketMissing(self.bucket) from None
            raise
        self._require_region(found)
        self._require_create_only()

    @in_thread
    def outcome(self, owner: Owner, key: str) -> Outcome | None:
        """Outcome that a worker stored; None if there is none. Raises InvalidOutcome or NotOwned."""
        body = self._read(require_owned(owner, key), _MAX_OUTCOME_BYTES)
        try:
            return Outcome.model_validate_json(body) if body is not None else None
        except ValidationError as error:
            raise InvalidOutcome(f"the worker's outcome is malformed: {error.errors()[0]['msg']}") from error

    async def stored(
        self, owner: Owner, prefix: str, names: Iterable[str], namespace: str = ""
    ) -> dict[str, BucketFile]:
        """Sizes and checksums of the existing files of these names, relative to a prefix; missing files are left out.

        Namespaces share the threads. Raises NotOwned.
        """
        wanted = sorted(set(names))
        found = await self._heads.map(namespace, self._stored, [require_owned(owner, prefix + name) for name in wanted])
        return {name: each for name, each in zip(wanted, found, strict=True) if each is not None}

    @in_thread
    def exists(self, owner: Owner, key: str) -> bool:
        """True if an object exists. Raises NotOwned, or boto3's errors."""
        try:
            with closing(self._client.get_object(Bucket=self.bucket, Key=require_owned(owner, key))["Body"]):
                return True
        except ClientError as error:
            if s3.code(error) in s3.MISSING:
                return False
            raise

    async def leftovers(self, owner: Owner, prefix: str, offers: Sequence[FileOffer], namespace: str = "") -> Leftovers:
        """Existing objects under the offered keys: files with the same bytes and type, and versions of all others.

        One listing finds them, so a first attempt costs one request. If listing fails, nothing is found and the upload
        still works: a PUT creates only, so it cannot overwrite. Namespaces share the threads. Raises NotOwned.
        """
        for offer in offers:
            require_owned(owner, prefix + offer.name)
        try:
            found = await self._heads.run(namespace, self._left, {prefix + offered.name for offered in offers})
            likely = [offered for offered in offers if found.sizes.get(prefix + offered.name) == offered.size_bytes]
            same = await self._heads.map(namespace, partial(self._keeps, prefix), likely)
        except (ClientError, BotoCoreError) as error:
            _log.warning("files of an earlier attempt cannot be listed: %s", type(error).__name__)
            return Leftovers()
        kept = frozenset(offer.name for offer, is_same in zip(likely, same, strict=True) if is_same)
        return Leftovers(
            kept=kept, stale=tuple(left.version for left in found.all if left.key.removeprefix(prefix) not in kept)
        )

    def _left(self, wanted: set[str]) -> "_Left":
        shared = commonprefix(list(wanted))  # noqa: RUF071 - by character, as S3 compares prefixes
        pages = islice(self._versions.pages(shared), _MOST_LEFT // MOST_LISTED)
        listed = [version for page in pages for version in page.listed if version.key in wanted]
        return _Left(listed, {found.key: found.size_bytes for found in listed if found.latest})

    async def remove(self, owner: Owner, versions: Sequence[tuple[str, str]]) -> None:
        """Delete (key, version id) pairs, including delete markers. Raises NotDeleted or NotOwned."""
        for key, _ in versions:
            require_owned(owner, key)
        await asyncio.to_thread(self._versions.delete, versions)

    async def remove_temporary(self, versions: Sequence[tuple[str, str]]) -> None:
        """Delete (key, version id) pairs under `temp/`, whose keys may have any characters. Raises NotDeleted or
        NotOwned.
        """
        for key, _ in versions:
            if not key.startswith(keys.TEMPORARY):
                raise NotOwned(key)
        await asyncio.to_thread(self._versions.delete, versions)

    def _keeps(self, prefix: str, offer: FileOffer) -> bool:
        """True if the stored file equals the offer. False without a checksum: sending it again is cheaper than reading
        it.
        """
        head = s3.head(self._client, self.bucket, prefix + offer.name)
        if head is None:
            return False
        found = (head["ContentLength"], head.get("ChecksumSHA256"), head.get("ContentType"))
        return found == (offer.size_bytes, _checksum(offer), keys.content_type(offer.name))

    def _stored(self, key: str) -> BucketFile | None:
        head = s3.head(self._client, self.bucket, key)
        if head is None:
            return None
        checksum = head.get("ChecksumSHA256")
        if not checksum:
            return self._hashed(key)
        return BucketFile(size_bytes=head["ContentLength"], sha256=base64.b64decode(checksum).hex())

    def _hashed(self, key: str) -> BucketFile:
        """Size and SHA-256 by reading the object: some stores keep no checksum, and some writers send none."""
        digest, size = hashlib.sha256(), 0
        for chunk in self._client.get_object(Bucket=self.bucket, Key=key)["Body"].iter_chunks(_CHUNK):
            digest.update(chunk)
            size += len(chunk)
        return BucketFile(size_bytes=size, sha256=digest.hexdigest())

    @in_thread
    def delete_prefix(
        self, owner: Owner, prefix: str, most: int = MOST_DELETED, keep: frozenset[str] = frozenset()
    ) -> DeletedPage:
        """Delete up to `most` (1000 at most) versions and delete markers under a prefix, with two requests, and one
        more for each page of keys to `keep`. More requests only in a store without one of the two.

        Raises NotOwned, and NotDeleted if the store kept one of them.
        """
        if not prefix.endswith("/"):  # `…/job` would take `…/job-of-another/` with it
            raise NotOwned(prefix)
        for page in self._versions.pages(require_owned(owner, prefix), min(most, MOST_DELETED)):
            doomed = [version.version for version in page.listed if version.key not in keep]
            if doomed:
                self._versions.delete(doomed)
                return DeletedPage(count=len(doomed), more=page.following is not None)
        return DeletedPage(count=0, more=False)

    @in_thread
    def set_temporary_rules(self, *, wanted: bool) -> bool:
        """Add or remove the bucket's lifecycle rules for temporary files; True if they are in force."""
        return bucket_lifecycle.set_rules(self._client, self.bucket, wanted=wanted)

    @in_thread
    def old_versions(self, prefix: str, before: datetime, after: tuple[str, str]) -> OldVersions:
        """Versions and delete markers of one page under a prefix that were written before a time. `after` is the
        position that the previous page returned; empty for the first one.
        """
        page = self._versions.page(prefix, after, MOST_LISTED)
        found = tuple(version.version for version in page.listed if version.modified < before)
        return OldVersions(versions=found, following=page.following)

    @in_thread
    def put_marker(self, buying_key: str, purchase_id: str, namespace_uid: str | None = None) -> str:
        """Create the marker of a purchase, once; returns the id in the marker, which may be an earlier one's."""
        body = {"purchaseId": purchase_id} | ({"namespaceUid": namespace_uid} if namespace_uid else {})
        key = keys.purchase_marker(buying_key)
        if self._create(key, json.dumps(body).encode()):
            return purchase_id
        return self._marker(key, None) or _UNREADABLE

    @in_thread
    def marker(self, buying_key: str, namespace_uid: str | None = None) -> str | None:
        """Purchase id in a marker; None if there is no marker, or none of this namespace."""
        return self._marker(keys.purchase_marker(buying_key), namespace_uid)

    def _marker(self, key: str, namespace_uid: str | None) -> str | None:
        found = self._read(key, _MAX_OUTCOME_BYTES)
        if found is None:
            return None
        try:
            body = json.loads(found)
            named, uid = body["purchaseId"], body.get("namespaceUid")
        except (ValueError, KeyError, TypeError, AttributeError):
            return _UNREADABLE
        if namespace_uid is not None and uid != namespace_uid:
            return None
        return named if isinstance(named, str) and re.fullmatch(patterns.UID, named) else _UNREADABLE

    @in_thread
    def put_mark(self, key: str) -> None:
        """Create the mark of a request under keys.EVIDENCE; nothing if it exists. Raises NotOwned."""
        self._create(_evidence(key), b"{}")

    @in_thread
    def put_evidence(self, key: str, body: bytes) -> bool:
        """Create an object under keys.EVIDENCE by one attempt of about 2 s; False if it exists. Raises NotOwned."""
        return self._create(_evidence(key), body, self._hurried)

    @in_thread
    def evidence(self, key: str) -> bytes | None:
        """Content of an object under keys.EVIDENCE; None if it is missing. Raises NotOwned."""
        return self._read(_evidence(key), _MAX_OUTCOME_BYTES)

    @in_thread
    def evidence_keys(self, prefix: str, after: str) -> list[str]:
        """Keys under a prefix in keys.EVIDENCE that follow `after`; one request for each 1000. Raises NotOwned."""
        return self._evidence_keys(_evidence(prefix), after)

    def _evidence_keys(self, prefix: str, after: str) -> list[str]:
        pages = self._client.get_paginator("list_objects_v2").paginate(
            Bucket=self.bucket, Prefix=prefix, StartAfter=after
        )
        return [content["Key"] for page in pages for content in page.get("Contents", ())]

    def _create(self, key: str, body: bytes | IO[bytes], client: "S3Client | None" = None) -> bool:
        """Create a JSON object; False if it exists, and then it is not changed."""
        try:
            with self._bucket_expected():
                (client or self._client).put_object(
                    Bucket=self.bucket, Key=key, Body=body, ContentType="application/json", IfNoneMatch="*"
                )
        except ClientError as error:
            if s3.code(error) in _EXISTS:
                return False
            raise
        return True

    @in_thread
    def put_answer(self, store: StoredAnswer) -> None:
        """Store a provider's response without its presigned URLs, and close its file. An existing response is kept: an
        earlier process stored it for the same request. Raises NotOwned.
        """
        key = require_owned(store.owner, store.key)
        store.answer.cut_signatures(store.needed)
        self._create(key, store.answer.file())
        store.answer.close()

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
            method, Params=params, ExpiresIn=max(1, int(min(lifetime, _LONGEST_URL).total_seconds()))
        )


@dataclass(frozen=True)
class _Left:
    """Versions and delete markers, and the sizes of the current versions in bytes (None: deleted)."""

    all: list[Listed]
    sizes: dict[str, int | None]


def _raise_busy(error: Exception) -> None:
    """Raise the error of a busy store, which the start repeats."""
    if isinstance(error, ClientError) and s3.code(error) in _BUSY:
        raise error


def _evidence(key: str) -> str:
    if not key.startswith(keys.EVIDENCE):
        raise NotOwned(key)
    return key


def _checksum(offer: FileOffer) -> str:
    """SHA-256 of an offer in the format of S3 (base64)."""
    return base64.b64encode(bytes.fromhex(offer.sha256)).decode()
