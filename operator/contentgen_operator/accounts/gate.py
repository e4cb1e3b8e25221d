"""Provider accounts: a run waits while the account of its namespace is unknown, unreadable or without a key.

It never pays with another account: bills and limits of the accounts are separate.
"""

from contentgen_contract.names import Reason
from contentgen_operator.accounts.values import AccountGrant
from contentgen_operator.plans.planning import recheck_seconds, waiting
from contentgen_operator.state.decision_input import DecisionInput
from contentgen_operator.state.plan import Plan

_MAX_WAIT_SECONDS = 300.0  # a change of the label or of a key wakes nothing


def hold(case: DecisionInput) -> Plan | None:
    """The plan of a run whose account cannot be used."""
    account = case.observed.facts_of(AccountGrant)
    message = account.problem or ("" if account.has_key else _missing_key(account, case.provider))
    if not message:
        return None
    return waiting(case, Reason.PROVIDER_NOT_CONFIGURED, message, recheck_seconds(case, _MAX_WAIT_SECONDS))


def _missing_key(account: AccountGrant, provider: str) -> str:
    if account.name is None:
        return f"there is no key for {provider}; put {provider}-key into the providers' Secret, see the chart's values"
    return (
        f"the namespace's provider account {account.name} has no {provider}-key: a platform administrator puts it "
        f"into the Secret that providers.accounts.{account.name}.secret in the chart's values names; nothing is "
        "paid until then, also not with the default account"
    )
