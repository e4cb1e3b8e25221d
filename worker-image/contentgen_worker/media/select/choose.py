"""Choice of the training pictures from all candidates, with a reason for each rejection. Pure and deterministic.

Limits are relative to the video, since a cartoon is smooth, a whiteboard bright and a night scene dark throughout; only
empty pictures are always rejected. The best frames of each shot are kept, without near-duplicates in the whole video.
Above the maximum, repeated set-ups are dropped first, then the rest is thinned out evenly over time. Below the minimum,
the best rejected ones are restored as a last resort.
"""

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import TypeVar

import numpy as np

from contentgen_contract.resources.spec import Dataset, FacesMode
from contentgen_worker.media.select.quality import Scores
from contentgen_worker.media.select.similarity import SAME_SETUP, PictureIndex, Thumbnail, likeness

T = TypeVar("T")


class Rejection(StrEnum):
    """Reason why a picture was rejected."""

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
    DAMAGED = "Damaged"

    @property
    def label(self) -> str:
        """Words of the reason, such as `too dark`."""
        return re.sub(r"(?<=[a-z])(?=[A-Z])", " ", self).lower()


@dataclass(frozen=True, slots=True)
class PictureCandidate:
    """Finished picture, on disk as JPEG. `motion`: mean change of luma to the frame before. `damaged`: it lacks data.

    Without a thumbnail it is no duplicate of any other.
    """

    shot: int
    seconds: float
    path: Path
    width: int
    height: int
    scores: Scores
    thumbnail: Thumbnail | None = None
    motion: float = 0.0
    in_transition: bool = False
    damaged: bool = False


@dataclass(frozen=True, slots=True)
class Rules:
    """Rules of a choice, from the spec."""

    per_shot: int = 1
    least: int = 10
    most: int = 150
    duplicate: int = 8  # difference, see similarity.py
    faces: FacesMode = FacesMode.IGNORE
    smallest_face: float = 0.15  # of the picture's height
    single: bool = False

    @classmethod
    def from_dataset(cls, dataset: Dataset) -> "Rules":
        """Rules of a spec."""
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
    """Result for a candidate. Kept with a `reason`: restored as a last resort.

    `figure`: measured value; `limit`: its minimum or maximum; `like`: index of the kept candidate that it duplicates.
    """

    kept: bool
    reason: Rejection | None = None
    figure: float | None = None
    limit: float | None = None
    like: int | None = None

    @property
    def last_resort(self) -> bool:
        """Whether it was kept only because there were too few others."""
        return self.kept and self.reason is not None


KEPT = PictureVerdict(kept=True)

_EMPTY = 4.0  # luma and contrast of a black, white or empty frame
_DARK, _BRIGHT = 18.0, 240.0  # luma, for videos of usual brightness
_FLAT = 6.0  # contrast
_BLURRED = 0.12  # share of the video's median sharpness
_SOFT = 0.3  # share of its median crispness: a scene of low contrast is not blurred
_BORDER = 0.06  # of a side
_CARD = 0.6  # share of letters in the foreground
_USUAL_SHARE = 0.3  # of a video's pictures: a property of so many is the video's style
_IDENTICAL = 2  # difference; an identical picture is never restored
_RESTORE_ORDER = (  # reasons in the order of restoring
    Rejection.BETTER_IN_SHOT,
    Rejection.BLURRED,
    Rejection.LOW_CONTRAST,
    Rejection.TOO_BRIGHT,
    Rejection.TOO_DARK,
    Rejection.BLACK_BORDERS,
    Rejection.TEXT_CARD,
    Rejection.DUPLICATE,
    Rejection.IN_TRANSITION,
    Rejection.DAMAGED,
)


def choose(candidates: Sequence[PictureCandidate], rules: Rules) -> tuple[PictureVerdict, ...]:
    """Verdict of each candidate. Candidates must be in order of time."""
    if not candidates:
        return ()
    limits = _Limits.from_scores([candidate.scores for candidate in candidates])
    verdicts = [_check_alone(candidate, rules, limits) for candidate in candidates]
    ranked = sorted(range(len(candidates)), key=_rank(candidates, rules))
    _select(candidates, ranked, rules, verdicts)
    _thin_out(candidates, rules, verdicts)
    _restore_rejected(candidates, ranked, rules, verdicts)
    return tuple(verdicts)


def count_rejections(verdicts: Iterable[PictureVerdict]) -> dict[str, int]:
    """Number of rejected pictures by reason."""
    return dict(Counter(str(verdict.reason) for verdict in verdicts if not verdict.kept))


def count_restored(verdicts: Iterable[PictureVerdict]) -> dict[str, int]:
    """Number of pictures kept as a last resort, by the reason to reject them."""
    return dict(Counter(str(verdict.reason) for verdict in verdicts if verdict.last_resort))


@dataclass(frozen=True, slots=True)
class _Limits:
    """Limits relative to this video."""

    dark: float
    bright: float
    flat: float
    blurred: float
    soft: float  # sharpness over contrast squared
    border: float
    card: float

    @classmethod
    def from_scores(cls, scores: Sequence[Scores]) -> "_Limits":
        """Limits from all candidates, without empty ones."""
        with_content = [score for score in scores if _has_content(score)] or list(scores)
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
    """Sharpness divided by squared contrast, with which it grows."""
    return scores.sharpness / max(scores.contrast, 1.0) ** 2


