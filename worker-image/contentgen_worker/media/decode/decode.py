"""Decoded frames of a recording in order of time, with their seconds.

Timestamps of containers may be missing, jump back or begin below zero. Here, seconds begin at 0 for the first frame and
never decrease.
"""

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from itertools import chain, islice
from math import inf
from typing import TYPE_CHECKING

import av
from av.container import InputContainer
from av.stream import Discard
from av.video.stream import VideoStream

from contentgen_worker.errors import NoVideoTrack, Unsupported
from contentgen_worker.media.codec import transferable
from contentgen_worker.media.decode.bounds import MediaLimits
from contentgen_worker.media.decode.probe import video_track

if TYPE_CHECKING:
    Packet = av.Packet[VideoStream]
BROKEN_PACKETS = 1000
"""Limit of broken packets per stream."""

FAST_DECODE_OPTIONS = {"skip_loop_filter": "noref"}
"""Skip deblocking of non-reference frames, a tenth of H.264's cost: they are used as thumbnails only."""

# Frames decoded before the first of them is analysed. Decoder and analysis evict each other's code and data from the
# CPU's caches at each change between them, 0.1 ms a frame.
_BATCH_FRAMES, _BATCH_BYTES = 8, 16 << 20

_DAMAGED_SPANS = 8  # the newest; frames come at most some packets later
_SLACK = 60.0  # seconds that a recording may exceed its stated duration
_DEFAULT_FRAME = 1 / 25  # seconds; if the file states no frame rate


@dataclass(frozen=True, slots=True)
class DecodedFrame:
    """Decoded frame at full size; `seconds` from the recording's start.

    `key`: decodable alone; `reference`: other frames depend on it, so the encoder spent more bits on it. `aspect`:
    width over height of its pixels. `damaged`: data was missing since the keyframe before it.
    """

    seconds: float
    key: bool
    reference: bool
    image: av.VideoFrame
    aspect: float = 1.0
    damaged: bool = False


@transferable
@dataclass(frozen=True, slots=True)
class Segment:
    """Consecutive groups of pictures; timestamps in the track's units. `end`: first keyframe of the next segment, None:
    to the recording's end.

    `seek`: timestamp that seeks to the first keyframe, None: the beginning.
    """

    number: int
    seek: int | None = None
    start: int | None = None
    end: int | None = None

    @property
    def whole(self) -> bool:
        """Whether it covers the whole recording."""
        return self.start is None and self.end is None


WHOLE = Segment(0)


class Stamps:
    """Converts timestamps to seconds. `length`: stated duration in seconds, 0 if unknown."""

    def __init__(self, stream: VideoStream, length: float) -> None:
        self._base = stream.start_time or 0
        self._unit = float(stream.time_base or 0)
        rate = stream.average_rate or stream.guessed_rate
        self._frame = 1 / float(rate) if rate else _DEFAULT_FRAME
        self._max_seconds = length + _SLACK if length > 0 else float("inf")
        self._offset = 0.0
        self._last: float | None = None

    def seconds(self, stamp: int | None) -> float:
        """Seconds of the next frame; with an invalid timestamp, one frame after the previous one."""
        seconds = self._second(stamp)
        if self._last is not None and seconds < self._last:
            self._offset += self._last + self._frame - seconds  # the timestamps restarted
            seconds = self._last + self._frame
        self._last = seconds
        return seconds

    def _second(self, stamp: int | None) -> float:
        if stamp is not None:
            seconds = (stamp - self._base) * self._unit
            if seconds <= self._max_seconds:
                return max(0.0, seconds + self._offset)
        return 0.0 if self._last is None else self._last + self._frame


class Damage:
    """Spans of presentation time whose frames lack data: from a packet that FFmpeg flags to the next keyframe.

    A parser may flag the packet before the damaged one, so the next packet is taken for damaged too.
    """

    def __init__(self) -> None:
        self._spans: deque[list[float]] = deque(maxlen=_DAMAGED_SPANS)
        self._flagged = False  # the packet before

    def note(self, packet: "Packet") -> None:
        """Add the next packet in decoding order."""
        at = packet.pts if packet.pts is not None else packet.dts
        if at is None:
            return
        is_open = bool(self._spans) and self._spans[-1][1] == inf
        damaged, self._flagged = packet.is_corrupt or self._flagged, packet.is_corrupt
        if damaged and not is_open:
            self._spans.append([at, inf])
        elif damaged:
            self._spans[-1][0] = min(self._spans[-1][0], at)
        elif packet.is_keyframe and is_open:
            self._spans[-1][1] = at

    def covers(self, image: av.VideoFrame) -> bool:
        """Whether a decoded frame lacks data."""
        return bool(image.is_corrupt) or any(start <= (image.pts or 0) < end for start, end in self._spans)


