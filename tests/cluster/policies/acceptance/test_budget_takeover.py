"""200 pictures at once under a budget for 50, and the leader is frozen while purchases have reserved and not ended.

`make acceptance` alone runs it: minutes, on the bare cluster with two operators.
"""

import time

import pytest

from contentgen_cluster import release
from contentgen_cluster.paths import STATE
from contentgen_e2e.policies.budgets import (
    ONE,
    apply_at_once,
    charged,
    ended_or_held,
    wait_for_completed,
    watched_budgets,
)
from contentgen_e2e.settings import KEYS, ROOT
from contentgen_e2e.takeovers import LEAD_SECONDS, Operators, direct_world, frozen
from contentgen_e2e.world import until

COUNT, PAID, MORE = 200, 50, 10
SECONDS = 1800
FROZEN_SECONDS = 35  # shorter than the 60 s after which the liveness probe kills the process


def test_leader_frozen_during_a_claim_exceeds_no_budget() -> None:
    if not STATE.exists():
        pytest.skip("processes of pods are this machine's on the bare cluster alone")
    release.install(ROOT, *KEYS, "replicas=2", "adoptionSeconds=60")
    try:
        with direct_world(ROOT, release.work_namespace("frozen-budget")) as world, watched_budgets(world) as budgets:
            before, operators = len(world.billed()), Operators(world)
            budget = budgets.add("budget", PAID)
            until(operators.ready, seconds=LEAD_SECONDS * 3)
            leader = operators.leader()
            process = operators.process(leader.rpartition("_")[0])
            names = apply_at_once(world, "frozen", COUNT)
            until(lambda: budgets.reserved() >= PAID // 5, pause=0.1)
            with frozen(process):
                began = time.monotonic()
                assert budgets.reserved(), "it is frozen with open reservations"
                assert world.wait_for_leader(other_than=leader, seconds=LEAD_SECONDS) != leader
                time.sleep(max(began + FROZEN_SECONDS - time.monotonic(), 0))  # only the next leader works
            seen = ended_or_held(world, names, SECONDS)
            waiting = [each["message"] for each in seen if each["reason"] == "BudgetExceeded"]
            assert waiting == [budgets.message(budget, PAID)] * (COUNT - PAID)
            (window,) = budgets.summed()
            assert (window["spent"], window["held"], window["overrun"]) == (PAID * ONE, PAID * ONE, 0)
            assert len(world.billed()) - before == PAID
            assert charged(world.billed()[before:]) == PAID * ONE
            budgets.raise_to(budget, PAID + MORE)
            wait_for_completed(world, names, PAID + MORE, SECONDS)
            (window,) = budgets.summed()
            assert window["spent"] == (PAID + MORE) * ONE
            assert charged(world.billed()[before:]) == (PAID + MORE) * ONE
            assert len({purchase["request_id"] for purchase in world.billed()}) == len(world.billed())
    finally:
        release.install(ROOT, *KEYS)