def _check_alone(candidate: PictureCandidate, rules: Rules, limits: _Limits) -> PictureVerdict:
    """Verdict of a picture without regard to others."""
    scores = candidate.scores
    if candidate.damaged:
        return PictureVerdict(False, Rejection.DAMAGED)
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
    """Whether it has the requested faces."""
    if rules.faces is FacesMode.IGNORE:
        return True
    count = _face_count(candidate, rules)
    return count == 1 if rules.single else count > 0


def _rank(candidates: Sequence[PictureCandidate], rules: Rules) -> Callable[[int], tuple[float, ...]]:
    """Sort key, best first: requested faces, then sharpness, then time."""

    def key(index: int) -> tuple[float, ...]:
        candidate = candidates[index]
        return (not _preferred(candidate, rules), -candidate.scores.sharpness, index)

    return key


def _select(
    candidates: Sequence[PictureCandidate], ranked: Sequence[int], rules: Rules, verdicts: list[PictureVerdict]
) -> None:
    """Keep the best of each shot; reject near-duplicates of kept ones."""
    taken = PictureIndex()
    of_shot: dict[int, list[float]] = defaultdict(list)  # sharpness
    for index in ranked:
        candidate = candidates[index]
        if not verdicts[index].kept:
            continue
        if (found := _duplicate(candidate, taken, rules.duplicate)) is not None:
            like, figure = found
            verdicts[index] = PictureVerdict(False, Rejection.DUPLICATE, figure, rules.duplicate, like)
        elif len(better := of_shot[candidate.shot]) >= rules.per_shot:
            verdicts[index] = PictureVerdict(False, Rejection.BETTER_IN_SHOT, candidate.scores.sharpness, better[-1])
        else:
            _add(taken, index, candidate)
            better.append(candidate.scores.sharpness)


def _add(taken: PictureIndex, index: int, candidate: PictureCandidate) -> None:
    if candidate.thumbnail is not None:
        taken.add(index, candidate.thumbnail)


def _duplicate(candidate: PictureCandidate, taken: PictureIndex, limit: int) -> tuple[int, int] | None:
    """Index of a kept picture that this one duplicates, and the difference."""
    return None if candidate.thumbnail is None else taken.duplicate(candidate.thumbnail, limit)


def _thin_out(candidates: Sequence[PictureCandidate], rules: Rules, verdicts: list[PictureVerdict]) -> None:
    """Reject pictures above the maximum: first those without preferred faces, then repeated set-ups, then by time."""
    kept = [index for index, verdict in enumerate(verdicts) if verdict.kept]
    others = [index for index in kept if not _preferred(candidates[index], rules)]
    preferred = [index for index in kept if _preferred(candidates[index], rules)]
    room = max(0, rules.most - len(preferred))
    chosen = {*_fewer(candidates, preferred, rules.most), *_fewer(candidates, others, room)}
    for index in set(kept) - chosen:
        verdicts[index] = PictureVerdict(False, Rejection.OVER_MAXIMUM, len(kept), rules.most)


def _fewer(candidates: Sequence[PictureCandidate], indices: list[int], most: int) -> list[int]:
    return _spread_over_time(candidates, _without_repeats(candidates, indices, most), most)


def _without_repeats(candidates: Sequence[PictureCandidate], indices: list[int], most: int) -> list[int]:
    """Indices without the worse of the two most similar pictures, until there are few enough or none of one set-up.

    So each scene stays, and of one scene the poses that differ most.
    """
    known = [(index, thumbnail) for index in indices if (thumbnail := candidates[index].thumbnail) is not None]
    excess = min(len(indices) - most, len(known) - 1)
    if excess <= 0:
        return indices
    alike = likeness([thumbnail for _, thumbnail in known])
    np.fill_diagonal(alike, -1)
    dropped: set[int] = set()
    for _ in range(excess):
        one, other = sorted(divmod(int(np.argmax(alike)), len(known)))
        if alike[one, other] < SAME_SETUP:
            break
        first, second = (candidates[known[at][0]].scores.sharpness for at in (one, other))
        worse = other if first >= second else one
        alike[worse], alike[:, worse] = -1, -1
        dropped.add(known[worse][0])
    return [index for index in indices if index not in dropped]


def _spread_over_time(candidates: Sequence[PictureCandidate], indices: list[int], most: int) -> list[int]:
    """At most `most` of the indices, spread evenly over time."""
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
    """Restore the best rejected pictures up to the minimum, except empty or identical ones."""
    missing = rules.least - sum(verdict.kept for verdict in verdicts)
    if missing <= 0:
        return
    taken = PictureIndex()
    for index, verdict in enumerate(verdicts):
        if verdict.kept:
            _add(taken, index, candidates[index])
    for reason in _RESTORE_ORDER:
        for index in ranked:
            if missing and verdicts[index].reason is reason and _usable(candidates[index], rules):
                limit = min(_IDENTICAL, rules.duplicate) if reason is Rejection.DUPLICATE else rules.duplicate
                if _duplicate(candidates[index], taken, limit) is None:
                    _add(taken, index, candidates[index])
                    verdicts[index] = replace(verdicts[index], kept=True)
                    missing -= 1


def _usable(candidate: PictureCandidate, rules: Rules) -> bool:
    return _has_content(candidate.scores) and _faces(candidate, rules).kept


def sample_evenly(items: Sequence[T], count: int) -> tuple[T, ...]:
    """At most `count` items, spread evenly."""
    if len(items) <= count:
        return tuple(items)
    return tuple(items[int((index + 0.5) * len(items) / count)] for index in range(count))
