"""Parameters of one shot of an unseen set."""

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
import numpy.typing as npt

Image = npt.NDArray[np.uint8]  # height x width x 3, BGR; textures may have a fourth channel, alpha
Draw = Callable[[float], Image]  # picture at a time in seconds since the start of the shot


class SceneFamily(StrEnum):
    """Painter of a shot."""

    STREET = "street"
    INTERIOR = "interior"
    FIELD = "field"
    STAGE = "stage"
    WATER = "water"
    CROWD = "crowd"
    SCREEN = "screen"
    CEL = "cel"


class CameraMove(StrEnum):
    """Camera motion within a shot."""

    FIXED = "fixed"
    TRACK = "track"
    PAN = "pan"
    HANDHELD = "hand-held"
    SHAKE = "shake"
    SLOW_ZOOM = "slow zoom"
    CRASH_ZOOM = "crash zoom"
    DOLLY_ZOOM = "dolly zoom"
    WHIP = "whip"


class Happening(StrEnum):
    """Event within a shot. The same scene is visible before and after it, so that none is a boundary."""

    NOTHING = "nothing"
    FLASH = "flash"
    EXPLOSION = "explosion"
    STROBE = "strobe"
    CROSSING = "crossing"
    EXPOSURE = "exposure"


@dataclass(frozen=True)
class PlannedShot:
    """Parameters of a shot. Times are in seconds since its start, which is the start of the transition before it."""

    family: SceneFamily
    move: CameraMove
    happening: Happening
    place: int  # seed of the scene, which several shots may share
    seed: int  # seed of camera, actors and event
    event: float  # start of the happening, of the whip pan or of the crash zoom
    event_seconds: float
    closer: float = 1.0  # factor of the focal length
