"""Usage of the current UTC day and month as metrics, by the labels that the administrator has chosen.

Every five minutes the ledger is summed. The labels have values that tenants choose, so the number of series is limited:
the combinations with the most money are shown, and the rest has one combination of its own, OTHER.
"""

import math
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Self

from pydantic import Field

from contentgen_contract import patterns
from contentgen_contract.base import Value
from contentgen_contract.names import Kind
from contentgen_contract.records.purchase_costs import UsageLabel
from contentgen_contract.resources.models import full_name
from contentgen_contract.resources.providers import PROVIDERS, Providers
from contentgen_operator import metrics
from contentgen_operator.clock import utc_now
from contentgen_operator.stores.charges import AMOUNTS, Charges

_WINDOWS = ("day", "month")
OTHER, UNKNOWN = "_other", "_unknown"
"""Value of each label of the rest, and of one that the ledger lacks. No namespace and no user has these names."""
SERIES_EACH = len(_WINDOWS) * (len(AMOUNTS) + 1)
"""Series of one combination: its amounts and its number of purchases, in two windows."""
_TENANTS = {UsageLabel.NAMESPACE: patterns.NAMESPACE, UsageLabel.USER: patterns.USER_ID}
_KINDS = {kind.record_type: kind.value for kind in Kind}


class UsageSettings(Value):
    """Settings of the usage metrics."""

    labels: tuple[UsageLabel, ...] = Field(
        (UsageLabel.NAMESPACE, UsageLabel.KIND, UsageLabel.PROVIDER, UsageLabel.MODEL),
        description="Labels of the usage metrics.",
    )
    max_series: int = Field(2000, ge=0, le=100_000, description="Number of their series; 0: no usage metrics.")


@dataclass(frozen=True)
class UsagePlan:
    """Settings: labels, the highest number of series (0: no metrics), and the class whose purchases are counted."""

    labels: Sequence[UsageLabel]
    most_series: int
    operator_class: str
    providers: Sequence[str] = PROVIDERS.names

    @classmethod
    def of(
        cls, settings: UsageSettings, operator_class: str, providers: Providers = PROVIDERS, *, tenants: bool
    ) -> Self:
        """Plan of an installation. Without `tenants`, no label names a tenant, and sums are of all of them."""
        labels = settings.labels
        if not tenants:
            labels = tuple(label for label in labels if label not in _TENANTS)
        return cls(labels, settings.max_series, operator_class, providers.names)


class UsageMetrics:
    """Sums of the ledger, read at intervals."""

    def __init__(self, charges: Charges, plan: UsagePlan, clock: Callable[[], datetime] = utc_now) -> None:
        self._charges, self._plan, self._clock = charges, plan, clock

    async def round(self) -> None:
        """One round. Raises PyMongoError, after which the metrics are absent: yesterday's are not today's."""
        if not self._plan.most_series:
            return
        try:
            rows = await self._charges.usage(self._clock(), self._plan.labels, self._plan.operator_class)
            metrics.gauges.usage = samples(rows, self._plan)
        except Exception:
            metrics.gauges.usage = ()
            raise


def samples(rows: Iterable[Mapping[str, Any]], plan: UsagePlan) -> tuple[metrics.UsageSample, ...]:
    """Samples of the combinations with the most money in the month, and of the rest."""
    sums: dict[tuple[str, ...], dict[str, int]] = defaultdict(lambda: defaultdict(int))
    for row in rows:
        _add(sums[_combination(row["_id"] or {}, plan)], row)
    order = sorted(sums, key=lambda each: (-sum(sums[each][f"month_{name}"] for name in AMOUNTS), each))
    most = max(plan.most_series // SERIES_EACH, 1)
    shown = order if len(order) <= most else order[: most - 1]
    rest: dict[str, int] = defaultdict(int)
    for each in order[len(shown) :]:
        _add(rest, sums[each])
    found = [(each, sums[each]) for each in shown]
    if rest:
        found.append((tuple(OTHER if label in plan.labels else "" for label in UsageLabel), rest))
    return tuple(_sample(window, labels, amounts) for labels, amounts in found for window in _WINDOWS)


def _sample(window: str, labels: tuple[str, ...], sums: Mapping[str, int]) -> metrics.UsageSample:
    amounts = {name: sums[f"{window}_{name}"] for name in AMOUNTS}
    return metrics.UsageSample(window, labels, amounts, sums[f"{window}_purchases"])


def _add(sums: dict[str, int], row: Mapping[str, Any]) -> None:
    for window in _WINDOWS:
        for name in (*AMOUNTS, "purchases"):
            sums[f"{window}_{name}"] += _finite_int(row.get(f"{window}_{name}"))


def _combination(key: Mapping[str, Any], plan: UsagePlan) -> tuple[str, ...]:
    """Values of all labels; empty for those that are not chosen, which Prometheus treats as absent."""
    return tuple(_value(label, key.get(label), plan) if label in plan.labels else "" for label in UsageLabel)


def _value(label: UsageLabel, given: object, plan: UsagePlan) -> str:
    """Value of a label; UNKNOWN: the ledger has none, or one that nobody gave."""
    if not isinstance(given, str):
        return UNKNOWN
    match label:
        case UsageLabel.NAMESPACE | UsageLabel.USER:
            return given if re.fullmatch(_TENANTS[label], given) else UNKNOWN
        case UsageLabel.KIND:
            return _KINDS.get(given, UNKNOWN)
        case UsageLabel.PROVIDER:
            return given if given in plan.providers else UNKNOWN
        case UsageLabel.MODEL:
            return metrics.model_label(full_name(given))


def _finite_int(value: object) -> int:
    return int(value) if isinstance(value, int | float) and math.isfinite(value) else 0
