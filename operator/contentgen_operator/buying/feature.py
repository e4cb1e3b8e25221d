"""Buying as a feature. The reconciler asks for the permission to buy before a place in the queue."""

from contentgen_operator.buying.gate import hold_paused, hold_stopped
from contentgen_operator.buying.metrics import gauges
from contentgen_operator.feature import Feature

FEATURE = Feature(gates=(hold_paused, hold_stopped), gauges=gauges)
