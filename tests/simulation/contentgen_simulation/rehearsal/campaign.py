"""Campaign of many plans in several processes: violations, their counts, and shrunk plans."""

import multiprocessing
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from functools import partial

from contentgen_simulation.rehearsal.generate import generate
from contentgen_simulation.rehearsal.known import reason_of
from contentgen_simulation.rehearsal.run import quiet, rehearse
from contentgen_simulation.rehearsal.world.oracles import RehearsalViolation
from contentgen_simulation.rehearsal.world.plan import Args, RehearsalPlan

COMMAND = "make rehearse REPLAY={}"


@dataclass(frozen=True)
class CampaignFinding:
    """Result of one plan, without its story."""

    seed: int
    group: str
    digest: str
    violations: tuple[RehearsalViolation, ...]
    posts: int
    reconciles: int
    error: str = ""  # the rehearsal itself failed


@dataclass
class Report:
    """Totals over all plans."""

    findings: list[CampaignFinding] = field(default_factory=list)
    distinct: set[str] = field(default_factory=set)

    def add(self, finding: CampaignFinding) -> None:
        """Count a plan unless it is a duplicate."""
        if finding.digest not in self.distinct:
            self.distinct.add(finding.digest)
            self.findings.append(finding)

    @property
    def groups(self) -> Counter[str]:
        """Number of plans by group."""
        return Counter(finding.group for finding in self.findings)

    @property
    def known(self) -> dict[str, list[CampaignFinding]]:
        """Findings by the signature of a known violation."""
        return self._by_signature(known=True)

    @property
    def unknown(self) -> dict[str, list[CampaignFinding]]:
        """Findings by the signature of an unknown violation; a failed rehearsal is one."""
        found = self._by_signature(known=False)
        for finding in self.findings:
            if finding.error:
                found.setdefault(f"the rehearsal failed: {finding.error[:100]}", []).append(finding)
        return found

    def _by_signature(self, *, known: bool) -> dict[str, list[CampaignFinding]]:
        found: dict[str, list[CampaignFinding]] = {}
        for finding in self.findings:
            for violation in finding.violations:
                if (reason_of(violation.signature) is not None) == known:
                    found.setdefault(violation.signature, []).append(finding)
        return dict(sorted(found.items(), key=lambda item: -len(item[1])))


def find(seed: int) -> CampaignFinding:
    """Carry out one plan."""
    plan = generate(seed)
    try:
        verdict = rehearse(plan)
    except Exception as error:  # noqa: BLE001 - a defect of the rehearsal is reported with its seed
        return CampaignFinding(seed, plan.group, plan.digest, (), 0, 0, f"{type(error).__name__}: {error}")
    return CampaignFinding(seed, plan.group, plan.digest, verdict.violations, verdict.posts, verdict.reconciles)


def campaign(seeds: Iterable[int], processes: int = 1) -> Iterator[CampaignFinding]:
    """Findings of these seeds, unordered."""
    if processes == 1:
        quiet()
        yield from map(find, seeds)
        return
    with multiprocessing.get_context("spawn").Pool(processes, quiet) as pool:
        yield from pool.imap_unordered(find, seeds, chunksize=8)


def shrink(plan: RehearsalPlan, signature: str) -> RehearsalPlan:
    """Smallest plan with the same violation, found by removing one part at a time."""
    violated = partial(_violates, signature)
    smaller = True
    while smaller:
        smaller = False
        for candidate in _smaller(plan):
            if violated(candidate):
                plan, smaller = candidate, True
                break
    return plan


def _violates(signature: str, plan: RehearsalPlan) -> bool:
    return any(violation.signature == signature for violation in rehearse(plan).violations)


def _without(given: Args, key: str) -> Args:
    return {member: value for member, value in given.items() if member != key}


def _smaller(plan: RehearsalPlan) -> Iterator[RehearsalPlan]:
    for index in range(len(plan.events)):
        yield replace(plan, events=plan.events[:index] + plan.events[index + 1 :])
    for key in plan.replies:
        yield replace(plan, replies=_without(plan.replies, key))
    for key in plan.results:
        yield replace(plan, results=_without(plan.results, key))
    for key in plan.history:
        yield replace(plan, history=_without(plan.history, key))
    if len(plan.subjects) > 1 and not any(event.who == len(plan.subjects) - 1 for event in plan.events):
        yield replace(plan, subjects=plan.subjects[:-1])
    for index, subject in enumerate(plan.subjects):
        for option in subject.options:
            fewer = _without(subject.options, option)
            yield replace(
                plan, subjects=(*plan.subjects[:index], replace(subject, options=fewer), *plan.subjects[index + 1 :])
            )
    for index, event in enumerate(plan.events):
        if event.at > 10 or 0 < event.at < 1:
            yield replace(
                plan,
                events=(*plan.events[:index], replace(event, at=float(int(event.at / 2))), *plan.events[index + 1 :]),
            )
