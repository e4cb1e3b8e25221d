"""Download of a request's URLs, with size and time limits."""

import time
from pathlib import Path
from urllib.parse import urlsplit

import httpx

CHUNK = 1024 * 1024
REDIRECTS = 3


class SandboxFetchError(Exception):
    """The URL can't be downloaded; the message is the provider's error text."""


def fetch(url: str, target: Path, *, max_bytes: int, max_seconds: float) -> None:
    """Download `url` to `target`. Raises SandboxFetchError."""
    if urlsplit(url).scheme not in ("http", "https"):
        raise SandboxFetchError("only http and https URLs are fetched")
    deadline = time.monotonic() + max_seconds
    try:
        with (
            httpx.Client(follow_redirects=True, max_redirects=REDIRECTS, timeout=min(30.0, max_seconds)) as client,
            client.stream("GET", url) as response,
            target.open("wb") as file,
        ):
            if response.status_code != 200:
                raise SandboxFetchError(f"the server answered {response.status_code}")
            size = 0
            for chunk in response.iter_bytes(CHUNK):
                size += len(chunk)
                if size > max_bytes:
                    raise SandboxFetchError(f"larger than {max_bytes} bytes")
                if time.monotonic() > deadline:
                    raise SandboxFetchError(f"took longer than {max_seconds:g} s")
                file.write(chunk)
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise SandboxFetchError(str(error) or type(error).__name__) from error
