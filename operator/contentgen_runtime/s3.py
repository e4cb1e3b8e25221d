"""How we connect to S3."""

from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import boto3
import botocore.session
from botocore.config import Config
from botocore.credentials import CredentialProvider, Credentials, ReadOnlyCredentials
from botocore.exceptions import ClientError, NoCredentialsError

from contentgen_runtime.rotation import Rotated, read_files

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_s3.type_defs import HeadObjectOutputTypeDef

PARALLEL = 16  # requests at a time
MISSING = {"404", "NoSuchKey", "NotFound"}
_FILES = ("access-key-id", "secret-access-key")
_METHOD = "mounted-secret"


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


def bucket_url(endpoint: str | None, bucket: str) -> str:
    """Plain address of a bucket, as records hold it, without a slash at the end; None is AWS."""
    return f"{endpoint.rstrip('/')}/{bucket}" if endpoint else f"https://{bucket}.s3.amazonaws.com"


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


class MountedKey(Credentials):
    """The access key of a mounted Secret. Clients ask for it at each request, so none has to be made anew.

    `refresh` takes up another key once it may list the bucket.
    """

    def __init__(self, folder: Path, *, bucket: str, region: str, endpoint: str | None) -> None:
        super().__init__("", "", method=_METHOD)
        self._folder = folder
        self._bucket = bucket
        self._region = region
        self._endpoint = endpoint
        self._newest = self._read()
        self._rotated = Rotated("S3", self._read, self._use, in_use=self._newest)

    def get_frozen_credentials(self) -> ReadOnlyCredentials:
        """The key in use. Raises NoCredentialsError where there was none yet."""
        if self._newest is None:
            raise NoCredentialsError
        return self._newest

    def refresh(self) -> None:
        """As `Refreshed`'s."""
        self._rotated.refresh()

    def _read(self) -> ReadOnlyCredentials | None:
        found = read_files(self._folder, _FILES)
        return ReadOnlyCredentials(found[0], found[1], None) if found else None

    def _use(self, key: ReadOnlyCredentials) -> None:
        session = boto3.session.Session(aws_access_key_id=key.access_key, aws_secret_access_key=key.secret_key)
        client = connect(session, self._region, self._endpoint)
        try:
            client.list_objects_v2(Bucket=self._bucket, MaxKeys=1)
        except ClientError as error:
            # The key is known: a store without its bucket, which the operator may have to make first.
            if code(error) != "NoSuchBucket":
                raise
        finally:
            client.close()
        self._newest = key


class _Provider(CredentialProvider):
    METHOD = _METHOD

    def __init__(self, key: MountedKey) -> None:
        super().__init__()
        self._key = key

    def load(self) -> Credentials:
        """As botocore's."""
        return self._key


def session(key: MountedKey | None = None) -> boto3.session.Session:
    """A session with this key, or else with the credentials of the environment: variables, or a workload identity."""
    if key is None:
        return boto3.session.Session()
    inner = botocore.session.Session()
    inner.get_component("credential_provider").insert_before("env", _Provider(key))
    return boto3.session.Session(botocore_session=inner)
