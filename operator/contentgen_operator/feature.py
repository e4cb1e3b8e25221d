"""Seam of a feature: its gates and gauges, and its functions over the stores of an installation.

`components.FEATURES` lists the features, and `components` binds them. The order of all gates is in
`decide/policies/gate_order.py`, that of all effects in `state/effects.py`.
"""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from prometheus_client.registry import Collector

from contentgen_operator.leader.loop import LeaderLoop
from contentgen_operator.state.decision_input import DecisionInput
from contentgen_operator.state.effects import Effect
from contentgen_operator.state.observed import FeatureFacts, NamespaceLabels
from contentgen_operator.state.plan import Plan


def _without_indexes() -> None:
    """The feature has no collection."""


@dataclass(frozen=True, kw_only=True)
class BoundFeature:
    """Functions of a feature over the stores of an installation."""

    # Facts for its gates about a run that may be paid, in a namespace with these labels; `datetime`: of the payment.
    observe: Callable[[DecisionInput, NamespaceLabels, datetime], Awaitable[FeatureFacts]] | None = None
    effects: Mapping[type[Effect], Callable[[Any, datetime], Awaitable[None]]] = field(default_factory=dict)
    loops: tuple[LeaderLoop, ...] = ()
    create_indexes: Callable[[], None] = _without_indexes


@dataclass(frozen=True, kw_only=True)
class Feature:
    """A policy."""

    gates: tuple[Callable[[DecisionInput], Plan | None], ...] = ()
    gauges: Collector | None = None
