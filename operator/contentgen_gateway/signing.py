"""URLs that S3 takes for a while without credentials: AWS signature version 4 in the query. Pure.

boto3 signs them the same, which a test says, and takes four times as long: a page of pictures has hundreds.
"""

import hashlib
import hmac
from dataclasses import dataclass, field
from datetime import datetime
from functools import lru_cache
from urllib.parse import quote, urlsplit

_DEFAULT_PORTS = {"http": ":80", "https": ":443"}


@dataclass(frozen=True, slots=True)
class Credentials:
    """Who signs; of a session where there is a token."""

    access_key: str
    secret_key: str = field(repr=False)
    token: str | None = field(repr=False)


@dataclass(frozen=True, slots=True)
class Place:
    """Where a bucket's objects are read: `base`, a slash, the key."""

    base: str
    region: str
    host: str = field(init=False)
    path: str = field(init=False)

    def __post_init__(self) -> None:
        parts = urlsplit(self.base)
        host = parts.netloc.rpartition("@")[2].lower().removesuffix(_DEFAULT_PORTS.get(parts.scheme, ""))
        object.__setattr__(self, "host", host)
        object.__setattr__(self, "path", parts.path)


def signed(place: Place, who: Credentials, key: str, *, told: str, seconds: int, now: datetime) -> str:
    """A URL that reads one object for so many seconds, `told` being its Content-Disposition."""
    time = f"{now:%Y%m%dT%H%M%SZ}"
    scope = f"{time[:8]}/{place.region}/s3/aws4_request"
    named = quote(key, safe="/~")
    # In the order of their names, as they are signed; in a URL they may stand as they like.
    by = f"X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential={quote(f'{who.access_key}/{scope}', safe='')}"
    by += f"&X-Amz-Date={time}&X-Amz-Expires={seconds}"
    if who.token is not None:
        by += f"&X-Amz-Security-Token={quote(who.token, safe='')}"
    query = f"{by}&X-Amz-SignedHeaders=host&response-content-disposition={quote(told, safe='')}"
    request = f"GET\n{place.path}/{named}\n{query}\nhost:{place.host}\n\nhost\nUNSIGNED-PAYLOAD"
    digest = hashlib.sha256(request.encode()).hexdigest()
    text = f"AWS4-HMAC-SHA256\n{time}\n{scope}\n{digest}"
    signature = hmac.digest(_key(who.secret_key, scope), text.encode(), "sha256").hex()
    return f"{place.base}/{named}?{query}&X-Amz-Signature={signature}"


@lru_cache(8)
def _key(secret: str, scope: str) -> bytes:
    """A day's."""
    made = b"AWS4" + secret.encode()
    for each in scope.split("/"):
        made = hmac.digest(made, each.encode(), "sha256")
    return made
