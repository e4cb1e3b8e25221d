"""Loudness of a recording, and how much of it is audible. Pure.

The provider charges for the whole length, silence included; these figures show how much of it is speech.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from contentgen_worker.media.codec import transferable

WINDOW = 0.5  # seconds; longer than pauses between words
SILENT = -96  # dBFS; the minimum of 16 bits
_PARTS = 10  # of a window; its level is that of its loudest part
_DITHER_LEVEL = -88  # dBFS; dither of converters
_FAINT = -50  # dBFS; recognizable speech is 20 dB louder
_INAUDIBLE = -60  # dBFS
_MIN_CONTRAST = 15  # dB between background and sound; below it they can't be separated
_FULL_SCALE = 32768.0


class LevelMeter:
    """Histogram of windows by level, in constant memory."""

    def __init__(self) -> None:
        self._windows = np.zeros(-SILENT + 1, dtype=np.int64)  # by dB below full scale

    def add(self, samples: npt.NDArray[np.int16], rate: int) -> None:
        """Add samples, in order; an incomplete window counts as one."""
        step = int(rate * WINDOW) // _PARTS
        parts = np.pad(samples, (0, -len(samples) % (step * _PARTS))).astype(np.float32).reshape(-1, _PARTS, step)
        power = (parts * parts).mean(axis=2).max(axis=1) / _FULL_SCALE**2
        below = np.clip(-10 * np.log10(np.maximum(power, 1e-12)), 0, -SILENT)
        self._windows += np.bincount(below.astype(np.int64), minlength=len(self._windows))

    def loudness(self, seconds: float) -> "Loudness":
        """Loudness of a recording of this length in seconds."""
        below = np.repeat(np.arange(len(self._windows)), np.minimum(self._windows, 1 << 20))
        if not below.size:
            return Loudness(float(SILENT), 0.0, silent=True)
        loud = -int(below[min(2, below.size // 20)])  # ignores short peaks
        quiet = -int(below[int(below.size * 0.9)])
        distinct = loud - quiet >= _MIN_CONTRAST
        threshold = max(_INAUDIBLE, round(quiet + (loud - quiet) / 3)) if distinct else _INAUDIBLE
        audible = float(self._windows[: -threshold + 1].sum()) * WINDOW
        return Loudness(float(loud), min(audible, seconds), silent=-int(below[0]) <= _DITHER_LEVEL)


@transferable
@dataclass(frozen=True, slots=True)
class Loudness:
    """`level`: dBFS of the loud parts; `audible`: seconds above the background; `silent`: no sound at all."""

    level: float
    audible: float
    silent: bool

    @property
    def faint(self) -> bool:
        """Whether speech is too quiet to be recognized well."""
        return self.level < _FAINT
