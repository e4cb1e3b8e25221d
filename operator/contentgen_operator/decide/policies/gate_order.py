"""The gate between the free and the paid stages: the policies that may hold a run, in their order."""

from collections.abc import Callable

from contentgen_contract.names import Reason
from contentgen_operator.accounts import gate as accounts
from contentgen_operator.approval import gate as approval
from contentgen_operator.budgets import gate as budgets
from contentgen_operator.buying import gate as buying
from contentgen_operator.decide.disagreement import wait_for_stores
from contentgen_operator.decide.policies import (
    awaited_loras,
    reachable_bucket,
)
from contentgen_operator.plans.planning import replace_run
from contentgen_operator.queue import gate as queue
from contentgen_operator.state.decision_input import DecisionInput
from contentgen_operator.state.plan import Plan

GateCheck = Callable[[DecisionInput], Plan | None]
"""The plan of a run that the policy holds or ends; None: the run may go on."""

GATE: tuple[GateCheck, ...] = (
    awaited_loras.hold,
    wait_for_stores,
    buying.hold_paused,
    accounts.hold,
    reachable_bucket.hold,
    approval.hold,  # before those that reserve something
    budgets.hold,
    buying.hold_stopped,
    queue.hold,  # last: only a run that may be paid otherwise takes a place
)


_WAITS = (Reason.AWAITING_APPROVAL, Reason.BUDGET_EXCEEDED)  # of which an edit replaces each run
_UNPREPARED_WAITS = (
    *_WAITS,
    *(Reason.QUEUED, Reason.CIRCUIT_OPEN, Reason.COLLECT_BACKLOG, Reason.BUYING_PAUSED),
)


def hold(case: DecisionInput) -> Plan | None:
    """The plan of the first policy that holds the run, or of an edit during the wait; None: it may be paid."""
    return next((plan for policy in GATE if (plan := policy(case)) is not None), None) or _replaced(case)


def _replaced(case: DecisionInput) -> Plan | None:
    """The plan that replaces a run that was edited while it waited, if the wait has ended before the edit was seen."""
    last = case.resource.status
    shown = last.reason if last.run is not None and last.run.number == case.run.number else None
    waited = _UNPREPARED_WAITS if case.run.facts is None else _WAITS
    return replace_run(case, Reason(shown)) if shown and shown in waited else None
