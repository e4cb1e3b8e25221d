"""Byte ranges over HTTP (RFC 9110, section 14): parsing of responses, and choice of the next range. Pure."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

_CONTENT_RANGE = re.compile(r"bytes (\d{1,18})-(\d{1,18})/(\d{1,18})", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class FileIdentity:
    """Version of a file; `etag` and `modified` are empty if the server sends none."""

    size: int
    etag: str
    modified: str

    @property
    def validator(self) -> str:
        """Value for If-Range: a strong ETag, else Last-Modified; empty if there is neither that a header can hold."""
        value = self.etag if self.etag.startswith('"') else self.modified
        return value if value.isascii() and value.isprintable() else ""

    def is_of(self, other: "FileIdentity") -> bool:
        """Whether both are the same version. A missing value matches any."""
        pairs = ((self.etag, other.etag), (self.modified, other.modified))
        return self.size == other.size and all(a == b or not a or not b for a, b in pairs)


@dataclass(frozen=True, slots=True)
class ByteRange:
    """Bytes from `start` up to, not including, `end` of a file."""

    start: int
    end: int
    identity: FileIdentity


def parse_range(status: int, headers: Mapping[str, str]) -> ByteRange | None:
    """Range in a response with status 200 or 206; None if missing or invalid."""
    if status == 200:
        return _whole(headers)
    found = _CONTENT_RANGE.fullmatch(headers.get("content-range", "").strip())
    if status != 206 or not found:  # "multipart/byteranges" has no Content-Range of its own
        return None
    start, last, size = map(int, found.groups())
    length = headers.get("content-length", str(last + 1 - start))
    if not start <= last < size or length != str(last + 1 - start):
        return None
    return ByteRange(start, last + 1, _identity(size, headers))


def _whole(headers: Mapping[str, str]) -> ByteRange | None:
    length = headers.get("content-length", "")
    return ByteRange(0, int(length), _identity(int(length), headers)) if length.isdigit() and len(length) < 19 else None


def _identity(size: int, headers: Mapping[str, str]) -> FileIdentity:
    return FileIdentity(size, headers.get("etag", ""), headers.get("last-modified", ""))


def next_range(free: bytearray, readers: Iterable[int], max_chunks: int) -> range | None:
    """Chunks to fetch next: at most `max_chunks` in a row, all free (1; 0: reserved); None if none is free.

    First the chunks that a reader reaches next; in file order without readers.
    """
    missing = [(found - reader, found) for reader in readers if (found := free.find(1, reader)) >= 0]
    start = min(missing)[1] if missing else free.find(1)
    if start < 0:
        return None
    end = free.find(0, start, start + max_chunks)
    return range(start, end if end >= 0 else min(start + max_chunks, len(free)))
