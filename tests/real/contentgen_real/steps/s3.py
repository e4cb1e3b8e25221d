"""Steps with a bucket: S3's requests, and a training whose inputs and LoRA are presigned URLs."""

import asyncio
import base64
import hashlib
import json
from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Any

import httpx
from botocore.exceptions import BotoCoreError, ClientError

from contentgen_contract.names import Kind
from contentgen_contract.resources.spec import (
    Image,
    ImageGenerationSpec,
    ImageSize,
    Lora,
    LoraTrainingSpec,
    Source,
    Style,
    Training,
)
from contentgen_contract.worker.orders import FileOffer
from contentgen_operator.providers.base import ProviderError
from contentgen_operator.state.provider_requests import RequestView
from contentgen_real.context import StepContext, StepFailed
from contentgen_real.steps.bucket import Bucket
from contentgen_real.steps.inputs import training_set
from contentgen_real.steps.purchases import buy, call_of, ended, found_again
from contentgen_runtime import s3

TRAINING = "training"
_STEPS, _TRIGGER, _TRAINING_SECONDS = 100, "jf", 3600.0
_NOWHERE = Source(url="https://example.com/input")  # replaced by the URL of the archive
_MINUTES = timedelta(minutes=10)
_BODY = b"{}"
_SHA256 = base64.b64encode(hashlib.sha256(_BODY).digest()).decode()


async def training(context: StepContext) -> None:
    """A training of 100 steps from a presigned archive; then a picture with its LoRA, by a presigned URL."""
    bucket = Bucket.of(context.place.environment)
    spec = LoraTrainingSpec(
        lora_name="real_test", trigger_word=_TRIGGER, source=_NOWHERE,
        training=Training(steps=_STEPS, style=Style.STYLE),
    )  # fmt: skip
    async with bucket.stored("dataset.zip", training_set(_TRIGGER), "application/zip") as url:
        bought = await buy(context, TRAINING, context.fal, *call_of(Kind.LORA_TRAINING, spec, url))
        view = await ended(context, context.fal, bought, _TRAINING_SECONDS)
        units = context.checks.headers.get(bought.request_id, {}).get("x-fal-billable-units", "no")
        context.note(f"training of {_STEPS} steps: {units[:20]} billable units")
        await found_again(context, context.fal, bought.record)
    lora = await _downloaded(context, _document(view)["diffusers_lora_file"]["url"])
    context.note(f"the LoRA has {len(lora)} bytes")
    async with bucket.stored("lora.safetensors", lora, "application/octet-stream") as url:
        picture = ImageGenerationSpec(
            model="flux-lora", prompt=f"a photo of {_TRIGGER}", loras=(Lora(path=url),),
            image=Image(size=ImageSize(width=512, height=512), count=1),
        )  # fmt: skip
        bought = await buy(context, TRAINING, context.fal, *call_of(Kind.IMAGE_GENERATION, picture))
        await ended(context, context.fal, bought)


def _document(view: RequestView) -> Mapping[str, Any]:
    if view.result is None:
        raise StepFailed("the result is too large")
    with view.result.file() as file:
        document: Mapping[str, Any] = json.load(file)
    return document


async def _downloaded(context: StepContext, url: str) -> bytes:
    return (await context.http.get(url, follow_redirects=True)).raise_for_status().content


async def conformance(context: StepContext) -> None:
    """S3's requests that the product needs, one by one; a store that lacks one is a difference."""
    bucket = Bucket.of(context.place.environment)
    probe = _S3Probe(bucket)
    await _region(context, bucket)
    for name, request in probe.requests().items():
        found = await asyncio.to_thread(_outcome, request)
        context.note(f"S3 {name}: {found}")
        context.expect("S3", name, "as on AWS", found)
    await _presigned(context, bucket, probe)


