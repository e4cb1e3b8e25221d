"""Presigned URLs, taken out of what is stored: whoever reads one later could fetch the file with it. Pure."""

import re
from typing import Any

# The query of a URL in which AWS's signature stands, of version 4 or 2; case does not matter to S3.
_PRESIGNED = re.compile(
    r"(https?://[^\s?'\"<>]+)\?[^\s'\"<>]*?(?:X-Amz-(?:Signature|Credential)|AWSAccessKeyId)=[^\s'\"<>]*?"
    r"(?=[,;:.)\]]*(?:[\s'\"<>]|$))",
    re.IGNORECASE,
)


def strip_signatures_from_text(text: str) -> str:
    """The text with each presigned URL cut before its query."""
    return _PRESIGNED.sub(r"\1", text)


def strip_signatures(value: Any, needed: frozenset[str] = frozenset()) -> Any:
    """A JSON value with each presigned URL cut before its query; those under the names in `needed` stay.

    A provider's answer may itself have signed URLs, of files that are still to be fetched: those are needed.
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
