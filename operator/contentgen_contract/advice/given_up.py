"""Given-up work: runs that have failed and that a person can retry, or whose paid result is kept. Pure.

The operator labels these resources at the end of the run. Anybody may change a label, so pages and routes decide by the
status, with the same function.
"""

from contentgen_contract.advice.guidance import Facts, applicable_remedies, has_result
from contentgen_contract.advice.remedies import Action
from contentgen_contract.names import Phase, Reason

_COMMANDS = {Action.COLLECT: "collect", Action.RERUN: "retry", Action.RESUBMIT: "retry", Action.EDIT: ""}
_BY_A_PERSON = frozenset({*_COMMANDS, Action.ADOPT, Action.RESTORE, Action.REPAIR})


def is_given_up(facts: Facts) -> bool:
    """True if the last run has failed and a person can retry it. A run that a person has cancelled is not given up,
    unless its request was paid and has finished.
    """
    if facts.phase != Phase.FAILED:
        return False
    if has_result(facts):
        return True
    return facts.reason is not Reason.CANCELLED and any(
        remedy.action in _BY_A_PERSON for remedy in applicable_remedies(facts)
    )


def retry_command(action: Action, reference: str, namespace: str) -> str | None:
    """Command of the plugin for a remedy; None if there is none. `reference` is kind/name, as kubectl reads it."""
    verb = _COMMANDS.get(action)
    return f"kubectl contentgen {verb} {reference} --namespace {namespace}" if verb else None
