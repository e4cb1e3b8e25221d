"""Output files of the simulated worker: small, valid and constant."""

import io
import json
import zipfile
from dataclasses import dataclass

import av
import numpy as np
from PIL import Image

from contentgen_contract.names import Kind, Stage
from contentgen_contract.worker.orders import (
    AudioFacts,
    DatasetFacts,
    Facts,
    ImageFact,
    ImageFacts,
    LoraFacts,
    TranscriptFacts,
)

_PICTURES = 4
_SOUND_SECONDS = 1


@dataclass(frozen=True)
class SimulatedFile:
    """Output file."""

    name: str
    content: bytes
    content_type: str


def _picture(form: str, number: int = 0) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (64, 64), (8 * number, 90, 160)).save(buffer, form)
    return buffer.getvalue()


def _sound() -> bytes:
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="flac") as container:
        stream = container.add_stream("flac", rate=16_000, layout="mono")
        samples = (np.sin(np.arange(16_000 * _SOUND_SECONDS) / 20) * 8000).astype(np.int16)[None]
        frame = av.AudioFrame.from_ndarray(samples, format="s16", layout="mono")
        frame.sample_rate = 16_000
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return buffer.getvalue()


def _dataset() -> tuple[SimulatedFile, ...]:
    pictures = [SimulatedFile(f"images/{n:04}.jpg", _picture("JPEG", n), "image/jpeg") for n in range(1, _PICTURES + 1)]
    captions = [SimulatedFile(f"captions/{n:04}.txt", b"a photo of jf", "text/plain") for n in range(1, _PICTURES + 1)]
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for file in (*pictures, *captions):
            archive.writestr(file.name.split("/")[1], file.content)
    listing = json.dumps({"images": [file.name for file in pictures]}).encode()
    return (
        *pictures,
        *captions,
        SimulatedFile("dataset.zip", buffer.getvalue(), "application/zip"),
        SimulatedFile("dataset.json", listing, "application/json"),
        SimulatedFile("preview.jpg", _picture("JPEG"), "image/jpeg"),
    )


_IMAGE = ImageFact(name="image_1.png", thumbnail="image_1_thumb.png", width=256, height=256, size_bytes=1)

OUTPUTS: dict[tuple[Kind, Stage], tuple[SimulatedFile, ...]] = {
    (Kind.LORA_TRAINING, Stage.PREPARE): _dataset(),
    (Kind.LORA_TRAINING, Stage.COLLECT): (
        SimulatedFile("model.safetensors", b"\0" * 4096, "application/octet-stream"),
        SimulatedFile("config.json", b"{}", "application/json"),
        SimulatedFile("preview.png", _picture("PNG"), "image/png"),
    ),
    (Kind.IMAGE_GENERATION, Stage.COLLECT): (
        SimulatedFile("image_1.png", _picture("PNG"), "image/png"),
        SimulatedFile("image_1_thumb.png", _picture("PNG"), "image/png"),
    ),
    (Kind.TRANSCRIPTION, Stage.PREPARE): (SimulatedFile("audio.flac", _sound(), "audio/flac"),),
    (Kind.TRANSCRIPTION, Stage.COLLECT): (
        SimulatedFile("transcript.json", b'{"words":[]}', "application/json"),
        SimulatedFile("transcript.txt", b"so it is", "text/plain"),
        SimulatedFile("transcript.srt", b"1\n00:00:00,000 --> 00:00:01,000\nso it is\n", "application/x-subrip"),
        SimulatedFile("transcript.vtt", b"WEBVTT\n\n00:00.000 --> 00:01.000\nso it is\n", "text/vtt"),
    ),
}
FACTS: dict[tuple[Kind, Stage], Facts] = {
    (Kind.LORA_TRAINING, Stage.PREPARE): DatasetFacts(
        images=_PICTURES, scenes=_PICTURES, duration_seconds=60, width=640, height=360, source_bytes=1
    ),
    (Kind.LORA_TRAINING, Stage.COLLECT): LoraFacts(size_bytes=4096),
    (Kind.IMAGE_GENERATION, Stage.COLLECT): ImageFacts(images=(_IMAGE,), seed=1),
    (Kind.TRANSCRIPTION, Stage.PREPARE): AudioFacts(duration_seconds=_SOUND_SECONDS, source_bytes=1),
    (Kind.TRANSCRIPTION, Stage.COLLECT): TranscriptFacts(word_count=3, duration_seconds=1, speakers=1, language="en"),
}
