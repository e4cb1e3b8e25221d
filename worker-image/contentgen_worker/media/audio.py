"""The sound of a recording as speech recognisers like it: 16 kHz, one channel, FLAC."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import av

from contentgen_worker.errors import Unsupported
from contentgen_worker.media.bounds import Bounds
from contentgen_worker.media.probe import opened

RATE = 16_000  # samples a second


def extract(source: Path, target: Path, bounds: Bounds, watch: Callable[[float], None]) -> float:
    """Write the sound and return its length in seconds. The pictures are not decoded. `watch` gets seconds."""
    samples = 0
    with opened(source) as container, av.open(str(target), "w", format="flac") as flac:
        stream = flac.add_stream("flac", rate=RATE, layout="mono", options={"compression_level": "5"})
        stream.format = "s16"
        for frame in _resampled(container):
            samples += frame.samples
            bounds.check_duration(samples / RATE)
            watch(samples / RATE)
            flac.mux(stream.encode(frame))
        flac.mux(stream.encode(None))
    if not samples:
        raise Unsupported("its sound track holds no sound that can be decoded; it may be damaged or cut off")
    return samples / RATE


def _resampled(container: av.container.InputContainer) -> Iterator[Any]:
    resampler = av.AudioResampler(format="s16", layout="mono", rate=RATE)
    for packet in container.demux(container.streams.audio[0]):
        for frame in _decoded(packet):
            frame.pts = None  # the sound is joined where the file has gaps in its clock
            yield from resampler.resample(frame)
    yield from resampler.resample(None)


def _decoded(packet: Any) -> list[Any]:
    try:
        return list(packet.decode())
    except av.error.InvalidDataError:
        return []  # a damaged packet is a click in the sound
