"""Moving resources to another operator class: which may move, the change, and what the move means. Pure."""

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
    """The resources that move, and those that are of the class already."""

    moved: tuple[Item, ...]
    there: tuple[Item, ...]
    change: dict[str, Any]


def plan(items: Sequence[Item], to: str) -> MovePlan:
    """The resources to be moved to a class. Raises CliError where one cannot move: then none does."""
    try:
        checked_namespace(to)
    except InvalidName:
        raise CliError(f"--to {to!r} is no operator class: lower-case letters, digits and '-', 63 at most") from None
    moved = tuple(item for item in items if item.operator_class != to)
    refuse_if_any(tuple((item, why) for item in moved if (why := obstacle(item))))
    # Without the field, an older release reads the resource too.
    change = {"spec": {"operatorClass": None if to == DEFAULT_CLASS else to}}
    return MovePlan(moved, tuple(item for item in items if item.operator_class == to), change)


def obstacle(item: Item) -> str:
    """Why a resource cannot move now; empty where it can. The API server has the same rules for runs."""
    status = item.status
    if item.deleting:
        return "it is being deleted"
    if status.run is not None and status.phase not in FINAL_PHASES:
        return f"its run {status.run.number} is under way ({status.phase}, {status.progress} %)"
    if status.run is not None and status.run.request_open:
        return f"a request of its run {status.run.number} is open at the provider"
    return ""


def refuse_if_any(reasons: Sequence[tuple[Item, str]]) -> None:
    """Raises CliError that names each resource and its reason, if there is one."""
    if reasons:
        lines = "".join(f"\n  {item.reference}: {why}" for item, why in reasons)
        raise CliError(f"nothing was moved, because these cannot be:{lines}")


def consequences(chosen: MovePlan, to: str, *, served: bool | None) -> tuple[str, ...]:
    """Consequences of a move, for people. `served`: whether an installation serves the class; None: not known."""
    begin = tuple(item.reference for item in chosen.moved if not item.settled)
    lines = (
        "Nothing is bought again: what is Completed stays Completed, and files stay in the bucket where they are.",
        *((f"A run that was not begun begins there, and is paid for: {', '.join(begin)}.",) if begin else ()),
    )
    if served:
        return lines
    check = f"kubectl get operatorclass {to}"
    if served is None:
        return (*lines, f"Without an operator of the class {to!r} nothing is done for them; is there one? {check}")
    return (*lines, f"No operator serves the class {to!r} now: nothing is done for them until one does ({check}).")
