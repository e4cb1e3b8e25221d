"""Generated small recordings: valid ones, and ones with a single defect."""

from pathlib import Path

import av
import cv2
import numpy as np
import numpy.typing as npt

Pixels = npt.NDArray[np.uint8]
_FPS = 12


def scenes(count: int, seconds: int = 2, size: tuple[int, int] = (320, 180)) -> list[Pixels]:
    """Frames of several shots with different panning coloured blocks."""
    return [_scene(number, index, size) for number in range(count) for index in range(seconds * _FPS)]


def black(seconds: int) -> list[Pixels]:
    """Black frames."""
    return [np.zeros((180, 320, 3), np.uint8)] * (seconds * _FPS)


def _scene(number: int, frame: int, size: tuple[int, int]) -> Pixels:
    random = np.random.default_rng(number)
    low = 20 + number % 6 * 24
    blocks = random.integers(low, low + 90, (12, 24, 3), dtype=np.uint8)
    wide = cv2.resize(blocks, (size[0] * 2, size[1]), interpolation=cv2.INTER_CUBIC)
    return np.ascontiguousarray(wide[:, 4 * frame : 4 * frame + size[0]], dtype=np.uint8)


def film(folder: Path, frames: list[Pixels], *, sound: bool = True, streams: bool = False) -> bytes:
    """MP4 file. `streams`: decodable during its download, with a keyframe every two seconds.

    The worker splits its work at keyframes, and starts a part once the next keyframe is known.
    """
    path = folder / "film.mp4"
    height, width = frames[0].shape[:2]
    with av.open(str(path), "w", container_options={"movflags": "faststart"} if streams else {}) as container:
        groups = {"g": str(2 * _FPS)} if streams else {}
        pictures = container.add_stream("libx264", rate=_FPS, options={"preset": "ultrafast"} | groups)
        pictures.width, pictures.height, pictures.pix_fmt = width, height, "yuv420p"
        voice = container.add_stream("aac", rate=44100, layout="mono") if sound else None
        for pixels in frames:
            container.mux(pictures.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        container.mux(pictures.encode())
        if voice:
            container.mux(voice.encode(_tone(len(frames) // _FPS)))
            container.mux(voice.encode(None))
    return path.read_bytes()


def recording(folder: Path, seconds: int) -> bytes:
    """WAV with sound only."""
    path = folder / "sound.wav"
    with av.open(str(path), "w") as container:
        voice = container.add_stream("pcm_s16le", rate=44100, layout="mono")
        container.mux(voice.encode(_tone(seconds)))
        container.mux(voice.encode(None))
    return path.read_bytes()


def _tone(seconds: int) -> av.AudioFrame:
    samples = (np.sin(np.arange(44100 * seconds) * 0.06) * 8000).astype(np.int16)
    frame = av.AudioFrame.from_ndarray(samples[None, :], format="s16", layout="mono")
    frame.sample_rate, frame.pts = 44100, 0
    return frame
