"""The addresses of pictures and sound on a page: signed, and for some minutes the same, so that browsers keep them."""

import time
from functools import lru_cache

from contentgen_gateway.files import Files

_SAME_SECONDS = 300  # a third of a URL's life: who gets it last can still use it for ten minutes
_REMEMBERED = 8192


def shown(files: Files, address: str) -> str:
    """Of a plain address of our bucket, as records hold them; another address is no picture of ours: empty."""
    key = files.key_of(address) if address else None
    return shown_key(files, key) if key else ""


def shown_key(files: Files, key: str) -> str:
    """Of a key."""
    return _signed(files, key, int(time.time() // _SAME_SECONDS))


@lru_cache(_REMEMBERED)
def _signed(files: Files, key: str, _window: int) -> str:
    return files.url(key, inline=True)