def pixel_aspect(stream: VideoStream) -> float:
    """Pixel aspect ratio (width over height) of the newest frame; 1 if not stated or implausible.

    What the container states is that of all frames; else it is the decoder's, which a broadcast changes.
    """
    aspect = stream.sample_aspect_ratio or stream.codec_context.sample_aspect_ratio
    return float(aspect) if aspect and 0.1 < aspect < 10 else 1.0


def video_stream(container: InputContainer) -> VideoStream:
    """The video track, with all others discarded. Raises NoVideoTrack."""
    stream = video_track(container)
    if stream is None:
        raise NoVideoTrack("there is no video track in the file; provide a recording with video")
    for other in container.streams:
        if other.index != stream.index:
            other.discard = Discard.all
    return stream


class Skip(StrEnum):
    """Frames that are not decoded (FFmpeg's skip_frame)."""

    NOTHING = "DEFAULT"
    UNUSED = "NONREF"


def frames(
    container: InputContainer,
    segment: Segment,
    bounds: MediaLimits,
    threads: int = 1,
    skip: Skip = Skip.NOTHING,
) -> Iterator[DecodedFrame]:
    """Frames of a segment in order of time. Broken packets are skipped, as in players.

    Raises BeyondLimits, or Unsupported for a stream with too many broken packets.
    """
    stream = video_stream(container)
    stream.thread_count, stream.thread_type = threads, "AUTO"
    stream.codec_context.options = FAST_DECODE_OPTIONS
    stream.codec_context.skip_frame = skip.value
    stamps = Stamps(stream, (container.duration or 0) / av.time_base)
    images = _trim_to_segment(_decode(container, stream, segment), segment)
    for number, (image, aspect, damaged) in enumerate(_in_batches(images), 1):
        bounds.check_frames(number)
        bounds.check_pixels(image.width, image.height)
        seconds = stamps.seconds(image.pts)
        bounds.check_duration(seconds)
        yield DecodedFrame(seconds, image.key_frame, image.pict_type in _REFERENCES, image, aspect, damaged)


_REFERENCES = frozenset({1, 2})  # AV_PICTURE_TYPE_I and _P
_Image = tuple[av.VideoFrame, float, bool]
"""Frame, its pixels' aspect, and whether it is damaged."""


def _in_batches(images: Iterator[_Image]) -> Iterator[_Image]:
    """The same frames, read in batches of `_BATCH_FRAMES`, fewer for large frames."""
    for first in images:
        yield first
        frame_bytes = first[0].width * first[0].height * 3 // 2
        while batch := deque(islice(images, max(1, min(_BATCH_FRAMES, _BATCH_BYTES // frame_bytes)))):
            while batch:
                yield batch.popleft()  # freed before the next batch is decoded


def _trim_to_segment(images: Iterator[tuple[_Image, bool]], segment: Segment) -> Iterator[_Image]:
    """Frames of the segment, without undecodable ones before the first keyframe (open GOP) and those of the next
    segment."""
    started = segment.start is None
    for image, met_next in images:
        pts = image[0].pts
        started = started or pts is None or pts >= (segment.start or 0)
        if met_next and pts is not None and segment.end is not None and pts >= segment.end:
            return
        if started:
            yield image


def _decode(container: InputContainer, stream: VideoStream, segment: Segment) -> Iterator[tuple[_Image, bool]]:
    """Each frame, and whether the next segment's keyframe has been read before it."""
    met_next, broken, damage = False, 0, Damage()
    for packet in packets(container, stream, segment):
        met_next = met_next or starts_next_segment(packet, segment)
        damage.note(packet)
        try:
            for image in packet.decode():
                yield (image, pixel_aspect(stream), damage.covers(image)), met_next
        except av.error.InvalidDataError:
            broken += 1
            if broken > BROKEN_PACKETS:
                raise Unsupported(f"more than {BROKEN_PACKETS} packets of its video track can't be decoded") from None


def starts_next_segment(packet: "Packet", segment: Segment) -> bool:
    """Whether this is the first keyframe of the next segment, or a later one."""
    return segment.end is not None and packet.is_keyframe and (packet.pts or 0) >= segment.end


def packets(container: InputContainer, stream: VideoStream, segment: Segment) -> "Iterator[Packet]":
    """Packets from a segment's first keyframe to the end of the recording."""
    if segment.seek is None:
        return container.demux(stream)
    container.seek(segment.seek, stream=stream)
    demuxed = container.demux(stream)
    return chain(_seek_first(demuxed, segment), demuxed)


def _seek_first(demuxed: "Iterator[Packet]", segment: Segment) -> "Iterator[Packet]":
    """The segment's first keyframe; a seek may end before it."""
    for packet in demuxed:
        if packet.is_keyframe and packet.pts is not None and packet.pts >= (segment.start or 0):
            yield packet
            return
