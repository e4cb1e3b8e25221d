"""Object storage of the operator's tests: clients of one boto3 session, and moto's S3."""

import functools
from typing import Any

import boto3
from botocore.awsrequest import AWSResponse
from botocore.compat import HTTPHeaders
from moto.s3.models import s3_backends

from contentgen_operator.stores.s3 import Storage

REGION = "eu-central-1"


@functools.cache
def session() -> boto3.session.Session:
    """The session of all clients. A new one reads the API description again, 0.1 s of CPU time."""
    return boto3.session.Session("id", "secret")


@functools.cache
def client() -> Any:
    """Client of moto's S3, for tests that look behind the operator."""
    return session().client("s3", region_name=REGION)


def storage_of(
    bucket: str = "assets",
    region: str = REGION,
    endpoint: str | None = None,
    public_endpoint: str | None = None,
) -> Storage:
    """Storage of the operator."""
    return Storage(bucket=bucket, region=region, endpoint=endpoint, public_endpoint=public_endpoint, session=session())


def unreached_storage() -> Storage:
    """Storage that only signs: nothing answers at its endpoint."""
    return storage_of(region="us-east-1", endpoint="http://s3:9000")


def refuse(storage: Storage, operation: str, status: int, code: str) -> list[str]:
    """Let the store refuse an operation, as services do that lack it; returns the refused keys and prefixes, which
    grow. botocore raises the error as if the service had sent it (event `before-call`, as its Stubber).
    """
    asked: list[str] = []

    def answer(params: Any, **_: Any) -> Any:
        asked.append(params["url_path"])
        error = {"Error": {"Code": code, "Message": ""}, "ResponseMetadata": {"HTTPStatusCode": status}}
        return AWSResponse(params["url"], status, HTTPHeaders(), None), error

    for boto_client in (storage._client, storage._public, storage._hurried):
        boto_client.meta.events.register(f"before-call.s3.{operation}", answer)
    return asked


def empty_bucket() -> Storage:
    """New bucket, the only one of the active moto. Starting moto takes 0.05 s: a module's tests share one."""
    s3_backends.reset()
    made = storage_of()
    made.ensure_bucket()
    return made
