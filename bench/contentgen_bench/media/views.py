"""What a frame of a generated video shows: place, framing, actors, eyes. From the recipe, not from pixels."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from math import hypot, log

from contentgen_bench.media.scenes import scenery
from contentgen_bench.media.scenes.scenery import CameraPath, Cast, Setup
from contentgen_bench.media.videos import Truth, VideoRecipe, setups

ZOOM, SHIFT = 1.08, 0.05  # largest zoom, and shift as a share of the width, between near-duplicates
_MOVING = {Cast.WALKERS, Cast.CROSSING, Cast.TOONS}
_HELD = 0.1  # seconds within which moving actors stay in place


@dataclass(frozen=True)
class View:
    """Content of a frame. `x`, `y` in widths of the picture; `seconds` since the start of the shot."""

    shot: int
    setup: Setup
    seconds: float
    x: float
    y: float
    zoom: float

    @property
    def place(self) -> tuple[str, int]:
        """Place that is shown."""
        return self.setup.look.value, self.setup.place

    @property
    def eyes_closed(self) -> bool:
        """Whether a talker blinks."""
        return self.setup.cast is Cast.TALKER and scenery.eyes_closed(scenery.drawn(self.setup, self.seconds))

    def is_near_duplicate(self, other: "View") -> bool:
        """Whether a person would call both pictures the same, by the definition of the labelled pairs."""
        if self.place != other.place or self.setup.cast is not other.setup.cast:
            return False
        if self.setup.cast in _MOVING and (self.shot != other.shot or abs(self.seconds - other.seconds) > _HELD):
            return False
        shift = max(self.zoom, other.zoom) * hypot(self.x - other.x, self.y - other.y)
        return abs(log(self.zoom / other.zoom)) <= log(ZOOM) and shift <= SHIFT


def views(recipe: VideoRecipe, truth: Truth, seconds: Sequence[float]) -> list[View]:
    """View at each time. In a transition it is that of the nearest shot."""
    shots = [(setup, truth.seconds[first], CameraPath.of(setup)) for setup, first in setups(recipe)]
    found = []
    for second in seconds:
        shot = min(
            range(len(truth.shots)),
            key=lambda at: max(truth.shots[at].start - second, second - truth.shots[at].end, 0.0),
        )
        setup, begins, path = shots[shot]
        since = second - begins
        x, y, zoom, _ = path.at(scenery.drawn(setup, since))
        across = recipe.height / recipe.width
        found.append(View(shot, setup, since, x * across, y * across, zoom))
    return found


def near_duplicates(chosen: Sequence[View]) -> list[tuple[int, int]]:
    """Pairs of pictures that a person would call the same, as positions."""
    numbered = list(enumerate(chosen))
    return [(i, j) for (i, one), (j, other) in combinations(numbered, 2) if one.is_near_duplicate(other)]
