"""The gate between the free and the paid stages: the policies that may hold a run, in their order."""

from collections.abc import Callable

from contentgen_operator.decide.policies import (
    approval,
    budget,
    provider_accounts,
    provider_key,
    queue,
    reachable_bucket,
)
from contentgen_operator.state.decision_input import DecisionInput
from contentgen_operator.state.plan import Plan

Policy = Callable[[DecisionInput], Plan | None]
"""The plan of a run that the policy holds or ends; None: the run may go on."""

GATE: tuple[Policy, ...] = (
    provider_accounts.hold,
    provider_key.hold,
    reachable_bucket.hold,
    approval.hold,  # before those that reserve something
    budget.hold,
    queue.hold,  # last: only a run that may be paid otherwise takes a place
)


def hold(case: DecisionInput) -> Plan | None:
    """The plan of the first policy that holds the run; None: it may be paid."""
    return next((plan for policy in GATE if (plan := policy(case)) is not None), None)
