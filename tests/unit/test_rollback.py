"""Rollback to a5a1c84 after `contentgen prepare-rollback`, with a purchase in each state, and the upgrade after it."""

from collections.abc import Iterator
from typing import Any

import pytest

from contentgen_contract import keys
from contentgen_contract.names import Kind
from contentgen_gateway.rollback import Action, Finding, Rollback
from contentgen_simulation.upgrade.driver import Driver
from contentgen_simulation.upgrade.release import Release
from contentgen_simulation.upgrade.states import State, new_states, old_states

Body = dict[str, Any]
COMMIT = "a5a1c84"
# Where this release ends after its first write, nothing was sent: see "planned".
CASES = [
    (kind, state)
    for kind in Kind
    for state in (*new_states(kind), *old_states(kind))
    if state.name != "ended after intend"
]


@pytest.fixture(scope="module")
def old(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Release]:
    with Release(COMMIT, tmp_path_factory.mktemp("release")) as release:
        yield release


def rollback_of(driver: Driver, *, dry: bool = False) -> Rollback:
    async def patch(_: Kind, body: Body, change: Body) -> None:
        assert change["metadata"].pop("resourceVersion") == body["metadata"]["resourceVersion"]
        driver.patch(change)

    def marker_of(key: str) -> str | None:
        marker = driver.world.storage.objects.get(keys.purchase_marker(key))
        return str(marker["purchaseId"]) if marker is not None else None

    return Rollback(driver.world.database, marker_of, patch, dry=dry)


def resources(driver: Driver) -> list[tuple[Kind, Body]]:
    return [(kind, body) for (kind, _), body in driver.world.kube.resources.items()]


async def prepare(driver: Driver) -> list[Finding]:
    return await rollback_of(driver).prepare(resources(driver), driver.world.now)


def ids(cases: list[tuple[Kind, State]]) -> list[str]:
    return [f"{kind.plural}: {state.name}" for kind, state in cases]


@pytest.mark.parametrize(("kind", "state"), CASES, ids=ids(CASES))
async def test_a_rollback_and_the_next_upgrade_buy_nothing_again(
    kind: Kind, state: State, old: Release, monkeypatch: pytest.MonkeyPatch
) -> None:
    new = Driver(kind, monkeypatch)
    await new.do(state.before)
    await prepare(new)
    left = new.dump()
    back = old.run(kind, left, [*state.after, ["step"], ["finish"]])
    assert_end(back, state.phase, state.posts)
    assert_kept(left, back)
    again = Driver(kind, monkeypatch, back)
    await rollback_of(again).undo(resources(again))
    await again.do([["step", 3], ["finish"]])
    assert_end(again.dump(), state.resumed or state.phase, state.posts)
    assert_kept(left, again.dump())


HARMED = [(kind, state) for kind, state in CASES if state.unprepared is not None]


@pytest.mark.parametrize(("kind", "state"), HARMED, ids=ids(HARMED))
async def test_without_preparation_a5a1c84_buys_again(
    kind: Kind, state: State, old: Release, monkeypatch: pytest.MonkeyPatch
) -> None:
    new = Driver(kind, monkeypatch)
    await new.do(state.before)
    back = old.run(kind, new.dump(), [*state.after, ["step"], ["finish"]])
    assert len(back["posts"]) == state.unprepared


def assert_end(world: Body, phase: str, posts: int) -> None:
    ((_, _, body),) = world["resources"]
    assert (len(world["posts"]), body["status"]["phase"]) == (posts, phase), body["status"]


def assert_kept(left: Body, now: Body) -> None:
    kept = {key: value for key, value in left["objects"].items() if not key.startswith(("runs/", "datasets/"))}
    assert {key: now["objects"].get(key) for key in kept} == kept
