"""Whether a run can be ended, and what to say of the money. Pure."""

from dataclasses import dataclass
from typing import Any

from contentgen_cli.errors import CliError
from contentgen_cli.item import Item
from contentgen_cli.retrying import was_paid
from contentgen_contract.names import CANCEL_ANNOTATION, Phase

_FINAL = tuple(phase for phase in Phase if phase.terminal)


@dataclass(frozen=True)
class Cancel:
    """What to write, and what to tell."""

    change: dict[str, Any]
    tell: str


def cancel(item: Item) -> Cancel:
    """End the run under way, or the one that was asked for and has not begun. Raises CliError where there is none."""
    phase, run = item.status.phase, item.status.run
    if item.deleting:
        raise CliError(f"{item.shown} is being deleted")
    asked_again = run is not None and run.rerun != item.rerun
    if phase in _FINAL and not asked_again:
        raise CliError(f"there is nothing to cancel: {item.shown} is {phase} ({item.status.reason})")
    if phase is Phase.COLLECTING and not asked_again:
        raise CliError(
            f"it is too late to cancel {item.shown}: the provider has finished and was paid, and the outputs are being "
            f"stored. See it: kubectl contentgen watch {item.shown}"
        )
    number = (run.number if run else 0) + (1 if phase in _FINAL else 0)
    change = {"metadata": {"annotations": {CANCEL_ANNOTATION: str(max(number, 1))}}}
    return Cancel(change, _UNPAID if phase in _FINAL else _money(item))


def _money(item: Item) -> str:
    if was_paid(item):
        return "The provider has the request and is asked to stop. It may bill it all the same: see status.run.billed."
    if item.status.phase in (Phase.SUBMITTING, Phase.SUBMISSION_UNKNOWN):
        return "The provider may have the request: it is looked for and asked to stop. See status.run.billed."
    return _UNPAID


_UNPAID = "Nothing was paid for this run."
