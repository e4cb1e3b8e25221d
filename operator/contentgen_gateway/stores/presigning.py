"""Presigned URLs of one bucket, signed by the AWS Common Runtime (C).

A page of a list has a hundred of them, and boto3 takes eight times as long for each.
"""

from datetime import UTC, datetime, timedelta
from functools import lru_cache
from urllib.parse import quote, urlsplit

from awscrt.auth import AwsCredentialsProvider, AwsSignatureType, AwsSigningConfig, aws_sign_request
from awscrt.http import HttpHeaders, HttpRequest
from botocore.credentials import ReadOnlyCredentials

_PORTS = {"http": 80, "https": 443}


class Presigner:
    """Presigner for the bucket at the URL `base`, as browsers reach it."""

    def __init__(self, base: str, region: str) -> None:
        parts = urlsplit(base)
        self._origin = f"{parts.scheme}://{parts.netloc}"
        self._path_prefix = parts.path
        self._region = region
        # Clients omit the default port from the Host header, and the signed header must be identical.
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
        """A presigned GET URL, valid from `since` for `lifetime`.

        S3 responds with this Content-Disposition and Content-Type instead of the stored ones.
        """
        query = f"response-content-disposition={quote(disposition, safe='')}&response-content-type="
        path = f"{self._path_prefix}/{quote(key, safe='/~')}?{query}{quote(content_type, safe='')}"
        request = HttpRequest("GET", path, HttpHeaders(self._headers))
        config = _config(credentials, self._region, since, int(lifetime.total_seconds()))
        # The future is already done, because the credentials are static.
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
        use_double_uri_encode=False,  # S3 is the only AWS service without double encoding
        should_normalize_uri_path=False,
        signed_body_value="UNSIGNED-PAYLOAD",
        expiration_in_seconds=seconds,
    )
