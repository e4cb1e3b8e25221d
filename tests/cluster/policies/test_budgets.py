"""Budgets on the real cluster: 40 pictures at once under a budget for 10, by the sandbox's bills and MongoDB."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from contentgen_cluster import release
from contentgen_contract.names import GROUP, VERSION
from contentgen_contract.resources.content_budget import micros_of
from contentgen_e2e.world import Body, ClusterWorld

KIND = "ImageGeneration"
COUNT, PAID = 40, 10  # one megapixel by flux-dev costs $0.025


def pictures(prompt: str) -> Body:
    return {"model": "flux-dev", "prompt": prompt, "image": {"size": {"width": 256, "height": 256}}}


@pytest.fixture
def budget(world: ClusterWorld) -> Iterator[str]:
    name = f"{world.namespace}-budget"
    world.kubectl("label", "namespace", world.namespace, "budget=test", "--overwrite")
    spec = {
        "limits": {"total": "0.25"},
        "scope": {"namespaceSelector": {"matchLabels": {"budget": "test"}}, "kinds": [KIND]},
    }
    body = {
        "apiVersion": f"{GROUP}/{VERSION}",
        "kind": "ContentBudget",
        "metadata": {"name": name},
        "spec": release.of_class(spec),
    }
    world.kubectl("apply", "--filename", "-", stdin=json.dumps(body))
    yield name
    world.kubectl("delete", "contentbudget", name)
    world.kubectl("label", "namespace", world.namespace, "budget-")


def window(world: ClusterWorld, budget: str) -> dict[str, Any]:
    return dict(world.jobs.database["budgets"].find_one({"budget": budget}) or {})


def test_a_budget_for_10_pays_10_of_40_and_more_once_it_is_raised(world: ClusterWorld, budget: str) -> None:
    before = len(world.billed())
    names = [f"budgeted-{number}" for number in range(COUNT)]
    for name in names:
        world.apply(KIND, name, pictures(f"budgeted picture {name}"))
    ended = ("Completed", "Failed")
    seen = [
        world.wait(KIND, name, lambda s: s.get("phase") in ended or s.get("reason") == "BudgetExceeded")["status"]
        for name in names
    ]
    waiting = [each for each in seen if each["reason"] == "BudgetExceeded"]
    assert len(waiting) == COUNT - PAID
    assert all(f"ContentBudget {budget} has $" in each["message"] for each in waiting)
    assert len(world.billed()) - before == PAID
    held = window(world, budget)
    assert held["held"] <= micros_of("0.25") + held["overrun"]
    raised = {"spec": {"limits": {"total": "100"}}}
    world.kubectl("patch", "contentbudget", budget, "--type=merge", "--patch", json.dumps(raised))
    for name in names:
        assert world.wait_for_end(KIND, name)["status"]["phase"] == "Completed"
    assert len(world.billed()) - before == COUNT
