"""`speed: Fast`: of each group of pictures only as much is decoded as it takes to see what happens in it.

Each keyframe is decoded, and the sizes of all packets are known. Where a keyframe looks like the next one, and nothing
between them is large enough to bring another picture, nothing has happened. Where it looks different, all between is
steady, and the encoder had reason to begin anew, there is a cut at the next keyframe. Else the group's anchors are
looked at, one after another, until the same can be said of what is left of it. What is not looked at is taken to go
evenly from one look to the next.

Pictures are keyframes: nothing else is decoded well enough. Where a shot has none, or what was looked at is much
clearer, the group is decoded once more, with all that the clearest frame builds on.
"""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, islice
from statistics import median
from typing import TYPE_CHECKING

import numpy as np
from av import VideoFrame
from av.container import InputContainer

from contentgen_worker.media.decode.bounds import MediaLimits
from contentgen_worker.media.decode.decode import Clock, DecodedFrame, Segment, Skip, frames, video_stream
from contentgen_worker.media.decode.planes import Plane, Planes, Shape
from contentgen_worker.media.shots.auto import thumb
from contentgen_worker.media.shots.best import EDGE, FrameCandidate, detail
from contentgen_worker.media.shots.boundaries import LAG
from contentgen_worker.media.shots.groups import Decoder, PacketGroup, anchors, groups, stamp

if TYPE_CHECKING:
    from contentgen_worker.media.shots.groups import Packet

# Distances are root mean squares of differences of 0-255.
_ALIKE = 6.0  # two looks at one shot
_OTHER = 20.0  # two looks of which one does not become the other unseen
_BRINGS = 0.3  # of a keyframe's size; less does not bring another picture
_CUT = 0.5  # likewise; a packet that brings all of another picture is larger
_STEADY = 2.2  # the largest packet, of their median
_TAIL, _TAIL_STEADY = 2, 1.4  # the last of them, before a cut: what sweeps away makes them larger
_ENOUGH = 12  # packets whose level is known
_COMES_BACK = 2.05  # seconds; what looks the same so soon has been away for a moment, if at all
_EARLY = 0.9  # of the longest group's packets; what is shorter was ended for a reason

_FEW = 4  # packets of a group; of shorter ones nothing is saved
_FIRST = 3  # groups that are counted
_SPARSE = 3  # packets from one look to the next where nothing is decoded
_CLEARER = 2.0  # than the clearest keyframe of the shot


@dataclass(frozen=True, slots=True)
class Rest:
    """What is left of a group: how it looks where decoding has got to and at the next keyframe, None: none follows;
    the sizes of the anchors between, and the smaller one's of both keyframes; its seconds. `early`: the group ends
    before it must."""

    look: Plane
    following: Plane | None
    sizes: Sequence[int]
    key: int
    seconds: float
    early: bool


def settled(rest: Rest) -> bool:
    """Whether it is known what happens in it, so that it need not be decoded."""
    if not rest.sizes:
        return True
    largest, level = max(rest.sizes), median(rest.sizes)
    if rest.following is None:
        return largest <= _BRINGS * rest.key
    if alike(rest.look, rest.following):
        return largest <= max(_BRINGS * rest.key, _STEADY * level) or rest.seconds <= _COMES_BACK
    steady = largest <= min(_CUT * rest.key, _STEADY * level) and max(rest.sizes[-_TAIL:]) <= _TAIL_STEADY * level
    other = distance(rest.look, rest.following) > _OTHER
    return other and rest.early and steady and len(rest.sizes) >= _ENOUGH


def between(rest: Rest, shares: Sequence[float]) -> list[Plane]:
    """The looks at so many shares of it: evenly from one to the other, or the same until a cut at the end."""
    if rest.following is None or not alike(rest.look, rest.following):
        return [rest.look] * len(shares)
    one, other = rest.look.astype(np.float32), rest.following.astype(np.float32)
    return [np.rint(one + share * (other - one)).astype(np.uint8) for share in shares]


