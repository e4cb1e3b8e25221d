"""Orphans as a feature: their loop and their gauge."""

from contentgen_operator.feature import BoundFeature, Feature
from contentgen_operator.leader.loop import LeaderLoop
from contentgen_operator.orphans.metrics import gauges
from contentgen_operator.orphans.rounds import Orphans

FEATURE = Feature(gauges=gauges)


def bound(orphans: Orphans) -> BoundFeature:
    """The feature with its loop."""
    return BoundFeature(loops=(LeaderLoop("orphans", 60, orphans.round),))
