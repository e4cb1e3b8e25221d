"""Adoption of a request whose reply was lost. Pure."""

import re
from dataclasses import dataclass
from typing import Any

from contentgen_cli.errors import CliError
from contentgen_cli.item import Item
from contentgen_contract import patterns
from contentgen_contract.names import ADOPT_ANNOTATION, Phase, Reason


@dataclass(frozen=True)
class Adopt:
    """Patch of the resource, and the text to print."""

    change: dict[str, Any]
    text: str


def adopt(item: Item, request_id: str) -> Adopt:
    """Patch that adopts a request. Raises CliError if none is missing, or for an invalid ID."""
    if not re.fullmatch(patterns.REQUEST_ID, request_id):
        raise CliError(
            f"{request_id!r} is not a valid request ID: expected up to 128 letters, digits, '.', '_' and '-'"
        )
    if item.deleting:
        raise CliError(f"{item.reference} is being deleted")
    phase, reason = item.status.phase, item.status.reason
    if phase is not Phase.SUBMISSION_UNKNOWN and reason != Reason.LOOKING_FOR_REQUEST:
        state = f"{phase or 'not started'} ({reason or 'no reason'})"
        raise CliError(f"{item.reference} has no missing request: it is {state}")
    change = {"metadata": {"annotations": {ADOPT_ANNOTATION: request_id}}}
    return Adopt(change, "The operator verifies that the request matches what was sent. Nothing is paid.")