def worthwhile(first: Sequence[PacketGroup]) -> bool:
    """Whether a recording that begins so has groups of which something can be left out, and stamps to tell."""
    known = all(packet.pts is not None for group in first for packet in group.packets)
    return bool(first) and first[0].key is not None and known and sum(map(_length, first)) >= _FEW * len(first)


def _length(group: PacketGroup) -> int:
    return len(group.packets)


def distance(one: Plane, other: Plane) -> float:
    """Of two looks."""
    return float(np.sqrt(np.mean(np.subtract(one, other, dtype=np.float32) ** 2)))


def alike(one: Plane, other: Plane) -> bool:
    """Whether they may be of one shot."""
    return distance(one, other) <= _ALIKE


@dataclass(frozen=True, slots=True)
class SampledSecond:
    """A look at a second. `planes`: of a frame that was decoded; `frame`: of one that may be taken."""

    seconds: float
    look: Plane
    planes: Planes | None = None
    frame: DecodedFrame | None = None


@dataclass(frozen=True, slots=True)
class _Still:
    """A keyframe, decoded."""

    image: VideoFrame
    planes: Planes
    look: Plane


@dataclass(frozen=True, slots=True)
class Glimpse:
    """A frame that was only looked at, and from what its picture can be had."""

    seconds: float
    stamp: int
    clear: float
    group: PacketGroup


def clearest(glimpses: Sequence[Glimpse], held: float) -> Glimpse | None:
    """One that is much clearer than what is held."""
    best = max(glimpses, key=lambda each: each.clear, default=None)
    return best if best and best.clear > _CLEARER * held else None


class _Left:
    """What is left of a group while it is decoded."""

    def __init__(self, group: PacketGroup, following: Plane | None, *, early: bool) -> None:
        self._group, self._following, self._early = group, following, early
        self.packets = anchors(group)
        self._at = stamp(group.packets[0])
        self._end = max(stamp(packet) for packet in (*group.packets, *filter(None, [group.following])))

    def pop(self, at: int) -> bool:
        """Decoding has got there; whether that is any further."""
        if at <= self._at:
            return False
        self._at = at
        self.packets = [packet for packet in self.packets if stamp(packet) > at]
        return True

    def settled(self, look: Plane) -> bool:
        """Whether the rest after this look need not be decoded."""
        return not self._group.goes_on and settled(self._rest(look))

    def unseen(self, look: Plane) -> Iterator[tuple[int, Plane]]:
        """Stamps, and looks that nobody has had, from this one to the next keyframe's."""
        if not self.packets:
            return
        stamps = sorted(stamp(packet) for packet in self._group.packets if stamp(packet) > self._at)
        stamps = [*stamps[_SPARSE - 1 : -1 : _SPARSE], stamps[-1]]
        shares = [(at - self._at) / (self._end - self._at) for at in stamps]
        yield from zip(stamps, between(self._rest(look), shares), strict=True)

    def _rest(self, look: Plane) -> Rest:
        group = self._group
        key = min(packet.size for packet in (group.packets[0], group.following) if packet)
        seconds = (self._end - self._at) * float(group.packets[0].time_base)
        return Rest(look, self._following, [packet.size for packet in self.packets], key, seconds, self._early)


