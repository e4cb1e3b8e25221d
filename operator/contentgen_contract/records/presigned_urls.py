"""Removal of presigned URLs from stored data, because every reader could fetch the file with one. Pure."""

import re
from typing import Any

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
            return [strip_signatures(each, needed) for each in value]
        case dict():
            return {
                name: each if name in needed and isinstance(each, str) else strip_signatures(each, needed)
                for name, each in value.items()
            }
        case _:
            return value
