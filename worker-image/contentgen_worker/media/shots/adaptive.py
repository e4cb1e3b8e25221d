"""Detection for `speed: Fast`: each group of pictures (GOP) is decoded only as far as needed to know what happens in
it.

All keyframes are decoded, and the sizes of all packets are known. If a keyframe looks like the next one and no packet
between them is large enough for another picture, nothing happens in the group. If it looks different, all packets
between are small and the encoder began the next group early, there is a cut at the next keyframe. Otherwise the group's
anchors are decoded one after another until one of these holds for the rest, or all frames while they differ strongly.
Thumbnails of frames that are not decoded are interpolated.

Pictures are taken from keyframes, the only frames that are fully decoded. If a shot has none, or a thumbnail is much
sharper, its group is decoded again with all references of the sharpest frame.
"""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain, islice
from operator import sub
from statistics import median
from typing import TYPE_CHECKING

import numpy as np
from av import VideoFrame
from av.container import InputContainer

from contentgen_worker.media.decode.bounds import MediaLimits
from contentgen_worker.media.decode.decode import (
    DecodedFrame,
    Segment,
    Skip,
    Stamps,
    frames,
    pixel_aspect,
    video_stream,
)
from contentgen_worker.media.decode.planes import Aperture, Plane, Planes, Shape
from contentgen_worker.media.shots.best import EDGE, FrameCandidate, detail
from contentgen_worker.media.shots.boundaries import LAG, MAX_SKIPPED
from contentgen_worker.media.shots.frame_run import coarse, make_thumbnail
from contentgen_worker.media.shots.groups import (
    Decoder,
    PacketGroup,
    anchors,
    frames_between,
    groups,
    packets_between,
    timestamp,
)

if TYPE_CHECKING:
    from contentgen_worker.media.shots.groups import Packet

# Distances are root mean squares of differences of 0-255.
_ALIKE = 6.0  # thumbnails of one shot
_OTHER = 20.0  # thumbnails that need a cut between them
_BRINGS = 0.3  # share of a keyframe's size; a smaller packet holds no other picture
_CUT = 0.5  # likewise; a packet with a whole other picture is larger
_STEADY = 2.2  # largest packet, as a multiple of the median
_TAIL, _TAIL_STEADY = 2, 1.4  # the last packets before a cut; a wipe makes them larger
_ENOUGH = 12  # packets needed for a reliable median
_COMES_BACK = 0.5  # seconds; in so short a group, similar ends mean at most a flash
_EARLY = 0.9  # share of the longest group's packets; the encoder ended a shorter group at a change

_SLOW = 0.2  # seconds of a frame; so few frames cost little
_FEW = 4  # packets of a group; shorter groups save nothing
_FIRST = 3  # groups checked at the beginning
_SPARSE = 3  # packets between interpolated thumbnails
_STANDS_OUT = 2.2  # change between two anchors, as a multiple of the one before, that may be a cut
_BUSY, _CALM = 10.0, 5.0  # two changes in a row from which, and below which, skipped frames would hide a cut
_PAUSE = 1.0  # seconds; after a jump of the timestamps, the shots before it are still to be reported
_CLEARER = 2.0  # times the sharpest keyframe of the shot
_NEARLY_SHARPEST = 0.8  # share of the sharpness of the sharpest frame


@dataclass(frozen=True, slots=True)
class RemainingGroup:
    """Rest of a group that is not decoded yet. `thumbnail`: last decoded frame; `following`: next keyframe, None at the
    end.

    `sizes`: bytes of the anchors between; `key`: bytes of the smaller of both keyframes; `early`: the group is shorter
    than the encoder's maximum.
    """

    thumbnail: Plane
    following: Plane | None
    sizes: Sequence[int]
    key: int
    seconds: float
    early: bool


def is_decided(remaining: RemainingGroup) -> bool:
    """Whether the content of the rest is known, so that it need not be decoded."""
    if not remaining.sizes:
        return True
    largest, level = max(remaining.sizes), median(remaining.sizes)
    if remaining.following is None:
        return largest <= _BRINGS * remaining.key
    if is_similar(remaining.thumbnail, remaining.following):
        return largest <= max(_BRINGS * remaining.key, _STEADY * level) or remaining.seconds <= _COMES_BACK
    steady = (
        largest <= min(_CUT * remaining.key, _STEADY * level) and max(remaining.sizes[-_TAIL:]) <= _TAIL_STEADY * level
    )
    different = distance(remaining.thumbnail, remaining.following) > _OTHER
    return different and remaining.early and steady and len(remaining.sizes) >= _ENOUGH


