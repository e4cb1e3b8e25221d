"""A frame made small: the three planes that shots are found on."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Plane = npt.NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Planes:
    """Luma and chroma, about 256 pixels wide, both sides even; the pixels' aspect is not applied."""

    y: Plane  # height x width
    u: Plane  # height/2 x width/2
    v: Plane
