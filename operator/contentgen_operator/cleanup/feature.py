"""Cleanup as a feature: its loops."""

from contentgen_operator.cleanup.expiry_times import Expiries
from contentgen_operator.cleanup.garbage_collector import GarbageCollector
from contentgen_operator.cleanup.left_jobs import LeftJobs
from contentgen_operator.cleanup.temporary_files import TemporaryFiles
from contentgen_operator.feature import BoundFeature
from contentgen_operator.leader.loop import LeaderLoop


def bound(
    garbage_collector: GarbageCollector, expiries: Expiries, left_jobs: LeftJobs, temporary_files: TemporaryFiles
) -> BoundFeature:
    """The feature with these parts."""
    return BoundFeature(
        loops=(
            LeaderLoop("deletion marks", 60, garbage_collector.sweep),
            LeaderLoop("expiry of finished resources", 0, expiries.round, after_error=30),
            LeaderLoop("unfinished Jobs of ended runs", 15, left_jobs.wake_due),
            LeaderLoop("deletion of temporary files", 3600, temporary_files.round),
        )
    )
