"""Media engine benchmark: speed relative to pure decoding and to the usual way, accuracy relative to ground truth.

The programs take turns within each round. A figure is the median over the rounds of the ratio within a round. Each
program is a process of its own, measured from its start to its exit.
"""

import os
import statistics
import sys
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from contentgen_bench.media import checks, dataset_quality, posed, scoring, videos
from contentgen_bench.media.far_store import FarStore, OneWorkerApi, far_store
from contentgen_bench.media.scoring import Score
from contentgen_bench.media.unseen import evaluation
from contentgen_bench.media.videos import Video
from contentgen_bench.processes import Ran, measured
from contentgen_bench.report import Row, load
from contentgen_contract.names import Reason
from contentgen_contract.resources.spec import Speed
from contentgen_sandbox.stores import minimal_environment

_BASE_MB, _CORE_MB = 150, 100
_EXACT, _EXACT_HD, _FAST = 1.65, 1.4, 0.95  # goals, times pure decode; docs/benchmarks.md derives these floors
_DATASET = {"minImages": 4}
_SPEC: dict[str, Any] = {
    "loraName": "bench",
    "triggerWord": checks.TRIGGER,
    "source": {"url": "https://example.com/video.mp4"},
    "dataset": _DATASET,
}


@dataclass(frozen=True)
class MediaBenchSize:
    """Videos of a benchmark run, and the number of rounds."""

    main: str
    fixed: str
    hd: str
    others: tuple[str, ...]  # scored, not timed
    rates: tuple[str, ...]  # likewise, for the positions of Fast's cuts
    unseen: tuple[str, ...]  # sets of contentgen_bench.media.unseen, likewise
    posed: bool  # whether the video of people in poses is measured
    hd_times: int  # repetitions of the 1080p video
    clip_seconds: float  # length of the clip of the main video, for slow programs
    times: int  # repetitions of the main video in the long one, which shows growth of memory
    rounds: int


_RATES = tuple(f"report-small-fixed-{fps}" for fps in videos.FRAME_RATES)
FULL = MediaBenchSize(
    main="report-main",
    fixed="report-main-fixed",
    hd="report-hd",
    others=("report-main-vfr",),
    rates=_RATES,
    unseen=tuple(evaluation.names()),
    posed=True,
    hd_times=5,
    clip_seconds=240,
    times=6,
    rounds=3,
)
SMALL = MediaBenchSize(
    main="report-tiny",
    fixed="report-tiny",
    hd="report-tiny",
    others=(),
    rates=(),
    unseen=(),
    posed=False,
    hd_times=1,
    clip_seconds=12,
    times=2,
    rounds=1,
)


@dataclass
class Rounds:
    """Measurements of each program, one per round."""

    taken: dict[str, list[Ran]] = field(default_factory=lambda: defaultdict(list))

    def seconds(self, name: str) -> float:
        """Median of the wall time, in seconds."""
        return statistics.median(each.seconds for each in self.taken[name])

    def ratio(self, name: str, over: str) -> float:
        """Median of the wall-time ratios within a round."""
        pairs = zip(self.taken[name], self.taken[over], strict=True)
        return statistics.median(pair.seconds / other.seconds for pair, other in pairs)

    def longer(self, name: str, over: str) -> float:
        """Median of the wall-time differences within a round, in seconds."""
        pairs = zip(self.taken[name], self.taken[over], strict=True)
        return statistics.median(pair.seconds - other.seconds for pair, other in pairs)

    def peak_mb(self, name: str) -> float:
        """Peak memory over all rounds, in MB."""
        return max(each.peak_mb for each in self.taken[name])

    def text(self, name: str) -> str:
        """Wall time and number of rounds as text, for a row's note."""
        times = len(self.taken[name])
        return f"{name} {self.seconds(name):.1f} s" + (f", {times} rounds" if times > 1 else "")


