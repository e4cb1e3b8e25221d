"""Retry of the collect stage of a failed run, which pays nothing. Pure."""

from typing import Any

from contentgen_cli.errors import CliError
from contentgen_cli.item import Item
from contentgen_contract.advice import guidance
from contentgen_contract.annotations import collect_again
from contentgen_contract.names import COLLECT_ANNOTATION


def collect(item: Item) -> dict[str, Any] | None:
    """Patch of the resource; None if the retry was requested already. Raises CliError if there is no paid result."""
    if item.deleting:
        raise CliError(f"{item.reference} is being deleted")
    if why := guidance.collect_obstacle(item.facts):
        raise CliError(f"{item.reference}: {why}")
    number, asked = item.facts.number, item.facts.asked
    if collect_again.requests_collect(
        item.annotations.get(COLLECT_ANNOTATION), {"number": number, "collect": {"asked": asked}}
    ):
        return None
    return {"metadata": {"annotations": {COLLECT_ANNOTATION: guidance.collect_value(item.facts)}}}
