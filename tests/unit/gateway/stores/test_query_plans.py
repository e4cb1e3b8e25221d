"""Parsing of `explain` results, on samples of MongoDB's manual: no server in these tests has the command."""

import pytest

from contentgen_simulation.gateway.query_plans import single, stages, winning_stages

FETCHED = {"stage": "FETCH", "inputStage": {"stage": "IXSCAN", "indexName": "created"}}
SCANNED = {"stage": "COLLSCAN", "direction": "forward"}


def test_of_a_find_only_the_winning_plan_counts() -> None:
    answer = {"queryPlanner": {"winningPlan": FETCHED, "rejectedPlans": [SCANNED]}, "ok": 1.0}
    assert set(stages(answer)) == {"FETCH", "IXSCAN"}
    assert "COLLSCAN" in stages({"queryPlanner": {"winningPlan": SCANNED, "rejectedPlans": []}})


def test_of_an_aggregation_the_cursor_counts() -> None:
    cursor = {"$cursor": {"queryPlanner": {"winningPlan": SCANNED, "rejectedPlans": []}}}
    assert "COLLSCAN" in stages({"stages": [cursor, {"$group": {"_id": "$type"}}]})


def test_of_slots_and_shards_the_plan_below_counts() -> None:
    slots = {"queryPlan": {"stage": "GROUP", "inputStage": SCANNED}, "slotBasedPlan": {"stages": "[1] scan"}}
    assert "COLLSCAN" in stages({"queryPlanner": {"winningPlan": slots}})
    shards = {
        "stage": "SINGLE_SHARD",
        "shards": [{"shardName": "a", "winningPlan": {"stage": "OR", "inputStages": [FETCHED, SCANNED]}}],
    }
    assert set(stages({"queryPlanner": {"winningPlan": shards}})) == {
        "SINGLE_SHARD",
        "OR",
        "FETCH",
        "IXSCAN",
        "COLLSCAN",
    }


def test_an_answer_without_a_plan_is_no_good_answer() -> None:
    with pytest.raises(ValueError, match="no plan"):
        winning_stages({"queryPlanner": {"rejectedPlans": [SCANNED]}, "ok": 1.0})
    assert winning_stages({"queryPlanner": {"winningPlan": {"stage": "EOF"}}}) == {"EOF"}


def test_updates_are_explained_one_at_a_time() -> None:
    both = {"update": "jobs", "updates": [{"q": {"jobId": "a"}}, {"q": {"jobId": "b"}}]}
    assert [each["updates"] for each in single(both)] == [[{"q": {"jobId": "a"}}], [{"q": {"jobId": "b"}}]]
    assert list(single({"find": "jobs", "filter": {}})) == [{"find": "jobs", "filter": {}}]
