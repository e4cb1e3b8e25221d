"""Parts of a file over HTTP (RFC 9110, section 14): what an answer is a part of, and which part to ask for next.

Pure: nothing here asks anybody.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

_CONTENT_RANGE = re.compile(r"bytes (\d{1,18})-(\d{1,18})/(\d{1,18})", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class FileIdentity:
    """Which file it is; `etag` and `modified` are empty where the server does not say."""

    size: int
    etag: str
    modified: str

    @property
    def validator(self) -> str:
        """For If-Range: a strong ETag, else when it was changed; empty where parts can't be told to be of one file."""
        return self.etag if self.etag.startswith('"') else self.modified

    def is_of(self, other: "FileIdentity") -> bool:
        """Whether both are the same file. What one of them does not say is no difference."""
        pairs = ((self.etag, other.etag), (self.modified, other.modified))
        return self.size == other.size and all(a == b or not a or not b for a, b in pairs)


@dataclass(frozen=True, slots=True)
class ByteRange:
    """The bytes from `start` up to `end` of a file."""

    start: int
    end: int
    identity: FileIdentity


def parse_range(status: int, headers: Mapping[str, str]) -> ByteRange | None:
    """What an answer with 200 or 206 holds; None where it does not say, or says nothing that can be."""
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
    """The pieces to fetch next: at most `max_chunks` in a row, all free (1, not 0), None where none is.

    Those that a reader comes to first, before any other comes to a missing one; in order, where nobody reads.
    """
    missing = [(found - reader, found) for reader in readers if (found := free.find(1, reader)) >= 0]
    start = min(missing)[1] if missing else free.find(1)
    if start < 0:
        return None
    end = free.find(0, start, start + max_chunks)
    return range(start, end if end >= 0 else min(start + max_chunks, len(free)))
