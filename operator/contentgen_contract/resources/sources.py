"""Sources in S3, `s3://bucket/key`: the object that such a URL names, and the grants that let it be read. Pure.

The operator signs them with its own rights, so a tenant reads only what an administrator granted to the namespace.
"""

import re
from collections.abc import Iterable
from typing import Annotated, NamedTuple, Self
from urllib.parse import unquote

from pydantic import Field, StringConstraints, model_validator

from contentgen_contract.base import Value

ANY_NAMESPACE = "*"
# As S3 has them: no upper case, no port, no ARN.
_BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
_LONGEST_KEY = 1024  # bytes, S3's limit


class Address(NamedTuple):
    """One object, with the key exactly as it is signed."""

    bucket: str
    key: str


class SourceGrant(Value):
    """What some namespaces may read: the objects of a bucket under a prefix."""

    bucket: Annotated[str, StringConstraints(pattern=rf"^{_BUCKET.pattern}$")]
    prefix: str = Field("", max_length=_LONGEST_KEY, description="Whole folders, with a slash at the end; or empty.")
    namespaces: tuple[str, ...] = Field(min_length=1, description="Names of namespaces; * is any.")

    @model_validator(mode="after")
    def _prefix_is_whole_folders(self) -> Self:
        if self.prefix and (not self.prefix.endswith("/") or _key_problem(self.prefix[:-1])):
            raise ValueError(f"prefix {self.prefix!r}: expected whole folders with a slash at the end, such as team-a/")
        return self

    def covers(self, address: Address, namespace: str) -> bool:
        """Whether a namespace may read an object."""
        here = ANY_NAMESPACE in self.namespaces or namespace in self.namespaces
        return here and self.bucket == address.bucket and address.key.startswith(self.prefix)


def parse_s3_url(url: str) -> Address | str:
    """The object that an s3:// URL names, or why it names none.

    Nothing is corrected: the key that is compared with a grant is the one that is signed, byte for byte.
    """
    scheme, _, rest = url.partition("://")
    bucket, _, key = rest.partition("/")
    if scheme != "s3":
        return f"{url[:200]!r}: expected s3://bucket/key"
    if _BUCKET.fullmatch(bucket) is None:
        return f"{bucket[:100]!r} is no name of a bucket: expected 3 to 63 lower-case letters, digits, '.' and '-'"
    if not key.strip("/"):
        return f"s3://{bucket} names a bucket and no file in it"
    if "?" in key or "#" in key:
        return f"{key[:200]!r}: a key has no '?' and no '#' here: expected s3://bucket/key without a query"
    if key.endswith("/"):
        return f"s3://{bucket}/{key[:200]} names a folder and no file in it"
    why = _key_problem(key)
    return f"the key {key[:200]!r} {why}" if why else Address(bucket, key)


def refusal(url: str, namespace: str, grants: Iterable[SourceGrant], own_bucket: str) -> str | None:
    """Why a resource of a namespace may not read a source; None where it may. `own_bucket` is the operator's."""
    address = parse_s3_url(url)
    if isinstance(address, str):
        return address
    if same_bucket(address.bucket, own_bucket):
        return f"bucket {address.bucket!r} is the operator's own, which is never a source"
    mine = [each for each in grants if ANY_NAMESPACE in each.namespaces or namespace in each.namespaces]
    if any(each.covers(address, namespace) for each in mine):
        return None
    granted = ", ".join(f"s3://{each.bucket}/{each.prefix}" for each in mine) or "nothing"
    return (
        f"s3://{address.bucket}/{address.key[:200]} may not be read from namespace {namespace!r}; granted to it by the "
        f"operator's settings (storage.sources): {granted}"
    )


def same_bucket(one: str, other: str) -> bool:
    """Whether two names mean one bucket, also where a store ignores case or a dot at the end."""
    return one.rstrip(".").casefold() == other.rstrip(".").casefold()


def _key_problem(key: str) -> str:
    """What is wrong with a key that an HTTP client, a proxy or a store may read as another one; empty for nothing."""
    if len(key.encode()) > _LONGEST_KEY:
        return f"is longer than {_LONGEST_KEY} bytes"
    for read in (key, unquote(key)):
        if "\\" in read or not read.isprintable():
            return "has a backslash or a control character"
        segments = read.split("/")
        if "" in segments:
            return "has an empty segment or a slash at the front"
        if found := next((each for each in segments if each in (".", "..")), None):
            return f"has a segment {found!r}"
    return ""
