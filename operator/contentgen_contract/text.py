"""Text of others, such as workers, providers and URLs, made safe to show. Pure."""

import re

# C0, C1 and DEL, which a terminal interprets; separators that end a line; controls of the direction and other invisible
# format characters, which change what a reader sees; halves of surrogate pairs, which can't be encoded.
_UNSAFE = re.compile(
    "[\\x00-\\x1f\\x7f-\\x9f\\xad\\u061c\\u180e\\u200b-\\u200f\\u2028-\\u202e\\u2060-\\u206f\\ud800-\\udfff\\ufeff\\ufff9-\\ufffb"
    "\\U000e0000-\\U000e007f]"
)


def escape_controls(text: str, keep: str = "") -> str:
    """The text with each control, direction and invisible character as its escape, such as `\\x1b` or `\\u202e`.

    `keep`: characters that stay, such as a newline.
    """
    return _UNSAFE.sub(lambda found: found[0] if found[0] in keep else ascii(found[0])[1:-1], text)
