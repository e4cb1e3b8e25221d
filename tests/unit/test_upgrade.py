"""Upgrades from a5a1c84: that release leaves a purchase in each state, today's operator goes on with it."""

import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from contentgen_contract.names import Kind
from contentgen_contract.status import ResourceStatus
from contentgen_operator.ledger import _purchase
from contentgen_simulation.upgrade.driver import Driver
from contentgen_simulation.upgrade.release import Release
from contentgen_simulation.upgrade.states import State, old_states

Body = dict[str, Any]
COMMIT = "a5a1c84"
CASES = [(kind, state) for kind in Kind for state in old_states(kind)]


@pytest.fixture(scope="module")
def old(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Release]:
    with Release(COMMIT, tmp_path_factory.mktemp("release")) as release:
        yield release


@pytest.mark.parametrize(("kind", "state"), CASES, ids=[f"{kind.plural}: {state.name}" for kind, state in CASES])
async def test_an_upgrade_goes_on_and_buys_nothing_again(
    kind: Kind, state: State, old: Release, monkeypatch: pytest.MonkeyPatch
) -> None:
    left = old.run(kind, None, [*state.before])
    new = Driver(kind, monkeypatch, left)
    await new.do([*state.after, ["step"], ["finish"]])
    assert_ends(new, state)
    assert_kept(left, new)


def assert_ends(driver: Driver, state: State) -> None:
    status = driver.body["status"]
    assert len(driver.world.provider.posts) == state.posts, driver.world.database["ledger"].find_one()
    assert status["phase"] == state.phase, status
    assert state.reason in (None, status["reason"]), status


def assert_kept(left: Body, driver: Driver) -> None:
    """What was stored is stored, unless its deletion was asked for; every document can be read."""
    now = driver.dump()
    outputs = {key: value for key, value in left["objects"].items() if not key.startswith(("runs/", "datasets/"))}
    assert {key: now["objects"].get(key) for key in outputs} == outputs
    status = ResourceStatus.model_validate(driver.body["status"])
    files = [file.key for version in status.versions for file in version.files]
    assert not [key for key in files if key not in now["objects"]]
    for each in driver.world.database["ledger"].find():
        assert _purchase(each).purchase_id
    record = driver.world.database["jobs"].find_one({"jobId": driver.body["metadata"]["uid"]})
    assert record is not None
    assert record["status"] == {"Completed": "completed", "Failed": record["status"]}.get(status.phase or "", "processing")