class MediaBench:
    """One run of all programs. They write to `folder`."""

    def __init__(self, size: MediaBenchSize, folder: Path, store: FarStore) -> None:
        self._size = size
        self._folder = folder
        self._store = store
        self._cores = sorted(os.sched_getaffinity(0))
        self._stored: dict[Path, str] = {}
        self._main = videos.ensure(size.main)
        self._fixed = videos.ensure(size.fixed)
        self._hd = videos.repeated(size.hd, size.hd_times)
        self._clip = videos.beginning(size.main, size.clip_seconds)
        self._long = videos.repeated(size.main, size.times)
        self.rounds = Rounds()

    def run(self, seconds: float | None = None) -> list[Row]:
        """Run all rounds and return the rows.

        `seconds` is the time budget: a round is skipped if the rest of the run would not fit. None means all rounds.
        """
        begun, took = time.monotonic(), 0.0
        for done in range(self._size.rounds):
            rest = (self._size.times + 2) * self.rounds.seconds("local") if done else 0.0
            at = time.monotonic()
            if seconds is not None and done and at - begun + took + rest > seconds:
                break
            for name, ran in self._round():
                self._note(name, ran)
            took = time.monotonic() - at
        for name, ran in self._once():
            self._note(name, ran)
        return [*self._speed(), *self._accuracy(), *self._unseen(), *self._quality()]

    def details(self) -> dict[str, Any]:
        """Every measurement, by program: seconds of wall time and of CPU, peak MB."""
        return {
            name: [{"seconds": each.seconds, "cpu": each.cpu_seconds, "MB": each.peak_mb} for each in taken]
            for name, taken in self.rounds.taken.items()
        }

    def _round(self) -> Iterator[tuple[str, Ran]]:
        """Run the programs of one round, one at a time; those that are compared follow each other."""
        yield "limit", self._limit(self._main)
        yield "stored", self._prepare(self._main)
        yield "local", self._dataset(self._main, "exact")
        yield "fast", self._dataset(self._main, "fast", Speed.FAST)
        yield "one core", self._dataset(self._main, "one", cores=set(self._cores[:1]))
        yield "fixed limit", self._limit(self._fixed)
        yield "fixed fast", self._dataset(self._fixed, "fixed-fast", Speed.FAST)
        yield "hd limit", self._limit(self._hd)
        yield "hd stored", self._prepare(self._hd)
        yield "clip stored", self._prepare(self._clip)
        yield "clip usual", self._usual(self._clip)

    def _once(self) -> Iterator[tuple[str, Ran]]:
        """Run the programs that are measured once, because they are slow or because their time has no goal."""
        yield "long", self._dataset(self._long, "long")
        yield "limit, one core", self._limit(self._main, set(self._cores[:1]))
        yield "clip limit", self._limit(self._clip)
        yield "fixed exact", self._dataset(self._fixed, "fixed-exact")
        yield "limited", self._dataset(self._main, "limited", settings=self._half_of_the_shots())
        if self._size.posed:
            yield "posed", self._dataset(posed.video(), "posed", settings=posed.WHOLE)
            yield "posed limited", self._dataset(posed.video(), "posed-limited", settings=posed.LIMITED)
        for name in self._size.others:
            yield name, self._dataset(videos.ensure(name), name)
        for name in self._size.rates:
            yield name, self._dataset(videos.ensure(name), name, Speed.FAST)

    def _note(self, name: str, ran: Ran) -> None:
        self.rounds.taken[name].append(ran)
        print(f"{name}: {ran.seconds:.1f} s, CPU {ran.cpu_seconds:.1f} s, {ran.peak_mb:.0f} MB, load {load()}")

    # --- programs ------------------------------------------------------------------------------------------------

    def _limit(self, video: Video, cores: set[int] | None = None) -> Ran:
        return measured([sys.executable, "-m", "contentgen_bench.media.pure_decode", str(video.path)], cores=cores)

    def _half_of_the_shots(self) -> dict[str, Any]:
        """Settings of a dataset that cannot contain every shot."""
        return {**_DATASET, "maxImages": max(_DATASET["minImages"], len(self._main.truth.shots) // 2)}

    def _dataset(
        self,
        video: Video,
        name: str,
        speed: Speed = Speed.EXACT,
        cores: set[int] | None = None,
        settings: dict[str, Any] | None = None,
    ) -> Ran:
        """Run the engine from a file to a folder."""
        return measured(checks.dataset_command(video.path, self._out(name), speed, settings or _DATASET), cores=cores)

    def _prepare(self, video: Video) -> Ran:
        """Run the engine as in a pod, from a remote store to the same store.

        Raises RuntimeError if it does not complete, or if an output is missing from the store.
        """
        number = sum(len(each) for each in self.rounds.taken.values())
        prefix = f"run-{number}/"
        scratch = self._out(prefix)
        scratch.mkdir(parents=True)
        token = self._folder / "token"
        token.write_text("bench")
        with OneWorkerApi(self._store, self._source(video), prefix, _SPEC) as worker_api:
            environment = minimal_environment() | {
                "CONTENTGEN_WORKER_API_URL": worker_api.url,
                "CONTENTGEN_TOKEN_FILE": str(token),
                "CONTENTGEN_SCRATCH": str(scratch),
            }
            ran = measured([sys.executable, "-m", "contentgen_worker", "prepare"], environment)
            outcome = worker_api.outcome()
        if outcome.reason is not Reason.COMPLETED:
            raise RuntimeError(f"prepare: {outcome.reason} {outcome.message}")
        sizes = self._store.sizes(prefix)
        missing = [file.name for file in outcome.files if sizes.get(file.name) != file.size_bytes]
        if missing:
            raise RuntimeError(f"prepare: not in the store: {missing}")
        if video is self._main:
            self.objects = len(outcome.files)
        return ran

    def _usual(self, video: Video) -> Ran:
        """Run the usual way, from a file to the remote store."""
        folder = self._out("usual")
        folder.mkdir(exist_ok=True)
        command = [sys.executable, "-m", "contentgen_bench.media.usual_way", str(video.path), str(folder)]
        return measured([*command, self._store.far, self._store.bucket, "usual/"])

    def _source(self, video: Video) -> str:
        if video.path not in self._stored:
            self._stored[video.path] = f"sources/{video.path.name}"
            self._store.put(self._stored[video.path], video.path)
        return self._stored[video.path]

    def _out(self, name: str) -> Path:
        return self._folder / name

    # --- rows ----------------------------------------------------------------------------------------------------

    def _speed(self) -> list[Row]:
        rounds, cores = self.rounds, len(self._cores)
        peak, long_peak = rounds.peak_mb("local"), rounds.peak_mb("long")
        times, megabytes = self._size.times, self._main.path.stat().st_size / 1e6
        return [
            Row(
                figure="exact, video in a store → dataset in a store ÷ pure decode on all cores",
                value=_round(rounds.ratio("stored", "limit")),
                unit="times",
                goal=_EXACT,
                note=f"{rounds.text('stored')}, {rounds.text('limit')}, {self.objects} objects",
            ),
            Row(
                figure="exact, file → folder ÷ pure decode on all cores",
                value=_round(rounds.ratio("local", "limit")),
                unit="times",
                note=rounds.text("local"),
            ),
            Row(
                figure=f"1080p, exact, store → store ÷ pure decode ({_length(self._hd)})",
                value=_round(rounds.ratio("hd stored", "hd limit")),
                unit="times",
                goal=_EXACT_HD,
                note=f"{rounds.text('hd stored')}, {rounds.text('hd limit')}",
            ),
            Row(
                figure=f"the usual way ÷ exact, both into the store ({_length(self._clip)})",
                value=_round(rounds.ratio("clip usual", "clip stored")),
                unit="times",
                goal=7,
                bound="at least",
                note=f"{rounds.text('clip usual')}, {rounds.text('clip stored')}",
            ),
            Row(
                figure="the usual way ÷ pure decode: upper bound of the speedup",
                value=_round(rounds.seconds("clip usual") / rounds.seconds("clip limit")),
                unit="times",
                note=rounds.text("clip limit"),
            ),
            Row(
                figure="fast ÷ pure decode, keyframes chosen by the encoder",
                value=_round(rounds.ratio("fast", "limit")),
                unit="times",
                goal=_FAST,
                note=rounds.text("fast"),
            ),
            Row(
                figure=f"fast ÷ pure decode, a keyframe every 2 s ({_length(self._fixed)})",
                value=_round(rounds.ratio("fixed fast", "fixed limit")),
                unit="times",
                goal=_FAST,
                note=f"{rounds.text('fixed fast')}, {rounds.text('fixed limit')}",
            ),
            Row(figure="peak memory (PSS)", value=round(peak), unit="MB", goal=_BASE_MB + _CORE_MB * cores),
            Row(
                figure=f"growth of peak memory, {_length(self._main)} → {_length(self._long)}",
                value=_round(100 * (long_peak / peak - 1)),
                unit="%",
                goal=10,
                note=f"{long_peak:.0f} MB",
            ),
            Row(
                figure=f"time for {_length(self._long)} ÷ {times} times that for {_length(self._main)}",
                value=_round(rounds.seconds("long") / (times * rounds.seconds("local"))),
                unit="times",
                goal=1.10,
                note=rounds.text("long"),
            ),
            Row(
                figure=f"one core ÷ {cores} cores",
                value=_round(rounds.ratio("one core", "local")),
                unit="times",
                goal=1.8,
                bound="at least",
                note=rounds.text("one core"),
            ),
            Row(
                figure=f"pure decode, one core ÷ {cores} cores: upper bound",
                value=_round(rounds.seconds("limit, one core") / rounds.seconds("limit")),
                unit="times",
                note=rounds.text("limit, one core"),
            ),
            Row(
                figure=f"extra wall time of a download of {megabytes:.0f} MB and of the uploads",
                value=_round(rounds.longer("stored", "local")),
                unit="s",
                goal=1,
            ),
        ]

    def _accuracy(self) -> list[Row]:
        exact, fast = self._scored(self._main, "exact"), self._scored(self._main, "fast")
        fixed, fixed_fast = self._scored(self._fixed, "fixed-exact"), self._scored(self._fixed, "fixed-fast")
        others = checks.pyscenedetect(self._main)
        best = max(others, key=lambda name: others[name].f1)
        rows = [
            Row(
                figure="F1 of shot boundaries, set not tuned on",
                value=_round(exact.f1),
                unit="",
                goal=0.97,
                bound="at least",
                note=str(exact),
            ),
            Row(
                figure="F1 minus that of PySceneDetect's best detector",
                value=_round(exact.f1 - others[best].f1),
                unit="",
                goal=0.04,
                bound="at least",
                note=best,
            ),
            *(
                Row(figure=f"F1 of PySceneDetect's {name}", value=_round(each.f1), unit="", note=str(each))
                for name, each in others.items()
            ),
            Row(
                figure="F1 of exact - F1 of fast, keyframes chosen by the encoder",
                value=_round(exact.f1 - fast.f1),
                unit="",
                goal=0.02,
                note=str(fast),
            ),
            Row(
                figure="F1 of exact - F1 of fast, a keyframe every 2 s",
                value=_round(fixed.f1 - fixed_fast.f1),
                unit="",
                goal=0.02,
                note=f"{fixed}; fast: {fixed_fast}",
            ),
        ]
        for name in self._size.others:
            found = self._scored(videos.ensure(name), name)
            rows.append(Row(figure=f"F1, {name}", value=_round(found.f1), unit="", note=str(found)))
        return [*rows, *self._positions()]

    def _positions(self) -> list[Row]:
        """Largest error of Fast's cuts at each frame rate."""
        rows = []
        for name in self._size.rates:
            video = videos.ensure(name)
            errors = scoring.cut_errors(video.truth, checks.boundaries(self._out(name)))
            rows.append(
                Row(
                    figure=f"fast: largest error of a cut, {name}",
                    value=max(errors, default=0.0),
                    unit="frames",
                    goal=2,
                    note=f"{len(errors)} cuts, {self._scored(video, name)}",
                )
            )
        return rows

    def _unseen(self) -> list[Row]:
        found = [evaluation.evaluate(name, self._out("unseen")) for name in self._size.unseen]
        for request in found:
            print(request)
        return evaluation.rows(found) if found else []

    def _quality(self) -> list[Row]:
        found = checks.faults(self._main, self._out("exact"))
        return [
            Row(
                figure="chosen frames in a transition",
                value=found.in_transition,
                unit="frames",
                goal=0,
                note=f"of {found.chosen}",
            ),
            Row(
                figure="chosen frames blurred (half as sharp as the shot's sharpest)",
                value=_round(100 * found.blurred / max(1, found.chosen)),
                unit="%",
                goal=2,
            ),
            Row(figure="chosen frames that are near-duplicates", value=found.duplicates, unit="frames", goal=0),
            *self._against_truth(),
            *(self._poses() if self._size.posed else ()),
        ]

    def _poses(self) -> list[Row]:
        return posed.rows(posed.measure(self._out("posed")), posed.measure(self._out("posed-limited")))

    def _against_truth(self) -> list[Row]:
        """Rows of the chosen frames against the best of their shots, of coverage and of balance."""
        found = dataset_quality.measure(self._size.main, self._out("exact"))
        limited = dataset_quality.measure(self._size.main, self._out("limited"))
        repeated = ", ".join(f"{one:.1f} s and {other:.1f} s" for one, other in found.near_duplicates[:3])
        return [
            Row(
                figure="pairs of near-duplicates by the labelled definition",
                value=len(found.near_duplicates),
                unit="pairs",
                goal=0,
                note=repeated or "same place and framing, whatever light and blur",
            ),
            Row(
                figure="sharpness of chosen frames ÷ the shot's sharpest, median",
                value=_round(found.sharpness),
                unit="",
                goal=0.9,
                bound="at least",
                note=f"lowest tenth {found.least_sharp:.2f}",
            ),
            Row(
                figure="chosen frames darker, brighter or more clipped than their shot",
                value=_round(100 * found.badly_exposed),
                unit="%",
                goal=2,
            ),
            Row(
                figure="chosen frames of talkers with closed eyes",
                value=_round(100 * found.eyes_closed),
                unit="%",
                goal=4,
            ),
            Row(
                figure="shots without a picture",
                value=_round(100 * found.empty_shots),
                unit="%",
                note=f"at most {found.most_per_shot} of a shot; repeated set-ups have one",
            ),
            Row(
                figure="distinct places ÷ possible, with maxImages of half the shots",
                value=_round(limited.places),
                unit="",
                goal=0.95,
                bound="at least",
                note=f"{limited.pictures} pictures, {len(limited.near_duplicates)} pairs of near-duplicates",
            ),
        ]

    def _scored(self, video: Video, name: str) -> Score:
        return scoring.score(video.truth, checks.boundaries(self._out(name)))


def run(
    size: MediaBenchSize, keep: Path | None = None, seconds: float | None = None
) -> tuple[list[Row], dict[str, Any]]:
    """All rows, and the measurements behind them. `seconds` is the time budget; None means no limit."""
    with ExitStack() as stack:
        folder = keep or Path(stack.enter_context(TemporaryDirectory(prefix="contentgen-bench-")))
        bench = MediaBench(size, folder, stack.enter_context(far_store(folder)))
        rows = bench.run(seconds)
        return rows, bench.details()


def _round(value: float) -> float:
    return round(value, 3)


def _length(video: Video) -> str:
    seconds = video.truth.seconds[-1]
    return f"{seconds / 60:.0f} min" if seconds > 90 else f"{seconds:.0f} s"
