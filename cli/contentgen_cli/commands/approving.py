"""Approval or rejection of a run that waits, with its price and what it has prepared. Pure."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from contentgen_cli.errors import CliError
from contentgen_cli.item import Item
from contentgen_contract.annotations.approve_run import (
    UNKNOWN_AMOUNT,
    CannotDecide,
    approval_of,
    is_user,
    rejection_of,
    waiting_run,
)
from contentgen_contract.names import Verdict


@dataclass(frozen=True)
class Decision:
    """Patch of the resource, and the lines to print first."""

    change: dict[str, Any]
    lines: tuple[str, ...]


def decide(item: Item, verdict: Verdict, whoami: Callable[[], str], token: str) -> Decision:
    """Patch that approves or rejects the run that waits. Raises CliError if none waits.

    `whoami` returns the name of the user. `token` distinguishes the value from one that was set before the run waited.
    """
    if item.deleting:
        raise CliError(f"{item.reference} is being deleted")
    run = item.status.run
    try:
        number = waiting_run(item.status.phase, item.status.reason, run.number if run else 0)
    except CannotDecide as error:
        raise CliError(f"{item.reference}: {error}") from None
    user = whoami()
    if not is_user(user):
        raise CliError("the API server names no user for this connection; approvals need one")
    if verdict is Verdict.REJECTED:
        change = rejection_of(number, user, item.annotations, token)
        return Decision({"metadata": {"annotations": change}}, ())
    amount = run.approval.amount if run and run.approval else None
    if amount is None:
        raise CliError(f"{item.reference}: the operator has not shown the price of run {number} yet")
    change = approval_of(number, amount, user, item.annotations, token)
    return Decision({"metadata": {"annotations": change}}, _summary(item, number, amount))


def _summary(item: Item, number: int, amount: str) -> tuple[str, ...]:
    """Run, price and facts of the training set, line by line."""
    cost, run = item.status.cost, item.status.run
    price = f"{cost.estimated} {cost.currency}, by the {cost.source}" if cost and cost.estimated else "unknown"
    most = "without a known upper bound" if amount == UNKNOWN_AMOUNT else f"at most {amount} USD"
    lines = [
        f"Run {number} of {item.reference} waits for an approval.",
        f"The estimated cost is {price}.",
        f"You approve {most}, for all attempts that the run has left.",
    ]
    facts = (run.facts if run else None) or {}
    if facts.get("type") == "dataset":
        rejected = facts.get("rejected") or {}
        counts = ", ".join(f"{count} {cause}" for cause, count in sorted(rejected.items()))
        lines.append(f"The training set has {facts.get('images')} pictures of {facts.get('scenes')} scenes.")
        lines.append(f"Rejected frames: {counts or 'none'}. The gateway shows the pictures.")
    return tuple(lines)
