"""Upload of a video to the sandbox over HTTP, where the cluster can download it."""

import hashlib
import re
import time
from pathlib import Path

import httpx

from contentgen_demo.errors import DemoError

SAMPLES_NAME = "talk.mp4"
"""Name under /media/ of the recording that the samples refer to."""
_PATIENCE_SECONDS = 20


def is_url(video: str) -> bool:
    """Whether the argument is a URL rather than a file."""
    return re.match(r"^(https?|s3)://", video) is not None


def media_name(path: Path) -> str:
    """File name from the content's hash, so that a file is uploaded once."""
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()[:12]
    suffix = path.suffix.lower() if re.fullmatch(r"\.[A-Za-z0-9]{1,8}", path.suffix) else ".bin"
    return f"talk-{digest}{suffix}"


def upload(path: Path, port: int, name: str | None = None) -> tuple[str, bool]:
    """Upload a file; returns its name (by content unless given) and whether it existed. Raises DemoError."""
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
