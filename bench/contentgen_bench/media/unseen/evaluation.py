"""Scores of the engine and of PySceneDetect on the unseen sets and on the real clips."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from contentgen_bench.media import scoring
from contentgen_bench.media.scoring import Score
from contentgen_bench.media.unseen import clips, rival, sets
from contentgen_bench.media.unseen.clips import ClipUnavailable, LabelledClip
from contentgen_bench.report import Row
from contentgen_contract.resources.spec import Dataset, Speed
from contentgen_contract.worker.orders import Limits
from contentgen_worker.media.decode.bounds import MediaLimits
from contentgen_worker.media.decode.probe import probe
from contentgen_worker.media.engine import analyse_recording, make_task
from contentgen_worker.media.shots.segments import cores

CLIPS = "clips"  # name of the set of all real clips
F1, LEAD, FALSE = 0.98, 0.04, 1.0  # goals; FALSE is in boundaries per 100 shots


@dataclass(frozen=True)
class Mistake:
    """Boundary of a video that is not found (`missed`), or that is none, with its span in seconds."""

    path: Path
    missed: bool
    kind: str
    start: float
    end: float


@dataclass(frozen=True)
class EngineScore:
    """Score of the engine at one speed, and its mistakes."""

    score: Score
    mistakes: tuple[Mistake, ...]


@dataclass(frozen=True)
class SetScore:
    """Scores of one set. `settings` are those of PySceneDetect's best detector on it, and `rival` is its score.

    `mistakes` are those of `exact`.
    """

    name: str
    shots: int
    exact: Score
    fast: Score
    settings: str
    rival: Score
    mistakes: tuple[Mistake, ...] = ()

    def __add__(self, other: "SetScore") -> "SetScore":
        """Sum over several sets."""
        return SetScore(
            name="all",
            shots=self.shots + other.shots,
            exact=self.exact + other.exact,
            fast=self.fast + other.fast,
            settings="the best of each set",
            rival=self.rival + other.rival,
            mistakes=self.mistakes + other.mistakes,
        )

    def false_per_100(self, score: Score) -> float:
        """False boundaries per 100 shots."""
        return 100 * score.wrong / self.shots

    def __str__(self) -> str:
        return (
            f"{self.name}, {self.shots} shots\n"
            f"  exact: {self.exact}, {self.false_per_100(self.exact):.1f} false per 100 shots\n"
            f"  fast:  {self.fast}, {self.false_per_100(self.fast):.1f} false per 100 shots\n"
            f"  PySceneDetect ({self.settings}): {self.rival}"
        )


def names() -> list[str]:
    """Names of all sets."""
    return [*sets.recipes(), CLIPS]


def evaluate(name: str, folder: Path) -> SetScore:
    """Scores of a set; files are written below `folder`. Clips that are not available are printed and left out.

    Raises ClipUnavailable if no clip is available.
    """
    chosen = _clips() if name == CLIPS else [LabelledClip(sets.ensure(name), 0.0)]
    settings, best = rival.best([each.video for each in chosen])
    exact, fast = (_engine(chosen, speed, folder / name) for speed in (Speed.EXACT, Speed.FAST))
    return SetScore(
        name=name,
        shots=sum(len(each.video.truth.shots) for each in chosen),
        exact=exact.score,
        fast=fast.score,
        settings=settings,
        rival=best,
        mistakes=exact.mistakes,
    )


def _clips() -> list[LabelledClip]:
    found, missing = [], []
    for clip in clips.labels():
        try:
            found.append(clips.ensure(clip))
        except ClipUnavailable as error:
            missing.append(str(error))
            print(f"not available: {error}")
    if not found:
        raise ClipUnavailable("; ".join(missing))
    return found


def _engine(chosen: Sequence[LabelledClip], speed: Speed, folder: Path) -> EngineScore:
    total, mistakes = Score(0, 0, 0, 0, 0), []
    for each in chosen:
        video = each.video
        found = _boundaries(video.path, speed, folder / f"{video.path.stem}-{speed.value}")
        found = [(end, start) for end, start in found if start > each.start]
        total += scoring.score(video.truth, found)
        missed, false = scoring.mistakes(video.truth, found)
        mistakes += [Mistake(video.path, missed=True, kind=gap.kind, start=gap.start, end=gap.end) for gap in missed]
        mistakes += [Mistake(video.path, missed=False, kind="", start=start, end=end) for start, end in false]
    return EngineScore(total, tuple(mistakes))


def _boundaries(path: Path, speed: Speed, folder: Path) -> list[tuple[float, float]]:
    """Detected boundaries in seconds. A clip may have too few pictures for a dataset, so none is made."""
    limits = Limits()
    bounds = MediaLimits(limits.pixels, limits.duration_seconds)
    recording = probe(path, bounds)
    task = make_task(path, bounds, Dataset(speed=speed), recording.fps)
    folder.mkdir(parents=True)
    shots = analyse_recording(task, folder / "frames", cores(), lambda _: None).shots
    return [(before.end, after.start) for before, after in pairwise(shots)]


def rows(found: Sequence[SetScore]) -> list[Row]:
    """Rows of the benchmark's report."""
    total = sum(found[1:], found[0])
    worst = min(found, key=lambda each: each.exact.f1)
    return [
        Row(
            figure="F1 on the unseen sets",
            value=round(total.exact.f1, 3),
            unit="",
            goal=F1,
            bound="at least",
            note=f"{total.exact}; lowest: {worst.name} {worst.exact.f1:.3f}; fast: {total.fast}",
        ),
        Row(
            figure="F1 minus PySceneDetect's best at its best settings per set, unseen sets",
            value=round(total.exact.f1 - total.rival.f1, 3),
            unit="",
            goal=LEAD,
            bound="at least",
            note=str(total.rival),
        ),
        Row(
            figure="false boundaries per 100 shots, unseen sets",
            value=round(total.false_per_100(total.exact), 2),
            unit="",
            goal=FALSE,
            note=f"of {total.shots} shots",
        ),
        *(
            Row(
                figure=f"F1, unseen set {each.name}",
                value=round(each.exact.f1, 3),
                unit="",
                note=f"{each.shots} shots, wrong {each.exact.wrong}; fast {each.fast.f1:.3f}, wrong {each.fast.wrong}; "
                f"PySceneDetect {each.rival.f1:.3f}, wrong {each.rival.wrong}: {each.settings}",
            )
            for each in found
        ),
    ]
