"""Clean aperture: the part of a track's frames that is shown, as the container states it. The rest is padding.

FFmpeg reads it as side data of the stream, which PyAV does not expose; the decoder applies only what the codec's own
headers crop. So the header is read here: `clap` of MP4 and MOV (ISO 14496-12, 12.1.4), PixelCrop of Matroska (RFC
9559).
"""

import struct
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from fractions import Fraction
from io import BufferedReader, RawIOBase
from pathlib import Path

from av.container import InputContainer
from av.video.stream import VideoStream

from contentgen_worker.media.decode.planes import Aperture
from contentgen_worker.media.decode.probe import open_bytes
from contentgen_worker.media.decode.source import MediaSource

_MAX_ELEMENTS = 2000  # read in a file
_LEAST = Fraction(1, 2)  # of a side; less is no padding but a mistake
_DESCRIPTIONS, _DESCRIPTION = 8, 78  # bytes before the elements of stsd, and of a video's sample entry in it
_ENTRY_SIZE = struct.Struct(">24x2H")  # width and height in a sample entry
_CLAP = struct.Struct(">4IiIiI")  # fractions: width, height, and offsets of the middle to the right and down
_SEGMENT, _CLUSTER, _TRACKS = b"\x18\x53\x80\x67", b"\x1f\x43\xb6\x75", b"\x16\x54\xae\x6b"
_TRACK, _TYPE, _VIDEO = b"\xae", b"\x83", b"\xe0"
_SIZE = (b"\xb0", b"\xba")  # width, height
_CROPS = (b"\x54\xcc", b"\x54\xbb", b"\x54\xdd", b"\x54\xaa")  # left, top, right, bottom


@dataclass(frozen=True, slots=True)
class _Element:
    """Box of MP4 or element of Matroska; `start` and `end` of its content in the file."""

    name: bytes
    start: int
    end: int


_Children = Callable[[_Element], Iterator[_Element]]


def clean_aperture(source: Path | MediaSource, container: InputContainer, stream: VideoStream) -> Aperture | None:
    """Clean aperture of a video track of an opened file; None if all of it is shown, or if it is not plausible."""
    with BufferedReader(open_bytes(source)) as file, suppress(struct.error):
        header = _Header(file)
        if "mov" in container.format.name:
            return header.of_mp4(stream.id)
        if "matroska" in container.format.name:
            return header.of_matroska(container.streams.video.index(stream))
    return None


class _Header:
    """Elements of a file. A truncated one raises struct.error; after `_MAX_ELEMENTS` there are no more."""

    def __init__(self, file: "BufferedReader[RawIOBase]") -> None:
        self._file, self._left = file, _MAX_ELEMENTS
        self._whole = _Element(b"", 0, file.seek(0, 2))

    def of_mp4(self, track: int) -> Aperture | None:
        """Aperture of the track with this number."""
        for found in _below(self._boxes, self._whole, b"moov", b"trak"):
            if track not in (self._track_number(each) for each in _below(self._boxes, found, b"tkhd")):
                continue
            for stsd in _below(self._boxes, found, b"mdia", b"minf", b"stbl", b"stsd"):
                entry = next(self._boxes(_Element(stsd.name, stsd.start + _DESCRIPTIONS, stsd.end)), None)
                return self._of_entry(entry) if entry else None
        return None

    def _track_number(self, tkhd: _Element) -> int:
        content = self._read(tkhd.start, 24)
        return int(struct.unpack_from(">I", content, 20 if content[0] == 1 else 12)[0])

    def _of_entry(self, entry: _Element) -> Aperture | None:
        width, height = _ENTRY_SIZE.unpack(self._read(entry.start, _ENTRY_SIZE.size))
        inside = _Element(entry.name, entry.start + _DESCRIPTION, entry.end)
        for clap in _below(self._boxes, inside, b"clap"):
            numbers = _CLAP.unpack(self._read(clap.start, _CLAP.size))
            if not all(numbers[1::2]):
                return None
            sides, offsets = _fractions(numbers[:4]), _fractions(numbers[4:])
            starts = [(whole - side) / 2 + at for whole, side, at in zip((width, height), sides, offsets, strict=True)]
            ends = [start + side for start, side in zip(starts, sides, strict=True)]
            return _plausible((width, height), *starts, *ends)
        return None

    def of_matroska(self, number: int) -> Aperture | None:
        """Aperture of the video track with this number, from 0."""
        tracks = _below(self._elements, self._whole, _SEGMENT, _TRACKS, _TRACK)
        videos = [track for track in tracks if 1 in map(self._integer, _below(self._elements, track, _TYPE))]
        for video in _below(self._elements, videos[number], _VIDEO) if number < len(videos) else ():
            stated = {element.name: self._integer(element) for element in self._elements(video)}
            width, height = (stated.get(name, 0) for name in _SIZE)
            left, top, right, bottom = (Fraction(stated.get(name, 0)) for name in _CROPS)
            return _plausible((width, height), left, top, width - right, height - bottom)
        return None

    def _boxes(self, inside: _Element) -> Iterator[_Element]:
        at = inside.start
        while at + 8 <= inside.end and self._left:
            self._left -= 1
            length, name = struct.unpack(">I4s", self._read(at, 8))
            start = at + 8
            if length == 1:
                (length,), start = struct.unpack(">Q", self._read(start, 8)), start + 8
            end = at + length if length else inside.end
            if end < start:
                return
            yield _Element(name, start, min(end, inside.end))
            at = end

    def _elements(self, inside: _Element) -> Iterator[_Element]:
        at = inside.start
        while at < inside.end and self._left:
            self._left -= 1
            name, start = self._number(at)
            size, start = self._number(start)
            value = int.from_bytes(size, "big") & ~(-1 << 7 * len(size))
            unknown = value == (1 << 7 * len(size)) - 1  # of a stream that is written live
            end = inside.end if unknown else min(start + value, inside.end)
            if name == _CLUSTER:
                return
            yield _Element(name, start, end)
            at = end

    def _number(self, at: int) -> tuple[bytes, int]:
        """Bytes of an EBML number, whose first one states how many they are, and the offset after it."""
        (first,) = self._read(at, 1)
        length = 9 - first.bit_length()
        return self._read(at, length), at + length

    def _integer(self, element: _Element) -> int:
        return int.from_bytes(self._read(element.start, min(element.end - element.start, 8)), "big")

    def _read(self, offset: int, length: int) -> bytes:
        self._file.seek(offset)
        content = self._file.read(max(length, 0))
        if len(content) != length:
            raise struct.error("the file or the element around it ends within an element")
        return content


def _below(children: _Children, element: _Element, *path: bytes) -> Iterator[_Element]:
    """Elements at a path of names."""
    if not path:
        yield element
        return
    for child in children(element):
        if child.name == path[0]:
            yield from _below(children, child, *path[1:])


def _fractions(numbers: tuple[int, ...]) -> list[Fraction]:
    return [Fraction(above, below) for above, below in zip(numbers[::2], numbers[1::2], strict=True)]


def _plausible(
    size: tuple[int, int], left: Fraction, top: Fraction, right: Fraction, bottom: Fraction
) -> Aperture | None:
    """Aperture in whole pixels; None unless it is a part of the frame, and most of it."""
    found = Aperture(size, *(round(each) for each in (left, top, right, bottom)))
    sides = found.right - found.left, found.bottom - found.top
    is_part = found.left >= 0 and found.right <= size[0] and found.top >= 0 and found.bottom <= size[1]
    is_most = sides != size and all(side >= _LEAST * whole for side, whole in zip(sides, size, strict=True))
    return found if is_part and is_most else None
