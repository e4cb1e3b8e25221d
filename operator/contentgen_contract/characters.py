"""Characters unfit to be stored or shown: control, direction and invisible ones, halves of surrogates. Pure."""

import re

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


def plain_text(text: str) -> str:
    """The text on one line; what is unfit to be stored or shown is replaced by U+FFFD."""
    return _UNFIT.sub("\ufffd", _BREAKS.sub(" ", text))


def escape_controls(text: str, keep: str = "") -> str:
    """The text with each control, direction and invisible character as its escape, such as `\\x1b` or `\\u202e`.

    `keep`: characters that stay, such as a newline.
    """
    return _UNSAFE.sub(lambda found: found[0] if found[0] in keep else ascii(found[0])[1:-1], text)
