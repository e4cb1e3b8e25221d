"""Groups of pictures (GOPs) of a segment, and decoders for parts of them.

A group is a keyframe and all packets until the next. Its anchors are the frames displayed after all frames decoded
before them: they decode without the skipped frames between, apart from artefacts where an encoder referenced one. That
is good enough for thumbnails. Pictures are decoded from the keyframe, with all references.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

import av
from av import VideoFrame
from av.codec.context import CodecContext, Flags
from av.container import InputContainer
from av.video.codeccontext import VideoCodecContext
from av.video.stream import VideoStream

from contentgen_worker.errors import Unsupported
from contentgen_worker.media.decode.bounds import MediaLimits
from contentgen_worker.media.decode.decode import (
    BROKEN_PACKETS,
    FAST_DECODE_OPTIONS,
    Segment,
    Skip,
    packets,
    starts_next_segment,
    video_stream,
)

if TYPE_CHECKING:
    Packet = av.Packet[VideoStream]
_MAX_PACKETS, _MAX_BYTES = 1000, 32 << 20  # of a group in memory
_INTRA = 1  # AV_PICTURE_TYPE_I
_READS_ONCE = "libdav1d"  # it reads skip_frame when it is opened
_THUMBNAIL_OPTIONS = {"skip_loop_filter": "all"}  # deblocking is invisible on thumbnails


@dataclass(frozen=True, slots=True)
class PacketGroup:
    """Packets in decoding order, and the next keyframe, if any.

    A group too long for memory is split: all parts but the last have `continues`, all but the first have no keyframe.
    """

    packets: "tuple[Packet, ...]"
    following: "Packet | None" = None
    continues: bool = False

    @property
    def key(self) -> "Packet | None":
        """The keyframe, None for a later part."""
        return self.packets[0] if self.packets[0].is_keyframe else None


def groups(container: InputContainer, segment: Segment) -> Iterator[PacketGroup]:
    """Groups from a segment's first keyframe to the first of the next segment."""
    pending: list[Packet] = []
    size = 0
    for packet in packets(container, video_stream(container), segment):
        if not packet.size:
            continue
        at_end = starts_next_segment(packet, segment)
        if pending and (at_end or packet.is_keyframe):
            yield PacketGroup(tuple(pending), packet)
            pending, size = [], 0
        elif len(pending) >= _MAX_PACKETS or size >= _MAX_BYTES:
            yield PacketGroup(tuple(pending), continues=True)
            pending, size = [], 0
        if at_end:
            return
        pending.append(packet)
        size += packet.size
    if pending:
        yield PacketGroup(tuple(pending))


def timestamp(packet: "Packet | VideoFrame") -> int:
    """Presentation time in the track's units."""
    return int(packet.pts if packet.pts is not None else packet.dts or 0)


def anchors(group: PacketGroup) -> "list[Packet]":
    """Frames displayed after all frames decoded before them, without the keyframe."""
    found = []
    latest = timestamp(group.packets[0])
    for packet in group.packets[1:]:
        if timestamp(packet) > latest:
            latest = timestamp(packet)
            found.append(packet)
    return found if group.key else [group.packets[0], *found]


def frames_between(group: PacketGroup, first: int, second: int) -> int:
    """Number of the group's frames between two timestamps."""
    return sum(first < timestamp(packet) < second for packet in group.packets)


def packets_between(group: PacketGroup, first: int, second: int) -> "list[Packet]":
    """Packets that decode the frames between two consecutive anchors: those frames, and all anchors until the second
    one."""
    needed = {timestamp(group.packets[0]), *(timestamp(packet) for packet in anchors(group))}
    return [
        packet
        for packet in group.packets
        if timestamp(packet) <= second and (timestamp(packet) in needed or timestamp(packet) > first)
    ]


class Decoder:
    """Decodes packets in order; broken ones are skipped, as in players.

    `skips`: for a picture, one after the other until it is found, since it may be a frame that no other one uses.
    """

    def __init__(
        self, context: VideoCodecContext, bounds: MediaLimits, skips: Sequence[Skip] = (Skip.NOTHING,)
    ) -> None:
        self._context, self._bounds, self._skips = context, bounds, skips
        self._broken = self._frames = 0
        self._used = False

    @classmethod
    def for_thumbnails(cls, stream: VideoStream, bounds: MediaLimits) -> "Decoder":
        """Separate decoder with fast settings, for thumbnails."""
        context = cast("VideoCodecContext", CodecContext.create(stream.codec_context.name, "r"))
        context.extradata = stream.codec_context.extradata
        context.thread_count, context.options = 1, _THUMBNAIL_OPTIONS
        # HEVC's B-frames may be references. Without them FFmpeg withholds the frames that follow.
        context.flags |= Flags.output_corrupt
        return cls(context, bounds)

    @classmethod
    def for_pictures(cls, stream: VideoStream, bounds: MediaLimits) -> "Decoder":
        """The stream's own decoder, for pictures."""
        stream.thread_count, stream.codec_context.options = 1, FAST_DECODE_OPTIONS
        once = stream.codec_context.name == _READS_ONCE
        return cls(stream.codec_context, bounds, (Skip.NOTHING,) if once else (Skip.UNUSED, Skip.NOTHING))

    def images(
        self, sequence: "Iterable[Packet]", *, starts: bool = True, continues: bool = False
    ) -> Iterator[VideoFrame]:
        """Frames of packets that begin at a keyframe, or continue the previous ones. Raises BeyondLimits,
        Unsupported."""
        if starts and self._used:
            self._context.flush_buffers()
        self._used = True
        for packet in sequence:
            yield from self._decode(packet)
        if not continues:
            yield from self._decode(None)

    def picture(self, sequence: "Sequence[Packet]", pts: int) -> VideoFrame | None:
        """Frame with this timestamp, None if not decodable; `sequence` begins with a keyframe."""
        last = next((index for index, packet in enumerate(sequence) if timestamp(packet) == pts), len(sequence) - 1)
        for skip in self._skips:
            self._context.skip_frame = skip.value
            if found := [image for image in self.images(sequence[: last + 1]) if image.pts == pts]:
                return found[-1]
        return None

    def whole(self, key: "Packet") -> bool:
        """Whether a keyframe is a picture without others. One of an intra refresh lacks what its predecessors hold."""
        image = self.picture([key], timestamp(key))
        return image is not None and image.pict_type == _INTRA

    def _decode(self, packet: "Packet | None") -> Iterator[VideoFrame]:
        try:
            images: Iterable[VideoFrame] = self._context.decode(packet)
        except av.error.InvalidDataError:
            self._broken += 1
            if self._broken > BROKEN_PACKETS:
                raise Unsupported(f"more than {BROKEN_PACKETS} packets of its video track can't be decoded") from None
            return
        for image in images:
            self._frames += 1
            self._bounds.check_frames(self._frames)
            self._bounds.check_pixels(image.width, image.height)
            yield image
