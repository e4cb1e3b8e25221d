"""Provider account that the platform grants to a namespace, by a label on the Namespace. Pure.

Only accounts that can change Namespaces can set the label; Kubernetes' roles for users of a namespace cannot.
"""

import re
from collections.abc import Collection

from contentgen_contract import patterns
from contentgen_contract.names import ACCOUNT_LABEL, DEFAULT_ACCOUNT
from contentgen_operator.state.observed import FeatureFacts, NamespaceLabels

_ACCOUNT = re.compile(patterns.ACCOUNT)
_MISSING_RIGHT = "this release's chart grants get on namespaces; nothing is paid until then"


class AccountGrant(FeatureFacts):
    """Account for the next payment of a namespace."""

    name: str | None = None  # None: the default account
    problem: str = ""  # why no account can be used; empty: the account is configured
    has_key: bool = True  # for the provider


def is_account_name(given: object) -> bool:
    """True if the text may name an account other than the default one."""
    return isinstance(given, str) and given != DEFAULT_ACCOUNT and _ACCOUNT.fullmatch(given) is not None


def granted(namespace: NamespaceLabels, configured: Collection[str]) -> AccountGrant:
    """Account that the labels of a namespace grant; `configured` are the names of this installation's accounts.

    A label that names no account has a problem, and never means the default account.
    """
    if namespace.problem:
        return AccountGrant(problem=f"{namespace.problem}, so its provider account is unknown: {_MISSING_RIGHT}")
    given = namespace.labels.get(ACCOUNT_LABEL, DEFAULT_ACCOUNT)
    if given == DEFAULT_ACCOUNT:
        return AccountGrant()
    if given in configured:
        return AccountGrant(name=given)
    return AccountGrant(
        problem=f"the label {ACCOUNT_LABEL}={str(given)[:63]} of the namespace names a provider account that this "
        "installation does not have: a platform administrator adds it to providers.accounts in the chart's values, or "
        "changes the label; nothing is paid until then, also not with the default account"
    )
