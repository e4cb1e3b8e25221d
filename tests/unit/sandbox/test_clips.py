"""Generated clips: length, size, sound."""

from pathlib import Path

import av
import pytest
from PIL import Image

from contentgen_sandbox.fal import clips


@pytest.mark.parametrize("sound", [True, False])
def test_clip_has_the_length_and_the_sound(tmp_path: Path, sound: bool) -> None:
    path = tmp_path / "clip.mp4"
    frames = clips.write(path, Image.new("RGB", (320, 180), "teal"), 2.5, sound=sound)
    with av.open(str(path)) as container:
        assert frames == 20 == sum(1 for _ in container.decode(video=0))
        assert (container.streams.video[0].width, container.streams.video[0].height) == (320, 180)
        assert bool(container.streams.audio) is sound
        assert container.duration is not None
        assert abs(container.duration / 1e6 - 2.5) < 0.2


@pytest.mark.parametrize(
    ("given", "made"),
    [((1920, 1080), (640, 360)), ((1080, 1920), (360, 640)), ((512, 512), (512, 512)), ((1, 1), (2, 2))],
)
def test_large_clips_are_made_small_with_their_ratio(given: tuple[int, int], made: tuple[int, int]) -> None:
    assert clips.small(*given) == made
