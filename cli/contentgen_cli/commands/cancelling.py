"""Cancellation of a run, with the state of its payment. Pure."""

from dataclasses import dataclass
from typing import Any

from contentgen_cli.commands.retrying import was_sent
from contentgen_cli.errors import CliError
from contentgen_cli.item import Item
from contentgen_contract.advice import guidance
from contentgen_contract.annotations.cancel_run import CannotCancel, run_to_cancel
from contentgen_contract.names import CANCEL_ANNOTATION, Phase


@dataclass(frozen=True)
class Cancel:
    """Patch of the resource, and the text to print."""

    change: dict[str, Any]
    text: str


def cancel(item: Item) -> Cancel:
    """Patch that cancels the current run, or a requested one that has not begun. Raises CliError if there is none."""
    phase, run = item.status.phase, item.status.run
    if item.deleting:
        raise CliError(f"{item.reference} is being deleted")
    asked_again = run is not None and run.rerun != item.rerun
    try:
        number = run_to_cancel(phase, item.status.reason, run.number if run else 0, asked_again=asked_again)
    except CannotCancel as error:
        raise CliError(f"{item.reference}: {error}") from None
    change = {"metadata": {"annotations": {CANCEL_ANNOTATION: str(number)}}}
    # A run that has not begun was not paid: the payment state in the status is of the previous run.
    return Cancel(change, _UNPAID if run is None or number > run.number else _payment_state(item))


def _payment_state(item: Item) -> str:
    if was_sent(item):
        return "The provider has the request and is asked to cancel it. It may still bill it: see status.run.billed."
    if item.status.phase in (Phase.SUBMITTING, Phase.SUBMISSION_UNKNOWN):
        return "The provider may have the request: the operator searches for it to cancel it. See status.run.billed."
    return guidance.earlier_attempts_text(item.facts) or _UNPAID


_UNPAID = "Nothing was paid for this run."
