"""Buying: a run waits while an administrator has paused buying, or while too many paid results are not stored. Pure.

Only plans and POSTs are held. Requests that are under way are polled, and results are collected and adopted.
"""

from contentgen_contract.names import Reason
from contentgen_operator.buying.values import BuyingFacts, BuyingStop, StopState
from contentgen_operator.plans.planning import recheck_seconds, replace_run, waiting
from contentgen_operator.state.decision_input import DecisionInput
from contentgen_operator.state.plan import Plan

_MAX_PAUSED_SECONDS, _MAX_STOPPED_SECONDS = 300.0, 60.0


def hold_paused(case: DecisionInput) -> Plan | None:
    """The plan of a run while buying is paused."""
    if not case.settings.buying_paused:
        return None
    message = "an administrator has paused buying (buying.paused): nothing is paid until it is false"
    return _held(case, Reason.BUYING_PAUSED, message, _MAX_PAUSED_SECONDS)


def hold_stopped(case: DecisionInput) -> Plan | None:
    """The plan of a run whose namespace, or installation, has a stop."""
    stop = case.observed.facts_of(BuyingFacts).stop
    return None if stop is None else _held(case, Reason.COLLECT_BACKLOG, _text(stop), _MAX_STOPPED_SECONDS)


def _held(case: DecisionInput, reason: Reason, message: str, longest: float) -> Plan:
    # Nothing was prepared or paid, so an edit replaces this run at once.
    if case.run.facts is None and (replaced := replace_run(case, reason)) is not None:
        return replaced
    return waiting(case, reason, message, recheck_seconds(case, longest))


def _text(stop: BuyingStop) -> str:
    """Cause of the wait. It has no number that changes, because each change writes the status, and no other tenant."""
    where = "several namespaces" if stop.everywhere else "this namespace"
    if stop.state is StopState.PROBING:
        return (
            f"many paid results of {where} could not be stored: runs are bought one at a time until the result of one "
            "is stored, and this continues by itself"
        )
    minutes = stop.limit.wait.total_seconds() / 60
    return (
        f"more than {stop.limit.results} paid results of {where} are not stored {minutes:g} minutes after the provider "
        "has finished (buying.collectBacklog): nothing more is bought until they are, and this continues by itself"
    )
