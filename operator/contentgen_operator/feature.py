"""Seam of a feature: the policy's gates and gauges, and its functions over the stores of an installation.

`components.FEATURES` lists the features. The order of all gates is in `decide/policies/gate.py`, that of all effects in
`state/effects.py`.
"""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from prometheus_client.registry import Collector
from pymongo.database import Database

from contentgen_operator.kube.api import Kube
from contentgen_operator.leader.leadership import Check
from contentgen_operator.leader.loop import LeaderLoop
from contentgen_operator.state.decision_input import DecisionInput
from contentgen_operator.state.effects import Effect
from contentgen_operator.state.observed import FeatureFacts, NamespacePolicy
from contentgen_operator.state.plan import Plan


@dataclass(frozen=True)
class BoundFeature:
    """Functions of a feature over the stores of an installation."""

    # Facts for its gates about a run that may be paid, in a namespace with these labels; `datetime`: of the payment.
    observe: Callable[[DecisionInput, NamespacePolicy, datetime], Awaitable[FeatureFacts]]
    effects: Mapping[type[Effect], Callable[[Any, datetime], Awaitable[None]]]
    loops: tuple[LeaderLoop, ...]
    create_indexes: Callable[[], None]


@dataclass(frozen=True)
class Feature:
    """A policy."""

    gates: tuple[Callable[[DecisionInput], Plan | None], ...]
    gauges: Collector | None = None
    # Its functions; the third argument is the operator class. None: the reconciler and its actor call them themselves.
    bind: Callable[[Kube, Database[dict[str, Any]], str, Check], BoundFeature] | None = None
