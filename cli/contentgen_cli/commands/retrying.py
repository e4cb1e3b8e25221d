"""Another run of a resource, and its cost. Pure."""

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from textwrap import TextWrapper
from typing import Any

from contentgen_cli.errors import CliError
from contentgen_cli.item import Item
from contentgen_contract.advice import guidance
from contentgen_contract.advice.job_state import State
from contentgen_contract.advice.remedies import Action, Costs, Paid
from contentgen_contract.names import RERUN_ANNOTATION, RESUBMIT_ANNOTATION, Phase, Reason


@dataclass(frozen=True)
class Retry:
    """Patch of the resource, and the text to print first. `ask`: requires confirmation."""

    change: dict[str, Any]
    text: str
    ask: bool


def retry(item: Item, now: datetime) -> Retry:
    """The next run, or the resubmission. Raises CliError if there is nothing to retry."""
    _refuse(item)
    if item.job.estimates:
        text = (
            "It is a dry run (spec.dryRun): another run pays nothing and ends with an estimate. The paid run: kubectl "
            f"contentgen retry {item.reference} --paid"
        )
        return Retry(_annotation(RERUN_ANNOTATION, now.isoformat(timespec="microseconds")), text, ask=False)
    token = item.facts.token
    if token is not None:
        return Retry(_annotation(RESUBMIT_ANNOTATION, token), f"{_resubmit_advice(item)}\n{_estimate(item)}", ask=True)
    change = _annotation(RERUN_ANNOTATION, now.isoformat(timespec="microseconds"))
    if item.status.phase is Phase.COMPLETED:
        return Retry(change, f"It is Completed: another run makes another version.\n{_estimate(item)}", ask=True)
    return Retry(change, f"{_payment_state(item)}\n{_estimate(item)}", ask=was_paid(item))


def paid_run(item: Item) -> Retry:
    """The paid run after an estimate: spec.dryRun is removed. Raises CliError for another resource."""
    _refuse(item)
    if item.state.state is not State.ESTIMATED or not item.job.estimates:
        raise CliError(
            f"{item.reference} is no dry run that has ended with an estimate: it is {item.state.badge}. Run it once "
            f"more: kubectl contentgen retry {item.reference}"
        )
    text = f"spec.dryRun is removed, and the paid run starts.\n{_estimate(item)}"
    return Retry({"spec": {"dryRun": None}}, text, ask=True)


def _payment_state(item: Item) -> str:
    """Text before another run: the payment of the last one, and free remedies."""
    facts = item.facts
    again = guidance.find_remedy(facts, Action.RERUN)
    advice = [*guidance.free_advice_lines(facts, item.reference)]
    if again is not None and again.text and was_paid(item):  # such as a check before the payment
        advice.append(f"{again.text.replace('NAME', item.reference)} ({again.costs.value}).")
    return "\n".join([_payment_text(item), *map(_WRAPPED.fill, advice)])


def _payment_text(item: Item) -> str:
    facts = item.facts
    if earlier := guidance.earlier_attempts_text(facts):
        return _WRAPPED.fill(earlier)
    if guidance.payment_state(facts) is Paid.UNKNOWN:
        return "It may have been paid before it failed: the reply to its request was lost."
    return "It was paid before it failed." if was_paid(item) else "Nothing was paid for the run that failed."


def _resubmit_advice(item: Item) -> str:
    """Text before another payment is allowed: meaning of the reason, remedies and their costs."""
    row, facts = guidance.explanation(item.facts), item.facts
    means = (row.meaning,) if row is not None else ()
    return "\n".join(_WRAPPED.fill(mean) for mean in (*means, *guidance.advice_lines(facts, item.reference)))


_WRAPPED = TextWrapper(width=110, break_long_words=False, break_on_hyphens=False)


def _refuse(item: Item) -> None:
    phase = item.status.phase
    if item.deleting:
        raise CliError(f"{item.reference} is being deleted")
    if item.spec.get("suspend") or phase is Phase.SUSPENDED:
        raise CliError(f"{item.reference} is suspended. Resume it: kubectl contentgen resume {item.reference}")
    if phase is Phase.AWAITING_APPROVAL:
        raise CliError(
            f"{item.reference} waits for an approval. Approve it: kubectl contentgen approve {item.reference}"
        )
    if not item.idle or phase is None:
        raise CliError(
            f"{item.reference} is under way ({item.state.badge}, {item.status.progress} %): there is nothing to "
            f"retry. See its state: kubectl contentgen why {item.reference}"
        )
    if phase is Phase.SUBMISSION_UNKNOWN and item.facts.token is None:
        raise CliError(
            f"{item.reference} is SubmissionUnknown, and no purchase waits for another payment now "
            f"(status.run.resubmitToken is absent). See its state: kubectl contentgen why {item.reference}"
        )
    if item.status.reason == Reason.INVALID_SPEC:
        free = "".join(f" {line}" for line in guidance.free_advice_lines(item.facts, item.reference))
        edit = guidance.find_remedy(item.facts, Action.EDIT)
        pays = f", {guidance.cost_clause(edit.costs)}" if edit is not None and edit.costs is not Costs.ONCE else ""
        raise CliError(
            f"{item.reference} would fail again: {item.status.message}.{free} "
            f"Correct it{pays}: kubectl edit {item.kind.value.lower()} {item.name}"
        )


def was_paid(item: Item) -> bool:
    """True if the provider accepted, or may have accepted, a request of any attempt of the last run."""
    return was_sent(item) or guidance.payment_state(item.facts) is not Paid.NOTHING


def was_sent(item: Item) -> bool:
    """True if a request of the current attempt was, or may have been, sent, or the run has a cost."""
    cost = item.status.cost
    return item.facts.sent or (cost is not None and bool(cost.actual) and Decimal(cost.actual) > 0)


def _estimate(item: Item) -> str:
    cost = item.status.cost
    if cost is None or not cost.estimated:
        return "The cost is unknown."
    return f"The estimated cost is {cost.estimated} {cost.currency}, by the {cost.source}."


def _annotation(name: str, value: str) -> dict[str, Any]:
    return {"metadata": {"annotations": {name: value}}}
