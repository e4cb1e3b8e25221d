"""Short `make soak`: a minute of arrivals, the operator killed every 22 s, of which it leads 7."""

from contentgen_bench.latency.soak import Soak, install, rows
from contentgen_cluster import release
from contentgen_e2e.settings import ROOT
from contentgen_e2e.world import open_world

_MINUTES = 1.0


def test_a_minute_of_jobs_and_kills() -> None:
    install(ROOT)
    with open_world(ROOT, release.work_namespace("soak")) as apart:  # where nothing else is left behind
        found = Soak(apart, kill_seconds=22).run(_MINUTES)
    assert found.kills >= 1  # as many as the machine's load leaves time for
    assert found.completed >= 3, found.violations
    missed = [row for row in rows(found, _MINUTES) if row.holds is False]
    assert missed == [], [*found.violations, *found.log]
