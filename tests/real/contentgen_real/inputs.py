"""The smallest inputs that the providers take."""

import io
import math
import struct
import wave
import zipfile

from PIL import Image

_RATE = 16_000


def tone(seconds: int) -> bytes:
    """A WAV of a soft tone."""
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as sound:
        sound.setnchannels(1)
        sound.setsampwidth(2)
        sound.setframerate(_RATE)
        samples = (int(6000 * math.sin(2 * math.pi * 440 * at / _RATE)) for at in range(_RATE * seconds))
        sound.writeframes(b"".join(struct.pack("<h", sample) for sample in samples))
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
