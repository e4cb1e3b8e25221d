"""Functions of a confined child that read a file during its download."""

import hashlib

from contentgen_hostile.works import Send
from contentgen_worker.media.decode.source import MediaSource


def digest(send: Send, source: MediaSource, start: int, end: int) -> None:
    """Send the sha256 of a byte range."""
    with source.open() as file:
        file.seek(start)
        found = hashlib.sha256()
        while content := file.read(min(100_000, end - file.tell())):
            found.update(content)
    send(found.hexdigest())
