"""The embedded S3: versions, conditional puts, presigned URLs that are verified."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import boto3
import httpx
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

from contentgen_sandbox.testing import S3Server

if TYPE_CHECKING:
    from mypy_boto3_s3.client import S3Client

BUCKET = "sandbox-test"


@pytest.fixture(scope="module")
def client(s3: S3Server) -> Iterator["S3Client"]:
    made = connect(s3)
    made.create_bucket(Bucket=BUCKET)
    yield made
    made.close()


def connect(server: S3Server, secret: str | None = None) -> "S3Client":
    return boto3.client(
        "s3",
        endpoint_url=server.endpoint,
        region_name="us-east-1",
        aws_access_key_id=server.access_key,
        aws_secret_access_key=secret or server.secret_key,
        config=Config(signature_version="s3v4", retries={"total_max_attempts": 1}),
    )


def test_versions(client: "S3Client") -> None:
    client.put_bucket_versioning(Bucket=BUCKET, VersioningConfiguration={"Status": "Enabled"})
    for body in (b"one", b"two"):
        client.put_object(Bucket=BUCKET, Key="loras/a", Body=body)
    client.delete_object(Bucket=BUCKET, Key="loras/a")
    listed = client.list_object_versions(Bucket=BUCKET)
    bodies = [
        client.get_object(Bucket=BUCKET, Key="loras/a", VersionId=version["VersionId"])["Body"].read()
        for version in listed["Versions"]
    ]
    assert sorted(bodies) == [b"one", b"two"]
    assert len(listed["DeleteMarkers"]) == 1


def test_concurrent_conditional_puts_create_one_object(client: "S3Client") -> None:
    client.put_object(Bucket=BUCKET, Key="once", Body=b"1", IfNoneMatch="*")
    with pytest.raises(ClientError, match="PreconditionFailed"):
        client.put_object(Bucket=BUCKET, Key="once", Body=b"2", IfNoneMatch="*")


def test_presigned_urls_are_verified(client: "S3Client") -> None:
    url = client.generate_presigned_url("put_object", Params={"Bucket": BUCKET, "Key": "signed"}, ExpiresIn=60)
    assert httpx.put(url, content=b"x").status_code == 200
    assert httpx.put(url.replace("signed", "other"), content=b"x").status_code == 403


def test_a_wrong_secret_is_refused(s3: S3Server) -> None:
    wrong = connect(s3, "wrong-secret")
    with pytest.raises(ClientError, match="SignatureDoesNotMatch"):
        wrong.list_buckets()
    wrong.close()
