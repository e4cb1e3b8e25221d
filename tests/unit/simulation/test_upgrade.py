"""Upgrades from a5a1c84: that release leaves a purchase in each state, the current operator continues it."""

import hashlib
import tarfile
from collections.abc import Iterator
from typing import Any

import pytest

from contentgen_contract.names import Kind
from contentgen_contract.resources.status import ResourceStatus
from contentgen_operator.stores.ledger import _purchase
from contentgen_simulation.upgrade.driver import Driver
from contentgen_simulation.upgrade.release import ARCHIVES, OLD, OldRelease
from contentgen_simulation.upgrade.states import StateCase, cases, ids, lora_states, old_states

Body = dict[str, Any]
CASES = [*cases(old_states), *((Kind.IMAGE_GENERATION, each) for each in lora_states(old_states))]


@pytest.fixture(scope="module")
def old(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OldRelease]:
    with OldRelease(OLD, tmp_path_factory.mktemp("release")) as release:
        yield release


@pytest.mark.parametrize(("kind", "state"), CASES, ids=ids(CASES))
async def test_an_upgrade_goes_on_and_buys_nothing_again(
    kind: Kind, state: StateCase, old: OldRelease, monkeypatch: pytest.MonkeyPatch
) -> None:
    left = old.run(kind, None, [*state.before])
    new = Driver(kind, monkeypatch, left)
    await new.do([*state.after, ["step"], ["finish"]])
    assert_ends(new, state)
    assert_kept(left, new)


def assert_ends(driver: Driver, state: StateCase) -> None:
    status = driver.body["status"]
    assert len(driver.world.provider.posts) == state.posts, driver.world.database["ledger"].find_one()
    assert status["phase"] == state.phase, status
    assert state.reason in (None, status["reason"]), status


def assert_kept(left: Body, driver: Driver) -> None:
    """Check that stored files remain unless deleted on request, and that every document is readable."""
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
    assert record["status"] == {"Completed": "completed", "Failed": record["status"]}.get(
        status.phase or "", "processing"
    )


# The stored release


# git ls-tree -r --format='%(objectname) %(path)' a5a1c84 -- .dockerignore Dockerfile \
#     worker-image/{Dockerfile,contentgen_worker} requirements/{operator,worker}.txt charts/contentgen operator \
#     tests/simulation/contentgen_simulation/{__init__,world}.py | LC_ALL=C sort -k2 | sha256sum
LISTING = "2c1509cedc1686746bb67c737606d36cc8c018a9b5866e0750ef560fc5881c12"


def blob(content: bytes) -> str:
    """Git object name of a file."""
    return hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()


def test_the_archive_is_the_commit() -> None:
    """Without git: a checkout may be shallow."""
    with tarfile.open(ARCHIVES / f"{OLD}.tar.xz") as archive:
        files = {each.name.removeprefix(f"{OLD}/"): archive.extractfile(each) for each in archive if each.isfile()}
        names = {name: blob(file.read()) for name, file in files.items() if file is not None}
    listing = "".join(f"{names[name]} {name}\n" for name in sorted(names))
    assert hashlib.sha256(listing.encode()).hexdigest() == LISTING
