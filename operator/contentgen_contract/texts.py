"""Texts of others made fit to be stored and shown: one line, valid UTF-8, without the secrets in URLs. Pure."""

import re

from contentgen_contract.resources.addresses import strip_credentials

_LONGEST = 1 << 16  # characters that are looked at
_BREAKS = re.compile("[\t-\r\x1c-\x1f\x85\u2028\u2029]+")
# Control characters, halves of surrogate pairs (which UTF-8 cannot encode), marks that change the direction of a text,
# invisible tags, and code points that are no characters.
_UNFIT = re.compile(
    "[\x00-\x1f\x7f-\x9f\ud800-\udfff\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069\ufeff\ufff9-\ufffb\ufffe\uffff"
    "\U000e0000-\U000e007f]"
)
# C0, C1 and DEL, which a terminal interprets; separators that end a line; controls of the direction and other invisible
# format characters, which change what a reader sees; halves of surrogate pairs, which can't be encoded.
_UNSAFE = re.compile(
    "[\\x00-\\x1f\\x7f-\\x9f\\xad\\u061c\\u180e\\u200b-\\u200f\\u2028-\\u202e\\u2060-\\u206f\\ud800-\\udfff\\ufeff\\ufff9-\\ufffb"
    "\\U000e0000-\\U000e007f]"
)
_URL = re.compile(r"\b[A-Za-z][A-Za-z0-9+.-]{0,30}://[^\s'\"<>]+")
# Query of an address without its scheme.
_QUERY = re.compile(r"(?<=[^\s?])\?(?=[^\s'\"<>]*=)[^\s'\"<>]*")
_AFTER_URL = ",;:.)]}"  # ends a URL in a text


def plain_text(text: str) -> str:
    """The text on one line; what is unfit to be stored or shown is replaced by U+FFFD."""
    return _UNFIT.sub("\ufffd", _BREAKS.sub(" ", text))


def bare_urls(text: str) -> str:
    """The text, whose URLs keep scheme, host and path only: the rest may be a secret."""
    return _QUERY.sub("", _URL.sub(_bare, text))


def _bare(found: re.Match[str]) -> str:
    url = found[0].rstrip(_AFTER_URL)
    return strip_credentials(url) + found[0][len(url) :]


def foreign_text(text: str, most: int = 600) -> str:
    """At most this many characters of a text of others, plain and with bare URLs."""
    return bare_urls(plain_text(text[:_LONGEST])).strip()[:most]


def escape_controls(text: str, keep: str = "") -> str:
    """The text with each control, direction and invisible character as its escape, such as `\\x1b` or `\\u202e`.

    `keep`: characters that stay, such as a newline.
    """
    return _UNSAFE.sub(lambda found: found[0] if found[0] in keep else ascii(found[0])[1:-1], text)
