"""S3 connections: client, credentials of a mounted Secret, HEAD requests."""

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


def connect(session: boto3.session.Session, region: str, endpoint: str | None, *, hurried: bool = False) -> "S3Client":
    """Client of one endpoint; takes 12 MB of memory, most of it the API description. `hurried`: one attempt of about
    2 s, since a repeated creation after a lost reply would find its own object.
    """
    config = Config(
        signature_version="s3v4",
        s3={"addressing_style": "path" if endpoint else "virtual"},
        connect_timeout=1 if hurried else 5,
        read_timeout=2 if hurried else 10,
        max_pool_connections=2 * PARALLEL,
        retries={"mode": "standard", "total_max_attempts": 1 if hurried else 2},
        # The default adds a CRC32 to every presigned PUT, which the sender would have to know.
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
    )
    return session.client("s3", region_name=region, endpoint_url=endpoint, config=config)


def bucket_url(endpoint: str | None, bucket: str) -> str:
    """Plain address of a bucket, as records hold it, without a slash at the end; None is AWS."""
    return f"{endpoint.rstrip('/')}/{bucket}" if endpoint else f"https://{bucket}.s3.amazonaws.com"


def code(error: ClientError) -> str:
    """Error code of S3, such as NoSuchKey; empty if there is none."""
    return str(error.response.get("Error", {}).get("Code", ""))


def head(client: "S3Client", bucket: str, key: str) -> "HeadObjectOutputTypeDef | None":
    """Metadata of an object, with its checksum; None if it is missing. Raises boto3's errors.

    A 404 of a HEAD has no error code, and versitygw answers 404 to an unknown access key. So a GET confirms that the
    object is missing.
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
    """Access key of a mounted Secret. Clients read it at each request, so a rotation needs no new client.

    `refresh` uses a new key once it can list the bucket.
    """

    def __init__(
        self, folder: Path, *, bucket: str, region: str, endpoint: str | None, ca_file: Path | None = None
    ) -> None:
        super().__init__("", "", method=_METHOD)
        self._ca_file = ca_file
        self._folder = folder
        self._bucket = bucket
        self._region = region
        self._endpoint = endpoint
        self._newest = self._read()
        self._rotated = Rotated("S3", self._read, self._use, in_use=self._newest)

    def get_frozen_credentials(self) -> ReadOnlyCredentials:
        """Access key in use. Raises NoCredentialsError if none was read yet."""
        if self._newest is None:
            raise NoCredentialsError
        return self._newest

    def refresh(self) -> None:
        """See `Refreshed`."""
        self._rotated.refresh()

    def _read(self) -> ReadOnlyCredentials | None:
        found = read_files(self._folder, _FILES)
        return ReadOnlyCredentials(found[0], found[1], None) if found else None

    def _use(self, key: ReadOnlyCredentials) -> None:
        inner = _inner_session(self._ca_file)
        trial = boto3.session.Session(key.access_key, key.secret_key, botocore_session=inner)
        client = connect(trial, self._region, self._endpoint)
        try:
            client.list_objects_v2(Bucket=self._bucket, MaxKeys=1)
        except ClientError as error:
            # The key is accepted; the operator may have to create the bucket first.
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
        """See botocore's."""
        return self._key


def session(key: MountedKey | None = None, ca_file: Path | None = None) -> boto3.session.Session:
    """Session with a mounted key; None uses the environment: variables, or a workload identity.

    `ca_file`: PEM of all accepted CAs, read at each new connection; None: AWS_CA_BUNDLE, or the public CAs.
    """
    inner = _inner_session(ca_file)
    if key is not None:
        inner.get_component("credential_provider").insert_before("env", _Provider(key))
    return boto3.session.Session(botocore_session=inner)


def _inner_session(ca_file: Path | None) -> botocore.session.Session:
    inner = botocore.session.Session()
    if ca_file is not None:
        inner.set_config_variable("ca_bundle", str(ca_file))
    return inner
