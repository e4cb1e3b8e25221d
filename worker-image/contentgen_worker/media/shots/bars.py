"""Black bars (letterbox, pillarbox) of thumbnails: their edges are in every frame, and would match between scenes."""

import numpy as np
import numpy.typing as npt

from contentgen_worker.media.decode.planes import Plane

_BLACK = 28  # maximum luma of a bar: 16, plus noise of the encoder
_DARK_SHARE = 0.6  # of a bar's line; the rest may be a subtitle or a logo
_WIDEST = 0.3  # share of the side; a wider dark border is a night scene


def without_bars(luma: Plane) -> Plane:
    """Thumbnail whose black bars show the nearest line of the picture, so that they contain no edges of their own."""
    return _bars_filled(_bars_filled(luma).T).T


def _bars_filled(lines: Plane) -> Plane:
    """Likewise, for bars at the first and the last lines only."""
    dark = (lines <= _BLACK).mean(axis=1) >= _DARK_SHARE
    first, last = _edge(dark), len(dark) - 1 - _edge(dark[::-1])
    if not first and last == len(dark) - 1:
        return lines
    return lines[np.clip(np.arange(len(dark)), first, last)]


def _edge(dark: npt.NDArray[np.bool_]) -> int:
    """Number of lines before the first one that is all picture; 0 without a bar."""
    bar = int(np.argmin(dark)) if not dark.all() else len(dark)
    return bar + 1 if 0 < bar <= _WIDEST * len(dark) else 0
