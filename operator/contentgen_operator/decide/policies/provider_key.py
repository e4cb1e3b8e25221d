"""Provider keys: a run waits until there is a key for its provider."""

from contentgen_contract.names import Reason
from contentgen_operator.plans.planning import recheck_seconds, waiting
from contentgen_operator.state.decision_input import DecisionInput
from contentgen_operator.state.plan import Plan

_MAX_WAIT_SECONDS = 300.0


def hold(case: DecisionInput) -> Plan | None:
    """The plan of a run whose provider has no key."""
    if case.observed.provider_configured:
        return None
    provider = case.provider
    message = f"there is no key for {provider}; put {provider}-key into the providers' Secret, see the chart's values"
    return waiting(case, Reason.PROVIDER_NOT_CONFIGURED, message, recheck_seconds(case, _MAX_WAIT_SECONDS))
