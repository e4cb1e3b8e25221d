"""Soundtrack of the video: speech by espeak-ng over quiet chords. Audio is mono floats from -1 to 1."""

import ctypes
import threading
from collections.abc import Sequence
from functools import cache
from typing import Any

import espeakng_loader
import numpy as np
import numpy.typing as npt

RATE = 44100
Sound = npt.NDArray[np.float32]
# espeak-ng's speak_lib.h
_CALLBACK = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_int, ctypes.c_void_p)
_SYNCHRONOUS, _WORDS_A_MINUTE, _WORD_GAP = 2, 1, 7
_FLAGS = 0x1 | 0x1000  # UTF-8, and a pause at the end
_one_at_a_time = threading.Lock()  # it has one voice and one callback
_CHORDS = ((220.0, 277.18, 329.63), (174.61, 220.0, 261.63), (261.63, 329.63, 392.0), (196.0, 246.94, 293.66))
_CHORD_SECONDS = 6.0


def speak(text: str) -> Sound:
    """Synthesized sentence, at RATE samples per second. Raises OSError."""
    with _one_at_a_time:
        library, rate = _espeak()
        pieces: list[bytes] = []

        def keep(samples: Any, count: int, _: Any) -> int:
            pieces.append(ctypes.string_at(samples, 2 * count) if samples else b"")
            return 0

        callback = _CALLBACK(keep)
        library.espeak_SetSynthCallback(callback)
        written = text.encode() + b"\0"
        status = library.espeak_Synth(written, ctypes.c_size_t(len(written)), 0, 1, 0, _FLAGS, None, None)
    if status:
        raise OSError(f"espeak-ng cannot speak: status {status}")
    samples = np.frombuffer(b"".join(pieces), dtype="<i2").astype(np.float32) / 32768
    places = np.arange(0, len(samples), rate / RATE)
    sound: Sound = np.interp(places, np.arange(len(samples)), samples).astype(np.float32)
    return sound


@cache
def _espeak() -> tuple[ctypes.CDLL, int]:
    """The library, which speaks American English, and its samples per second. Raises OSError."""
    library = ctypes.CDLL(espeakng_loader.get_library_path())
    rate = library.espeak_Initialize(_SYNCHRONOUS, 0, espeakng_loader.get_data_path().encode(), 0)
    if rate <= 0 or library.espeak_SetVoiceByName(b"en-us"):
        raise OSError("espeak-ng has no American English")
    library.espeak_SetParameter(_WORDS_A_MINUTE, 170, 0)
    library.espeak_SetParameter(_WORD_GAP, 2, 0)
    return library, rate


def mix(sentences: Sequence[tuple[float, Sound]], seconds: float) -> Sound:
    """Mix of sentences, each at its start in seconds, and the chords; `seconds` long."""
    track = _chords(seconds)
    for start, sound in sentences:
        first = round(start * RATE)
        part = track[first : first + len(sound)]
        part += 0.8 * sound[: len(part)]
    return np.clip(track, -1, 1).astype(np.float32)


def loudness(sentences: Sequence[tuple[float, Sound]], seconds: float, per_second: int) -> list[float]:
    """Loudness of the speech, 0 to 1, `per_second` values per second."""
    speech = np.zeros(round(seconds * RATE) + RATE, dtype=np.float32)
    for start, sound in sentences:
        first = round(start * RATE)
        speech[first : first + len(sound)] = sound[: len(speech) - first]
    window = RATE // per_second
    count = round(seconds * per_second)
    power = [float(np.sqrt(np.mean(speech[n * window : n * window + window] ** 2))) for n in range(count)]
    most = max(power, default=0.0) or 1.0
    return [min(1.0, each / most * 1.2) for each in power]


def _chords(seconds: float) -> Sound:
    """Four fading chords: complete silence between sentences sounds like an error."""
    time = np.arange(round(seconds * RATE), dtype=np.float32) / RATE
    track: Sound = np.zeros(len(time), dtype=np.float32)
    for number in range(int(seconds / _CHORD_SECONDS) + 1):
        first, last = (round((number + share) * _CHORD_SECONDS * RATE) for share in (0, 1))
        part = time[first:last]
        swell = np.sin(np.linspace(0, np.pi, len(part), dtype=np.float32))
        for tone in _CHORDS[number % len(_CHORDS)]:
            track[first:last] += 0.018 * swell * np.sin(2 * np.pi * tone * part)
    return track