def interpolate(remaining: RemainingGroup, shares: Sequence[float]) -> list[Plane]:
    """Thumbnails at these shares of the rest: linear between similar ends, else constant until a cut at the end."""
    if remaining.following is None or not is_similar(remaining.thumbnail, remaining.following):
        return [remaining.thumbnail] * len(shares)
    first, second = remaining.thumbnail.astype(np.float32), remaining.following.astype(np.float32)
    return [np.rint(first + share * (second - first)).astype(np.uint8) for share in shares]


def can_skip(first: Sequence[PacketGroup]) -> bool:
    """Whether these first groups have timestamps and enough packets for decoding to be skipped."""
    known = all(packet.pts is not None for group in first for packet in group.packets)
    few = sum(map(_length, first)) < _FEW * len(first)
    return bool(first) and first[0].key is not None and known and not few and not is_slow(first)


def is_slow(first: Sequence[PacketGroup]) -> bool:
    """Whether each of these frames may be a shot: slides, time lapses, screen recorders."""
    stamps = sorted(timestamp(packet) for group in first for packet in group.packets)
    return len(stamps) > 1 and median(map(sub, stamps[1:], stamps)) * first[0].packets[0].time_base >= _SLOW


def _length(group: PacketGroup) -> int:
    return len(group.packets)


def distance(first: Plane, second: Plane) -> float:
    """Root mean square difference of two thumbnails at half the size, 0-255."""
    one, other = coarse(np.stack([first, second]))
    return float(np.sqrt(np.mean(np.subtract(one, other, dtype=np.float32) ** 2)))


def is_similar(first: Plane, second: Plane) -> bool:
    """Whether two thumbnails may be of the same shot."""
    return distance(first, second) <= _ALIKE


@dataclass(frozen=True, slots=True)
class SampledSecond:
    """Thumbnail at a second. `planes`, `image`: if the frame was decoded; `frame`: if it may become a picture.
    `damaged`: its group lacks data."""

    seconds: float
    thumbnail: Plane
    planes: Planes | None = None
    frame: DecodedFrame | None = None
    damaged: bool = False
    image: VideoFrame | None = None


@dataclass(frozen=True, slots=True)
class _Keyframe:
    """Decoded keyframe."""

    image: VideoFrame
    planes: Planes
    thumbnail: Plane
    aspect: float
    damaged: bool


@dataclass(frozen=True, slots=True)
class InspectedFrame:
    """Frame decoded for its thumbnail only, and the group from which its picture can be decoded. `torn`: the group's
    keyframe lacks data."""

    seconds: float
    timestamp: int
    sharpness: float
    group: PacketGroup
    torn: bool = False

    @property
    def damaged(self) -> bool:
        """Whether it may lack data."""
        return self.torn or any(packet.is_corrupt for packet in self.group.packets)

    def later(self, start: float, end: float) -> "InspectedFrame":
        """First frame of its group in that interval of seconds, which was not decoded because nothing changes until
        then; the same frame if there is none."""
        unit = float(self.group.packets[0].time_base)
        at = ((timestamp(anchor) - self.timestamp) * unit for anchor in anchors(self.group))
        seconds = min((self.seconds + each for each in at if start <= self.seconds + each <= end), default=self.seconds)
        return replace(self, seconds=seconds, timestamp=self.timestamp + round((seconds - self.seconds) / unit))

    @property
    def packets_before(self) -> int:
        """Packets of its group that are decoded before it."""
        return sum(timestamp(packet) < self.timestamp for packet in self.group.packets)


def sharp_inspected(inspected_frames: Sequence[InspectedFrame], kept: float) -> InspectedFrame | None:
    """Inspected frame much sharper than the frames kept; None without one.

    Its group has to be decoded up to it, so of nearly equal frames the earliest in its group is taken.
    """
    sharpest = max((frame.sharpness for frame in inspected_frames), default=0.0)
    sharp = [frame for frame in inspected_frames if frame.sharpness > max(_CLEARER * kept, _NEARLY_SHARPEST * sharpest)]
    return min(sharp, key=lambda each: each.packets_before, default=None)


class _GroupProgress:
    """Progress of decoding a group."""

    def __init__(self, group: PacketGroup, following: Plane | None, *, early: bool) -> None:
        self._group, self._following, self._early = group, following, early
        self.packets = anchors(group)
        self._at = timestamp(group.packets[0])
        self._end = max(timestamp(packet) for packet in (*group.packets, *filter(None, [group.following])))

    def advance(self, at: int) -> bool:
        """Set the decoded position. Returns whether it is beyond the previous one."""
        if at <= self._at:
            return False
        self._at = at
        self.packets = [packet for packet in self.packets if timestamp(packet) > at]
        return True

    def is_decided(self, thumbnail: Plane) -> bool:
        """Whether the rest after this thumbnail need not be decoded."""
        return not self._group.continues and is_decided(self._remaining(thumbnail))

    def interpolated_thumbnails(self, thumbnail: Plane) -> Iterator[tuple[int, Plane]]:
        """Timestamps and interpolated thumbnails of the frames that were not decoded."""
        if not self.packets:
            return
        stamps = sorted(timestamp(packet) for packet in self._group.packets if timestamp(packet) > self._at)
        stamps = [*stamps[_SPARSE - 1 : -1 : _SPARSE], stamps[-1]]
        shares = [(at - self._at) / (self._end - self._at) for at in stamps]
        yield from zip(stamps, interpolate(self._remaining(thumbnail), shares), strict=True)

    def _remaining(self, thumbnail: Plane) -> RemainingGroup:
        group = self._group
        key = min(packet.size for packet in (group.packets[0], group.following) if packet)
        seconds = (self._end - self._at) * float(group.packets[0].time_base)
        return RemainingGroup(
            thumbnail, self._following, [packet.size for packet in self.packets], key, seconds, self._early
        )


