"""How we connect to S3."""

from contextlib import closing
from typing import TYPE_CHECKING

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_s3.type_defs import HeadObjectOutputTypeDef

PARALLEL = 16  # requests at a time
MISSING = {"404", "NoSuchKey", "NotFound"}


def connect(session: boto3.session.Session, region: str, endpoint: str | None) -> "S3Client":
    """A client: twelve megabytes, most of it the description of S3."""
    config = Config(
        signature_version="s3v4",
        s3={"addressing_style": "path" if endpoint else "virtual"},
        connect_timeout=5,
        read_timeout=10,
        max_pool_connections=2 * PARALLEL,
        retries={"mode": "standard", "total_max_attempts": 2},
        # The default puts a CRC32 into every presigned PUT, which the sender could not know.
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
    )
    return session.client("s3", region_name=region, endpoint_url=endpoint, config=config)


def code(error: ClientError) -> str:
    """S3's own word for what went wrong."""
    return str(error.response.get("Error", {}).get("Code", ""))


def head(client: "S3Client", bucket: str, key: str) -> "HeadObjectOutputTypeDef | None":
    """The metadata of an object, with its checksum; None where there is none. Raises what boto3 raises.

    A HEAD has no body that says why: versitygw answers 404 to an access key that it does not know. So a GET confirms
    that the object is missing.
    """
    try:
        return client.head_object(Bucket=bucket, Key=key, ChecksumMode="ENABLED")
    except ClientError as error:
        if code(error) not in MISSING:
            raise
    try:
        with closing(client.get_object(Bucket=bucket, Key=key)["Body"]):
            pass  # written since
    except ClientError as error:
        if code(error) in MISSING:
            return None
        raise
    return client.head_object(Bucket=bucket, Key=key, ChecksumMode="ENABLED")
