"""Audio of a recording in the format of speech recognition: 16 kHz, mono, FLAC.

FLAC takes a third of the CPU time of Opus (17 s against 57 s per hour of recording) and is lossless. From 10 Mbit/s on,
that outweighs its size (68 MB against 15 MB per hour).
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import av
import numpy as np
from av.audio.frame import AudioFrame
from av.audio.stream import AudioStream
from av.container import InputContainer
from av.stream import Discard, Disposition

from contentgen_contract.resources.spec import TranscriptionOptions
from contentgen_worker.errors import NoAudioTrack, Unsupported
from contentgen_worker.media.audio.loudness import LevelMeter, Loudness
from contentgen_worker.media.audio.timeline import Timeline
from contentgen_worker.media.audio.tracks import AudioTrack, choose
from contentgen_worker.media.codec import transferable
from contentgen_worker.media.decode.bounds import MediaLimits
from contentgen_worker.media.decode.probe import AUDIO_CODECS, codec_name, open_media, stated_duration
from contentgen_worker.media.decode.source import MediaSource

RATE = 16_000  # samples a second
_BLOCK = RATE  # samples per block
_WITHOUT_CLOCK = {"aac", "flac", "mp3", "wav"}  # FFmpeg derives their timestamps from sizes and rates
_MAX_NOTES, _MAX_NOTE_LENGTH = 8, 200  # notes, characters; limits of AudioFacts
_MISSING_AT_END = 5.0  # seconds without audio at the end that need no note
_SECONDARY = (
    Disposition.comment | Disposition.lyrics | Disposition.karaoke | Disposition.hearing_impaired
    | Disposition.visual_impaired | Disposition.clean_effects | Disposition.descriptions | Disposition.non_diegetic
)  # fmt: skip


@transferable
@dataclass(frozen=True, slots=True)
class ExtractedAudio:
    """Extracted audio: its length in seconds, source track, number of tracks, loudness, and notes for the user."""

    seconds: float
    track: AudioTrack
    tracks: int
    loudness: Loudness
    notes: tuple[str, ...]

    def __post_init__(self) -> None:
        if self.seconds < 0 or not 1 <= self.track.number <= self.tracks:
            raise ValueError(f"{self.seconds} s of sound from track {self.track.number} of {self.tracks}")
        if len(self.notes) > _MAX_NOTES or any(len(note) > _MAX_NOTE_LENGTH for note in self.notes):
            raise ValueError(f"{len(self.notes)} notes, or long ones")


def send_sound(
    send: Callable[[object], None],
    source: Path | MediaSource,
    target: Path,
    options: TranscriptionOptions,
    bounds: MediaLimits,
) -> None:
    """Child process: write the audio to `target`; send the share done, then the ExtractedAudio."""
    with open_media(source) as container, target.open("wb") as file:
        stated = stated_duration(container)
        bounds.check_duration(stated)
        length = stated or bounds.seconds

        def on_progress(at: float) -> None:
            send(min(at / length, 1.0))

        send(extract(container, file, bounds, on_progress, wanted=options.audio_track, language=options.language))


def extract(
    container: InputContainer,
    target: IO[bytes],
    bounds: MediaLimits,
    on_progress: Callable[[float], None],
    *,
    wanted: int | None = None,
    language: str = "auto",
) -> ExtractedAudio:
    """Write the audio of an opened recording; other tracks are neither read nor decoded. `on_progress` gets seconds.

    Memory does not grow with the length. Raises NoAudioTrack, Unsupported or BeyondLimits.
    """
    tracks = tuple(_track(number, stream) for number, stream in enumerate(container.streams.audio, 1))
    track = choose(tracks, wanted, language)
    timeline, meter = Timeline((container.duration or 0) / av.time_base), LevelMeter()
    with av.open(target, "w", format="flac") as flac:
        stream = flac.add_stream("flac", rate=RATE, layout="mono", options={"compression_level": "5"})
        stream.format = "s16"
        samples = 0
        for block in _blocks(container, container.streams.audio[track.number - 1], timeline):
            meter.add(block.to_ndarray()[0], RATE)
            samples += block.samples
            bounds.check_duration(samples / RATE)
            on_progress(samples / RATE)
            flac.mux(stream.encode(block))
        flac.mux(stream.encode(None))
    if not samples:
        raise Unsupported("its sound track has no sound that can be decoded; it may be damaged or cut off")
    seconds = samples / RATE
    loudness = meter.loudness(seconds)
    if loudness.silent:
        raise NoAudioTrack(
            f"sound track {track} of {len(tracks)} is silent from beginning to end{_other_track_hint(tracks)}"
        )
    return ExtractedAudio(seconds, track, len(tracks), loudness, tuple(_notes(seconds, loudness, timeline)))


def _other_track_hint(tracks: tuple[AudioTrack, ...]) -> str:
    return "; name another one in spec.options.audioTrack" if len(tracks) > 1 else ""


def _notes(seconds: float, loudness: Loudness, timeline: Timeline) -> Iterator[str]:
    if loudness.faint:
        yield f"it is almost silent ({loudness.level:.0f} dBFS where it is loud): little may be understood"
    if timeline.filled >= 1:
        yield f"{timeline.filled:.0f} s without sound in it are kept as silence, so that times match the recording"
    if timeline.jumps:
        yield f"its clock jumps {timeline.jumps} times: after that, times may not match the recording"
    if timeline.length - seconds > max(_MISSING_AT_END, timeline.length / 10):
        yield f"the sound ends at {seconds:.0f} s of {timeline.length:.0f} s"


def _track(number: int, stream: AudioStream) -> AudioTrack:
    codec = codec_name(stream)
    return AudioTrack(
        number,
        codec,
        "" if stream.language in (None, "und") else stream.language,
        default=bool(stream.disposition & Disposition.default),
        secondary=bool(stream.disposition & _SECONDARY),
        readable=codec in AUDIO_CODECS,
    )


def _blocks(container: InputContainer, stream: AudioStream, timeline: Timeline) -> Iterator[AudioFrame]:
    """Resampled audio in order of time, with silence in its gaps."""
    resampler = _Resampler()
    clock = container.format.name not in _WITHOUT_CLOCK
    start = None if container.start_time is None else container.start_time / av.time_base
    for frame in _decode(container, stream):
        time = frame.time if clock else None
        start = time if start is None else start
        gap = timeline.place(None if time is None or start is None else time - start, frame.samples / frame.sample_rate)
        if gap is None:
            continue
        if gap:
            yield from resampler.flush()
            yield from _silence(round(gap * RATE))
        yield from resampler.resample(frame)
    yield from resampler.flush()


def _decode(container: InputContainer, stream: AudioStream) -> Iterator[AudioFrame]:
    for other in container.streams:
        if other.index != stream.index:
            other.discard = Discard.all
    for packet in container.demux(stream):
        try:
            yield from packet.decode()
        except av.error.InvalidDataError:
            continue  # a damaged packet leaves a gap


class _Resampler:
    """Resampler that handles changes of rate or layout within a file."""

    def __init__(self) -> None:
        self._shape: tuple[Any, ...] = ()
        self._resampler: av.AudioResampler | None = None

    def resample(self, frame: AudioFrame) -> Iterator[AudioFrame]:
        shape = (frame.format.name, frame.layout.name, frame.sample_rate)
        if self._resampler is None or shape != self._shape:
            yield from self.flush()
            self._resampler = av.AudioResampler(format="s16", layout="mono", rate=RATE, frame_size=_BLOCK)
            self._shape = shape
        frame.pts = None
        yield from self._resampler.resample(frame)

    def flush(self) -> Iterator[AudioFrame]:
        if self._resampler is not None:
            yield from self._resampler.resample(None)
        self._resampler = None


def _silence(samples: int) -> Iterator[AudioFrame]:
    for start in range(0, samples, _BLOCK):
        length = min(_BLOCK, samples - start)
        frame = AudioFrame.from_ndarray(np.zeros((1, length), np.int16), format="s16", layout="mono")
        frame.sample_rate = RATE
        yield frame
