"""Dry run: a run with `dryRun: Estimate` ends after its free stages, with its price and without a payment."""

from contentgen_contract.names import Phase, Reason, Step
from contentgen_contract.resources.prices import format_dollars
from contentgen_operator.plans.planning import new_plan, unpaid_text, withdraw_planned
from contentgen_operator.state.decision_input import DecisionInput, RunState
from contentgen_operator.state.plan import Plan


def end(case: DecisionInput) -> Plan | None:
    """The plan that ends a dry run; None: the spec asks for none."""
    if not case.resource.estimates:
        return None
    micros = case.estimated_micros
    price = (
        "is unknown before the provider has finished" if micros is None else f"is about {format_dollars(micros)} USD"
    )
    message = f"the price of the run {price}; {unpaid_text(case)}. Remove spec.dryRun to start a run that is paid"
    run_state = RunState(phase=Phase.COMPLETED, reason=Reason.ESTIMATED, message=message, step=Step.DONE)
    return new_plan(case, run_state, moves=withdraw_planned(case))
