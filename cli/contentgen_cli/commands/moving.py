"""Move of resources to another operator class: preconditions, patch and consequences. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from contentgen_cli.errors import CliError
from contentgen_cli.item import Item
from contentgen_contract.api_paths import InvalidName, checked_namespace
from contentgen_contract.names import FINAL_PHASES
from contentgen_contract.resources.operator_class import DEFAULT_CLASS


@dataclass(frozen=True)
class MovePlan:
    """Resources to move, and those that are already of the class."""

    moved: tuple[Item, ...]
    there: tuple[Item, ...]
    change: dict[str, Any]


def plan(items: Sequence[Item], to: str) -> MovePlan:
    """Plan of a move to a class. Raises CliError if one of the resources cannot move."""
    try:
        checked_namespace(to)
    except InvalidName:
        raise CliError(f"--to {to!r}: expected up to 63 lower-case letters, digits and '-'") from None
    moved = tuple(item for item in items if item.operator_class != to)
    refuse_if_any(tuple((item, why) for item in moved if (why := obstacle(item))))
    change = {"spec": {"operatorClass": None if to == DEFAULT_CLASS else to}}
    return MovePlan(moved, tuple(item for item in items if item.operator_class == to), change)


def obstacle(item: Item) -> str:
    """Reason why a resource cannot move now; empty if it can. A CRD rule enforces the same for runs."""
    status = item.status
    if item.deleting:
        return "it is being deleted"
    if status.run is not None and status.phase not in FINAL_PHASES:
        return f"its run {status.run.number} is under way ({status.phase}, {status.progress} %)"
    if status.run is not None and status.run.request_open:
        return f"a request of its run {status.run.number} is open at the provider"
    return ""


def refuse_if_any(reasons: Sequence[tuple[Item, str]]) -> None:
    """Raises CliError with all resources that cannot move and their reasons, if there are any."""
    if reasons:
        lines = "".join(f"\n  {item.reference}: {why}" for item, why in reasons)
        raise CliError(f"nothing was moved, because these resources cannot be moved:{lines}")


def consequences(chosen: MovePlan, to: str, *, served: bool | None) -> tuple[str, ...]:
    """Consequences of a move, as sentences. `served`: an installation serves the class; None: unknown."""
    begin = tuple(item.reference for item in chosen.moved if not item.idle)
    lines = (
        "Nothing is paid again: Completed resources stay Completed, and their files stay in the same bucket.",
        *((f"Runs that have not begun begin there, and are paid: {', '.join(begin)}.",) if begin else ()),
    )
    if served:
        return lines
    check = f"kubectl get operatorclass {to}"
    if served is None:
        return (
            *lines,
            f"Without an operator of the class {to!r} they are not processed. Check that there is one: {check}",
        )
    return (*lines, f"No operator serves the class {to!r} now: they are not processed until one does ({check}).")
