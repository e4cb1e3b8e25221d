"""Queue as a feature. The reconciler asks for the places, after all other gates."""

from contentgen_operator.feature import Feature
from contentgen_operator.queue.gate import hold
from contentgen_operator.queue.metrics import gauges

FEATURE = Feature(gates=(hold,), gauges=gauges)
