"""Input of the comparison: the providers' data, the ledger's purchases, prices and limits."""

from collections.abc import Mapping
from datetime import datetime, timedelta

from pydantic import Field, model_validator

from contentgen_contract.base import Value
from contentgen_contract.records.audits import Coverage
from contentgen_contract.resources.operator_class import DEFAULT_CLASS
from contentgen_contract.resources.prices import Price
from contentgen_contract.resources.providers import PROVIDERS, Providers
from contentgen_operator.state.provider_requests import ProviderBill, ProviderRequest
from contentgen_operator.state.purchases import Purchase


class AuditSettings(Value):
    """Settings of the audit, in days."""

    daily: bool = Field(True, description="Audit every day; without it, only when a person requests it.")
    window_days: int = Field(14, ge=1, le=60, description="Age of the requests and bills that are audited.")
    unbilled_days: int = Field(3, ge=1, le=30, description="Time after which a request must be billed.")
    shared_account: bool = Field(
        False, description="Whether others use the providers' accounts: their requests are no alert."
    )

    @model_validator(mode="after")
    def _audits_long_enough(self) -> "AuditSettings":
        if self.unbilled_days >= self.window_days:
            raise ValueError("audit_unbilled_days must be less than audit_window_days")
        return self

    def limits(self, operator_class: str, providers: Providers) -> "AuditLimits":
        """Limits of the comparison, for the purchases of this class at these providers."""
        return AuditLimits(
            window=timedelta(days=self.window_days),
            unbilled_after=timedelta(days=self.unbilled_days),
            shared_account=self.shared_account,
            operator_class=operator_class,
            providers=providers,
        )


class AuditLimits(Value):
    """Limits of the comparison."""

    window: timedelta = timedelta(days=14)
    grace: timedelta = timedelta(hours=1)  # the ledger may not have the id of a younger request yet
    listed_after: timedelta = timedelta(days=1)  # fal's history has lagged by 15 hours
    unbilled_after: timedelta = timedelta(days=3)
    shared_account: bool = False  # other people or installations use the providers' accounts
    operator_class: str = DEFAULT_CLASS
    providers: Providers = PROVIDERS


class AuditedPurchase(Value):
    """Purchase with its buying key."""

    key: str
    purchase: Purchase


class AuditFacts(Value):
    """Everything that one audit has read. `requests`, `bills` and `purchases` have no order."""

    now: datetime
    since: datetime
    requests: tuple[ProviderRequest, ...] = ()
    bills: tuple[ProviderBill, ...] = ()
    purchases: tuple[AuditedPurchase, ...] = ()
    bound_requests: frozenset[str] = frozenset()  # `provider/request id` of those that belong to a purchase
    looked_up: Mapping[str, ProviderRequest | None] = Field(
        default_factory=dict
    )  # reads of single requests; None: the provider has none
    table: Mapping[str, Price] = Field(default_factory=dict)
    listed: Mapping[str, Price] = Field(default_factory=dict)  # the provider's current prices for the default account
    listed_of: Mapping[str, Mapping[str, Price]] = Field(default_factory=dict)  # the same, by named account
    coverage: tuple[Coverage, ...] = ()
    lists_open: frozenset[str] = frozenset()  # providers whose lists have requests under way too
