"""Soundtrack of the video: speech by espeak-ng over quiet chords. Audio is mono floats from -1 to 1."""

import os
import shutil
import subprocess
import tempfile
import wave
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from contentgen_demo.errors import DemoError

RATE = 44100
Sound = npt.NDArray[np.float32]
_PROGRAM = "espeak-ng"
_CHORDS = ((220.0, 277.18, 329.63), (174.61, 220.0, 261.63), (261.63, 329.63, 392.0), (196.0, 246.94, 293.66))
_CHORD_SECONDS = 6.0


def ensure_espeak() -> None:
    """Install espeak-ng if it is missing and the process is root. Raises DemoError."""
    if shutil.which(_PROGRAM):
        return
    if os.geteuid() == 0 and shutil.which("apt-get"):
        install = ("install", "-y", "-qq", "--no-install-recommends", _PROGRAM)
        if not _apt(*install):
            _apt("update", "-qq")
            _apt(*install)
    if not shutil.which(_PROGRAM):
        raise DemoError(
            "espeak-ng, which speaks the demo's film, is missing: install it (apt-get install espeak-ng),"
            " or give a video of your own: make demo VIDEO=path-or-url"
        )


def _apt(*arguments: str) -> bool:
    """Whether apt-get succeeded; its output is dropped, because DemoError names what is missing."""
    nothing = subprocess.DEVNULL
    done = subprocess.run(["apt-get", *arguments], check=False, stdin=nothing, stdout=nothing, stderr=nothing)
    return done.returncode == 0


def speak(text: str) -> Sound:
    """Synthesized sentence, at RATE samples per second."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "speech.wav"
        subprocess.run([_PROGRAM, "-v", "en-us", "-s", "170", "-g", "2", "-w", str(file), text], check=True)
        with wave.open(str(file)) as sound:
            rate, frames = sound.getframerate(), sound.readframes(sound.getnframes())
    samples = np.frombuffer(frames, dtype="<i2").astype(np.float32) / 32768
    places = np.arange(0, len(samples), rate / RATE)
    return np.interp(places, np.arange(len(samples)), samples).astype(np.float32)


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
