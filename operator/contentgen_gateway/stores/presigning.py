"""Presigned URLs of one bucket, made by the signer that AWS wrote in C: a page of a list has a hundred of them, and by
way of boto3 each takes eight times as long.
"""

from datetime import UTC, datetime, timedelta
from functools import lru_cache
from urllib.parse import quote, urlsplit

from awscrt.auth import AwsCredentialsProvider, AwsSignatureType, AwsSigningConfig, aws_sign_request
from awscrt.http import HttpHeaders, HttpRequest
from botocore.credentials import ReadOnlyCredentials

_PORTS = {"http": 80, "https": 443}


class Presigner:
    """Signs what lies below `base`, the address of a bucket as people reach it."""

    def __init__(self, base: str, region: str) -> None:
        parts = urlsplit(base)
        self._origin = f"{parts.scheme}://{parts.netloc}"
        self._path_prefix = parts.path
        self._region = region
        # As every client sends it: what is signed and what is sent have to be the same.
        host = parts.netloc.lower()
        self._headers = [("host", host.rpartition(":")[0] if parts.port == _PORTS[parts.scheme] else host)]

    def get(
        self,
        key: str,
        credentials: ReadOnlyCredentials,
        *,
        since: datetime,
        lifetime: timedelta,
        disposition: str,
        content_type: str,
    ) -> str:
        """A URL that reads one object, from `since` for as long as it lives; S3 answers with this disposition and type,
        whatever the object was stored with.
        """
        query = f"response-content-disposition={quote(disposition, safe='')}&response-content-type="
        path = f"{self._path_prefix}/{quote(key, safe='/~')}?{query}{quote(content_type, safe='')}"
        request = HttpRequest("GET", path, HttpHeaders(self._headers))
        config = _config(credentials, self._region, since, int(lifetime.total_seconds()))
        # Nothing is waited for: the credentials are at hand.
        return f"{self._origin}{aws_sign_request(request, config).result().path}"


@lru_cache(8)
def _config(credentials: ReadOnlyCredentials, region: str, since: datetime, seconds: int) -> AwsSigningConfig:
    provider = AwsCredentialsProvider.new_static(credentials.access_key, credentials.secret_key, credentials.token)
    return AwsSigningConfig(
        signature_type=AwsSignatureType.HTTP_REQUEST_QUERY_PARAMS,
        credentials_provider=provider,
        region=region,
        service="s3",
        date=since.astimezone(UTC),
        use_double_uri_encode=False,  # so it is with S3, and with nothing else
        should_normalize_uri_path=False,
        signed_body_value="UNSIGNED-PAYLOAD",
        expiration_in_seconds=seconds,
    )
