"""Run the campaign; exit code 1 after a finding: `python -m contentgen_simulation.mutated_answers --mutants 16000`."""

import argparse
import asyncio
import logging
import sys
import time
import warnings
from collections import Counter

from contentgen_simulation.mutated_answers.checks import check
from contentgen_simulation.mutated_answers.mutants import MutatedAnswer, mutants
from contentgen_simulation.mutated_answers.runs import NOT_MET, run

_SHOWN = 3  # findings of one kind


async def campaign(count: int, seed: int, each_run: int) -> list[tuple[MutatedAnswer, str]]:
    """Findings among so many mutants; each `each_run`-th one is met by a whole run as well."""
    expected, found = dict[str, list[object]](), list[tuple[MutatedAnswer, str]]()
    for number, mutant in enumerate(mutants(count, seed)):
        wrong = await check(mutant, expected)
        if number % each_run == 0 and mutant.name not in NOT_MET:
            wrong += await run(mutant)
        found += [(mutant, each) for each in wrong]
    return found


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--mutants", type=int, default=16000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--each-run", type=int, default=20, help="each n-th mutant is met by a whole run as well")
    asked = parser.parse_args()
    warnings.simplefilter("ignore")
    logging.disable(logging.CRITICAL)
    began = time.monotonic()
    found = asyncio.run(campaign(asked.mutants, asked.seed, asked.each_run))
    shown = Counter[tuple[str, str]]()
    for mutant, text in found:
        shown[mutant.name, text[:40]] += 1
        if shown[mutant.name, text[:40]] <= _SHOWN:
            print(f"{mutant.name}: {mutant.label}\n    {text}")
    print(f"{asked.mutants} mutants of recorded answers, {len(found)} findings, {time.monotonic() - began:.0f} s")
    sys.exit(1 if found else 0)


if __name__ == "__main__":
    main()
