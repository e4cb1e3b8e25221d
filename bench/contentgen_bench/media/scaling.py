"""Scaling of the media engine: memory by length, and time by number of workers.

For more workers than this machine has cores, each process is limited to the same share of a core, cores / workers. So
the machine behaves like one with a core for each worker, slower by that factor.
"""

import json
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from contentgen_bench.media import videos
from contentgen_bench.processes import Ran, measured
from contentgen_bench.report import Row, load
from contentgen_contract.resources.spec import Speed


@dataclass(frozen=True)
class ScalingSize:
    """Videos of a run: `hd` is repeated `short` and `long` times for memory; `main` is used for workers."""

    hd: str
    short: int
    long: int
    main: str
    workers: tuple[int, ...]


FULL = ScalingSize("report-hd", 5, 120, "report-main", (1, 2, 4, 8))
SMALL = ScalingSize("report-tiny", 1, 2, "report-tiny", (1, 2))


@dataclass(frozen=True)
class ScalingLaw:
    """Time of `n` workers: `serial + parallel / n`, in seconds."""

    serial: float
    parallel: float

    @classmethod
    def fitted(cls, workers: Sequence[int], seconds: Sequence[float]) -> "ScalingLaw":
        """Least squares of the relative errors."""
        weights = 1 / np.array(seconds)
        terms = np.column_stack([weights, weights / np.array(workers)])
        serial, parallel = np.linalg.lstsq(terms, np.ones(len(weights)), rcond=None)[0]
        return cls(float(serial), float(parallel))

    def seconds(self, workers: int) -> float:
        """Time of this number of workers."""
        return self.serial + self.parallel / workers


def run(size: ScalingSize) -> list[Row]:
    """Rows of all measurements."""
    with TemporaryDirectory(prefix="contentgen-scaling-") as folder:
        return [*_memory(size, Path(folder)), *_workers(size, Path(folder))]


def _memory(size: ScalingSize, folder: Path) -> list[Row]:
    short, long = (videos.repeated(size.hd, times).path for times in (size.short, size.long))
    few, many = (_dataset(path, folder / path.stem) for path in (short, long))
    minutes = [videos.recipes()[size.hd].seconds * times / 60 for times in (size.short, size.long)]
    name = f"{minutes[0]:g} min → {minutes[1]:g} min of 1080p"
    return [
        Row(
            figure=f"growth of peak memory, {name}",
            value=round(100 * (many.peak_mb / few.peak_mb - 1), 2),
            unit="%",
            goal=10,
            note=f"{few.peak_mb:.0f} MB, {many.peak_mb:.0f} MB",
        ),
        Row(
            figure=f"time for a minute of video, {name}",
            value=round(many.seconds / few.seconds * size.short / size.long, 2),
            unit="times",
            goal=1.1,
            note=f"{few.seconds:.1f} s, {many.seconds:.1f} s",
        ),
    ]


def _workers(size: ScalingSize, folder: Path) -> list[Row]:
    video, cores = videos.ensure(size.main).path, sorted(os.sched_getaffinity(0))
    rows, taken = [], []
    for workers in size.workers:
        share = min(1.0, len(cores) / workers)
        ran = _dataset(video, folder / str(workers), workers, cores=set(cores[:workers]), share=share)
        taken.append(ran.seconds * share)
        simulated = f", each process limited to {share:g} of a core" if share < 1 else ""
        rows.append(
            Row(
                figure=f"time with {workers} worker{'s' * (workers > 1)}{simulated}",
                value=round(taken[-1], 2),
                unit="s",
                note=f"CPU {ran.cpu_seconds:.1f} s, {ran.peak_mb:.0f} MB",
            )
        )
    law = ScalingLaw.fitted(size.workers, taken)
    misses = [abs(law.seconds(n) / seconds - 1) for n, seconds in zip(size.workers, taken, strict=True)]
    law_row = Row(
        figure="serial part of the time, the same for any number of workers",
        value=round(law.serial, 2),
        unit="s",
        note=f"time of n workers = {law.serial:.2f} s + {law.parallel:.1f} s / n, within {max(misses):.0%}",
    )
    return [*rows, law_row]


def _dataset(
    video: Path, out: Path, workers: int | None = None, cores: set[int] | None = None, share: float = 1.0
) -> Ran:
    """Run the engine from a file to a folder."""
    program = ["contentgen_bench.media.with_workers", str(workers)] if workers else ["contentgen_worker"]
    options = ["--speed", Speed.EXACT.value, "--settings", json.dumps({"minImages": 4})]
    command = [sys.executable, "-m", *program, "dataset", str(video), str(out), *options]
    ran = measured(command, cores=cores, share=share)
    print(f"{out.name}: {ran.seconds:.1f} s, CPU {ran.cpu_seconds:.1f} s, {ran.peak_mb:.0f} MB, load {load()}")
    return ran
