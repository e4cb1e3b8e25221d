"""Table of the compared measures, in Markdown."""

from collections.abc import Iterator
from pathlib import Path

from contentgen_bench.media.duplicates.measures import compare, measures
from contentgen_bench.media.duplicates.pairs import generated
from contentgen_bench.media.duplicates.real import fetch, real


def lines(folder: Path | None, embedding: Path | None, *, fetch_first: bool) -> Iterator[str]:
    """Lines of the table. Without a folder, only the generated pairs are compared."""
    if folder is not None and fetch_first:
        fetch(folder)
    pairs = [*generated(), *(real(folder) if folder is not None else ())]
    same = sum(pair.same for pair in pairs)
    yield f"{same} pairs of the same picture, {len(pairs) - same} of different ones"
    yield ""
    columns = ("measure", "threshold", "precision", "recall", "F1", "poses kept", "of real pictures", "`tune`")
    yield f"| {' | '.join(columns)} |"
    yield "| --- | --- | --- | --- | --- | --- | --- | --- |"
    for each in compare(pairs, measures(embedding)):
        held, tune, real_ones = each.held_out, each.tune, each.real
        yield (
            f"| {each.name} | {each.threshold:.3g} | {held.precision:.3f} | {held.recall:.3f} | {held.f1:.3f} "
            f"| {held.poses:.3f} | {real_ones.precision:.3f}, {real_ones.recall:.3f} "
            f"| {tune.precision:.3f}, {tune.recall:.3f}, {tune.f1:.3f}, {tune.poses:.3f} |"
        )
