"""Whether the paid result of a failed run may be fetched once more, which costs nothing. Pure."""

from typing import Any

from contentgen_cli.errors import CliError
from contentgen_cli.item import Item
from contentgen_contract import collecting_again
from contentgen_contract.names import COLLECT_ANNOTATION, Phase


def collect(item: Item) -> dict[str, Any] | None:
    """Patch of the resource; None where the retry was asked for and has not begun. Raises CliError where there is no
    paid result.
    """
    status, run = item.status, item.status.run
    if item.deleting:
        raise CliError(f"{item.shown} is being deleted")
    if status.phase is not Phase.FAILED or run is None:
        raise CliError(
            f"{item.shown} is {status.phase or 'not started'}: only the result of a failed run is fetched again"
        )
    if run.request_id is None:
        raise CliError(f"{item.shown}: nothing was paid for the run that has failed, so there is no result to fetch")
    asked = run.collect.asked if run.collect else None
    if collecting_again.asks(
        item.annotations.get(COLLECT_ANNOTATION), {"number": run.number, "collect": {"asked": asked}}
    ):
        return None
    value = collecting_again.next_value(run.number, asked)
    return {"metadata": {"annotations": {COLLECT_ANNOTATION: value}}}
