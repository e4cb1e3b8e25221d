"""Texts of others made fit to be stored and shown: one line, valid UTF-8, without the secrets in URLs. Pure."""

import re

from contentgen_contract.characters import plain_text
from contentgen_contract.resources.addresses import strip_credentials

_LONGEST = 1 << 16  # characters that are looked at
_URL = re.compile(r"\b[A-Za-z][A-Za-z0-9+.-]{0,30}://[^\s'\"<>]+")
_QUERY = re.compile(r"(?<=[^\s?])\?[^\s'\"<>]*")
_AFTER_URL = ",;:.)]}"  # ends a URL in a text


def bare_urls(text: str) -> str:
    """The text, whose URLs keep scheme, host and path only: the rest may be a secret."""
    return _QUERY.sub(_without_query, _URL.sub(_bare, text))


def _bare(found: re.Match[str]) -> str:
    url = found[0].rstrip(_AFTER_URL)
    return strip_credentials(url) + found[0][len(url) :]


def _without_query(found: re.Match[str]) -> str:
    """Of an address without its scheme; a question mark of a sentence stays."""
    return "" if "=" in found[0] else found[0]


def foreign_text(text: str, most: int = 600) -> str:
    """At most this many characters of a text of others, plain and with bare URLs."""
    return bare_urls(plain_text(text[:_LONGEST])).strip()[:most]
