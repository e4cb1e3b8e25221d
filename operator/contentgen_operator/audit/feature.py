"""Audit as a feature: its loop, its indexes and its gauges."""

from contentgen_operator.audit.metrics import gauges
from contentgen_operator.audit.rounds import AccountAudit
from contentgen_operator.audit.store import Audits
from contentgen_operator.feature import BoundFeature, Feature
from contentgen_operator.leader.loop import LeaderLoop

FEATURE = Feature(gauges=gauges)


def bound(audits: Audits, audit: AccountAudit) -> BoundFeature:
    """The feature with these parts."""
    return BoundFeature(
        loops=(LeaderLoop("audit of the accounts", 10, audit.round),),  # which looks for a request
        create_indexes=audits.create_indexes,
    )
