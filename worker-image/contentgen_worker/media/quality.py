"""Which pictures are worth training on: measuring one picture, then judging all of them together."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

import cv2
import numpy as np

from contentgen_worker.media.frames import Pixels
from contentgen_worker.media.moments import evenly

_DARK, _BRIGHT = 18.0, 240.0  # mean luma, 0-255
_FLAT = 6.0  # standard deviation of luma
_BLURRED = 0.12  # of the video's own median sharpness: a cartoon is smooth throughout and keeps its frames
_SAME = 5  # differing bits of 63
_MEASURED_SIDE = 640  # pixels


class Rejection(StrEnum):
    """Why a picture is left out."""

    TOO_DARK = "TooDark"
    TOO_BRIGHT = "TooBright"
    LOW_CONTRAST = "LowContrast"
    BLURRED = "Blurred"
    DUPLICATE = "Duplicate"
    OVER_MAXIMUM = "OverMaximum"


@dataclass(frozen=True)
class Scores:
    """Figures of one picture: luma 0-255, its standard deviation, variance of the Laplacian, 63 bits of DCT."""

    luma: float
    contrast: float
    sharpness: float
    fingerprint: int


def measure(pixels: Pixels) -> Scores:
    """The figures of a picture."""
    height, width = pixels.shape[:2]
    factor = min(1.0, _MEASURED_SIDE / max(width, height))
    size = (max(1, round(width * factor)), max(1, round(height * factor)))
    gray = cv2.resize(cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY), size, interpolation=cv2.INTER_AREA)
    return Scores(
        luma=float(gray.mean()),
        contrast=float(gray.std()),
        sharpness=float(cv2.Laplacian(gray, cv2.CV_16S).var()),
        fingerprint=_fingerprint(np.asarray(gray, dtype=np.float32)),
    )


def _fingerprint(gray: "np.ndarray[tuple[int, ...], np.dtype[np.float32]]") -> int:
    """The signs of the 8x8 lowest frequencies against their median (perceptual hash), without the mean."""
    small = cv2.resize(gray, (32, 32), interpolation=cv2.INTER_AREA)
    low = cv2.dct(small)[:8, :8].flatten()[1:]
    bits = low > np.median(low)
    return int("".join("1" if bit else "0" for bit in bits), 2)


def judge(scores: Sequence[Scores], most: int) -> tuple[Rejection | None, ...]:
    """For each picture why it is left out, or None; at most `most` are kept, spread over the video."""
    median = float(np.median([each.sharpness for each in scores])) if scores else 0.0
    verdicts = [_alone(each, median) for each in scores]
    _reject_duplicates(scores, verdicts)
    kept = [index for index, verdict in enumerate(verdicts) if verdict is None]
    for index in set(kept) - set(evenly(kept, most)):
        verdicts[index] = Rejection.OVER_MAXIMUM
    return tuple(verdicts)


def _alone(scores: Scores, median_sharpness: float) -> Rejection | None:
    if scores.luma < _DARK:
        return Rejection.TOO_DARK
    if scores.luma > _BRIGHT:
        return Rejection.TOO_BRIGHT
    if scores.contrast < _FLAT:
        return Rejection.LOW_CONTRAST
    if scores.sharpness < _BLURRED * median_sharpness:
        return Rejection.BLURRED
    return None


def _reject_duplicates(scores: Sequence[Scores], verdicts: list[Rejection | None]) -> None:
    seen: list[int] = []
    for index, each in enumerate(scores):
        if verdicts[index] is not None:
            continue
        if any((each.fingerprint ^ other).bit_count() <= _SAME for other in seen):
            verdicts[index] = Rejection.DUPLICATE
        else:
            seen.append(each.fingerprint)
