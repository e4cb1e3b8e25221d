"""Whether a run may be asked for once more, and what that costs. Pure."""

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

from contentgen_cli.errors import CliError
from contentgen_cli.item import Item
from contentgen_cli.why import collect_is_advised, resubmit_token
from contentgen_contract.names import RERUN_ANNOTATION, RESUBMIT_ANNOTATION, Phase, Reason


@dataclass(frozen=True)
class Retry:
    """Patch of the resource, and the text to print before; `ask`: whether it needs a yes."""

    change: dict[str, Any]
    tell: str
    ask: bool


def retry(item: Item, now: datetime) -> Retry:
    """The next run, or the resubmission. Raises CliError where nothing is to be retried."""
    _refuse(item)
    token = resubmit_token(item)
    if token is not None:
        text = _DISAGREE if item.status.reason == Reason.STORES_DISAGREE else _UNKNOWN
        return Retry(_annotation(RESUBMIT_ANNOTATION, token), f"{text}\n{_price(item)}", ask=True)
    change = _annotation(RERUN_ANNOTATION, now.isoformat(timespec="microseconds"))
    if item.status.phase is Phase.COMPLETED:
        return Retry(change, f"It is Completed: one more run makes a further version.\n{_price(item)}", ask=True)
    return Retry(change, f"{_money(item)}\n{_price(item)}", ask=was_paid(item))


def _money(item: Item) -> str:
    if collect_is_advised(item):
        return f"It was paid for, and its result can be fetched for free: kubectl contentgen collect {item.shown}"
    return "It was paid for before it failed." if was_paid(item) else "Nothing was paid for the run that failed."


_UNKNOWN = (
    "Nobody can tell whether the provider took the request: its reply was lost and its history does not show it.\n"
    "Look at the provider's dashboard first. If the request is there, name it, which pays nothing:\n"
    "kubectl contentgen adopt NAME REQUEST_ID\n"
    f"If it is not, the annotation {RESUBMIT_ANNOTATION} allows one more\n"
    "payment; if the first request was taken, it will have been paid twice."
)


_DISAGREE = (
    "MongoDB does not have what the status had named: it was restored from an older backup, or somebody else wrote\n"
    "the status. Restore its newest backup first: the resource goes on by itself then, and pays nothing again. If\n"
    f"nothing was paid in between, or the status was wrong, the annotation {RESUBMIT_ANNOTATION} allows payments."
)


def _refuse(item: Item) -> None:
    phase = item.status.phase
    if item.deleting:
        raise CliError(f"{item.shown} is being deleted")
    if item.spec.get("suspend") or phase is Phase.SUSPENDED:
        raise CliError(f"{item.shown} is suspended; let it go on: kubectl contentgen resume {item.shown}")
    if not item.resting or phase is None:
        raise CliError(
            f"{item.shown} is under way ({phase or 'not started'}, {item.status.progress} %): there is nothing to "
            f"retry. See what it does: kubectl contentgen why {item.shown}"
        )
    if phase is Phase.SUBMISSION_UNKNOWN and resubmit_token(item) is None:
        raise CliError(f"{item.shown} is SubmissionUnknown, but its message names no {RESUBMIT_ANNOTATION} token")
    if item.status.reason == Reason.INVALID_SPEC:
        raise CliError(
            f"{item.shown} would fail again: {item.status.message}. "
            f"Correct it: kubectl edit {item.kind.value.lower()} {item.name}"
        )


def was_paid(item: Item) -> bool:
    """Whether the provider took a request of the last run."""
    run, cost = item.status.run, item.status.cost
    taken = run is not None and run.request_id is not None
    return taken or (cost is not None and bool(cost.actual) and Decimal(cost.actual) > 0)


def _price(item: Item) -> str:
    cost = item.status.cost
    if cost is None or not cost.estimated:
        return "What it will cost is not known."
    return f"It will cost about {cost.estimated} {cost.currency}, by the {cost.source}."


def _annotation(name: str, value: str) -> dict[str, Any]:
    return {"metadata": {"annotations": {name: value}}}
