"""How loud a recording is, and how much of it holds more than its background. Plain values.

The provider is paid for the whole length, silence too; a person sees here what the money goes for.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from contentgen_worker.media.codec import transferable

WINDOW = 0.5  # seconds: a pause between words is no silence
SILENT = -96  # dBFS; 16 bits know nothing lower
_PARTS = 10  # of a window; it is as loud as its loudest part
_DITHER_LEVEL = -88  # dBFS; what converters add to nothing
_FAINT = -50  # dBFS; speech that recognisers manage is 20 dB louder
_INAUDIBLE = -60  # dBFS; below this nobody is heard
_MIN_CONTRAST = 15  # dB between background and sound, or they can't be told apart
_FULL_SCALE = 32768.0


class LevelMeter:
    """Counts windows by their level, in constant memory."""

    def __init__(self) -> None:
        self._windows = np.zeros(-SILENT + 1, dtype=np.int64)  # by dB below full scale

    def add(self, samples: npt.NDArray[np.int16], rate: int) -> None:
        """Any number of samples, as they are played; the rest of a window counts as one."""
        step = int(rate * WINDOW) // _PARTS
        parts = np.pad(samples, (0, -len(samples) % (step * _PARTS))).astype(np.float32).reshape(-1, _PARTS, step)
        power = (parts * parts).mean(axis=2).max(axis=1) / _FULL_SCALE**2
        below = np.clip(-10 * np.log10(np.maximum(power, 1e-12)), 0, -SILENT)
        self._windows += np.bincount(below.astype(np.int64), minlength=len(self._windows))

    def loudness(self, seconds: float) -> "Loudness":
        """What was heard in a recording of this length."""
        below = np.repeat(np.arange(len(self._windows)), np.minimum(self._windows, 1 << 20))
        if not below.size:
            return Loudness(float(SILENT), 0.0, silent=True)
        loud = -int(below[min(2, below.size // 20)])  # a single bang is not the recording's level
        quiet = -int(below[int(below.size * 0.9)])
        distinct = loud - quiet >= _MIN_CONTRAST
        threshold = max(_INAUDIBLE, round(quiet + (loud - quiet) / 3)) if distinct else _INAUDIBLE
        audible = float(self._windows[: -threshold + 1].sum()) * WINDOW
        return Loudness(float(loud), min(audible, seconds), silent=-int(below[0]) <= _DITHER_LEVEL)


@transferable
@dataclass(frozen=True, slots=True)
class Loudness:
    """`level`: dB below full scale of its loud parts; `audible`: seconds that stand out from the background;
    `silent`: there is nothing in it at all."""

    level: float
    audible: float
    silent: bool

    @property
    def faint(self) -> bool:
        """Hardly anything will be understood."""
        return self.level < _FAINT
