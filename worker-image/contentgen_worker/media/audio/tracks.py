"""Selection of a recording's audio track. Pure.

Order: the track that the spec names; the one in the spec's language; the file's default; the first. Commentary, audio
descriptions and music without voices come last. A track in which nothing can be heard is passed over.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from langcodes import tag_distance
from langcodes.tag_parser import LanguageTagError

from contentgen_worker.errors import NoAudioTrack, Unsupported
from contentgen_worker.media.codec import transferable

CONVERT = "convert its sound, for example: ffmpeg -i FILE -c:v copy -c:a aac new.mp4"
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


def rank(tracks: Sequence[AudioTrack], wanted: int | None, language: str) -> list[AudioTrack]:
    """Tracks that may be transcribed, best first. `language`: a code, or `auto`.

    Tracks of other languages are none of them if one is in this language. Raises NoAudioTrack, or Unsupported.
    """
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
        raise Unsupported(f"audio codec {candidates[0].codec!r} is not supported; {CONVERT}")
    matching = [track for track in readable if _matches_language(track, language)]
    ranked = sorted(
        readable, key=lambda track: (track.secondary, track not in matching, not track.default, track.number)
    )
    return [track for track in ranked if track in matching or not track.language or ranked[0] not in matching]


def alike(track: AudioTrack, tracks: Sequence[AudioTrack]) -> list[AudioTrack]:
    """Other tracks that the file does not tell apart from this one, such as those of other microphones."""
    kind = (track.language, track.secondary)
    return [
        other for other in tracks if other != track and other.readable and (other.language, other.secondary) == kind
    ]


def _matches_language(track: AudioTrack, language: str) -> bool:
    try:
        return tag_distance(language, track.language) < _SAME_LANGUAGE
    except LanguageTagError:  # `auto`, or an invalid tag in the file
        return False
