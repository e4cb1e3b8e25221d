"""Family: recordings of several sound tracks, or of none."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from av.stream import Disposition

from contentgen_recordings.case import RecordingCase
from contentgen_recordings.sounds import RATE, Sound, noise, record, tone

_A, _B = tone(500), tone(800)
_NONE, _HISS = 0 * _A, noise(2, level=3e-4)
_OTHERS = "sound track {} of {} is taken, others have sound too: {}; name one in spec.options.audioTrack"
_NOTHING = "nothing is heard in sound track {}: {} is taken"
_HEARD = {500: 0.25}, {800: 0.25}


def sound_tracks() -> list[RecordingCase]:
    """Which of several tracks is taken."""
    first, second = _HEARD
    dubbed = [tone(pitch) for pitch in (500, 700, 900)]
    of_film = {
        "languages": ("eng", "ger", "fre"),
        "dispositions": (Disposition.comment, Disposition(0), Disposition.default),
        "pictures": 1,
    }

    def film(name: str, pitch: int, **options: Any) -> RecordingCase:
        return _case(f"film with commentary and dubbing: {name}", dubbed, {pitch: 0.25}, made=of_film, **options)

    return [
        _case("a microphone each", [_A, _B], first, _OTHERS.format(1, 2, "2"), track=1),
        _case("silent first: then a speaker", [_NONE, _B], second, _NOTHING.format(1, 2), track=2),
        _case("silent first: hiss, then a speaker", [_HISS, _B], second, _NOTHING.format(1, 2), track=2),
        _case("silent last", [_A, _NONE], first, track=1),
        _case("silent first: two, then a speaker", [_NONE, _NONE, _B], second, _NOTHING.format("1, 2", 3), track=3),
        _case("silent first: then two speakers", [_NONE, _A, _B], first, _NOTHING.format(1, 2), _OTHERS.format(2, 3, "3")),
        _case("translations", [_A, _B], first, made={"languages": ("eng", "ger")}, track=1),
        _case(
            "translations: the first silent", [_NONE, _B], second, _NOTHING.format(1, 2),
            made={"languages": ("eng", "ger")},
        ),
        _case(
            "silent first: of the language", [_NONE, _B], second, _NOTHING.format(1, 2), made={"languages": ("eng",)},
            options={"language": "en"},
        ),
        film("default", 900, track=3),
        film("language de", 700, options={"language": "de"}),
        film("language en_us is commentary only", 900, options={"language": "en_us"}),
        film("audioTrack 1", 500, options={"audio_track": 1}),
        film("audioTrack 2, language fr", 700, options={"audio_track": 2, "language": "fr"}),
        film("audioTrack 4", 0, options={"audio_track": 4},
             refused="spec.options.audioTrack is 4, the file's sound tracks are 1 (eng), 2 (ger), 3 (fre)"),
        RecordingCase(
            "default is a commentary", "sound tracks", _made([_A, _B], {
                "dispositions": (Disposition.default | Disposition.comment, Disposition(0)), "languages": ("eng", "eng"),
            }), second, seconds=2, track=2,
        ),
        _case("all tracks silent", [_NONE, _NONE], refused="NoAudio: sound track 1, 2 of 2 is silent from beginning to end"),
        _case("the named track is silent", [_NONE, _B], options={"audio_track": 1},
              refused="track 1 of 2 is silent from beginning to end; name another one in spec.options.audioTrack"),
        _case("the language's track is silent", [_NONE, _B], options={"language": "en"},
              made={"languages": ("eng", "ger")}, refused="track 1 of 2 is silent from beginning to end; name another one"),
        _case("a faint track between silent ones", [_NONE, _HISS / 3, _NONE], {}, _NOTHING.format(1, 2),
              "it is almost silent (-84 dBFS where it is loud): little may be understood", track=2),
        _case("no sound track", [], made={"pictures": 1}, refused="NoAudio: there is no sound track in the file"),
        _case("a sound track without sound", [_A[:0]], made={"pictures": 1},
              refused="its sound track has no sound that can be decoded: it is empty; the file may be cut off"),
    ]  # fmt: skip


def _case(
    name: str,
    tracks: Sequence[Sound],
    heard: dict[int, float] | None = None,
    *notes: str,
    made: dict[str, Any] | None = None,
    **numbers: Any,
) -> RecordingCase:
    seconds = None if numbers.get("refused") else len(tracks[0]) / RATE
    return RecordingCase(
        name, "sound tracks", _made(tracks, made or {}), heard or {}, seconds=seconds, notes=notes, **numbers
    )


def _made(tracks: Sequence[Sound], made: dict[str, Any]) -> Any:
    def make(folder: Path) -> Path:
        return record(folder / "a.mkv", *([track] for track in tracks), layout="mono", **made)

    return make
