"""Which pictures become the training set, and why each other one does not. Pure: the same candidates, the same choice.

Limits are relative to the video, since a cartoon is smooth throughout, a whiteboard bright and a night dark; only
what nobody can learn from is refused whatever the video. Of each shot the best frames are taken, no two pictures
may be near-duplicates in the whole video, and more than the maximum are thinned out evenly over its length. Where
too few are left, the best of those refused are taken back, and the verdict says so.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from contentgen_contract.resources.spec import Dataset, FacesMode
from contentgen_worker.media.select.hashes import BITS, distances
from contentgen_worker.media.select.quality import Scores

T = TypeVar("T")


class Rejection(StrEnum):
    """Why a picture is left out, or would have been."""

    TOO_DARK = "TooDark"
    TOO_BRIGHT = "TooBright"
    LOW_CONTRAST = "LowContrast"
    BLURRED = "Blurred"
    BLACK_BORDERS = "BlackBorders"
    TEXT_CARD = "TextCard"
    IN_TRANSITION = "InTransition"
    NO_FACE = "NoFace"
    SEVERAL_FACES = "SeveralFaces"
    BETTER_IN_SHOT = "BetterInShot"
    DUPLICATE = "Duplicate"
    OVER_MAXIMUM = "OverMaximum"


@dataclass(frozen=True, slots=True)
class PictureCandidate:
    """A finished picture, on disk as JPEG. `motion`: of the camera, mean change of luma to the frame before."""

    shot: int
    seconds: float
    path: Path
    width: int
    height: int
    scores: Scores
    motion: float = 0.0
    in_transition: bool = False


@dataclass(frozen=True, slots=True)
class Rules:
    """What the spec asks of a choice."""

    per_shot: int = 1
    least: int = 10
    most: int = 150
    duplicate: int = 8  # bits
    faces: FacesMode = FacesMode.IGNORE
    smallest_face: float = 0.15  # of the picture's height
    single: bool = False

    @classmethod
    def of(cls, dataset: Dataset) -> "Rules":
        """The rules of a spec."""
        faces = dataset.faces
        return cls(
            dataset.frames_per_scene,
            dataset.min_images,
            dataset.max_images,
            dataset.duplicates.threshold,
            faces.mode,
            float(faces.min_size),
            faces.single,
        )


@dataclass(frozen=True, slots=True)
class PictureVerdict:
    """What became of a candidate. Kept with a `reason`: taken back as a last resort.

    `figure` is what was measured and `limit` what it should have been at least, or at most; `like`: the index of the
    kept candidate that it duplicates.
    """

    kept: bool
    reason: Rejection | None = None
    figure: float | None = None
    limit: float | None = None
    like: int | None = None

    @property
    def last_resort(self) -> bool:
        """Whether it would have been left out, had there been enough others."""
        return self.kept and self.reason is not None


KEPT = PictureVerdict(kept=True)

_EMPTY = 4.0  # luma, and contrast: a black, white or empty frame
_DARK, _BRIGHT = 18.0, 240.0  # luma, where the video is usual
_FLAT = 6.0  # contrast
_BLURRED = 0.12  # of the video's median sharpness
_SOFT = 0.3  # of its median sharpness for that much contrast: an even scene is not a blurred one
_BORDER = 0.06  # of a side
_CARD = 0.6  # of what stands out
_USUAL_SHARE = 0.3  # of a video's pictures: what so many are is how it looks
_COLOUR_TOLERANCE = (30.0, 10.0, 10.0)  # luma, U and V: what differs by more is not alike, whatever its shapes
_IDENTICAL_BITS = 1  # bits: the same picture once more, which is never taken
_RESTORE_ORDER = (  # what is taken back, in this order
    Rejection.BETTER_IN_SHOT,
    Rejection.BLURRED,
    Rejection.LOW_CONTRAST,
    Rejection.TOO_BRIGHT,
    Rejection.TOO_DARK,
    Rejection.BLACK_BORDERS,
    Rejection.TEXT_CARD,
    Rejection.DUPLICATE,
    Rejection.IN_TRANSITION,
)


def choose(candidates: Sequence[PictureCandidate], rules: Rules) -> tuple[PictureVerdict, ...]:
    """A verdict for each candidate, in their order, which must be that of time."""
    if not candidates:
        return ()
    limits = _Limits.of([each.scores for each in candidates])
    verdicts = [_check_alone(each, rules, limits) for each in candidates]
    ranked = sorted(range(len(candidates)), key=_rank(candidates, rules))
    _select(candidates, ranked, rules, verdicts)
    _thin_out(candidates, rules, verdicts)
    _restore_rejected(candidates, ranked, rules, verdicts)
    return tuple(verdicts)


def count_rejections(verdicts: Iterable[PictureVerdict]) -> dict[str, int]:
    """How many were left out, by reason."""
    return dict(Counter(str(each.reason) for each in verdicts if not each.kept))


@dataclass(frozen=True, slots=True)
class _Limits:
    """What is too little and too much in this video."""

    dark: float
    bright: float
    flat: float
    blurred: float
    soft: float  # sharpness over contrast squared
    border: float
    card: float

    @classmethod
    def of(cls, scores: Sequence[Scores]) -> "_Limits":
        """From all candidates, but for the black and the empty ones."""
        with_content = [each for each in scores if _has_content(each)] or list(scores)
        luma, contrast, sharpness, crisp = (
            float(np.median([figure(each) for each in with_content]))
            for figure in (lambda s: s.luma, lambda s: s.contrast, lambda s: s.sharpness, _crispness)
        )
        return cls(
            dark=min(_DARK, luma / 2),
            bright=max(_BRIGHT, (luma + 255) / 2),
            flat=min(_FLAT, contrast / 2),
            blurred=_BLURRED * sharpness,
            soft=_SOFT * crisp,
            border=_unless_usual([each.border for each in with_content], _BORDER),
            card=_unless_usual([each.card for each in with_content], _CARD),
        )


def _unless_usual(figures: Sequence[float], limit: float) -> float:
    above = sum(figure > limit for figure in figures)
    return limit if above <= _USUAL_SHARE * len(figures) else 1.0


def _has_content(scores: Scores) -> bool:
    return scores.contrast >= _EMPTY and scores.luma >= _EMPTY


def _crispness(scores: Scores) -> float:
    """Sharpness grows with the square of contrast; this does not."""
    return scores.sharpness / max(scores.contrast, 1.0) ** 2


def _check_alone(candidate: PictureCandidate, rules: Rules, limits: _Limits) -> PictureVerdict:
    """What is wrong with a picture by itself."""
    scores = candidate.scores
    if candidate.in_transition:
        return PictureVerdict(False, Rejection.IN_TRANSITION)
    below = (
        (Rejection.TOO_DARK, scores.luma, max(limits.dark, _EMPTY)),
        (Rejection.LOW_CONTRAST, scores.contrast, max(limits.flat, _EMPTY)),
    )
    above = (
        (Rejection.TOO_BRIGHT, scores.luma, limits.bright),
        (Rejection.BLACK_BORDERS, scores.border, limits.border),
        (Rejection.TEXT_CARD, scores.card, limits.card),
    )
    for reason, figure, limit in below:
        if figure < limit:
            return PictureVerdict(False, reason, figure, limit)
    for reason, figure, limit in above:
        if figure > limit:
            return PictureVerdict(False, reason, figure, limit)
    if scores.sharpness < limits.blurred and _crispness(scores) < limits.soft:
        return PictureVerdict(False, Rejection.BLURRED, scores.sharpness, limits.blurred)
    return _faces(candidate, rules)


def _faces(candidate: PictureCandidate, rules: Rules) -> PictureVerdict:
    if rules.faces is not FacesMode.REQUIRE:
        return KEPT
    count = _face_count(candidate, rules)
    if count == 0:
        largest = max((face.height for face in candidate.scores.faces), default=0.0)
        return PictureVerdict(False, Rejection.NO_FACE, largest, rules.smallest_face)
    if rules.single and count > 1:
        return PictureVerdict(False, Rejection.SEVERAL_FACES, count, 1)
    return KEPT


def _face_count(candidate: PictureCandidate, rules: Rules) -> int:
    return sum(face.height >= rules.smallest_face for face in candidate.scores.faces)


def _preferred(candidate: PictureCandidate, rules: Rules) -> bool:
    """Whether it has the faces that are asked for."""
    if rules.faces is FacesMode.IGNORE:
        return True
    count = _face_count(candidate, rules)
    return count == 1 if rules.single else count > 0


def _rank(candidates: Sequence[PictureCandidate], rules: Rules) -> Callable[[int], tuple[float, ...]]:
    """Best first: with the faces asked for, then by sharpness, then by time."""

    def key(index: int) -> tuple[float, ...]:
        candidate = candidates[index]
        return (not _preferred(candidate, rules), -candidate.scores.sharpness, index)

    return key


def _select(
    candidates: Sequence[PictureCandidate], ranked: Sequence[int], rules: Rules, verdicts: list[PictureVerdict]
) -> None:
    """Take the best of each shot, leaving out what looks like one that is taken already."""
    taken = _TakenPictures(len(candidates))
    of_shot: dict[int, list[float]] = defaultdict(list)  # sharpness
    for index in ranked:
        candidate = candidates[index]
        if not verdicts[index].kept:
            continue
        like, bits = taken.nearest(candidate.scores)
        if like is not None and bits <= rules.duplicate:
            verdicts[index] = PictureVerdict(False, Rejection.DUPLICATE, bits, rules.duplicate, like)
        elif len(better := of_shot[candidate.shot]) >= rules.per_shot:
            verdicts[index] = PictureVerdict(False, Rejection.BETTER_IN_SHOT, candidate.scores.sharpness, better[-1])
        else:
            taken.add(index, candidate.scores)
            better.append(candidate.scores.sharpness)


class _TakenPictures:
    """How the pictures taken so far look.

    A hash knows shapes alone: two people before two walls are alike to it, if they sit in the same place.
    """

    def __init__(self, most: int) -> None:
        self._hashes: npt.NDArray[np.uint64] = np.zeros(most, np.uint64)
        self._colours = np.zeros((most, 3))
        self._indices: list[int] = []

    def add(self, index: int, scores: Scores) -> None:
        at = len(self._indices)
        self._hashes[at], self._colours[at] = scores.fingerprint, _colour(scores)
        self._indices.append(index)

    def nearest(self, scores: Scores) -> tuple[int | None, int]:
        """Which of those of the same colour is most alike, and in how many bits it differs."""
        if not self._indices:
            return None, BITS
        count = len(self._indices)
        same = (np.abs(self._colours[:count] - _colour(scores)) <= _COLOUR_TOLERANCE).all(axis=1)
        bits = np.where(same, distances(scores.fingerprint, self._hashes[:count]), BITS)
        at = int(np.argmin(bits))
        return self._indices[at], int(bits[at])


def _colour(scores: Scores) -> tuple[float, float, float]:
    return scores.luma, *scores.chroma


def _thin_out(candidates: Sequence[PictureCandidate], rules: Rules, verdicts: list[PictureVerdict]) -> None:
    """Down to the maximum: those without the faces preferred go first, then of the two nearest in time the worse."""
    kept = [index for index, verdict in enumerate(verdicts) if verdict.kept]
    others = [index for index in kept if not _preferred(candidates[index], rules)]
    preferred = [index for index in kept if _preferred(candidates[index], rules)]
    room = max(0, rules.most - len(preferred))
    chosen = {*_spread_over_time(candidates, preferred, rules.most), *_spread_over_time(candidates, others, room)}
    for index in set(kept) - chosen:
        verdicts[index] = PictureVerdict(False, Rejection.OVER_MAXIMUM, len(kept), rules.most)


def _spread_over_time(candidates: Sequence[PictureCandidate], indices: list[int], most: int) -> list[int]:
    """At most so many of them, as evenly over time as they lie."""
    if most <= 1:
        return indices[:most]
    left = np.array(indices, dtype=np.intp)
    seconds = np.array([candidates[index].seconds for index in indices])
    while len(left) > most:
        at = int(np.argmin(np.diff(seconds)))
        one, other = (candidates[index].scores.sharpness for index in left[at : at + 2])
        worse = at + 1 if one >= other else at
        left, seconds = np.delete(left, worse), np.delete(seconds, worse)
    return [int(index) for index in left]


def _restore_rejected(
    candidates: Sequence[PictureCandidate], ranked: Sequence[int], rules: Rules, verdicts: list[PictureVerdict]
) -> None:
    """Where there are too few: the best of those left out, none of which shows nothing or a picture once more."""
    missing = rules.least - sum(verdict.kept for verdict in verdicts)
    if missing <= 0:
        return
    taken = _TakenPictures(len(candidates))
    for index, verdict in enumerate(verdicts):
        if verdict.kept:
            taken.add(index, candidates[index].scores)
    for reason in _RESTORE_ORDER:
        for index in ranked:
            if missing and verdicts[index].reason is reason and _usable(candidates[index], rules):
                _, bits = taken.nearest(candidates[index].scores)
                if bits > (_IDENTICAL_BITS if reason is Rejection.DUPLICATE else rules.duplicate):
                    taken.add(index, candidates[index].scores)
                    verdicts[index] = replace(verdicts[index], kept=True)
                    missing -= 1


def _usable(candidate: PictureCandidate, rules: Rules) -> bool:
    return _has_content(candidate.scores) and _faces(candidate, rules).kept


def sample_evenly(items: Sequence[T], count: int) -> tuple[T, ...]:
    """At most `count` of the items, spread over all of them."""
    if len(items) <= count:
        return tuple(items)
    return tuple(items[int((index + 0.5) * len(items) / count)] for index in range(count))
