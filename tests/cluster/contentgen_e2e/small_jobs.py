"""Small resources, and a video of a few seconds for them: distinct, sharp shots and a tone."""

import io
from fractions import Fraction
from typing import Any

import av
import numpy as np

from contentgen_contract.names import Kind

_FPS = 8
_SHOTS = 5
_SHOT_FRAMES = 18
_WIDTH, _HEIGHT = 320, 192
_RATE = 16_000


def spec(kind: Kind, name: str, film: str, model: str = "flux-dev") -> dict[str, Any]:
    """Spec of a fast job; each name is another purchase."""
    match kind:
        case Kind.LORA_TRAINING:
            return {
                "loraName": name.replace("-", "_"),
                "triggerWord": "jf",
                "source": {"url": film},
                "dataset": {"minImages": 4},
                "training": {"steps": 500},
            }
        case Kind.IMAGE_GENERATION:
            size = {"width": 256, "height": 256}
            return {"model": model, "prompt": f"a lighthouse at dusk, {name}", "image": {"size": size}}
        case Kind.TRANSCRIPTION:
            return {"source": {"url": film}}


def film(seed: int = 0) -> bytes:
    """MP4 file; each seed is another video."""
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="mp4") as container:
        pictures = container.add_stream("libx264", rate=_FPS, options={"preset": "superfast", "crf": "23"})
        pictures.width, pictures.height, pictures.pix_fmt = _WIDTH, _HEIGHT, "yuv420p"
        sound = container.add_stream("aac", rate=_RATE, layout="mono")
        for number in range(_SHOTS * _SHOT_FRAMES):
            shot = _shot(seed * _SHOTS + number // _SHOT_FRAMES, number % _SHOT_FRAMES)
            frame = av.VideoFrame.from_ndarray(shot, format="rgb24")
            frame.pts, frame.time_base = number, Fraction(1, _FPS)
            container.mux(pictures.encode(frame))
        container.mux(pictures.encode(None))
        length = _SHOTS * _SHOT_FRAMES * _RATE // _FPS
        tone = (np.sin(np.arange(length) / 12) * 0.2).astype(np.float32)
        for first in range(0, length, 1024):
            part = av.AudioFrame.from_ndarray(
                np.ascontiguousarray(tone[None, first : first + 1024]), format="fltp", layout="mono"
            )
            part.sample_rate, part.pts, part.time_base = _RATE, first, Fraction(1, _RATE)
            container.mux(sound.encode(part))
        container.mux(sound.encode(None))
    return buffer.getvalue()


def _shot(seed: int, frame: int) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    """Frame with coloured tiles that move slightly."""
    random = np.random.default_rng(seed)
    tiles = random.integers(20, 236, (_HEIGHT // 24, _WIDTH // 20, 3), dtype=np.uint8)
    return np.roll(np.kron(tiles, np.ones((24, 20, 1), dtype=np.uint8)), frame % 3, axis=1)
