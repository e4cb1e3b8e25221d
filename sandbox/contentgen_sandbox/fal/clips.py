"""Generated clip: the picture of the prompt with a moving bar, and a tone if sound is asked for."""

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from PIL import Image

LONGEST_SIDE = 640
"""Pixels. Clips are smaller than asked for, so that a minute of 4K is made in seconds."""
RATE = 8
"""Frames per second of the file."""
_SOUND_RATE = 16_000
_TONE_HZ = 220
_BLOCK = 1024  # samples


def small(width: int, height: int) -> tuple[int, int]:
    """Even size of at most `LONGEST_SIDE` with the same ratio."""
    scale = min(1.0, LONGEST_SIDE / max(width, height))
    return max(2, round(width * scale / 2) * 2), max(2, round(height * scale / 2) * 2)


def write(path: Path, picture: Image.Image, seconds: float, *, sound: bool) -> int:
    """Write an MP4 file with VP9, and AAC with sound; returns the number of frames.

    fal's clips have H.264. Its encoder x264 is under the GPL (docs/licences.md), and browsers play VP9 too.
    """
    frames = max(1, round(seconds * RATE))
    with av.open(str(path), "w", format="mp4", options={"movflags": "faststart"}) as container:
        stream = container.add_stream("libvpx-vp9", rate=RATE, options={"deadline": "realtime", "cpu-used": "8"})
        stream.width, stream.height, stream.pix_fmt = picture.width, picture.height, "yuv420p"
        tone = container.add_stream("aac", rate=_SOUND_RATE, layout="mono") if sound else None
        still = np.asarray(picture.convert("RGB"))
        for index in range(frames):
            image = still.copy()
            image[-max(2, picture.height // 40) :, : picture.width * (index + 1) // frames] = 255
            frame = av.VideoFrame.from_ndarray(image, format="rgb24")
            frame.pts, frame.time_base = index, Fraction(1, RATE)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
        if tone is not None:
            for block in _tone(seconds):
                container.mux(tone.encode(block))
            container.mux(tone.encode(None))
    return frames


def _tone(seconds: float) -> Iterator[av.AudioFrame]:
    count = round(seconds * _SOUND_RATE)
    wave = 0.1 * np.sin(2 * np.pi * _TONE_HZ * np.arange(count) / _SOUND_RATE)
    for start in range(0, count, _BLOCK):
        part = np.ascontiguousarray(wave[None, start : start + _BLOCK].astype(np.float32))
        block = av.AudioFrame.from_ndarray(part, format="fltp", layout="mono")
        block.sample_rate, block.pts, block.time_base = _SOUND_RATE, start, Fraction(1, _SOUND_RATE)
        yield block
