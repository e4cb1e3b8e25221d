"""Audio of a recording in the format of speech recognition: 16 kHz, mono, FLAC.

FLAC takes a third of the CPU time of Opus (17 s against 57 s per hour of recording) and is lossless. From 10 Mbit/s on,
that outweighs its size (68 MB against 15 MB per hour).
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from av.audio.stream import AudioStream
from av.stream import Disposition

from contentgen_contract.resources.spec import TranscriptionOptions
from contentgen_worker.errors import NoAudioTrack, Unsupported
from contentgen_worker.media.audio.loudness import Loudness
from contentgen_worker.media.audio.one_pass import Pass, run
from contentgen_worker.media.audio.tracks import AudioTrack, alike, rank
from contentgen_worker.media.codec import transferable
from contentgen_worker.media.decode.bounds import MediaLimits
from contentgen_worker.media.decode.chunks import correction
from contentgen_worker.media.decode.probe import (
    AUDIO_CODECS,
    codec_name,
    expected_duration,
    open_bytes,
    open_media,
    stated_duration,
)
from contentgen_worker.media.decode.source import MediaSource

_MAX_NOTES, _MAX_NOTE_LENGTH = 8, 200  # notes, characters; limits of AudioFacts
_MAX_NUMBERS = 8  # of tracks in a note
_MISSING_AT_END = 5.0  # seconds without audio at the end that need no note
_NOTED = 0.5  # seconds
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
    with target.open("wb") as file:
        send(extract(source, file, bounds, send, wanted=options.audio_track, language=options.language))


def extract(
    source: Path | MediaSource,
    target: IO[bytes],
    bounds: MediaLimits,
    on_progress: Callable[[float], None],
    *,
    wanted: int | None = None,
    language: str = "auto",
) -> ExtractedAudio:
    """Write the audio of the best track in which something is heard. `on_progress` gets the share done.

    Memory does not grow with the length. Raises NoAudioTrack, Unsupported or BeyondLimits.
    """
    with open_bytes(source) as file:
        wrong = correction(file)
    with open_media(source, wrong) as container:
        stated, length = stated_duration(container), expected_duration(container) or bounds.seconds
        bounds.check_duration(stated)
        tracks = tuple(_track(number, stream) for number, stream in enumerate(container.streams.audio, 1))
    ranked = rank(tracks, wanted, language)

    def on_seconds(at: float) -> None:
        on_progress(min(at / length, 1.0))

    def take(track: AudioTrack) -> Pass:
        target.seek(0)
        target.truncate()
        compared = () if wanted else alike(track, tracks)
        with open_media(source, wrong) as container:
            return run(container, target, bounds, on_seconds, track=track, compared=compared)

    taken = _first_heard(ranked, take, len(tracks))
    notes = [
        *_track_notes(taken, ranked, len(tracks)),
        *_notes(taken, stated, wrong.share if wrong else 0.0),
    ]
    return ExtractedAudio(taken.seconds, taken.track, len(tracks), taken.loudness, tuple(notes[:_MAX_NOTES]))


def _first_heard(ranked: Sequence[AudioTrack], take: Callable[[AudioTrack], Pass], count: int) -> Pass:
    """The first track in which something is heard, else the first that is not silent. `count`: of the file's tracks.

    Raises NoAudioTrack, or Unsupported.
    """
    passes: list[Pass] = []
    silent: set[AudioTrack] = set()
    for track in ranked:
        if track in silent:
            continue
        taken = take(track)
        if taken.loudness.audible:
            return taken
        passes.append(taken)
        silent |= {each for each, loudness in taken.compared.items() if loudness.silent}
    faint = next((taken for taken in passes if not taken.loudness.silent), None)
    if faint is None:
        raise _nothing_heard(ranked, passes, count)
    return faint if faint is passes[-1] else take(faint.track)


def _nothing_heard(tracks: Sequence[AudioTrack], passes: Sequence[Pass], count: int) -> NoAudioTrack | Unsupported:
    """Error for a recording whose tracks are silent, or without any sound."""
    if not any(taken.seconds for taken in passes):
        packets = sum(taken.damaged for taken in passes)
        cause = f"{packets} packets of it are damaged" if packets else "it is empty; the file may be cut off"
        return Unsupported(f"its sound track has no sound that can be decoded: {cause}")
    hint = "; name another one in spec.options.audioTrack" if len(tracks) < count else ""
    return NoAudioTrack(f"sound track {_numbers(tracks)} of {count} is silent from beginning to end{hint}")


def _track_notes(taken: Pass, ranked: Sequence[AudioTrack], tracks: int) -> Iterator[str]:
    if passed_over := ranked[: ranked.index(taken.track)]:
        yield f"nothing is heard in sound track {_numbers(passed_over)}: {taken.track.number} is taken"
    if others := [track for track, loudness in taken.compared.items() if loudness.audible]:
        yield (
            f"sound track {taken.track.number} of {tracks} is taken, others have sound too: {_numbers(others)}; "
            "name one in spec.options.audioTrack"
        )


def _numbers(tracks: Iterable[AudioTrack]) -> str:
    numbers = [str(track.number) for track in tracks]
    more = f" and {len(numbers) - _MAX_NUMBERS} more" if len(numbers) > _MAX_NUMBERS else ""
    return ", ".join(numbers[:_MAX_NUMBERS]) + more


def _notes(taken: Pass, stated: float, left_out: float) -> Iterator[str]:
    seconds, timeline = taken.seconds, taken.timeline
    if taken.unstated:
        yield f"its {taken.unstated} channels have no stated layout: all are mixed with equal weight"
    if taken.cancelled >= _NOTED:
        yield f"its channels cancel each other for {taken.cancelled:.0f} s: some are mixed with opposite polarity there"
    if left_out * seconds >= _NOTED:
        yield f"the length in its header is too small: {left_out * seconds:.0f} s of sound after it are taken too"
    if taken.damaged:
        what = "packet of its sound is" if taken.damaged == 1 else "packets of its sound are"
        yield f"{taken.damaged} damaged {what} left out"
    if taken.loudness.faint:
        yield f"it is almost silent ({taken.loudness.level:.0f} dBFS where it is loud): little may be understood"
    if timeline.filled >= 1:
        yield f"{timeline.filled:.0f} s without sound in it are kept as silence, so that times match the recording"
    if timeline.jumps:
        often = "once" if timeline.jumps == 1 else f"{timeline.jumps} times"
        yield f"its clock jumps {often}: after that, times may not match the recording"
    if stated - seconds > max(_MISSING_AT_END, stated / 10):
        yield f"the sound ends at {seconds:.0f} s of {stated:.0f} s"


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
