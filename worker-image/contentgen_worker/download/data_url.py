"""Files inside of their own URL (`data:`, RFC 2397), as some models return them."""

import base64
import binascii
import hashlib
from pathlib import Path
from urllib.parse import unquote_to_bytes

from contentgen_worker.download.incoming import Fetched, disk_error
from contentgen_worker.errors import Empty, TooLarge, Unreachable

_SCHEME = "data:"


def is_one(url: str) -> bool:
    """Whether a URL contains its file."""
    return url[: len(_SCHEME)].lower() == _SCHEME


def save(url: str, to: Path, max_bytes: int) -> Fetched:
    """The file in a URL. Raises a FetchError, or Retryable if the disk is full."""
    content = _content(url)
    if not content:
        raise Empty("data: 0 bytes")
    if len(content) > max_bytes:
        raise TooLarge(f"data: {len(content)} bytes, at most {max_bytes}")
    try:
        to.write_bytes(content)
    except OSError as error:
        raise disk_error(error, to) from None
    return Fetched(to, len(content), hashlib.sha256(content).hexdigest())


def _content(url: str) -> bytes:
    head, comma, body = url.partition(",")
    if not comma:
        raise Unreachable("data: a URL without a comma", permanent=True)
    content = unquote_to_bytes(body)
    if not head.rstrip().lower().endswith(";base64"):
        return content
    compact = bytes(content).translate(None, b" \t\r\n").replace(b"-", b"+").replace(b"_", b"/").rstrip(b"=")
    try:
        return base64.b64decode(compact + b"=" * (-len(compact) % 4), validate=True)
    except binascii.Error as error:
        raise Unreachable(f"data: invalid base64 ({error})", permanent=True) from None