class Adaptive:
    """A segment of a recording: what is seen of it, in order of time, and pictures of what was."""

    def __init__(self, container: InputContainer, segment: Segment, bounds: MediaLimits) -> None:
        self._container, self._segment, self._bounds = container, segment, bounds
        stream = video_stream(container)
        self._clock = Clock(stream, (container.duration or 0) / 1e6)
        self._looking, self._taking = Decoder.looking(stream, bounds), Decoder.taking(stream, bounds)
        self._shape: Shape | None = None
        self._longest = 0
        self._glimpses: deque[Glimpse] = deque()

    def watch(self) -> Iterator[SampledSecond]:
        """All that is seen. Raises BeyondLimits, Unsupported."""
        found = groups(self._container, self._segment)
        first = list(islice(found, _FIRST))
        if not worthwhile(first):
            yield from self._everything()
            return
        still: _Still | None = None
        for index, group in enumerate(chain(first, found)):
            still = self._still(group.key) if group.key and not index else still
            following = self._still(group.following) if group.following else None
            yield from self._group(group, still, following)
            still = following

    def pictures(
        self, held: Sequence[FrameCandidate], start: float, end: float, takes: Callable[[float], bool]
    ) -> list[FrameCandidate]:
        """What was `held` of a shot; where there is nothing like what was looked at, a picture of that."""
        kept = [each for each in held if start <= each.frame.seconds <= end]
        found = [each for each in self._glimpses if start + EDGE <= each.seconds <= end - EDGE and takes(each.seconds)]
        glimpse = clearest(found, max((each.clear for each in kept), default=0.0))
        image = self._taking.picture(glimpse.group.packets, glimpse.stamp) if glimpse else None
        if not glimpse or not image:
            return list(held)
        taken = FrameCandidate(
            DecodedFrame(glimpse.seconds, image.key_frame, reference=True, image=image), glimpse.clear, 0.0
        )
        best = sorted(kept, key=lambda each: -each.clear)[:-1]
        return sorted([*best, taken], key=lambda each: each.frame.seconds)

    def _everything(self) -> Iterator[SampledSecond]:
        self._container.seek(0)
        for frame in frames(self._container, self._segment, self._bounds, skip=Skip.UNUSED):
            planes = self._small(frame.image)
            yield SampledSecond(frame.seconds, thumb(planes), planes, frame)

    def _group(self, group: PacketGroup, still: _Still | None, following: _Still | None) -> Iterator[SampledSecond]:
        """Its keyframe, then its anchors, until the rest is known; then that, as it is taken to be."""
        left = _Left(group, following.look if following else None, early=self._early(group))
        look = None
        if group.key and still:
            seconds = self._second(still.image)
            look = still.look
            yield SampledSecond(
                seconds, look, still.planes, DecodedFrame(seconds, key=True, reference=True, image=still.image)
            )
        if look is None or not left.settled(look):
            for image, planes in self._looked(group, left):
                look, seconds = thumb(planes), self._second(image)
                self._remember(Glimpse(seconds, image.pts or 0, detail(planes.y), group))
                yield SampledSecond(seconds, look, planes)
                if left.settled(look):
                    break
        if look is not None:
            for at, between in left.unseen(look):
                yield SampledSecond(self._clock.seconds(at), between)

    def _early(self, group: PacketGroup) -> bool:
        early = len(group.packets) < _EARLY * self._longest
        self._longest = max(self._longest, len(group.packets))
        return early

    def _looked(self, group: PacketGroup, left: _Left) -> Iterator[tuple[VideoFrame, Planes]]:
        """A group's anchors, made small, but for the keyframe."""
        sequence = [*group.packets[:1], *left.packets] if group.key else left.packets
        for image in self._looking.images(sequence, begins=group.key is not None, goes_on=group.goes_on):
            if image.pts is not None and left.pop(image.pts):
                yield image, self._small(image)

    def _still(self, key: "Packet") -> _Still | None:
        image = self._taking.picture([key], stamp(key))
        if not image:
            return None
        planes = self._small(image)
        return _Still(image, planes, thumb(planes))

    def _small(self, image: VideoFrame) -> Planes:
        self._shape = self._shape or Shape.of(image.width, image.height)
        return self._shape.shrink(image)

    def _second(self, image: VideoFrame) -> float:
        seconds = self._clock.seconds(image.pts)
        self._bounds.check_duration(seconds)
        return seconds

    def _remember(self, glimpse: Glimpse) -> None:
        if glimpse.group.key:
            self._glimpses.append(glimpse)
        while self._glimpses and self._glimpses[0].seconds < glimpse.seconds - 2 * LAG:
            self._glimpses.popleft()
