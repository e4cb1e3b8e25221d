"""`speed: Fast`: which frames are decoded, that shots equal those of `Exact`, and that pictures have no artefacts."""

from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction
from functools import cache
from itertools import takewhile
from pathlib import Path

import av
import cv2
import numpy as np
import numpy.typing as npt
import pytest
from av.container import InputContainer

from contentgen_contract.resources.spec import Dataset, Speed
from contentgen_worker.media import engine
from contentgen_worker.media.decode.bounds import MediaLimits
from contentgen_worker.media.decode.decode import WHOLE, Segment
from contentgen_worker.media.decode.planes import Plane, Planes
from contentgen_worker.media.decode.probe import open_media
from contentgen_worker.media.shots import adaptive, groups
from contentgen_worker.media.shots.adaptive import (
    Adaptive,
    InspectedFrame,
    RemainingGroup,
    SampledSecond,
    interpolate,
    is_decided,
    sharp_inspected,
)
from contentgen_worker.media.shots.boundaries import Boundary, BoundaryKind, SparseDetector
from contentgen_worker.media.shots.groups import PacketGroup, anchors, timestamp
from contentgen_worker.media.shots.segments import plan_segments

Picture = npt.NDArray[np.uint8]
BOUNDS = MediaLimits(10**7, 3600, memory_bytes=4 << 30)
FPS = 12


@cache
def scene(seed: int) -> Picture:
    blocks = np.random.default_rng(seed).integers(20, 235, (12, 20, 3)).astype(np.uint8)
    picture = np.asarray(cv2.resize(blocks, (320, 180), interpolation=cv2.INTER_NEAREST), np.uint8)
    picture.setflags(write=False)
    return picture


def planar(pixels: Picture) -> av.VideoFrame:
    return av.VideoFrame.from_ndarray(pixels, format="rgb24").reformat(format="yuv420p")


def film(path: Path, pictures: Sequence[Picture], x264: str, *, preset: str = "ultrafast") -> Path:
    shown = {key: planar(pixels) for key, pixels in {id(picture): picture for picture in pictures}.items()}
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=FPS, options={"preset": preset, "x264-params": x264})
        stream.width, stream.height, stream.pix_fmt = 320, 180, "yuv420p"
        for index, pixels in enumerate(pictures):
            frame = shown[id(pixels)]
            frame.pts, frame.time_base = index, Fraction(1, FPS)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


STRICT = "keyint=48:min-keyint=48:scenecut=0:bframes=2"


