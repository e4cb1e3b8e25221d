"""Provider account that the platform grants to a namespace, by a label on the Namespace. Pure.

Only accounts that can change Namespaces can set the label; Kubernetes' roles for users of a namespace cannot.
"""

import re
from collections.abc import Collection, Mapping
from typing import Any

from contentgen_contract import patterns
from contentgen_contract.base import Value
from contentgen_contract.names import ACCOUNT_LABEL, DEFAULT_ACCOUNT

_ACCOUNT = re.compile(patterns.ACCOUNT)


class AccountGrant(Value):
    """Account for the next payment of a namespace."""

    name: str | None = None  # None: the default account
    problem: str = ""  # why no account can be used; empty: the account is configured


class NamespacePolicy(Value):
    """Policies that the labels of one namespace set, read at one moment."""

    uid: str = ""  # of the namespace; empty: it cannot be read
    account: AccountGrant
    approval_required: bool = True
    labels: Mapping[str, str] = {}


def display_name(account: str | None) -> str:
    """Name of an account in metrics and messages."""
    return account or DEFAULT_ACCOUNT


def is_account_name(given: object) -> bool:
    """True if the text may name an account other than the default one."""
    return isinstance(given, str) and given != DEFAULT_ACCOUNT and _ACCOUNT.fullmatch(given) is not None


def granted(namespace: Mapping[str, Any], configured: Collection[str]) -> AccountGrant:
    """Account that a Namespace (JSON) grants; `configured` are the names of this installation's accounts.

    A label that names no account has a problem, and never means the default account.
    """
    labels = namespace["metadata"].get("labels") or {}
    given = labels.get(ACCOUNT_LABEL, DEFAULT_ACCOUNT)
    if given == DEFAULT_ACCOUNT:
        return AccountGrant()
    if given in configured:
        return AccountGrant(name=given)
    return AccountGrant(
        problem=f"the label {ACCOUNT_LABEL}={str(given)[:63]} of the namespace names a provider account that this "
        "installation does not have: a platform administrator adds it to providers.accounts in the chart's values, or "
        "changes the label; nothing is paid until then, also not with the default account"
    )
