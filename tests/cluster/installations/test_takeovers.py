"""Leader takeovers after different failures: 3 in `make test`, COUNT=50 in `make takeovers`."""

import os

import pytest

from contentgen_cluster import release
from contentgen_cluster.paths import STATE
from contentgen_e2e.settings import KEYS, ROOT
from contentgen_e2e.takeovers import SHORT, Takeovers, direct_world, line, plan, table

COUNT = int(os.environ.get("CONTENTGEN_TAKEOVERS") or len(SHORT))
SEED = int(os.environ.get("CONTENTGEN_SEED") or 0)


def test_jobs_go_on_after_each_takeover(capsys: pytest.CaptureFixture[str]) -> None:
    if not STATE.exists():
        pytest.skip("processes and networks of pods are this machine's on the bare cluster alone")
    release.install(ROOT, *KEYS, "replicas=2", "adoptionSeconds=60")
    chosen = plan(COUNT, SEED)
    with direct_world(ROOT, release.work_namespace("takeovers")) as world:

        def say(text: str) -> None:
            with capsys.disabled():
                print(f"\n{text}", end="", flush=True)  # noqa: T201 - minutes go by between two rows

        rows = Takeovers(world).run(chosen, say)
        say(table(rows))
    assert len(rows) == len(chosen)
    assert [line(row) for row in rows if row.missed] == []
