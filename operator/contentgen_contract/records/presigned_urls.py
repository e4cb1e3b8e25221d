"""Presigned URLs. They are removed from stored data, because every reader could fetch the file with one. Pure."""

import re
from collections.abc import Sequence
from typing import Any
from urllib.parse import unquote_plus

# A URL with a query that has an AWS signature, version 4 or 2; S3 ignores the case.
_PRESIGNED = re.compile(
    r"(https?://[^\s?'\"<>]+)\?[^\s'\"<>]*?(?:X-Amz-(?:Signature|Credential)|AWSAccessKeyId)=[^\s'\"<>]*?"
    r"(?=[,;:.)\]]*(?:[\s'\"<>]|$))",
    re.IGNORECASE,
)


def strip_signatures_from_text(text: str) -> str:
    """The text without the queries of presigned URLs."""
    return _PRESIGNED.sub(r"\1", text)


def strip_signatures(value: Any, needed: frozenset[str] = frozenset()) -> Any:
    """A JSON value without the queries of presigned URLs, except of texts under the names in `needed`.

    A provider's response may contain signed URLs of files that are still to be downloaded: those are needed.
    """
    match value:
        case str():
            return strip_signatures_from_text(value)
        case list():
            return [strip_signatures(element, needed) for element in value]
        case dict():
            return {
                name: member if name in needed and isinstance(member, str) else strip_signatures(member, needed)
                for name, member in value.items()
            }
        case _:
            return value


_SIGNATURE_PREFIXES = ("x-amz-", "x-goog-")
# Of AWS and GCS version 2 and CloudFront: the parameter that names the key, and those that belong to it.
_SIGNED_BY = {"awsaccesskeyid", "googleaccessid", "key-pair-id"}
_SIGNED_WITH = {"signature", "expires", "policy", "hash-algorithm"}
# Of an Azure SAS, which has `sig` and `sv`.
_AZURE = frozenset(
    {"sig", "sv", "ss", "srt", "sp", "st", "se", "sr", "spr", "sip", "si", "sdd", "ses", "saoid", "suoid", "scid"}
    | {"skoid", "sktid", "skt", "ske", "sks", "skv"}
)
_SECRETS = {"civitai.com": frozenset({"token"})}  # by host, its subdomains included


def without_signature(url: str) -> str:
    """The URL without the parameters of a signature and the fragment, with scheme and host in lower case: equal for all
    signatures of one file. Other parameters, such as `versionId`, stay as they are.
    """
    base, _, query = url.partition("#")[0].partition("?")
    scheme, _, rest = base.partition("://")
    host, slash, path = rest.partition("/")
    given = [parameter for parameter in query.split("&") if parameter]
    names = [unquote_plus(parameter.partition("=")[0]).lower() for parameter in given]
    signing = _signing_names(host.lower(), names)
    kept = [each for each, name in zip(given, names, strict=True) if not _is_of_signature(name, signing)]
    return f"{scheme.lower()}://{host.lower()}{slash}{path}" + (f"?{'&'.join(kept)}" if kept else "")


def _signing_names(host: str, names: Sequence[str]) -> frozenset[str]:
    """Names, in lower case, that belong to the URL's signature or are a secret of its host."""
    found = frozenset(_SIGNED_BY | _SIGNED_WITH) if _SIGNED_BY & set(names) else frozenset()
    found |= _AZURE if {"sig", "sv"} <= set(names) else frozenset()
    return found.union(*(secret for site, secret in _SECRETS.items() if f".{host}".endswith(f".{site}")))


def _is_of_signature(name: str, signing: frozenset[str]) -> bool:
    return name.startswith(_SIGNATURE_PREFIXES) or name in signing
