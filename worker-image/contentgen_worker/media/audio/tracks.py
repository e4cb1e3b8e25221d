"""Selection of a recording's audio track. Pure.

Order: the track that the spec names; the one in the spec's language; the file's default; the first. Commentary, audio
descriptions and music without voices come last.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from langcodes import tag_distance
from langcodes.tag_parser import LanguageTagError

from contentgen_worker.errors import NoAudioTrack, Unsupported
from contentgen_worker.media.codec import transferable

_SAME_LANGUAGE = 10  # langcodes distance; dialects are below it


@transferable
@dataclass(frozen=True, slots=True)
class AudioTrack:
    """Audio track: its number from 1, and its properties as stated in the file."""

    number: int
    codec: str
    language: str = ""  # any ISO 639 or BCP 47 code
    default: bool = False
    secondary: bool = False  # commentary, audio description, music only
    readable: bool = True

    def __str__(self) -> str:
        return f"{self.number}{f' ({self.language})' if self.language else ''}"


def choose(tracks: Sequence[AudioTrack], wanted: int | None, language: str) -> AudioTrack:
    """Track to transcribe. `language`: a code, or `auto`. Raises NoAudioTrack, or Unsupported."""
    if not tracks:
        raise NoAudioTrack("there is no sound track in the file; provide a recording with sound")
    if wanted is not None and wanted > len(tracks):
        available = ", ".join(map(str, tracks))
        raise NoAudioTrack(
            f"spec.options.audioTrack is {wanted}, the file's sound tracks are {available}; name one of them"
        )
    candidates = tracks if wanted is None else [tracks[wanted - 1]]
    readable = [track for track in candidates if track.readable]
    if not readable:
        raise Unsupported(f"audio codec {candidates[0].codec!r} is not supported; convert it to AAC")
    return min(
        readable,
        key=lambda track: (track.secondary, not _matches_language(track, language), not track.default, track.number),
    )


def _matches_language(track: AudioTrack, language: str) -> bool:
    try:
        return tag_distance(language, track.language) < _SAME_LANGUAGE
    except LanguageTagError:  # `auto`, or an invalid tag in the file
        return False
