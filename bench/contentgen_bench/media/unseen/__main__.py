"""Scores on the unseen sets: `python -m contentgen_bench.media.unseen [--picture FILE] [SET...]`; default: all sets."""

from argparse import ArgumentParser
from pathlib import Path
from tempfile import TemporaryDirectory

from contentgen_bench import report
from contentgen_bench.media.unseen import evaluation, mistakes


def main() -> None:
    """Print the scores of each set, and their sums; write a picture of the mistakes if asked."""
    parser = ArgumentParser(description=__doc__)
    parser.add_argument("--picture", type=Path, help="JPEG file for frames of all mistakes")
    parser.add_argument("sets", nargs="*", help="names of sets")
    arguments = parser.parse_args()
    found = []
    for name in arguments.sets or evaluation.names():
        with TemporaryDirectory(prefix="contentgen-unseen-") as folder:
            found.append(evaluation.evaluate(name, Path(folder)))
        print(found[-1], flush=True)
    total = sum(found[1:], found[0])
    print(total)
    print(report.table(evaluation.rows(found)))
    if arguments.picture:
        mistakes.picture(total.mistakes).save(arguments.picture, quality=85)


if __name__ == "__main__":
    main()