@pytest.fixture(scope="module")
def talk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three still shots in 80 s; the second lasts one second, between two keyframes."""
    shown = [scene(1) if 492 <= index < 504 else scene(0) if index < 492 else scene(2) for index in range(80 * FPS)]
    return film(tmp_path_factory.mktemp("talk") / "talk.mp4", shown, STRICT)


def watched(path: Path, segment: Segment = WHOLE) -> list[SampledSecond]:
    with open_media(path) as container:
        return list(Adaptive(container, segment, BOUNDS).samples())


def decoded(seen: Sequence[SampledSecond]) -> list[float]:
    return [each.seconds for each in seen if each.planes]


# --- what is known of the rest of a group --------------------------------------------------------------------------

CALM = (100, 90, 110) * 5


def rest(
    thumbnail: float, following: float | None, sizes: Sequence[int] = CALM, seconds: float = 4, early: bool = True
) -> RemainingGroup:
    thumbnails = [None if value is None else np.full((6, 4), value, np.uint8) for value in (thumbnail, following)]
    assert thumbnails[0] is not None
    return RemainingGroup(thumbnails[0], thumbnails[1], sizes, 1000, seconds, early)


BURST = (*CALM, 900, *CALM)


@pytest.mark.parametrize(
    ("left", "known"),
    [
        (rest(50, 54), True),
        (rest(50, 54, BURST), False),  # another shot may have been between
        (rest(50, 54, BURST, seconds=2), False),
        (rest(50, 54, BURST, seconds=0.4), True),  # it would have been too short
        (rest(50, 54, (300, *CALM)), True),  # larger than the others, and far too small for another picture
        (rest(50, 60), False),  # it may have got there in any way
        (rest(50, 90), True),  # a cut, at the next keyframe
        (rest(50, 90, early=False), False),  # the keyframe says nothing
        (rest(50, 90, BURST), False),  # or at the burst
        (rest(50, 90, (600,) * 15), False),  # each may bring another picture
        (rest(50, 90, (*CALM, 180)), False),  # it begins before
        (rest(50, 90, CALM[:8]), False),  # who knows what is usual
        (rest(50, None), True),
        (rest(50, None, BURST), False),
        (rest(50, None, (400,) * 15), False),
        (rest(50, 60, ()), True),
    ],
)
def test_rest_is_known_where_alike_or_steady_up_to_a_cut(left: RemainingGroup, known: bool) -> None:
    assert is_decided(left) is known


def test_skipped_frames_change_evenly_or_stay_until_the_cut() -> None:
    assert [int(thumbnail[0, 0]) for thumbnail in interpolate(rest(50, 54), [0.25, 0.5])] == [51, 52]
    assert [int(thumbnail[0, 0]) for thumbnail in interpolate(rest(50, 90), [0.25, 0.5])] == [50, 50]
    assert [int(thumbnail[0, 0]) for thumbnail in interpolate(rest(50, None), [0.5])] == [50]


def packets(path: Path) -> list[PacketGroup]:
    with open_media(path) as container:
        return list(groups.groups(container, WHOLE))


def test_anchors_are_shown_after_all_that_come_before_them(talk: Path) -> None:
    first = packets(talk)[0]
    assert len(first.packets) == 48
    found = [timestamp(packet) for packet in anchors(first)]
    shown = [timestamp(packet) for packet in first.packets]
    assert found == sorted(found)
    assert max(shown) == found[-1]
    assert 48 // 3 <= len(found) <= 48 // 2  # two of three were built between others


def test_inspected_frame_is_chosen_if_much_clearer(talk: Path) -> None:
    group = packets(talk)[0]
    soft, late, sharp = (
        InspectedFrame(0, timestamp(group.packets[index]), sharpness, group)
        for sharpness, index in ((5, 0), (10.1, 7), (10, 4))
    )
    assert sharp_inspected([soft, late, sharp], kept=4) is sharp
    assert sharp_inspected([soft, sharp], kept=5) is None
    assert sharp_inspected([], kept=0) is None


# --- what is decoded -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("workers", [1, 3])
def test_quiet_footage_decodes_keyframes_only(talk: Path, workers: int) -> None:
    with open_media(talk) as container:
        parts = list(plan_segments(container, workers, BOUNDS))
    seen = [each for part in parts for each in watched(talk, part)]
    assert [each.seconds for each in seen] == sorted({each.seconds for each in seen})
    keys = {round(4 * index, 3) for index in range(20)}
    assert {round(each.seconds, 3) for each in seen if each.frame} == keys
    others = [second for second in decoded(seen) if round(second, 3) not in keys]
    assert all(40 < second < 44 for second in others)
    assert len(others) > 3


def test_a_group_is_decoded_until_what_is_left_is_known(talk: Path) -> None:
    others = [second for second in decoded(watched(talk)) if 40 < second < 44]
    assert max(others) < 43  # the last cut lies at 42


def test_between_two_looks_the_others_are_made_up(talk: Path) -> None:
    seconds = [each.seconds for each in watched(talk)]
    assert max(np.diff(seconds)) < 0.5
    assert seconds[-1] == pytest.approx(80 - 1 / FPS)


def test_a_cut_that_the_encoder_saw_need_not_be_looked_at(tmp_path: Path) -> None:
    """Keyframes at the cuts, no motion between them."""
    lengths = [96, 60, 70, 60, 66]
    shown = [scene(number) for number, length in enumerate(lengths) for _ in range(length)]
    path = film(tmp_path / "cuts.mp4", shown, "keyint=96:min-keyint=12:bframes=2", preset="veryfast")
    seen = watched(path)
    assert len(decoded(seen)) < len(shown) // 4
    task = engine.make_task(path, BOUNDS, Dataset(speed=Speed.FAST))
    found = engine.analyse_recording(task, tmp_path / "out", 1, lambda _: None)
    starts = [shot.start for shot in found.shots]
    assert starts == pytest.approx([0, *np.cumsum(lengths[:-1]) / FPS], abs=2.1 / FPS)


def test_all_frames_are_decoded_while_everything_moves(tmp_path: Path) -> None:
    """Between two frames far apart, a cut would not stand out."""
    shown = [np.roll(scene(0), 24 * (index % 5), axis=1) if 60 <= index < 180 else scene(0) for index in range(240)]
    seen = decoded(watched(film(tmp_path / "moves.mp4", shown, "keyint=240:scenecut=0:bframes=3:b-adapt=0")))
    assert sum(66 / FPS < each < 174 / FPS for each in seen) > 80
    assert sum(each > 190 / FPS for each in seen) < 25


@pytest.mark.parametrize("between", [3, 8])  # B-frames between two anchors
def test_cuts_within_a_group_are_at_most_two_frames_off(tmp_path: Path, between: int) -> None:
    lengths = [51, 50, 45, 52, 49, 53, 48, 47, 52, 50]  # a cut at each distance from the anchor before it
    shown = [scene(number) for number, length in enumerate(lengths) for _ in range(length)]
    x264 = f"keyint=500:scenecut=0:bframes={between}:b-adapt=0:b-pyramid=normal"
    path = film(tmp_path / "long.mp4", shown, x264, preset="veryfast")
    task = engine.make_task(path, BOUNDS, Dataset(speed=Speed.FAST), FPS)
    found = engine.analyse_recording(task, tmp_path / "out", 2, lambda _: None).shots
    cuts = np.cumsum(lengths[:-1]) / FPS
    assert [each.start for each in found[1:]] == pytest.approx(cuts, abs=2.1 / FPS)
    assert [each.end for each in found[:-1]] == pytest.approx(cuts - 1 / FPS, abs=2.1 / FPS)


class OneBoundary:
    """Detector with a given result."""

    def __init__(self, start: float, end: float, kind: BoundaryKind) -> None:
        self._found = [Boundary(start, end, kind)]

    def thumbnail(self, planes: Planes) -> Plane:
        return planes.y

    def push(self, _seconds: float, _thumbnail: Plane) -> list[Boundary]:
        return self._found

    def finish(self) -> list[Boundary]:
        return self._found


@pytest.mark.parametrize(
    ("kind", "frames", "placed"),
    [
        (BoundaryKind.CUT, 1, (0, 1)),
        (BoundaryKind.CUT, 2, (0, 1)),
        (BoundaryKind.CUT, 4, (1, 2)),
        (BoundaryKind.CUT, 5, (2, 3)),
        (BoundaryKind.CUT, 40, (0, 40)),  # a frame that was shown for long: no frames were skipped
        (BoundaryKind.DISSOLVE, 4, (0, 4)),
    ],
)
def test_a_cut_is_placed_in_the_middle_of_skipped_frames(
    kind: BoundaryKind, frames: int, placed: tuple[int, int]
) -> None:
    detector = SparseDetector(OneBoundary(10, 10 + frames / FPS, kind), 1 / FPS)
    for found in (detector.push(0, np.zeros(1, np.uint8)), detector.finish()):
        assert [(each.start, each.end) for each in found] == [
            pytest.approx((10 + placed[0] / FPS, 10 + placed[1] / FPS))
        ]


def test_fast_finds_the_same_shots(talk: Path, tmp_path: Path) -> None:
    found = []
    for speed in Speed:
        task = engine.make_task(talk, BOUNDS, Dataset(speed=speed), FPS)
        found.append(engine.analyse_recording(task, tmp_path / speed.value, 2, lambda _: None))
    exact, fast = found
    assert [shot.start for shot in exact.shots] == pytest.approx([0, 492 / FPS, 504 / FPS], abs=1.1 / FPS)
    assert [shot.start for shot in fast.shots] == pytest.approx([shot.start for shot in exact.shots], abs=2.1 / FPS)
    assert {candidate.shot for candidate in fast.candidates} == {1, 2, 3}


# --- pictures ------------------------------------------------------------------------------------------------------


def luma(image: av.VideoFrame) -> Picture:
    return np.asarray(image.to_ndarray(format="gray"), np.uint8)


def test_shot_without_a_keyframe_equals_a_whole_decode(tmp_path: Path) -> None:
    """The encoder references frames that are skipped, and deblocks: the thumbnail's frame is not the picture."""
    rng = np.random.default_rng(5)
    noise = rng.integers(-12, 12, (180, 320, 3))
    moving = [np.roll(scene(number), 3 * step, 1) for number in (0, 1, 2) for step in range(40)]
    shown = [np.clip(np.roll(noise, index, 0) + each, 0, 255).astype(np.uint8) for index, each in enumerate(moving)]
    path = film(
        tmp_path / "no-key.mp4", shown, "keyint=120:scenecut=0:bframes=3:b-pyramid=normal:ref=4", preset="medium"
    )
    with open_media(path) as container:
        whole = {image.pts: luma(image) for image in container.decode(video=0)}
        unit = float(container.streams.video[0].time_base or 0)
    with open_media(path) as container:
        part = Adaptive(container, WHOLE, BOUNDS)
        assert len(list(part.samples())) > 20
        held = part.choose_frames([], 40 / FPS, 79 / FPS, lambda _: True)
    assert [40 / FPS < resource.frame.seconds < 79 / FPS for resource in held] == [True]
    image = held[0].frame.image
    assert held[0].frame.seconds == pytest.approx((image.pts or 0) * unit)
    assert np.array_equal(luma(image), whole[image.pts])


