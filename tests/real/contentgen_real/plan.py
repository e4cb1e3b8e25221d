"""Plan of a run: which steps run, and why the others do not. Pure."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation

from contentgen_real.journal import Journal, StepState
from contentgen_real.step import CheckStep

LIMIT, DEFAULT_LIMIT = "MAX_USD", Decimal(1)
_KEPT = {
    StepState.PASSED: "bought and passed before",
    StepState.FAILED: "bought before, and failed",
    StepState.INTERRUPTED: "begun and not ended before, so it may have been paid",
}


@dataclass(frozen=True)
class PlannedStep:
    """A step, and the reason why it is skipped; empty: it runs."""

    step: CheckStep
    skipped: str = ""


@dataclass(frozen=True)
class Choice:
    """Options of a run: limit in US dollars, and steps by name."""

    most_usd: Decimal = DEFAULT_LIMIT
    later: bool = False  # only the steps of an hour later
    only: frozenset[str] = frozenset()  # empty: all
    again: frozenset[str] = frozenset()  # steps that may be bought again


def most_usd(environment: Mapping[str, str]) -> Decimal:
    """Limit in US dollars. Raises ValueError."""
    given = environment.get(LIMIT) or f"{DEFAULT_LIMIT}"
    try:
        limit = Decimal(given)
    except InvalidOperation:
        raise ValueError(f"{LIMIT}={given} is not a number") from None
    if not limit.is_finite() or limit < 0:
        raise ValueError(f"{LIMIT}={given} is not an amount of US dollars")
    return limit


def planned(
    steps: Iterable[CheckStep], environment: Mapping[str, str], journal: Journal, choice: Choice
) -> tuple[PlannedStep, ...]:
    """The steps in their order. A step runs if the bounds of all steps begun before and of those of this run, with its
    own, are at most the limit.
    """
    plan, used = list[PlannedStep](), journal.spent
    for step in steps:
        reason = _reason(step, environment, journal.state(step.name), choice)
        if not reason and step.usd and used + step.usd > choice.most_usd:
            reason = f"{used:f} USD of {LIMIT}={choice.most_usd:f} are used; it needs {LIMIT}={used + step.usd:f}"
        if not reason:
            used += step.usd
        plan.append(PlannedStep(step, reason))
    return tuple(plan)


def bound(plan: Collection[PlannedStep]) -> Decimal:
    """Upper bound of a run's price in US dollars."""
    return sum((planned_step.step.usd for planned_step in plan if not planned_step.skipped), Decimal(0))


def _reason(step: CheckStep, environment: Mapping[str, str], state: StepState, choice: Choice) -> str:
    """Reason to skip a step, without regard to the limit; empty: none."""
    if choice.only and step.name not in choice.only:
        return "not chosen"
    if step.later is not choice.later:
        return "for --later, an hour after the others" if step.later else "not for --later"
    if missing := [need for need in step.needs if not environment.get(need)]:
        return f"set {' and '.join(missing)}"
    if step.usd and state in _KEPT and step.name not in choice.again:
        return f"{_KEPT[state]}; --again {step.name} buys it again"
    return ""
