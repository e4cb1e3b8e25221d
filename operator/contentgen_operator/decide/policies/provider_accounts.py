"""Provider accounts: a run waits while the account of its namespace is unknown, unreadable or without a key.

It never pays with another account: bills and limits of the accounts are separate.
"""

from contentgen_contract.names import Reason
from contentgen_operator.plans.planning import recheck_seconds, waiting
from contentgen_operator.state.decision_input import DecisionInput
from contentgen_operator.state.plan import Plan

_MAX_WAIT_SECONDS = 300.0  # a change of the label wakes nothing


def hold(case: DecisionInput) -> Plan | None:
    """The plan of a run whose account cannot be used; None for the default account, which `provider_key` checks."""
    account = case.observed.account
    message = account.problem
    if not message and account.name is not None and not case.observed.provider_configured:
        provider = case.provider
        message = (
            f"the namespace's provider account {account.name} has no {provider}-key: a platform administrator puts it "
            f"into the Secret that providers.accounts.{account.name}.secret in the chart's values names; nothing is "
            "paid until then, also not with the default account"
        )
    if not message:
        return None
    return waiting(case, Reason.PROVIDER_NOT_CONFIGURED, message, recheck_seconds(case, _MAX_WAIT_SECONDS))
