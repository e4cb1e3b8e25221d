"""Puts a video where the cluster can fetch it: into the sandbox, over HTTP."""

import hashlib
import re
import time
from pathlib import Path

import httpx

from contentgen_demo.errors import DemoError

SAMPLES_NAME = "talk.mp4"
"""The name under /media/ of the recording that samples/ work on."""
_PATIENCE_SECONDS = 20


def is_url(video: str) -> bool:
    """Whether the user means an address rather than a file."""
    return re.match(r"^(https?|s3)://", video) is not None


def media_name(path: Path) -> str:
    """A name by content, so that nothing is uploaded twice."""
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()[:12]
    suffix = path.suffix.lower() if re.fullmatch(r"\.[A-Za-z0-9]{1,8}", path.suffix) else ".bin"
    return f"talk-{digest}{suffix}"


def upload(path: Path, port: int, name: str | None = None) -> tuple[str, bool]:
    """The name under /media/, by content unless one is given, and whether it was there before. Raises: DemoError."""
    name = name or media_name(path)
    with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60, trust_env=False) as client:
        _wait_ready(client)
        try:
            there = client.head(f"/media/{name}")
            if there.is_success and int(there.headers["content-length"]) == path.stat().st_size:
                return name, True
            with path.open("rb") as file:
                client.put(f"/media/{name}", content=file).raise_for_status()
        except httpx.HTTPError as error:
            raise DemoError(f"{path} can't be uploaded to the sandbox: {error}") from None
    return name, False


def _wait_ready(client: httpx.Client) -> None:
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while True:
        try:
            client.get("/healthz").raise_for_status()
        except httpx.HTTPError as error:
            if time.monotonic() > deadline:
                raise DemoError(f"the sandbox does not answer through its port-forward: {error}") from None
            time.sleep(0.5)
        else:
            return
