"""Accuracy of shot boundaries and quality of selected frames, by a generated video's ground truth. Pure functions."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from contentgen_bench.media.videos import Gap, Join, Truth

CUT_FRAMES, GRADUAL_FRAMES = 2, 3  # tolerance of a boundary's position, in frames
_FAR = 8.0  # frames; a boundary farther from a cut is another one
_BLURRED = 0.5  # share of the sharpness of the shot's sharpest frame
_SAME = 4  # differing bits of 64, at most
Span = tuple[float, float]  # seconds: last frame of the old shot, first frame of the new one


@dataclass(frozen=True)
class Score:
    """Numbers of boundaries: detected and existing ones of each type; `wrong` counts false positives."""

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
        """Sum over several videos."""
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
    """Score of the detected boundaries, matched one-to-one: a second detection of a boundary is a false positive.

    A detected cut is placed at the first frame of its new shot, a gradual transition at its middle.
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


def mistakes(truth: Truth, found: Sequence[Span]) -> tuple[list[Gap], list[Span]]:
    """True boundaries that are not found, and detected ones that match none."""
    clock = np.array(truth.seconds)
    spans = sorted(found, key=lambda span: _point(clock, span))
    matched = pairs(truth, [_point(clock, span) for span in spans])
    hits, points = {gap for gap, _ in matched}, [point for _, point in matched]
    false = []
    for span in spans:
        if _point(clock, span) in points:
            points.remove(_point(clock, span))
        else:
            false.append(span)
    return [gap for gap in truth.gaps if gap not in hits], false


def cut_errors(truth: Truth, found: Sequence[Span]) -> list[float]:
    """Error of each detected cut, in frames: that of its end or its start, whichever is larger."""
    clock = np.array(truth.seconds)
    errors = []
    for gap in truth.gaps:
        last, first = _frame(clock, gap.start), _frame(clock, gap.end)
        near = [max(abs(_frame(clock, span[0]) - last), abs(_frame(clock, span[1]) - first)) for span in found]
        if gap.kind is Join.CUT and min(near, default=_FAR) < _FAR:
            errors.append(min(near))
    return errors


def pairs(truth: Truth, points: Sequence[float]) -> list[tuple[Gap, float]]:
    """Maximum matching of true boundaries and detected ones. `points` and results are in frames.

    The greedy algorithm for points and intervals: the interval that ends first takes its first free point.
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
    """First and last frame at which a detected boundary matches."""
    if gap.kind is Join.CUT:
        at = _frame(clock, gap.end)
        return at - CUT_FRAMES, at + CUT_FRAMES
    return _frame(clock, gap.start) - GRADUAL_FRAMES, _frame(clock, gap.end) + GRADUAL_FRAMES


def _point(clock: npt.NDArray[np.float64], span: Span) -> float:
    first, last = _frame(clock, span[0]), _frame(clock, span[1])
    return last if last - first <= 1 else (first + last) / 2


def _frame(clock: npt.NDArray[np.float64], seconds: float) -> float:
    """Number of the frame nearest to a time in seconds."""
    right = int(np.clip(np.searchsorted(clock, seconds), 1, len(clock) - 1))
    return right - int(seconds - clock[right - 1] < clock[right] - seconds)


@dataclass(frozen=True)
class Chosen:
    """Selected frame of a training set: its time, its sharpness, and a perceptual hash of 64 bits."""

    seconds: float
    sharpness: float
    fingerprint: int


@dataclass(frozen=True)
class DetectionErrors:
    """Numbers of selected frames in total and by error."""

    chosen: int
    in_transition: int
    blurred: int
    duplicates: int


def faults(truth: Truth, chosen: Sequence[Chosen], best: Sequence[float]) -> DetectionErrors:
    """Errors among the selected frames. `best` is the highest sharpness in each true shot."""
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
