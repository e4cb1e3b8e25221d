"""Scores on the unseen sets: `python -m contentgen_bench.media.unseen [SET...]`; without names, all sets."""

import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from contentgen_bench import report
from contentgen_bench.media.unseen import evaluation


def main() -> None:
    """Print the scores of each set, and their sums."""
    found = []
    for name in sys.argv[1:] or evaluation.names():
        with TemporaryDirectory(prefix="contentgen-unseen-") as folder:
            found.append(evaluation.evaluate(name, Path(folder)))
        print(found[-1], flush=True)
    print(sum(found[1:], found[0]))
    print(report.table(evaluation.rows(found)))


if __name__ == "__main__":
    main()
