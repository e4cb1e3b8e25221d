"""S3 connections: client, credentials of a mounted Secret or of a workload identity, HEAD requests.

A presigned URL does not outlive the session of a workload identity that signed it. STS gives a web identity one hour
unless the request asks for more, and botocore never asks (boto/botocore#3411). Sessions are requested here with
DurationSeconds, and with STS's default where the role allows no more. botocore renews sessions 15 minutes before their
end; `require_lasting` does so earlier.
"""

import logging
import os
import threading
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import boto3
import botocore.session
from botocore.config import Config
from botocore.credentials import (
    AssumeRoleWithWebIdentityCredentialFetcher,
    CredentialProvider,
    CredentialResolver,
    Credentials,
    DeferredRefreshableCredentials,
    ReadOnlyCredentials,
    RefreshableCredentials,
)
from botocore.exceptions import ClientError, NoCredentialsError
from botocore.utils import FileWebIdentityTokenLoader

from contentgen_runtime.rotation import Rotated, read_files
from contentgen_runtime.store_errors import SessionTooShort

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_s3.type_defs import HeadObjectOutputTypeDef

_log = logging.getLogger(__name__)
PARALLEL = 16  # requests at a time
MISSING = {"404", "NoSuchKey", "NotFound"}
_FILES = ("access-key-id", "secret-access-key")
_METHOD = "mounted-secret"
_BOTOCORES_OWN = "assume-role-with-web-identity"
_TOO_LONG = {"ValidationError", "InvalidParameterValue", "InvalidArgument"}  # of AWS, of MinIO, and of Ceph


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


def is_aws(endpoint: str | None) -> bool:
    """True for Amazon S3, also through a VPC endpoint; None is AWS."""
    host = urlsplit(endpoint).hostname or "" if endpoint else "amazonaws.com"
    return f".{host}".endswith((".amazonaws.com", ".amazonaws.com.cn"))


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


class WebIdentityProvider(CredentialProvider):
    """Sessions of the role in AWS_ROLE_ARN, of `seconds` or as long as STS allows without asking."""

    METHOD = "web-identity-with-duration"

    def __init__(self, session: botocore.session.Session, seconds: int) -> None:
        super().__init__()
        self._create_client = session.create_client
        self._seconds = seconds

    def load(self) -> Credentials | None:
        """Credentials, requested at their first use; None without a web identity in the environment."""
        token_file, role = os.environ.get("AWS_WEB_IDENTITY_TOKEN_FILE"), os.environ.get("AWS_ROLE_ARN")
        if not token_file or not role:
            return None
        name = os.environ.get("AWS_ROLE_SESSION_NAME")
        fetcher = partial(self._fetcher, token_file, role, {"RoleSessionName": name} if name else {})
        wanted, allowed = fetcher({"DurationSeconds": self._seconds}), fetcher({})
        return DeferredRefreshableCredentials(partial(self._fetch, wanted, allowed), self.METHOD)

    def _fetcher(self, token_file: str, role: str, name: dict[str, Any], more: dict[str, Any]) -> Any:
        loader = FileWebIdentityTokenLoader(token_file)
        return AssumeRoleWithWebIdentityCredentialFetcher(self._create_client, loader, role, extra_args=name | more)

    def _fetch(self, wanted: Any, allowed: Any) -> Any:
        try:
            return wanted.fetch_credentials()
        except ClientError as error:
            if code(error) not in _TOO_LONG:
                raise
            _log.info("the role allows no session of %d s; the default is used: %s", self._seconds, error)
            return allowed.fetch_credentials()


