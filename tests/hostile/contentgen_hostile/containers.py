"""Parsing and writing of containers: ISO boxes (14496-12), EBML elements (RFC 8794), RIFF chunks."""

import struct
from collections.abc import Iterator
from dataclasses import dataclass

_HOLDERS = (b"moov", b"trak", b"mdia", b"minf", b"stbl", b"edts", b"dinf", b"mvex", b"moof", b"traf", b"udta")


@dataclass(frozen=True)
class Box:
    """Position of a box in a file: first byte, and length including the header of eight bytes."""

    kind: bytes
    start: int
    size: int


def boxes(content: bytes, start: int = 0, end: int | None = None) -> Iterator[Box]:
    """All boxes, parents before children."""
    end = len(content) if end is None else end
    while start + 8 <= end:
        size, kind = struct.unpack(">I4s", content[start : start + 8])
        if size < 8:
            return
        yield Box(kind, start, size)
        if kind in _HOLDERS:
            yield from boxes(content, start + 8, start + size)
        start += size


def found(content: bytes, kind: bytes, number: int = 0) -> Box:
    """Box number `number` of this kind."""
    return [box for box in boxes(content) if box.kind == kind][number]


def patched(content: bytes, at: int, new: bytes) -> bytes:
    """Content with these bytes replaced."""
    return content[:at] + new + content[at + len(new) :]


def box(kind: bytes, *parts: bytes) -> bytes:
    """ISO box."""
    body = b"".join(parts)
    return struct.pack(">I4s", 8 + len(body), kind) + body


def replaced(content: bytes, old: Box, new: bytes) -> bytes:
    """Content with a box replaced by one of any length. The sizes of its parents are corrected, offsets into it are
    not."""
    change = len(new) - old.size
    for holder in boxes(content):
        if holder.kind in _HOLDERS and holder.start < old.start < holder.start + holder.size:
            content = patched(content, holder.start, struct.pack(">I", holder.size + change))
    return content[: old.start] + new + content[old.start + old.size :]


def ebml(name: bytes, *parts: bytes) -> bytes:
    """EBML element with a length of eight bytes."""
    body = b"".join(parts)
    return name + (len(body) | 1 << 56).to_bytes(8, "big") + body


def number(name: bytes, value: int, length: int = 8) -> bytes:
    """EBML element of an unsigned number."""
    return ebml(name, value.to_bytes(length, "big"))


def chunk(name: bytes, body: bytes, size: int | None = None) -> bytes:
    """RIFF chunk."""
    return name + struct.pack("<I", len(body) if size is None else size) + body + bytes(len(body) % 2)
