"""Run every fuzzer with new seeds; findings join the corpus: `python -m contentgen_simulation.fuzz --minutes 10`."""

import argparse
import dataclasses
import logging
import secrets
import sys
import time
from typing import Any

from contentgen_simulation.fuzz import FuzzTarget, fuzz
from contentgen_simulation.fuzz.targets import TARGETS

_BATCH = 2_000


def _run(target: FuzzTarget, seconds: float) -> bool:
    """Fuzz one target; returns whether it found something. The shrunk input joins the corpus."""
    failed: list[Any] = []
    checked = 0

    def check(value: Any) -> None:
        nonlocal checked
        checked += 1
        try:
            target.check(value)
        except BaseException:
            failed.append(value)  # the last one is the smallest
            raise

    until = time.monotonic() + seconds
    while time.monotonic() < until:
        seed = secrets.randbits(32)
        try:
            fuzz(dataclasses.replace(target, check=check), _BATCH, seed)
        except Exception as finding:  # noqa: BLE001 - whatever it is, it is a finding
            target.keep(failed[-1])
            print(f"{target.name}: seed {seed}: {failed[-1]!r}: {type(finding).__name__}: {finding}", file=sys.stderr)
            return True
    print(f"{target.name}: {checked} inputs, no finding")
    return False


def main() -> None:
    """Fuzz every target; exit code 1 after a finding."""
    names = {target.name: target for target in TARGETS}
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=10, help="minutes per target (default: 10)")
    parser.add_argument("--target", choices=names, action="append", help="only this target; repeatable")
    asked = parser.parse_args()
    logging.disable()  # refusals are what is wanted here
    chosen = [names[each] for each in asked.target or names]
    sys.exit(any([_run(target, 60 * asked.minutes) for target in chosen]))  # noqa: C419 - all of them run


if __name__ == "__main__":
    main()