class RenewableCredentials(Credentials):
    """Credentials of a chain of providers, which is asked again by `renew`."""

    def __init__(self, load: Callable[[], Credentials | None]) -> None:
        super().__init__("", "", method="renewable")
        self._load = load
        self._lock = threading.Lock()
        self._current = load()

    def get_frozen_credentials(self) -> ReadOnlyCredentials:
        """Credentials in use. Raises NoCredentialsError if there are none."""
        if self._current is None:
            raise NoCredentialsError
        return self._current.get_frozen_credentials()

    def lasts(self, now: datetime) -> timedelta | None:
        """Time until the session ends; None: there is no session, or it was not used yet."""
        end = _end_of(self._current)
        return end - now if end is not None else None

    def renew(self, least: timedelta, now: datetime) -> None:
        """Begin a new session if the current one lasts less than `least`; it is kept if it lasts longer. Raises the
        errors of STS.
        """
        with self._lock:
            self.get_frozen_credentials()  # begins the first session
            lasts = self.lasts(now)
            if lasts is None or lasts >= least or (renewed := self._load()) is None:
                return
            renewed.get_frozen_credentials()
            end = _end_of(renewed)
            if end is None or end - now > lasts:
                self._current = renewed


class _Renewable(CredentialProvider):
    METHOD = "renewable"

    def __init__(self, load: Callable[[], Credentials | None]) -> None:
        super().__init__()
        self._load_chain = load

    def load(self) -> Credentials:
        """See botocore's."""
        return RenewableCredentials(self._load_chain)


def _make_renewable(
    session: botocore.session.Session, chain: botocore.session.Session, region: str, seconds: int
) -> None:
    """Let `session` have the credentials of the chain of another one, as RenewableCredentials. `region` is STS's if the
    environment names none.
    """
    if not chain.get_config_variable("region"):
        chain.set_config_variable("region", region)
    resolver: CredentialResolver = chain.get_component("credential_provider")
    resolver.insert_before(_BOTOCORES_OWN, WebIdentityProvider(chain, seconds))
    session.register_component("credential_provider", CredentialResolver([_Renewable(resolver.load_credentials)]))


def lasts(credentials: Any, now: datetime) -> timedelta | None:
    """Time until a session's credentials end; None for an access key, which does not end."""
    return credentials.lasts(now) if isinstance(credentials, RenewableCredentials) else None


def require_lasting(credentials: Any, least: timedelta) -> None:
    """Renew a session that ends within `least`. Raises SessionTooShort if the new one does so too, and errors of
    STS.
    """
    if not isinstance(credentials, RenewableCredentials):
        return
    credentials.renew(least, datetime.now(UTC))
    left = credentials.lasts(datetime.now(UTC))
    if left is not None and left < least:
        raise SessionTooShort(left, least)


def _end_of(credentials: Credentials | None) -> datetime | None:
    """End of a session. The attribute is private: botocore shows only whether a session ends within a given time
    (`refresh_needed`), which signs no URL with its real end.
    """
    if not isinstance(credentials, RefreshableCredentials):
        return None
    end: datetime | None = credentials._expiry_time  # type: ignore[attr-defined]
    return end


def session(
    key: MountedKey | None = None, ca_file: Path | None = None, duration: "SessionDuration | None" = None
) -> boto3.session.Session:
    """Session with a mounted key; None uses the environment: variables, or a workload identity, whose sessions can be
    renewed early and last as long as `duration` asks for. None: botocore's default.

    `ca_file`: PEM of all accepted CAs, read at each new connection; None: AWS_CA_BUNDLE, or the public CAs.
    """
    inner = _inner_session(ca_file)
    if key is not None:
        inner.get_component("credential_provider").insert_before("env", _Provider(key))
    elif duration is not None:
        _make_renewable(inner, _inner_session(ca_file), duration.region, duration.seconds)
    return boto3.session.Session(botocore_session=inner)


@dataclass(frozen=True)
class SessionDuration:
    """Wanted duration of a workload identity's sessions, and the region of STS if the environment names none."""

    region: str
    seconds: int


def _inner_session(ca_file: Path | None) -> botocore.session.Session:
    inner = botocore.session.Session()
    if ca_file is not None:
        inner.set_config_variable("ca_bundle", str(ca_file))
    return inner