def told_until(container: InputContainer, end: float) -> Adaptive:
    part = Adaptive(container, WHOLE, BOUNDS)
    assert list(takewhile(lambda seen: seen.seconds < end, part.samples()))
    return part


def test_pictures_lie_where_they_may_be_taken(talk: Path) -> None:
    with open_media(talk) as container:
        part = told_until(container, 46)
        assert part.choose_frames([], 41, 42, lambda second: second < 41.5)[0].frame.seconds < 41.5
        assert part.choose_frames([], 41, 42, lambda _: False) == []


def test_a_held_picture_gives_way_to_a_much_clearer_one(talk: Path) -> None:
    with open_media(talk) as container:
        part = told_until(container, 46)
        taken = part.choose_frames([], 41, 42, lambda _: True)
        assert part.choose_frames(taken, 41, 42, lambda _: True) == taken
        blurred = replace(taken[0], sharpness=taken[0].sharpness / 3)
        assert part.choose_frames([blurred], 41, 42, lambda _: True)[0].sharpness > blurred.sharpness


def test_frames_inspected_long_ago_are_forgotten(talk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(adaptive, "LAG", 0.25)
    with open_media(talk) as container:
        part = told_until(container, 80)
        assert part.choose_frames([], 40, 41, lambda _: True) == []


# --- recordings of all kinds ---------------------------------------------------------------------------------------


def test_a_recording_of_one_keyframe_is_looked_at_in_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(groups, "_MAX_PACKETS", 20)
    shown = [scene(index // 60) for index in range(180)]
    path = film(tmp_path / "one.mp4", shown, "keyint=1000:scenecut=0:bframes=2")
    assert [len(packet.packets) for packet in packets(path)] == [20] * 9
    task = engine.make_task(path, BOUNDS, Dataset(speed=Speed.FAST))
    found = engine.analyse_recording(task, tmp_path / "out", 2, lambda _: None)
    assert [shot.start for shot in found.shots] == pytest.approx([0, 5, 10], abs=3.1 / FPS)


def test_footage_of_keyframes_only_is_seen_whole(tmp_path: Path) -> None:
    path = film(tmp_path / "intra.mp4", [scene(index // 30) for index in range(60)], "keyint=1")
    seen = watched(path)
    assert len(decoded(seen)) == 60
    assert all(each.frame for each in seen)


@pytest.mark.parametrize("suffix", ["ts", "mkv"])
def test_files_without_an_index_of_packets_are_read_alike(talk: Path, tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"talk.{suffix}"
    with av.open(str(talk)) as source, av.open(str(path), "w") as target:
        stream = target.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(video=0):
            if packet.dts is not None:
                packet.stream = stream
                target.mux(packet)
    assert len(decoded(watched(path))) == len(decoded(watched(talk)))


def test_open_groups_are_inspected_without_leading_frames(tmp_path: Path) -> None:
    shown = [np.roll(scene(0), 4 * index, 1) for index in range(120)]
    path = film(
        tmp_path / "open.mp4", shown, "keyint=24:min-keyint=24:scenecut=0:bframes=3:open-gop=1", preset="medium"
    )
    seconds = [each.seconds for each in watched(path)]
    assert seconds == sorted(set(seconds))
    assert seconds[-1] == pytest.approx(119 / FPS)
