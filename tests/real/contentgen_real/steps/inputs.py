"""The smallest inputs that the providers take."""

import io
import wave
import zipfile

import numpy as np
from PIL import Image

from contentgen_demo.film.speech import RATE, speak

SECONDS = 10
"""Length of the recording."""
_TEXT = (
    "The quick brown fox jumps over the lazy dog. A red cube stands on a white table. "
    "Every request is paid once, and every answer is compared with the facts."
)


def speech() -> bytes:
    """A WAV of ten seconds of English speech. Raises OSError."""
    spoken = speak(_TEXT)[: RATE * SECONDS]
    track = np.zeros(RATE * SECONDS, dtype=np.float32)
    track[: len(spoken)] = spoken
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as sound:
        sound.setnchannels(1)
        sound.setsampwidth(2)
        sound.setframerate(RATE)
        sound.writeframes((track * 32_000).astype("<i2").tobytes())
    return buffer.getvalue()


def training_set(trigger: str) -> bytes:
    """A zip of four pictures with captions."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for number, colour in enumerate(("crimson", "teal", "gold", "navy"), 1):
            picture = io.BytesIO()
            Image.new("RGB", (512, 512), colour).save(picture, "JPEG")
            archive.writestr(f"{number:04}.jpg", picture.getvalue())
            archive.writestr(f"{number:04}.txt", f"a photo of {trigger}, {colour}")
    return buffer.getvalue()
