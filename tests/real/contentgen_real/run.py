"""A run of the planned steps: one after another, each with its price before it and its differences after it."""

import json
from collections.abc import Callable, Collection
from dataclasses import dataclass

import httpx

from contentgen_operator.providers.base import ProviderError
from contentgen_real.checked import AnswerChecks
from contentgen_real.consent import dollars
from contentgen_real.context import StepContext, StepFailed, StepSkipped, opened_context
from contentgen_real.journal import Journal, StepState
from contentgen_real.place import ProviderPlace
from contentgen_real.plan import PlannedStep
from contentgen_real.step import CheckStep

Say = Callable[[str], None]


@dataclass(frozen=True)
class RunResult:
    """Names of the steps by what came of them."""

    passed: tuple[str, ...]
    failed: tuple[str, ...]
    skipped: tuple[str, ...]


async def run(
    place: ProviderPlace,
    journal: Journal,
    plan: Collection[PlannedStep],
    say: Say,
    transport: httpx.MockTransport | None = None,
) -> RunResult:
    """Run the steps and write the shapes of their answers. Raises OSError if the journal or a shape cannot be written:
    then the next step sends nothing.
    """
    checks = AnswerChecks(place)
    checks.models.update({request.request_id: request.model for request in journal.requests("fal")})
    names: dict[StepState | None, list[str]] = {StepState.PASSED: [], StepState.FAILED: [], None: []}
    async with opened_context(place, journal, checks, say, transport) as context:
        for planned_step in plan:
            step = planned_step.step
            if planned_step.skipped:
                names[None].append(step.name)
                continue
            say(f"\n{step.name}: at most {dollars(step.usd)} USD; {step.shows}")
            names[await _run(context, step)].append(step.name)
            checks.write(place.folder / "shapes")
    _report(checks, names, say)
    return RunResult(tuple(names[StepState.PASSED]), tuple(names[StepState.FAILED]), tuple(names[None]))


async def _run(context: StepContext, step: CheckStep) -> StepState | None:
    """State of the step after its run; None: it was skipped. A paid step is in the journal before it sends anything."""
    checks, journal = context.checks, context.journal
    checks.step, before = step.name, len(checks.differences)
    if step.usd:
        journal.begin(step.name, step.usd)
    try:
        await step.run(context)
    except StepSkipped as skipped:
        context.note(f"skipped: {skipped}")
        return None
    except Exception as error:  # noqa: BLE001 - an answer of any form must not keep the other steps from running
        checks.expect(step.name, "end", "no error", _text(error))
    new = dict.fromkeys(checks.differences[before:])
    for difference in new:
        context.note(f"DIFFERENCE {difference}")
    state = StepState.FAILED if new else StepState.PASSED
    if step.usd:
        journal.end(step.name, state)
    context.note(state.value)
    return state


def _text(error: Exception) -> str:
    """What went wrong, without values: texts of other libraries may have URLs with signatures."""
    if isinstance(error, ProviderError | StepFailed):
        return str(error)
    if isinstance(error, httpx.HTTPStatusError):
        return f"status {error.response.status_code}"
    if isinstance(error, json.JSONDecodeError):
        return "no JSON"
    return type(error).__name__


def _report(checks: AnswerChecks, names: dict[StepState | None, list[str]], say: Say) -> None:
    found = dict.fromkeys(checks.differences)
    say(f"\n{len(found)} differences between the answers and the facts:")
    for difference in found:
        say(f"  {difference}")
    for label, state in (("passed", StepState.PASSED), ("failed", StepState.FAILED), ("skipped", None)):
        say(f"{label}: {', '.join(names[state]) or 'none'}")
    say(f"Types of all answers, without values: {checks.place.folder / 'shapes'}")
