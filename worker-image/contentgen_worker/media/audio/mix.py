"""Mix of a recording's channels to one. Pure.

A stated layout is mixed with the weights of ITU-R BS.775, as FFmpeg does. FFmpeg guesses at other layouts, and drops
the channel that it takes for the bass. Recorders state none and put a speaker on each, so all get the same weight.
"""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

Samples = npt.NDArray[np.float32]
Block = npt.NDArray[np.int16]

_FADE = 160  # samples from the gains of one window to those of the next: 10 ms, so that they do not click
_CANCELLED = 0.4  # power of the mix by that of its loudest part; in stereo the mix is 10 dB below the louder channel
_AUDIBLE = 1e-6  # power; -60 dBFS
_SUM = 1.001  # of weights whose mix can be louder than its channels
_LARGEST = 1000.0  # of a sample; PCM of floats may have any value

_CENTRE, _FRONT, _SURROUND = 1.0, 0.5**0.5, 0.5
_WEIGHTS: dict[str, float] = {
    **dict.fromkeys(("FC", "AMBI0"), _CENTRE),
    **dict.fromkeys(("FL", "FR", "FLC", "FRC", "DL", "DR", "WL", "WR", "BIL", "BIR"), _FRONT),
    **dict.fromkeys(("BL", "BR", "BC", "SL", "SR", "SDL", "SDR", "SSL", "SSR", "TTL", "TTR", "TC"), _SURROUND),
    **dict.fromkeys(("TFL", "TFC", "TFR", "TBL", "TBC", "TBR", "TSL", "TSR", "BFC", "BFL", "BFR"), _SURROUND),
    **dict.fromkeys(("LFE", "LFE2", *(f"AMBI{number}" for number in range(1, 64))), 0.0),  # bass; directions
}


def stated_weights(names: Sequence[str]) -> Samples | None:
    """Weight of each channel by its name in FFmpeg, of sum 1; None if the layout is not stated or not known."""
    weights = [_WEIGHTS.get(name, math.nan) for name in names]
    total = sum(weights)
    return np.array(weights, np.float32) / np.float32(total) if total > 0 else None


def equal_weights(channels: int) -> Samples:
    """Weights of unknown channels. Their power is kept, so that one speaker on one of 64 is not faint."""
    return np.full(channels, channels**-0.5 if channels > 2 else 1 / channels, np.float32)


def bounded(samples: npt.NDArray[np.floating[Any]]) -> tuple[Samples, bool]:
    """Samples without infinities and NaN, and whether any is beyond full scale."""
    if _within(samples, 1):
        return samples.astype(np.float32, copy=False), False
    if not _within(samples, _LARGEST):
        samples = np.clip(np.nan_to_num(samples), -_LARGEST, _LARGEST)
    return samples.astype(np.float32, copy=False), True


def _within(samples: npt.NDArray[np.floating[Any]], limit: float) -> bool:
    """Whether all samples are numbers of at most this size."""
    return bool(samples.max() <= limit and samples.min() >= -limit)


def gains(window: Samples, weights: Samples, before: Samples, *, loud: bool = False) -> tuple[Samples, bool]:
    """Gain of each channel in a window (channels, samples), and whether audible channels cancel each other.

    Those that do get the polarity in which they add up: that of the gains before, if they do in it. The mix of the
    window is at most 1. `loud`: samples are beyond full scale.
    """
    signs, cancelled = np.ones(len(window), np.float32), False
    if len(window) > 1:
        power = _powers(window, weights)
        loudest = float(power.diagonal().max())
        if power.sum() < _CANCELLED * loudest:
            signs = np.copysign(signs, before)
            if signs @ power @ signs < _CANCELLED * loudest:
                signs = _polarity(power)
            cancelled = loudest > _AUDIBLE * window.shape[1]
    result = signs * weights
    peak = float(np.abs(result @ window).max()) if loud or weights.sum() > _SUM else 1.0
    return (result / max(peak, 1)).astype(np.float32), cancelled


def _powers(window: Samples, weights: Samples) -> Samples:
    """Power of each channel's part of the mix, without its offset, and what two of them have in common."""
    sums = window.sum(axis=1)
    common = window @ window.T - np.outer(sums, sums) / window.shape[1]
    return np.asarray(common * np.outer(weights, weights), np.float32)


def _polarity(power: Samples) -> Samples:
    """Sign of each channel with which it adds to the sum of those before it, so the sum is louder than each of them."""
    signs = np.zeros(len(power), np.float32)
    for channel, common in enumerate(power):
        signs[channel] = -1 if common @ signs < 0 else 1
    return signs


def mixed(window: Samples, before: Samples, now: Samples) -> Block:
    """Mix of a window (channels, samples) in 16 bits, faded from the gains before to those of now."""
    mix: Samples = now @ window
    if (before != now).any():
        fade = window[:, :_FADE]
        mix[:_FADE] += ((before - now) @ fade) * np.linspace(1, 0, fade.shape[1], dtype=np.float32)
    return np.asarray(np.clip(np.rint(mix * 32768), -32768, 32767), np.int16)
