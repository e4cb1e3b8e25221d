"""Budgets: limits on the money that runs may spend per window, set by the platform. Pure.

A ContentBudget is cluster-scoped. Its usage is kept in MongoDB; the status repeats it for people.
"""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Annotated, Any, Literal, Self

from pydantic import Field, StringConstraints, ValidationError, model_validator

from contentgen_contract import patterns
from contentgen_contract.base import Manifest, Value
from contentgen_contract.names import Kind
from contentgen_contract.resources.prices import USD
from contentgen_contract.resources.providers import PROVIDERS, ProviderName
from contentgen_contract.resources.status import ConditionStatus

VALUES_OF_TERMS = "In and NotIn must have values, Exists and DoesNotExist must have none"
BUDGET_KIND, BUDGET_PLURAL, BUDGET_SHORT_NAME = "ContentBudget", "contentbudgets", "cgbudget"

Dollars = Annotated[str, StringConstraints(pattern=patterns.DOLLARS, max_length=16)]
_Text = Annotated[str, StringConstraints(max_length=317)]
_User = Annotated[str, StringConstraints(pattern=patterns.USER_ID, max_length=63)]


class LimitWindow(StrEnum):
    """Window of a limit, in UTC."""

    DAY = "day"
    MONTH = "month"
    TOTAL = "total"

    def starts(self, now: datetime) -> datetime | None:
        """Start of the window that contains `now`; None: it has none."""
        midnight = now.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
        match self:
            case LimitWindow.DAY:
                return midnight
            case LimitWindow.MONTH:
                return midnight.replace(day=1)
            case LimitWindow.TOTAL:
                return None

    def resets(self, now: datetime) -> datetime | None:
        """End of the window that contains `now`; None: it has none."""
        start = self.starts(now)
        if start is None:
            return None
        return start + timedelta(days=1) if self is LimitWindow.DAY else (start + timedelta(days=32)).replace(day=1)

    def label(self, now: datetime) -> str:
        """Name of the window that contains `now`: `day-2026-11-23`, `month-2026-11`, `total`."""
        start = self.starts(now)
        if start is None:
            return self.value
        return f"{self.value}-{start:%Y-%m-%d}" if self is LimitWindow.DAY else f"{self.value}-{start:%Y-%m}"


class BudgetLimits(Manifest):
    """Limits in US dollars. Windows are in UTC."""

    day: Dollars | None = Field(None, description="Limit of each day in US dollars, from 00:00 UTC.")
    month: Dollars | None = Field(None, description="Limit of each calendar month in US dollars.")
    total: Dollars | None = Field(None, description="Limit of the budget's whole life in US dollars.")


class LabelTerm(Manifest):
    """A term of a label selector."""

    key: _Text = Field(description="Key of the label.")
    operator: Literal["In", "NotIn", "Exists", "DoesNotExist"] = Field(description="Comparison of the label's value.")
    values: tuple[_Text, ...] = Field((), max_length=64, description="Values of In and NotIn; others have none.")

    @model_validator(mode="after")
    def _has_values(self) -> Self:
        # As for selectors of Kubernetes. A term `In` without values would match no namespace: nothing would count.
        if (self.operator in ("In", "NotIn")) != bool(self.values):
            raise ValueError(VALUES_OF_TERMS)
        return self

    def matches(self, labels: Mapping[str, str]) -> bool:
        """True if the labels meet the term, as in Kubernetes: NotIn also matches objects without the label."""
        match self.operator:
            case "In":
                return labels.get(self.key) in self.values
            case "NotIn":
                return labels.get(self.key) not in self.values
            case "Exists":
                return self.key in labels
            case "DoesNotExist":
                return self.key not in labels


class NamespaceSelector(Manifest):
    """Label selector of namespaces. An empty one selects all."""

    match_labels: dict[str, _Text] = Field(default_factory=dict, description="Labels that a namespace must have.")
    match_expressions: tuple[LabelTerm, ...] = Field(
        (), max_length=32, description="Terms that a namespace must meet, too."
    )

    def matches(self, labels: Mapping[str, str]) -> bool:
        """True if a namespace with these labels is selected."""
        equal = all(labels.get(key) == value for key, value in self.match_labels.items())
        return equal and all(term.matches(labels) for term in self.match_expressions)


class BudgetScope(Manifest):
    """Runs that a budget counts. Each field that is given must match; without any field, all runs count."""

    namespace_selector: NamespaceSelector | None = Field(
        None, description="Namespaces by their labels. Anybody who may label a namespace decides whether it counts."
    )
    providers: tuple[ProviderName, ...] = Field((), max_length=len(PROVIDERS.names), description="Paid providers.")
    kinds: tuple[Kind, ...] = Field((), max_length=8, description="Kinds of resources.")
    users: tuple[_User, ...] = Field(
        (), max_length=256, description="Users, by the run's userId; the namespace is the user of a run without one."
    )

    def includes(self, *, labels: Mapping[str, str], provider: str, kind: Kind, user: str) -> bool:
        """True if a run counts."""
        return (
            (self.namespace_selector is None or self.namespace_selector.matches(labels))
            and (not self.providers or provider in self.providers)
            and (not self.kinds or kind in self.kinds)
            and (not self.users or user in self.users)
        )


