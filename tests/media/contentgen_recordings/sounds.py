"""Sounds of known pitch and time, and their recording."""

import io
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple

import av
import numpy as np
import numpy.typing as npt
from av.stream import Disposition

RATE = 48000
EXTRACTED_RATE = 16000
BEEP = 0.2  # seconds
Sound = npt.NDArray[np.float64]
"""Samples of a channel, -1 to 1."""


class Piece(NamedTuple):
    """Channels that begin at a second of the file's clock."""

    start: float
    channels: Sequence[Sound]


def tone(pitch: float, seconds: float = 2, level: float = 0.25, rate: int = RATE) -> Sound:
    """A sine of this pitch in Hz and amplitude."""
    return np.asarray(level * np.sin(2 * np.pi * pitch * np.arange(round(seconds * rate)) / rate))


def tones(count: int, first: int = 300, step: int = 150, level: float = 0.25) -> list[Sound]:
    """A tone for each channel."""
    return [tone(first + step * number, level=level) for number in range(count)]


def noise(seconds: float, level: float = 0.2) -> Sound:
    """White noise, always the same."""
    return np.asarray(np.random.default_rng(0).normal(0, level, round(seconds * RATE)).clip(-1, 1))


def beeps(at: Sequence[float], seconds: float, rate: int = RATE, pitch: int = 800) -> Sound:
    """Quiet noise with beeps at these seconds."""
    time = np.arange(round(seconds * rate)) / rate
    loud = sum(((time >= start) & (time < start + BEEP)).astype(float) for start in at)
    return np.asarray(np.sin(2 * np.pi * pitch * time) * 0.5 * loud + np.sin(time * 700) * 1e-3)


def record(
    path: Path,
    *tracks: Sequence[Sound] | Sequence[Piece],
    codec: str = "pcm_s16le",
    layout: str = "",
    rate: int = RATE,
    bit_rate: int = 0,
    languages: Sequence[str] = (),
    dispositions: Sequence[Disposition] = (),
    pictures: float = 0,
    options: dict[str, str] | None = None,
    encoding: dict[str, str] | None = None,
) -> Path:
    """Recording of tracks, each with its channels or pieces, and of this many seconds of pictures.

    `options` are those of the container, `encoding` of the codec. Without a layout only the number of channels is stated.
    """
    form = "s16" if codec.startswith("pcm_s16") else "flt"  # a layout of more than 64 channels can't be converted
    with av.open(str(path), "w", options=options or {}) as container:
        film = container.add_stream("mpeg4", rate=10) if pictures else None
        placed = [_pieces(track) for track in tracks]
        names = [layout or f"{len(parts[0].channels)} channels" for parts in placed]
        streams: list[Any] = [
            container.add_stream(codec, rate=rate, layout=name, options=encoding or {}) for name in names
        ]
        for stream, language in zip(streams, languages, strict=False):
            stream.metadata["language"] = language
        for stream, disposition in zip(streams, dispositions, strict=False):
            stream.disposition = disposition
        if film:
            film.width, film.height, film.pix_fmt = 64, 36, "yuv420p"
            for index in range(round(pictures * 10)):
                shown = av.VideoFrame.from_ndarray(np.full((36, 64, 3), index % 256, np.uint8), format="rgb24")
                container.mux(film.encode(shown))
            container.mux(film.encode(None))
        for stream, parts, name in zip(streams, placed, names, strict=True):
            if bit_rate:
                stream.bit_rate = bit_rate
            for start, channels in parts:
                packed = np.array(channels).T
                packed = np.rint(packed * 32767).astype(np.int16) if form == "s16" else packed.astype(np.float32)
                for at in range(0, len(packed), 1024):
                    part = packed[at : at + 1024].reshape(1, -1)
                    frame = av.AudioFrame.from_ndarray(part, format=form, layout=name)
                    frame.sample_rate, frame.time_base, frame.pts = rate, Fraction(1, rate), round(start * rate) + at
                    container.mux(stream.encode(frame))
            container.mux(stream.encode(None))
    return path


def _pieces(track: Sequence[Sound] | Sequence[Piece]) -> list[Piece]:
    return [each for each in track if isinstance(each, Piece)] or [Piece(0, [np.asarray(each) for each in track])]


def joined(path: Path, parts: Sequence[Path]) -> Path:
    """Bytes of files, one after the other."""
    path.write_bytes(b"".join(part.read_bytes() for part in parts))
    return path


def decoded(content: bytes) -> Sound:
    """Samples of a FLAC file as the worker writes it. Fails unless it is 16 kHz, mono, and states its length."""
    with av.open(io.BytesIO(content), "r") as flac:
        stream = flac.streams.audio[0]
        assert (stream.rate, stream.channels, stream.codec_context.name) == (EXTRACTED_RATE, 1, "flac")
        samples = np.concatenate([frame.to_ndarray()[0] for frame in flac.decode(stream)])
        assert abs((flac.duration or 0) / 1e6 - len(samples) / EXTRACTED_RATE) < 1e-4
        return np.asarray(samples / 32768)


def level(samples: Sound, pitch: float) -> float:
    """Amplitude of a tone."""
    wave = np.exp(-2j * np.pi * pitch * np.arange(len(samples)) / EXTRACTED_RATE)
    return float(2 * np.abs(samples @ wave) / max(1, len(samples)))


def onsets(samples: Sound) -> list[float]:
    """Seconds at which the sound becomes loud."""
    loud = np.abs(samples[: len(samples) // 160 * 160]).reshape(-1, 160).max(axis=1) > 0.1
    return [float(index / 100) for index in np.flatnonzero(np.diff(loud.astype(int), prepend=0) == 1)]
