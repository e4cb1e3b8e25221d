"""Stop of buying while paid results cannot be stored, as frozen values. Pure."""

from collections.abc import Iterable
from datetime import datetime, timedelta
from enum import StrEnum

from pydantic import Field

from contentgen_contract.base import Value
from contentgen_operator.state.observed import FeatureFacts

INSTALLATION = "*"
"""Scope of a stop of all namespaces. No namespace has this uid."""
_SEVERAL = 3  # namespaces, until a cause is common: no tenant alone stops the others


class StopState(StrEnum):
    """State of a stop."""

    STOPPED = "stopped"  # nothing is bought
    PROBING = "probing"  # one run at a time is bought, until the result of one is stored


class BacklogLimit(Value):
    """Limit of paid results that are not stored, so long after their collection began."""

    results: int = Field(
        20, ge=0, description="Paid results of a namespace that may be late before nothing more is bought in it."
    )
    minutes: int = Field(
        15, ge=1, le=1440, description="Time after the provider's end after which a result that is not stored is late."
    )

    @property
    def wait(self) -> timedelta:
        """The minutes."""
        return timedelta(minutes=self.minutes)


class AwaitedResults(Value):
    """Paid results of a namespace whose collection is tried. Source: the ledger."""

    namespace: str
    scope: str
    count: int
    oldest: datetime  # begin of the longest collection


class BuyingStop(Value):
    """Stop that holds a run."""

    state: StopState
    everywhere: bool  # of the installation, not of the namespace alone
    limit: BacklogLimit


class BuyingFacts(FeatureFacts):
    """Answer to a run that asks whether it may buy."""

    stop: BuyingStop | None = None  # None: it may, or has not asked


def scope_of(namespace_uid: str | None, namespace: str) -> str:
    """Scope of a namespace: its uid, so that one that was created again does not have the former one's results."""
    return namespace_uid or f"name/{namespace}"


def stopped_scopes(late: Iterable[AwaitedResults], limit: BacklogLimit) -> frozenset[str]:
    """Namespaces with more late results than the limit, and INSTALLATION if the cause is common.

    It is common if the namespaces together exceed the limit, and a single one counts up to a third of it only: the
    results of at least three are late then.
    """
    counts = {purchase.scope: purchase.count for purchase in late}
    share = limit.results // _SEVERAL + 1
    common = len(counts) >= _SEVERAL and sum(min(each_count, share) for each_count in counts.values()) > limit.results
    full = (scope for scope, count in counts.items() if count > limit.results)
    return frozenset([*full, *([INSTALLATION] if common else [])])