class Adaptive:
    """Segment of a recording, decoded adaptively: thumbnails in order of time, and pictures on request."""

    def __init__(
        self, container: InputContainer, segment: Segment, bounds: MediaLimits, aperture: Aperture | None = None
    ) -> None:
        self._container, self._segment, self._bounds, self._aperture = container, segment, bounds, aperture
        self._stream = stream = video_stream(container)
        self._stamps = Stamps(stream, (container.duration or 0) / 1e6)
        self._thumbnail_decoder, self._picture_decoder = (
            Decoder.for_thumbnails(stream, bounds),
            Decoder.for_pictures(stream, bounds),
        )
        self._gap_decoder = Decoder.for_thumbnails(stream, bounds)
        self._previous: tuple[int, Plane] | None = None  # timestamp and thumbnail of the previous sample
        self._change = 0.0  # distance of its thumbnail to the one before
        self._busy = False  # changes are so strong that all frames are decoded
        self._shape: Shape | None = None
        self._longest = 0
        self._inspected: deque[InspectedFrame] = deque()
        self._played_at: deque[float] = deque()  # seconds played until each of them
        self._played = 0.0

    def samples(self) -> Iterator[SampledSecond]:
        """Samples of the segment in order of time. Raises BeyondLimits, Unsupported."""
        found = groups(self._container, self._segment)
        first = list(islice(found, _FIRST))
        if not (can_skip(first) and self._has_whole_keyframes(first)):
            yield from self._decode_all(Skip.NOTHING if is_slow(first) else Skip.UNUSED)
            return
        keyframe: _Keyframe | None = None
        for index, group in enumerate(chain(first, found)):
            keyframe = self._decode_keyframe(group.key) if group.key and not index else keyframe
            torn = bool(group.packets[-1].is_corrupt)  # a parser may flag the packet before the damaged one
            following = self._decode_keyframe(group.following, torn=torn) if group.following else None
            damaged = any(packet.is_corrupt for packet in group.packets) or (keyframe is not None and keyframe.damaged)
            for sample in self._sample_group(group, keyframe, following):
                yield replace(sample, damaged=True) if damaged else sample
            keyframe = following

    def choose_frames(
        self, candidates: Sequence[FrameCandidate], start: float, end: float, in_ranges: Callable[[float], bool]
    ) -> list[FrameCandidate]:
        """Frames of a shot: the candidates, with the least sharp replaced if an inspected frame is much sharper."""
        kept = [candidate for candidate in candidates if start <= candidate.frame.seconds <= end]
        near = [each for each in self._inspected if start <= each.seconds <= end and in_ranges(each.seconds)]
        found = [each for each in near if start + EDGE <= each.seconds <= end - EDGE]
        found = found or ([] if kept else [each.later(start + EDGE, end - EDGE) for each in near])
        found = [each for each in found if not each.damaged] or ([] if kept else found)
        inspected = sharp_inspected(found, max((each.sharpness for each in kept), default=0.0))
        image = self._picture_decoder.picture(inspected.group.packets, inspected.timestamp) if inspected else None
        if not inspected or not image:
            return list(candidates)
        taken = FrameCandidate(
            DecodedFrame(
                inspected.seconds,
                image.key_frame,
                reference=True,
                image=image,
                aspect=pixel_aspect(self._stream),
                damaged=bool(image.is_corrupt) or inspected.damaged,
            ),
            inspected.sharpness,
            0.0,
        )
        best = sorted(kept, key=lambda each: -each.sharpness)[:-1]
        return sorted([*best, taken], key=lambda each: each.frame.seconds)

    def _has_whole_keyframes(self, first: Sequence[PacketGroup]) -> bool:
        later = [group.following for group in first if group.following]
        return not later or any(map(self._thumbnail_decoder.whole, later))

    def _decode_all(self, skip: Skip) -> Iterator[SampledSecond]:
        self._container.seek(0)
        for frame in frames(self._container, self._segment, self._bounds, skip=skip):
            planes = self._shrink(frame.image)
            yield SampledSecond(frame.seconds, make_thumbnail(planes), planes, frame, frame.damaged, frame.image)

    def _sample_group(
        self, group: PacketGroup, keyframe: _Keyframe | None, following: _Keyframe | None
    ) -> Iterator[SampledSecond]:
        """Samples of a group: keyframe, anchors until the rest is decided, then interpolated thumbnails."""
        remaining = _GroupProgress(group, following.thumbnail if following else None, early=self._early(group))
        thumbnail = None
        if group.key and keyframe:
            thumbnail = keyframe.thumbnail
            yield from self._decode_gap(group, timestamp(keyframe.image), thumbnail)
            seconds = self._checked_seconds(keyframe.image)
            yield SampledSecond(
                seconds,
                thumbnail,
                keyframe.planes,
                DecodedFrame(
                    seconds,
                    key=True,
                    reference=True,
                    image=keyframe.image,
                    aspect=keyframe.aspect,
                    damaged=keyframe.damaged,
                ),
                image=keyframe.image,
            )
        if thumbnail is None or not remaining.is_decided(thumbnail):
            for image, planes in self._decode_anchors(group, remaining):
                thumbnail = make_thumbnail(planes)
                yield from self._decode_gap(group, timestamp(image), thumbnail)
                seconds = self._checked_seconds(image)
                torn = keyframe is not None and keyframe.damaged
                self._remember(InspectedFrame(seconds, image.pts or 0, detail(planes.y), group, torn))
                yield SampledSecond(seconds, thumbnail, planes, image=image)
                if remaining.is_decided(thumbnail):
                    break
        if thumbnail is not None and remaining.is_decided(thumbnail):  # else the rest can't be decoded
            for at, interpolated in remaining.interpolated_thumbnails(thumbnail):
                self._previous = at, interpolated
                yield SampledSecond(self._stamps.seconds(at), interpolated)

    def _decode_gap(self, group: PacketGroup, at: int, thumbnail: Plane) -> Iterator[SampledSecond]:
        """Samples of the frames since the previous sample, if there are many and a cut may be among them."""
        (last, before), self._previous = self._previous or (at, thumbnail), (at, thumbnail)
        usual, self._change = self._change, distance(before, thumbnail)
        both = usual, self._change
        self._busy = max(both) >= _CALM if self._busy else min(both) >= _BUSY
        may_be_cut = self._change >= max(_ALIKE, _STANDS_OUT * usual)
        if may_be_cut and group.key and frames_between(group, last, at) > MAX_SKIPPED:
            for image in self._gap_decoder.images(packets_between(group, last, at)):
                if last < timestamp(image) < at:
                    yield SampledSecond(self._checked_seconds(image), make_thumbnail(self._shrink(image)))

    def _early(self, group: PacketGroup) -> bool:
        early = len(group.packets) < _EARLY * self._longest
        self._longest = max(self._longest, len(group.packets))
        return early

    def _decode_anchors(self, group: PacketGroup, remaining: _GroupProgress) -> Iterator[tuple[VideoFrame, Planes]]:
        """Anchors of a group without its keyframe, or all frames where it is busy, with their planes."""
        needed = {timestamp(packet) for packet in (group.packets[0], *remaining.packets)}
        sequence = (packet for packet in group.packets if self._busy or timestamp(packet) in needed)
        for image in self._thumbnail_decoder.images(sequence, starts=group.key is not None, continues=group.continues):
            if image.pts is not None and remaining.advance(image.pts):
                yield image, self._shrink(image)

    def _decode_keyframe(self, key: "Packet", *, torn: bool = False) -> _Keyframe | None:
        image = self._picture_decoder.picture([key], timestamp(key))
        if not image:
            return None
        planes = self._shrink(image)
        damaged = bool(torn or key.is_corrupt or image.is_corrupt)
        return _Keyframe(image, planes, make_thumbnail(planes), pixel_aspect(self._stream), damaged)

    def _shrink(self, image: VideoFrame) -> Planes:
        self._shape = self._shape or Shape.for_frame(image.width, image.height, self._aperture)
        return self._shape.shrink(image)

    def _checked_seconds(self, image: VideoFrame) -> float:
        seconds = self._stamps.seconds(image.pts)
        self._bounds.check_duration(seconds)
        return seconds

    def _remember(self, inspected: InspectedFrame) -> None:
        if not inspected.group.key:
            return
        step = inspected.seconds - (self._inspected[-1].seconds if self._inspected else 0.0)
        self._played += min(step, _PAUSE)
        self._inspected.append(inspected)
        self._played_at.append(self._played)
        while self._played_at[0] < self._played - 2 * LAG:
            self._inspected.popleft()
            self._played_at.popleft()
