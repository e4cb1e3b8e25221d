"""Correction of a length in the header of WAV, AIFF and CAF that ends before the sound does. Pure, but for reading.

Recorders that lose power leave the length of their last save, and a WAV of more than 4 GiB the rest of a division by
that. FFmpeg stops at the stated end. What follows it is either further chunks, up to the end of the file, or sound.
"""

import io
import os
import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass

_MAX_CHUNKS = 1000
_UNKNOWN = (1 << 32) - 1  # length in 32 bits of sound up to the end of the file
_PADDING = 512  # bytes at the end of a file that are none of its sound, such as an ID3 tag
_ID = re.compile(rb"[ -~]{4}")


@dataclass(frozen=True, slots=True)
class Correction:
    """Bytes of a header, at `offset`, to be read as `content`.

    `share`: of the sound, which the stated length leaves out.
    """

    offset: int
    content: bytes
    share: float


@dataclass(frozen=True, slots=True)
class _Form:
    """Layout of a container: magic, offset of its first chunk, struct of a chunk's size, name of the sound's chunk."""

    magic: re.Pattern[bytes]
    first: int
    size: struct.Struct
    sound: bytes
    padded: bool = True  # chunks begin at even offsets


_FORMS = (
    _Form(re.compile(rb"(RIFF|RF64|BW64)....WAVE", re.DOTALL), 12, struct.Struct("<I"), b"data"),
    _Form(re.compile(rb"FORM....AIF[FC]", re.DOTALL), 12, struct.Struct(">I"), b"SSND"),
    _Form(re.compile(rb"caff\x00\x01", re.DOTALL), 8, struct.Struct(">q"), b"data", padded=False),
)
_DS64 = struct.Struct("<4sIQQ")  # after the header of RF64 and BW64: name, size, size of the file, size of the sound
_DS64_SOUND = 12 + 16  # offset of the last of them


def correction(file: io.RawIOBase) -> Correction | None:
    """Correction of the file's header; None if its sound ends where it says, or is not in such chunks."""
    length = file.seek(0, os.SEEK_END)
    start = _read(file, 0, 12)
    form = next((form for form in _FORMS if form.magic.match(start)), None)
    if form is None:
        return None
    sound = next((chunk for chunk in _chunks(file, form, form.first, length) if chunk[1] == form.sound), None)
    if sound is None:
        return None
    offset, name, stated = sound
    at, field = offset + len(name), form.size
    begin = at + field.size
    if start[:4] in (b"RF64", b"BW64"):
        at, field = _DS64_SOUND, struct.Struct("<Q")
        stated = _DS64.unpack(_read(file, 12, _DS64.size).ljust(_DS64.size, b"\0"))[3]
    end = begin + stated + (stated & 1 if form.padded else 0)
    if stated <= 0 or length - end <= _PADDING or _ends_with_chunks(file, form, end, length):
        return None  # a length of 0 or -1 is unknown: FFmpeg reads to the end
    actual = length - begin if field.size > 4 else min(length - begin, _UNKNOWN)
    return Correction(at, field.pack(actual), (length - end) / (length - begin))


def _read(file: io.RawIOBase, offset: int, size: int) -> bytes:
    file.seek(offset)
    content = b""
    while len(content) < size and (part := file.read(size - len(content))):
        content += part
    return content


def _chunks(file: io.RawIOBase, form: _Form, offset: int, length: int) -> Iterator[tuple[int, bytes, int]]:
    """Offset, name and size of the chunks from `offset` on, while they have a name."""
    for _ in range(_MAX_CHUNKS):
        header = _read(file, offset, 4 + form.size.size)
        if len(header) < 4 + form.size.size or not _ID.match(header):
            return
        (size,) = form.size.unpack(header[4:])
        yield offset, header[:4], size
        if size < 0 or offset + size > length:
            return
        offset += len(header) + size + (size & 1 if form.padded else 0)


def _ends_with_chunks(file: io.RawIOBase, form: _Form, offset: int, length: int) -> bool:
    """Whether the file from `offset` on consists of chunks."""
    end = offset
    for at, name, size in _chunks(file, form, offset, length):
        end = at + len(name) + form.size.size + size
    return end > offset and -1 <= length - end <= _PADDING


class CorrectedFile(io.RawIOBase):
    """Read-only file with a corrected header."""

    def __init__(self, file: io.RawIOBase, correction: Correction) -> None:
        self._file = file
        self._correction = correction

    def readable(self) -> bool:
        """Always True."""
        return True

    def seekable(self) -> bool:
        """Always True."""
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Set and return the position."""
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        """Position of the next read."""
        return self._file.tell()

    def readinto(self, buffer: object) -> int:
        """Read at least one byte; 0 at the end."""
        position = self._file.tell()
        target = memoryview(buffer).cast("B")  # type: ignore[arg-type]  # typeshed's Buffer, which 3.11 lacks
        count = self._file.readinto(target) or 0
        offset, content = self._correction.offset, self._correction.content
        first, last = max(position, offset), min(position + count, offset + len(content))
        if first < last:
            target[first - position : last - position] = content[first - offset : last - offset]
        return count

    def close(self) -> None:
        """Close the file."""
        self._file.close()
        super().close()