class _S3Probe:
    """One object of a bucket, and the requests with it. Each method raises StepFailed or botocore's errors."""

    def __init__(self, bucket: Bucket) -> None:
        self._client = bucket.client
        self._bucket = bucket.name
        self._folder = bucket.folder
        self._key = f"{bucket.folder}probe.json"

    def requests(self) -> Mapping[str, Callable[[], object]]:
        """Requests by their names in facts/s3/requests.json, in the order in which each can succeed."""
        return {
            "headBucket": lambda: self._client.head_bucket(Bucket=self._bucket),
            "createOnly, first": self._create,
            "createOnly, second": self._create_again,
            "get": self._get,
            "head": self._head,
            "list": self._list,
            "listVersions": lambda: self._client.list_object_versions(Bucket=self._bucket, Prefix=self._folder),
            "deleteMany": self.delete,
        }

    def _create(self) -> None:
        self._client.put_object(Bucket=self._bucket, Key=self._key, Body=_BODY, IfNoneMatch="*", ChecksumSHA256=_SHA256)

    def _create_again(self) -> None:
        try:
            self._create()
        except ClientError as error:
            if s3.code(error) in ("412", "PreconditionFailed"):
                return
            raise
        raise StepFailed("the second creation succeeded")

    def _get(self) -> None:
        if self._client.get_object(Bucket=self._bucket, Key=self._key)["Body"].read() != _BODY:
            raise StepFailed("other content")

    def _head(self) -> None:
        reply = self._client.head_object(Bucket=self._bucket, Key=self._key, ChecksumMode="ENABLED")
        if reply.get("ChecksumSHA256") != _SHA256:
            raise StepFailed("no SHA-256")

    def _list(self) -> None:
        if self._client.list_objects_v2(Bucket=self._bucket, Prefix=self._folder).get("KeyCount") != 1:
            raise StepFailed("the object is not listed")

    def delete(self) -> None:
        """Delete all versions below the folder as the operator does; if the store refuses that, the object alone."""
        try:
            page = self._client.list_object_versions(Bucket=self._bucket, Prefix=self._folder)
            listed = [*page.get("Versions", ()), *page.get("DeleteMarkers", ())]
            doomed: Any = [{"Key": version["Key"], "VersionId": version["VersionId"]} for version in listed]
            reply = self._client.delete_objects(Bucket=self._bucket, Delete={"Objects": doomed, "Quiet": True})
        except ClientError:
            self._client.delete_object(Bucket=self._bucket, Key=self._key)
            raise
        if reply.get("Errors"):
            raise StepFailed("a version was kept")


async def _region(context: StepContext, bucket: Bucket) -> None:
    """The store's own name of the region, by which presigned URLs have to be signed."""
    try:
        reply = await asyncio.to_thread(lambda: bucket.client.head_bucket(Bucket=bucket.name))
    except (ClientError, BotoCoreError):
        return  # the list of requests reports it
    region = reply.get("BucketRegion") or reply["ResponseMetadata"]["HTTPHeaders"].get("x-amz-bucket-region", "")
    if region:
        context.expect("S3", "region of the bucket", region, bucket.region)


async def _presigned(context: StepContext, bucket: Bucket, probe: _S3Probe) -> None:
    """The worker's upload and download: create once, refuse the second, read."""
    digest = hashlib.sha256(_BODY).hexdigest()
    offer = FileOffer(name="grant.json", size_bytes=len(_BODY), sha256=digest, content_type="application/json")
    grant = bucket.storage.grant(bucket.owner, bucket.folder, offer, _MINUTES)
    try:
        puts = [await context.http.put(grant.url, content=_BODY, headers=grant.headers) for _ in range(2)]
        read = await context.http.get(bucket.storage.worker_get(bucket.owner, bucket.folder + offer.name, _MINUTES))
    except httpx.HTTPError as error:
        raise StepFailed(f"a presigned URL could not be used: {type(error).__name__}") from None
    finally:
        await asyncio.to_thread(_outcome, probe.delete)
    context.expect("S3 presigned", "createOnly, first", "2xx", f"{puts[0].status_code // 100}xx")
    refused = "412 or 409" if puts[1].status_code in (409, 412) else str(puts[1].status_code)
    context.expect("S3 presigned", "createOnly, second", "412 or 409", refused)
    context.expect("S3 presigned", "get", 200, read.status_code)


def _outcome(request: Callable[[], object]) -> str:
    """What came of a request, in words without values."""
    try:
        request()
    except ClientError as error:
        status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", "")
        return f"{status} {error.response.get('Error', {}).get('Code', '')}"[:80].strip()
    except (BotoCoreError, ProviderError, StepFailed) as error:
        return str(error)[:80] if isinstance(error, StepFailed) else type(error).__name__
    return "as on AWS"
