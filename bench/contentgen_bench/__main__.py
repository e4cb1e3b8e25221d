"""Command line of the benchmarks: `python -m contentgen_bench e2e` writes `build/bench/e2e.json` and prints a table."""

import json
import sys
import time
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated

import typer

from contentgen_bench import report
from contentgen_bench.gateway import load_test
from contentgen_bench.latency import e2e, one_job
from contentgen_bench.latency.soak import Soak, install
from contentgen_bench.latency.soak import rows as soak_rows
from contentgen_bench.media import comparison, golden, scaling, videos
from contentgen_bench.media.unseen import evaluation, mistakes
from contentgen_e2e.world import open_world

_DOCUMENTED_MINUTES = 20
app = typer.Typer(add_completion=False, help=__doc__, no_args_is_help=True, pretty_exceptions_enable=False)


@app.callback()
def main() -> None:
    """Benchmarks."""


@app.command("e2e")
def end_to_end(
    *,
    small: Annotated[bool, typer.Option(help="A tenth of the size, as a smoke test.")] = False,
    jobs: Annotated[int | None, typer.Option(help="Number of jobs; default 500.")] = None,
    profile: Annotated[Path | None, typer.Option(help="File for the operator's profile (cProfile).")] = None,
    standing: Annotated[bool, typer.Option(help="Also measure start, memory and idle CPU.")] = True,
    pods: Annotated[int, typer.Option(help="Rounds with real pods on the installed release; 0 skips them.")] = 5,
    keep: Annotated[Path | None, typer.Option(help="Empty folder in which logs are kept.")] = None,
) -> None:
    """Measure the figures of docs/benchmarks.md."""
    wrapper = (sys.executable, "-m", "cProfile", "-o", str(profile.resolve())) if profile else ()
    size = e2e.SMALL if small else e2e.FULL
    size = replace(size, jobs=jobs or size.jobs)
    if keep:
        keep.mkdir(parents=True, exist_ok=True)
        rows, details = e2e.run(size, keep.resolve(), wrapper, standing=standing)
    else:
        with e2e.temporary() as folder:
            rows, details = e2e.run(size, Path(folder), wrapper, standing=standing)
    if pods:
        with_pods, more = one_job.run(report.ROOT, 1 if small else pods)
        rows, details = [*with_pods, *rows], {"pods": more, **details}
    print(json.dumps(details, indent=1))
    print(report.table(rows))
    print(report.write("e2e-small" if small else "e2e", rows))
    if small:
        return
    if pods and standing:
        report.document("e2e", rows)
    raise typer.Exit(report.verdict(rows))


@app.command("latency")
def one_at_a_time(rounds: Annotated[int, typer.Option(help="Jobs per kind.")] = 5) -> None:
    """Measure only the figures with real pods."""
    rows, details = one_job.run(report.ROOT, rounds)
    print(json.dumps(details, indent=1))
    print(report.table(rows))
    print(report.write("latency", rows))


@app.command()
def soak(minutes: Annotated[float, typer.Option(min=0.5, help="Minutes during which jobs arrive.")] = 20) -> None:
    """Run jobs of all kinds on the installed release while its operator is killed every 30 s."""
    root = report.ROOT
    install(root)
    with open_world(root, f"soak-{int(time.time())}") as world:
        found = Soak(world).run(minutes)
    rows = soak_rows(found, minutes)
    for line in (*found.violations, *found.log):
        print(line)
    print(report.table(rows))
    print(report.write("soak", rows))
    if minutes >= _DOCUMENTED_MINUTES:
        report.document("soak", rows)
    raise typer.Exit(report.verdict(rows))


@app.command("media")
def media_engine(
    *,
    small: Annotated[bool, typer.Option(help="Small videos and one round, as a smoke test.")] = False,
    rounds: Annotated[int | None, typer.Option(min=1, help="Number of rounds; default 3.")] = None,
    minutes: Annotated[float | None, typer.Option(help="Time limit, which reduces the rounds.")] = None,
    keep: Annotated[Path | None, typer.Option(help="Empty folder in which the datasets are kept.")] = None,
) -> None:
    """Compare the media engine with pure decoding and with the usual approach."""
    size = comparison.SMALL if small else comparison.FULL
    rows, details = comparison.run(replace(size, rounds=rounds or size.rounds), keep, minutes * 60 if minutes else None)
    print(json.dumps(details, indent=1))
    print(report.table(rows))
    print(report.write("media-small" if small else "media", rows))
    if not small:
        report.document("media", rows)
        raise typer.Exit(report.verdict(rows))


@app.command("scaling")
def media_scaling(*, small: Annotated[bool, typer.Option(help="Small videos, as a smoke test.")] = False) -> None:
    """Measure the media engine on four hours of 1080p, and with more workers than cores; needs root and 10 GB."""
    rows = scaling.run(scaling.SMALL if small else scaling.FULL)
    print(report.table(rows))
    print(report.write("scaling-small" if small else "scaling", rows))
    if not small:
        report.document("scaling", rows)
        raise typer.Exit(report.verdict(rows))


@app.command("gateway")
def http_api(*, small: Annotated[bool, typer.Option(help="A tenth of the size, as a smoke test.")] = False) -> None:
    """Measure the gateway: lists, search, one job, streams."""
    rows = load_test.run(load_test.SMALL if small else load_test.FULL)
    print(f"load {report.load()}")
    print(report.table(rows))
    print(report.write("gateway-small" if small else "gateway", rows))
    if not small:
        report.document("gateway", rows)
        raise typer.Exit(report.verdict(rows))


@app.command("golden")
def renew_golden() -> None:
    """Regenerate the golden dataset and print the differences."""
    with e2e.temporary() as folder:
        for difference in golden.renew(sys.executable, Path(folder) / "out"):
            print(difference)


@app.command("unseen")
def unseen_sets(
    names: Annotated[list[str] | None, typer.Argument(help="Names of sets; without names, all.")] = None,
    *,
    picture: Annotated[Path | None, typer.Option(help="JPEG file for the frames around all mistakes.")] = None,
) -> None:
    """Score the detector on the sets that it was not tuned on."""
    found = []
    for name in names or evaluation.names():
        with TemporaryDirectory(prefix="contentgen-unseen-") as folder:
            found.append(evaluation.evaluate(name, Path(folder)))
        print(found[-1], flush=True)
    total = sum(found[1:], found[0])
    print(total)
    rows = evaluation.rows(found)
    print(report.table(rows))
    if picture:
        mistakes.picture(total.mistakes).save(picture, quality=85)
    raise typer.Exit(report.verdict(rows))


@app.command("videos")
def make_videos(
    names: Annotated[
        list[str] | None, typer.Argument(help="Names such as tune-small; without names, a list is printed.")
    ] = None,
) -> None:
    """Generate test videos with their ground truth and print their paths."""
    for name in names or []:
        print(videos.ensure(name).path)
    if not names:
        print("\n".join(videos.recipes()))


if __name__ == "__main__":
    app()
