"""Run a campaign; exit code 1 after an unknown violation: `python -m contentgen_simulation.rehearsal --plans 3000`."""

import argparse
import sys
import time

from contentgen_simulation.rehearsal.campaign import COMMAND, Report, campaign, shrink
from contentgen_simulation.rehearsal.generate import POLICY_SEED, RESTORE_SEED, generate
from contentgen_simulation.rehearsal.known import KNOWN, reason_of
from contentgen_simulation.rehearsal.run import quiet, rehearse

_SHOWN = 3  # seeds of each violation


def _replay(seed: int, *, smallest: bool) -> int:
    plan = generate(seed)
    verdict = rehearse(plan)
    unknown = [violation.signature for violation in verdict.violations if reason_of(violation.signature) is None]
    if smallest and verdict.violations:
        plan = shrink(plan, next(iter(unknown), verdict.violations[0].signature))
        verdict = rehearse(plan)
    print(plan)
    print("\n".join(verdict.story))
    for violation in verdict.violations:
        print(f"{violation.signature}\n    {violation.text}\n    known: {reason_of(violation.signature) or 'no'}")
    return 1 if unknown else 0


def _campaign(plans: int, seed: int, processes: int) -> int:
    began, report = time.monotonic(), Report()
    print(f"{plans} plans from seed {seed}, {processes} processes")
    seen = set[str]()
    for first, count in _series(plans, seed):
        last = len(report.findings) + count
        while (wanted := last - len(report.findings)) > 0:
            for finding in campaign(range(first, first + wanted), processes):
                report.add(finding)
                for violation in finding.violations:
                    if reason_of(violation.signature) is None and violation.signature not in seen:
                        seen.add(violation.signature)
                        print(f"unknown: {violation.signature}\n    {COMMAND.format(finding.seed)}", flush=True)
            first += wanted  # noqa: PLW2901 - duplicates are replaced by the following seeds
            print(f"{len(report.findings)} distinct plans, {time.monotonic() - began:.0f} s", flush=True)
    _tell(report)
    return 1 if report.unknown else 0


def _series(plans: int, seed: int) -> list[tuple[int, int]]:
    """First seed and number of the plans: a third more are of the policies' groups, a quarter of restored stores."""
    if seed >= POLICY_SEED:
        return [(seed, plans)]
    return [(seed, plans), (POLICY_SEED + seed, plans // 3), (RESTORE_SEED + seed, plans // 4)]


def _tell(report: Report) -> None:
    print("plans by group:", ", ".join(f"{name} {count}" for name, count in sorted(report.groups.items())))
    for title, found in (("known", report.known), ("UNKNOWN", report.unknown)):
        for signature, findings in found.items():
            seeds = [finding.seed for finding in sorted(findings, key=lambda each: each.reconciles)][:_SHOWN]
            print(f"{title}: {len(findings)} x {signature} ({reason_of(signature) or 'no reason'})")
            print(f"    {COMMAND.format(seeds[0])}    seeds {seeds}")
    unseen = [start for start in KNOWN if not any(each.startswith(start) for each in report.known)]
    for start in unseen:
        print(f"not seen: {start} ({KNOWN[start]})")


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--plans", type=int, default=3000)
    parser.add_argument("--seed", type=int, default=0, help="seed of the first plan; the others count up from it")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--replay", type=int, help="print the story of one seed")
    parser.add_argument("--shrink", action="store_true", help="with --replay: shrink the plan")
    asked = parser.parse_args()
    quiet()
    if asked.replay is not None:
        sys.exit(_replay(asked.replay, smallest=asked.shrink))
    sys.exit(_campaign(asked.plans, asked.seed, asked.processes))


if __name__ == "__main__":
    main()