class OnExceeded(StrEnum):
    """End of a run that a budget refuses."""

    WAIT = "Wait"
    FAIL = "Fail"


class UnknownPrice(StrEnum):
    """Treatment of a run whose price has no known upper bound."""

    REFUSE = "Refuse"
    ALLOW = "Allow"


class ContentBudgetSpec(Manifest):
    """Limits on the money that runs may spend. The platform sets them; users of namespaces can read them."""

    limits: BudgetLimits = Field(description="Limits per window; at least one.")
    max_per_run: Dollars | None = Field(
        None, description="Limit of one paid attempt of a run in US dollars, by the estimate's upper bound."
    )
    warn_at_percent: Annotated[int, Field(ge=1, le=100)] = Field(
        80, description="Part of a limit from which status.windows and the metrics warn."
    )
    on_exceeded: OnExceeded = Field(
        OnExceeded.WAIT, description="Wait: the run waits until the window resets. Fail: it ends, and nothing is paid."
    )
    unknown_price: UnknownPrice = Field(
        UnknownPrice.REFUSE,
        description="Refuse: a run without a known upper bound of its price is treated as one over the limit. Allow: "
        "it reserves nothing, and its charge counts once it is known.",
    )
    scope: BudgetScope = Field(
        default_factory=BudgetScope, description="Runs that count; without a field, all runs of the cluster."
    )

    operator_class: Annotated[str, StringConstraints(pattern=patterns.OPERATOR_CLASS, max_length=63)] | None = Field(
        None, description="Operator class whose runs count. Default: default."
    )

    @property
    def micros(self) -> dict[LimitWindow, int]:
        """Limits in micro-dollars."""
        given = {
            LimitWindow.DAY: self.limits.day,
            LimitWindow.MONTH: self.limits.month,
            LimitWindow.TOTAL: self.limits.total,
        }
        return {window: micros_of(text) for window, text in given.items() if text is not None}


class WindowStatus(Value):
    """Usage of one window."""

    window: str = Field(description="Name of the window, such as day-2026-11-23, month-2026-11 or total.")
    limit: str = Field(description="Limit in US dollars.")
    reserved: str = Field(description="Upper bounds of runs under way, in US dollars.")
    spent: str = Field(description="Charges of ended runs in US dollars; upper bounds where no charge is known yet.")
    remaining: str = Field(description="Money that new runs may reserve, in US dollars.")
    overrun: str = Field(
        description="Charges above the upper bounds of their runs, and lost requests that were found or adopted beyond "
        "the limit, in US dollars."
    )
    warning: bool = Field(description="True from spec.warnAtPercent on.")
    resets_at: datetime | None = Field(None, description="End of the window; absent for total.")


class BudgetStatus(Value):
    """Usage of a budget. The operator writes it."""

    observed_generation: int | None = Field(None, description="Generation of the spec that the status is about.")
    display: str = Field("", description="Spent and reserved money of the limit, for the fullest window.")
    windows: tuple[WindowStatus, ...] = Field((), max_length=3, description="Usage of the current windows.")
    conditions: tuple[ConditionStatus, ...] = Field(
        (), max_length=8, description="Ready: runs are counted. Warning: from spec.warnAtPercent on. Exhausted: full."
    )


class ContentBudget(Value):
    """A budget as read from the API server."""

    name: str
    uid: str
    generation: int = 0
    resource_version: str = ""
    spec: ContentBudgetSpec | None  # None: it cannot be read, such as one of a newer release
    status: dict[str, Any] = Field(default_factory=dict)

    @classmethod
    def parse(cls, body: dict[str, Any]) -> "ContentBudget":
        """From the API server's JSON object."""
        meta = body["metadata"]
        try:
            spec = ContentBudgetSpec.model_validate(body.get("spec"))
        except ValidationError:
            spec = None
        return cls(
            name=meta["name"],
            uid=meta["uid"],
            generation=meta.get("generation", 0),
            resource_version=meta.get("resourceVersion", ""),
            spec=spec,
            status=body.get("status") or {},
        )


def micros_of(dollars: str) -> int:
    """Micro-dollars of a decimal that matches `patterns.DOLLARS`."""
    whole, _, part = dollars.partition(".")
    return int(whole) * USD + int(part.ljust(6, "0") or 0)


def dollars_of(micros: int) -> str:
    """Dollars with two to six decimals: `2.00`, `0.0045`."""
    sign, whole, part = "-" if micros < 0 else "", abs(micros) // USD, f"{abs(micros) % USD:06d}"
    return f"{sign}{whole}.{part[:2]}{part[2:].rstrip('0')}"
