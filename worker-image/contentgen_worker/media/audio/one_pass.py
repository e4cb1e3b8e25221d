"""One pass over a recording: the audio of one track is written, that of others is measured."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import IO

import av
import numpy as np
from av.audio.frame import AudioFrame
from av.audio.stream import AudioStream
from av.container import InputContainer
from av.stream import Discard

from contentgen_worker.media.audio.loudness import LevelMeter, Loudness
from contentgen_worker.media.audio.mix import Block
from contentgen_worker.media.audio.mono import RATE, MonoMixer
from contentgen_worker.media.audio.timeline import Timeline
from contentgen_worker.media.audio.tracks import AudioTrack
from contentgen_worker.media.decode.bounds import MediaLimits

_SILENCE = RATE  # samples per block of inserted silence
_WITHOUT_CLOCK = {
    "aac",
    "aiff",
    "amr",
    "au",
    "caf",
    "flac",
    "gsm",
    "mp3",
    "w64",
    "wav",
}  # FFmpeg derives times from sizes


@dataclass(frozen=True, slots=True)
class Pass:
    """Track that was written: seconds of its audio, loudness and timeline.

    `compared`: loudness of the tracks that were measured; `damaged`: packets that can't be decoded; `cancelled` and
    `unstated`: as in MonoMixer.
    """

    track: AudioTrack
    seconds: float
    loudness: Loudness
    timeline: Timeline
    compared: dict[AudioTrack, Loudness]
    damaged: int
    cancelled: float
    unstated: int


def run(
    container: InputContainer,
    target: IO[bytes],
    bounds: MediaLimits,
    on_seconds: Callable[[float], None],
    *,
    track: AudioTrack,
    compared: Sequence[AudioTrack] = (),
) -> Pass:
    """Write the audio of `track` as FLAC. Tracks that are not compared are neither read nor decoded.

    `on_seconds` gets the seconds written so far. Raises Unsupported or BeyondLimits.
    """
    streams = {each: container.streams.audio[each.number - 1] for each in (track, *compared)}
    sounds = {stream.index: _Sound(stream) for stream in streams.values()}
    chosen = sounds[streams[track].index]
    placed = _Placed(container, chosen.mixer)
    packets = _Packets(container, streams.values())
    with av.open(target, "w", format="flac") as flac:
        encoder = flac.add_stream("flac", rate=RATE, layout="mono", options={"compression_level": "5"})
        encoder.format = "s16"

        def write(blocks: Iterator[Block]) -> None:
            for block in chosen.measured(blocks):
                bounds.check_duration(chosen.seconds)
                on_seconds(chosen.seconds)
                frame = AudioFrame.from_ndarray(block[None], format="s16", layout="mono")
                frame.sample_rate = RATE
                flac.mux(encoder.encode(frame))

        for index, frame in packets.frames():
            sound = sounds[index]
            if sound is chosen:
                write(placed.add(frame))
            else:
                sound.measure(sound.mixer.add(frame))
        write(chosen.mixer.flush())
        flac.mux(encoder.encode(None))
    return Pass(
        track,
        chosen.seconds,
        chosen.loudness(),
        placed.timeline,
        {each: sounds[streams[each].index].loudness() for each in compared},
        packets.damaged,
        chosen.mixer.cancelled,
        chosen.mixer.unstated,
    )


class _Sound:
    """Track that is decoded: its mixer, and how loud and long it is so far."""

    def __init__(self, stream: AudioStream) -> None:
        self.mixer = MonoMixer(stream.codec_context)
        self._meter = LevelMeter()
        self._samples = 0

    @property
    def seconds(self) -> float:
        return self._samples / RATE

    def measured(self, blocks: Iterator[Block]) -> Iterator[Block]:
        for block in blocks:
            self._meter.add(block, RATE)
            self._samples += len(block)
            yield block

    def measure(self, blocks: Iterator[Block]) -> None:
        for _ in self.measured(blocks):
            pass

    def loudness(self) -> Loudness:
        self.measure(self.mixer.flush())
        return self._meter.loudness(self.seconds)


class _Placed:
    """Frames of a track in order of time, with silence in its gaps."""

    def __init__(self, container: InputContainer, mixer: MonoMixer) -> None:
        self.timeline = Timeline((container.duration or 0) / av.time_base)
        self._mixer = mixer
        self._clock = container.format.name not in _WITHOUT_CLOCK
        self._start: float | None = None if container.start_time is None else container.start_time / av.time_base

    def add(self, frame: AudioFrame) -> Iterator[Block]:
        time = frame.time if self._clock else None
        if self._start is None:
            self._start = time
        start = None if time is None or self._start is None else time - self._start
        gap = self.timeline.place(start, frame.samples / frame.sample_rate)
        if gap is None:
            return
        if gap:
            yield from self._mixer.flush()
            yield from _silence(round(gap * RATE))
        yield from self._mixer.add(frame)


class _Packets:
    """Decoder of some tracks. `damaged`: number of packets without a result."""

    def __init__(self, container: InputContainer, streams: Iterable[AudioStream]) -> None:
        self.damaged = 0
        self._container = container
        self._streams = list(streams)

    def frames(self) -> Iterator[tuple[int, AudioFrame]]:
        """Frames, each with the index of its stream."""
        kept = {stream.index for stream in self._streams}
        for other in self._container.streams:
            if other.index not in kept:
                other.discard = Discard.all
        for packet in self._container.demux(self._streams):
            try:
                yield from ((packet.stream.index, frame) for frame in packet.decode() if isinstance(frame, AudioFrame))
            except av.error.InvalidDataError:
                self.damaged += 1  # leaves a gap


def _silence(samples: int) -> Iterator[Block]:
    for start in range(0, samples, _SILENCE):
        yield np.zeros(min(_SILENCE, samples - start), np.int16)
