"""Sources in S3 (`s3://bucket/key`) and the grants to read them. Pure.

The operator signs them with its own credentials, so a namespace may read only what an administrator granted to it.
"""

import re
from collections.abc import Iterable
from typing import Annotated, NamedTuple, Self
from urllib.parse import unquote

from pydantic import Field, StringConstraints, model_validator

from contentgen_contract.base import Value

ANY_NAMESPACE = "*"
# S3's rules for names: no upper case, no port, no ARN.
_BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
_LONGEST_KEY = 1024  # bytes, S3's limit


class Address(NamedTuple):
    """Bucket and key of one object; the key is signed unchanged."""

    bucket: str
    key: str


class SourceGrant(Value):
    """Read access of some namespaces to the objects under a prefix of a bucket."""

    bucket: Annotated[str, StringConstraints(pattern=rf"^{_BUCKET.pattern}$")]
    prefix: str = Field(
        "", max_length=_LONGEST_KEY, description="Prefix that ends with a slash, or empty for the whole bucket."
    )
    namespaces: tuple[str, ...] = Field(min_length=1, description="Names of namespaces; * matches any.")

    @model_validator(mode="after")
    def _prefix_is_whole_folders(self) -> Self:
        if self.prefix and (not self.prefix.endswith("/") or _key_problem(self.prefix[:-1])):
            raise ValueError(f"prefix {self.prefix!r}: expected a prefix that ends with a slash, such as team-a/")
        return self

    def covers(self, address: Address, namespace: str) -> bool:
        """True if a namespace may read an object."""
        here = ANY_NAMESPACE in self.namespaces or namespace in self.namespaces
        return here and self.bucket == address.bucket and address.key.startswith(self.prefix)


def parse_s3_url(url: str) -> Address | str:
    """The object of an s3:// URL, or the error text for an invalid one.

    The key is not normalized: exactly the bytes that are compared with a grant are signed.
    """
    scheme, _, rest = url.partition("://")
    bucket, _, key = rest.partition("/")
    if scheme != "s3":
        return f"{url[:200]!r}: expected s3://bucket/key"
    if _BUCKET.fullmatch(bucket) is None:
        return f"{bucket[:100]!r} is not a bucket name: expected 3 to 63 lower-case letters, digits, '.' and '-'"
    if not key.strip("/"):
        return f"s3://{bucket} names a bucket but no file"
    if "?" in key or "#" in key:
        return f"{key[:200]!r} contains '?' or '#': expected s3://bucket/key without a query"
    if key.endswith("/"):
        return f"s3://{bucket}/{key[:200]} names a folder but no file"
    why = _key_problem(key)
    return f"the key {key[:200]!r} {why}" if why else Address(bucket, key)


def refusal(url: str, namespace: str, grants: Iterable[SourceGrant], own_bucket: str) -> str | None:
    """Error text if a namespace may not read a source; None if it may. `own_bucket`: the operator's bucket."""
    address = parse_s3_url(url)
    if isinstance(address, str):
        return address
    if same_bucket(address.bucket, own_bucket):
        return f"bucket {address.bucket!r} is the operator's own bucket, which cannot be a source"
    mine = [grant for grant in grants if ANY_NAMESPACE in grant.namespaces or namespace in grant.namespaces]
    if any(grant.covers(address, namespace) for grant in mine):
        return None
    granted = ", ".join(f"s3://{grant.bucket}/{grant.prefix}" for grant in mine) or "nothing"
    return (
        f"s3://{address.bucket}/{address.key[:200]} may not be read from namespace {namespace!r}; granted to it by the "
        f"operator's settings (storage.sources): {granted}"
    )


def same_bucket(one: str, other: str) -> bool:
    """True if two names may refer to one bucket: some stores ignore case or a trailing dot."""
    return one.rstrip(".").casefold() == other.rstrip(".").casefold()


def _key_problem(key: str) -> str:
    """Error text for a key that an HTTP client, a proxy or a store may read as another key; else empty."""
    if len(key.encode()) > _LONGEST_KEY:
        return f"is longer than {_LONGEST_KEY} bytes"
    for read in (key, unquote(key)):
        if "\\" in read or not read.isprintable():
            return "has a backslash or a control character"
        segments = read.split("/")
        if "" in segments:
            return "has an empty segment or a leading slash"
        if found := next((segment for segment in segments if segment in (".", "..")), None):
            return f"has a segment {found!r}"
    return ""
