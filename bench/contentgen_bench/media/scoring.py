"""How right a list of boundaries is, and how good the chosen frames are, by the truth about a generated video. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from contentgen_bench.media.videos import Gap, Join, Truth

CUT_FRAMES, GRADUAL_FRAMES = 2, 3  # how far off a boundary may be
_BLURRED = 0.5  # of the sharpest frame of the shot
_SAME = 4  # differing bits of 64
Span = tuple[float, float]  # seconds: the old shot's last frame, the new one's first


@dataclass(frozen=True)
class Score:
    """What was found of what there is; `wrong` is what was found and is not there."""

    cuts: int
    all_cuts: int
    gradual: int
    all_gradual: int
    wrong: int

    @property
    def f1(self) -> float:
        """Harmonic mean of precision and recall; 1 is perfect."""
        hits, all_ = self.cuts + self.gradual, self.all_cuts + self.all_gradual
        return 2 * hits / (hits + self.wrong + all_) if all_ else float(not self.wrong)

    def __add__(self, other: "Score") -> "Score":
        """Of several videos together."""
        return Score(
            self.cuts + other.cuts,
            self.all_cuts + other.all_cuts,
            self.gradual + other.gradual,
            self.all_gradual + other.all_gradual,
            self.wrong + other.wrong,
        )

    def __str__(self) -> str:
        return (
            f"F1 {self.f1:.3f}, cuts {self.cuts}/{self.all_cuts}, gradual {self.gradual}/{self.all_gradual}, "
            f"wrong {self.wrong}"
        )


def score(truth: Truth, found: Sequence[Span]) -> Score:
    """One-to-one: what is found twice is wrong once.

    A found boundary counts where its new shot begins; one that lasts, by its middle.
    """
    clock = np.array(truth.seconds)
    points = sorted(_point(clock, span) for span in found)
    hits = {gap for gap, _ in pairs(truth, points)}
    cuts = [gap for gap in truth.gaps if gap.kind is Join.CUT]
    return Score(
        cuts=sum(gap in hits for gap in cuts),
        all_cuts=len(cuts),
        gradual=sum(gap.kind is not Join.CUT for gap in hits),
        all_gradual=len(truth.gaps) - len(cuts),
        wrong=len(points) - len(hits),
    )


def pairs(truth: Truth, points: Sequence[float]) -> list[tuple[Gap, float]]:
    """Each true boundary with the found one that is its own, in frames.

    The largest matching there is: of points and intervals, whoever ends first takes the first point left to it.
    """
    clock = np.array(truth.seconds)
    left = sorted(points)
    matched: list[tuple[Gap, float]] = []
    for gap, low, high in sorted(((gap, *_window(clock, gap)) for gap in truth.gaps), key=lambda each: each[2]):
        point = next((each for each in left if low <= each <= high), None)
        if point is not None:
            left.remove(point)
            matched.append((gap, point))
    return matched


def _window(clock: npt.NDArray[np.float64], gap: Gap) -> Span:
    """The frames that a found boundary may lie at."""
    if gap.kind is Join.CUT:
        at = _frame(clock, gap.end)
        return at - CUT_FRAMES, at + CUT_FRAMES
    return _frame(clock, gap.start) - GRADUAL_FRAMES, _frame(clock, gap.end) + GRADUAL_FRAMES


def _point(clock: npt.NDArray[np.float64], span: Span) -> float:
    first, last = _frame(clock, span[0]), _frame(clock, span[1])
    return last if last - first <= 1 else (first + last) / 2


def _frame(clock: npt.NDArray[np.float64], seconds: float) -> float:
    """The number of the frame nearest to a second."""
    right = int(np.clip(np.searchsorted(clock, seconds), 1, len(clock) - 1))
    return right - int(seconds - clock[right - 1] < clock[right] - seconds)


@dataclass(frozen=True)
class Chosen:
    """A picture of a training set: when it is from, its sharpness, 64 bits that stay alike where pictures do."""

    seconds: float
    sharpness: float
    fingerprint: int


@dataclass(frozen=True)
class DetectionErrors:
    """How many of the chosen are no good, and in which way."""

    chosen: int
    in_transition: int
    blurred: int
    duplicates: int


def faults(truth: Truth, chosen: Sequence[Chosen], best: Sequence[float]) -> DetectionErrors:
    """`best` is the sharpest frame of each shot of the truth."""
    inside = [any(gap.start < each.seconds < gap.end for gap in truth.gaps) for each in chosen]
    homes = [_shot(truth, each.seconds) for each in chosen]
    return DetectionErrors(
        chosen=len(chosen),
        in_transition=sum(inside),
        blurred=sum(
            home is not None and each.sharpness < _BLURRED * best[home]
            for each, home in zip(chosen, homes, strict=True)
        ),
        duplicates=sum(
            any((each.fingerprint ^ other.fingerprint).bit_count() <= _SAME for other in chosen[:index])
            for index, each in enumerate(chosen)
        ),
    )


def _shot(truth: Truth, seconds: float) -> int | None:
    near = 1e-3
    inside = (index for index, shot in enumerate(truth.shots) if shot.start - near <= seconds <= shot.end + near)
    return next(inside, None)
