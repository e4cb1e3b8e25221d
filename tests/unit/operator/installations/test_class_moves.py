"""Resources that move between operator classes: two operators over one API server, with shared or different stores.

A move in either direction repeats no purchase, and Completed resources stay Completed.
"""

from typing import Any

import mongomock
import pytest
import stamina

from contentgen_contract.names import COLLECT_ANNOTATION, RERUN_ANNOTATION, Kind, Phase, Reason
from contentgen_simulation.installations import BATCH, Installations
from contentgen_simulation.world import UID, copied

IMAGE = Kind.IMAGE_GENERATION
STORES = pytest.mark.parametrize("shared", [True, False], ids=["shared stores", "different stores"])
KINDS = pytest.mark.parametrize("kind", list(Kind))


@pytest.fixture
def two(monkeypatch: pytest.MonkeyPatch, shared: bool) -> Any:
    with stamina.set_testing(True, attempts=8):
        yield Installations(monkeypatch, shared=shared)


@pytest.fixture
def apart(monkeypatch: pytest.MonkeyPatch) -> Any:
    with stamina.set_testing(True, attempts=8):
        yield Installations(monkeypatch, shared=False)


def another(kind: Kind, text: str = "b") -> dict[str, Any]:
    """Spec fields without an earlier purchase."""
    if kind is IMAGE:
        return {"prompt": f"a cat, {text}"}
    source = {"url": f"https://example.com/{text}.mp4"}
    return {"source": source}


@STORES
@KINDS
async def test_a_move_buys_nothing_and_an_edit_buys_once_where_it_is(two: Installations, kind: Kind) -> None:
    two.apply(kind)
    assert (await two.go_on(kind)).phase is Phase.COMPLETED
    assert two.paid == (1, 0)
    before = copied(two.body(kind)["status"])

    two.apply(kind, BATCH)
    moved = await two.go_on(kind)
    assert (two.paid, moved.phase, len(moved.versions)) == ((1, 0), Phase.COMPLETED, 1)
    assert two.body(kind)["status"]["versions"] == before["versions"]

    two.apply(kind, BATCH, **another(kind))
    edited = await two.go_on(kind)
    assert (two.paid, edited.phase, edited.reason) == ((1, 1), Phase.COMPLETED, "Completed")
    assert [version.version for version in edited.versions] == [1, 2]

    two.apply(kind, **another(kind))
    back = await two.go_on(kind)
    assert (two.paid, back.phase) == ((1, 1), Phase.COMPLETED)
    assert [version.version for version in back.versions] == [1, 2]

    two.apply(kind, **another(kind, "c"))
    last = await two.go_on(kind)
    assert (two.paid, last.phase, last.reason) == ((2, 1), Phase.COMPLETED, "Completed")
    assert [version.version for version in last.versions] == [1, 2, 3]


@STORES
async def test_move_before_the_first_run_is_paid_by_the_second(two: Installations) -> None:
    two.apply(IMAGE)
    two.apply(IMAGE, BATCH)
    assert (await two.go_on(IMAGE)).phase is Phase.COMPLETED
    assert two.paid == (0, 1)


@STORES
async def test_a_class_that_nobody_serves_is_left_alone(two: Installations) -> None:
    two.apply(IMAGE, "night")
    await two.go_on(IMAGE, 5)
    assert (two.body(IMAGE)["status"], two.paid) == ({}, (0, 0))
    assert two.first.writes.done + two.second.writes.done == []
    assert two.body(IMAGE)["metadata"]["finalizers"] == []


@STORES
async def test_a_rerun_asked_for_after_the_move_is_paid_by_the_second(two: Installations) -> None:
    two.apply(IMAGE)
    await two.go_on(IMAGE)
    two.apply(IMAGE, BATCH)
    two.body(IMAGE)["metadata"]["annotations"] = {RERUN_ANNOTATION: "again"}
    again = await two.go_on(IMAGE)
    assert (two.paid, again.phase, again.reason) == ((1, 1), Phase.COMPLETED, "Completed")


@STORES
async def test_failed_paid_resource_is_not_retried_after_a_move(two: Installations) -> None:
    two.apply(IMAGE)
    await two.go_on(IMAGE)
    end(two, "Failed", "CollectFailed")
    two.apply(IMAGE, BATCH, metadata={"tags": ["new"]})
    await two.go_on(IMAGE)
    assert two.paid == (1, 0)


@STORES
@pytest.mark.parametrize("edit", [{"metadata": {"tags": ["new"]}}, another(IMAGE)], ids=["tags", "inputs"])
async def test_outputs_adopted_before_a_move_are_not_bought_again(two: Installations, edit: dict[str, Any]) -> None:
    """Adopted files belong to an earlier resource, which a MongoDB without the purchase cannot confirm."""
    two.apply(IMAGE)
    await two.go_on(IMAGE)
    await two.first.until_gone(IMAGE)
    heir = "1c8d8a52-6a5e-4a1c-9f3e-2f3c7c1b9a02"
    two.apply(IMAGE, uid=heir)
    assert (await two.go_on(IMAGE)).reason == "AdoptedFinishedRun"
    two.apply(IMAGE, BATCH, uid=heir, **edit)
    moved = await two.go_on(IMAGE)
    bought = int("prompt" in edit)
    assert (two.paid, moved.phase) == ((1, bought), Phase.COMPLETED)
    assert [version.version for version in moved.versions] == [1, 2][: 1 + bought]
    two.apply(IMAGE, uid=heir, **edit)
    back = await two.go_on(IMAGE)
    assert (two.paid, back.phase) == ((1, bought), Phase.COMPLETED)
    assert back.versions[0].files, "the first knows them"


async def test_outputs_adopted_before_a_move_back_are_not_bought_again(apart: Installations) -> None:
    apart.apply(IMAGE)
    await apart.go_on(IMAGE)
    apart.apply(IMAGE, BATCH, **another(IMAGE))
    await apart.go_on(IMAGE)
    body = apart.body(IMAGE)["status"]["versions"][1]
    other = "9c8d8a52-6a5e-4a1c-9f3e-2f3c7c1b9a99"
    body |= {"jobId": other, "files": [file | {"key": file["key"].replace(UID, other)} for file in body["files"]]}
    apart.apply(IMAGE, **another(IMAGE), metadata={"tags": ["new"]})
    back = await apart.go_on(IMAGE)
    assert (apart.paid, back.phase) == ((1, 1), Phase.COMPLETED)
    assert [(version.version, bool(version.files)) for version in back.versions] == [(1, True), (2, False)]


@STORES
async def test_failed_run_with_a_collect_request_pays_nothing(two: Installations) -> None:
    two.apply(IMAGE)
    await two.go_on(IMAGE)
    end(two, "Failed", "CollectFailed")
    two.apply(IMAGE, BATCH)
    two.body(IMAGE)["metadata"]["annotations"] = {COLLECT_ANNOTATION: "1"}
    await two.go_on(IMAGE)
    assert two.paid == (1, 0)


@STORES
async def test_a_request_that_was_open_at_the_move_is_not_sent_again(two: Installations) -> None:
    """The API server refuses such a move with a validation rule, which an older CRD lacks."""
    two.apply(IMAGE)
    await two.go_on(IMAGE)
    two.body(IMAGE)["status"]["run"]["requestOpen"] = True
    two.apply(IMAGE, BATCH)
    moved = await two.go_on(IMAGE)
    assert (two.paid, moved.phase) == ((1, 0), Phase.COMPLETED)


def end(two: Installations, phase: str, reason: str) -> None:
    """Set the end of the run without a version, in the status and in MongoDB."""
    status = two.body(IMAGE)["status"]
    status |= {"phase": phase, "reason": reason, "versions": []}
    status["conditions"] = [
        condition | {"type": phase} if condition["type"] == "Complete" else condition
        for condition in status["conditions"]
    ]
    for world in two.all:
        world.database["runs"].update_many({}, {"$set": {"versions": []}})


# Forged or outdated statuses


async def test_run_unknown_to_the_second_installation_pays_nothing(apart: Installations) -> None:
    """The API server refuses such a move, unless the status is forged or the validation rule is missing."""
    apart.apply(IMAGE)
    await apart.first.finish(IMAGE, Phase.PROCESSING)
    assert apart.paid == (1, 0)
    apart.apply(IMAGE, BATCH)
    await apart.go_on(IMAGE)
    assert apart.paid == (1, 0)
    assert apart.status(IMAGE).reason == Reason.STORES_DISAGREE


async def test_status_forged_in_an_unserved_class_names_no_files(apart: Installations) -> None:
    """The forged status has a finished run with another job's file, in a class without an operator to repair it."""
    apart.apply(IMAGE, "night")
    other = "9c8d8a52-6a5e-4a1c-9f3e-2f3c7c1b9a99"
    key = f"images/ns/{other}/v1/image_1.png"
    spec = copied(apart.body(IMAGE)["spec"])
    apart.body(IMAGE)["status"] = {
        "observedGeneration": 1, "jobId": UID, "phase": "Completed", "reason": "Completed", "progress": 100,
        "completionTime": "2026-11-20T00:00:00Z",
        "conditions": [{"type": "Complete", "status": "True", "reason": "Completed", "message": "",
                        "lastTransitionTime": "2026-11-20T00:00:00Z", "observedGeneration": 1}],
        "run": {"number": 1, "version": 1, "runHash": "0" * 16, "generation": 1, "spec": spec,
                "startedAt": "2026-11-20T00:00:00Z"},
        "versions": [{"version": 1, "jobId": other, "runHash": "0" * 16, "files": [{"key": key, "sizeBytes": 1}],
                      "bucket": "of-others", "facts": {"note": "forged"}}],
    }  # fmt: skip
    apart.apply(IMAGE, BATCH, **another(IMAGE))
    await apart.go_on(IMAGE)
    assert apart.paid == (0, 1)
    for told in (key, "of-others", "forged"):
        assert told not in str(apart.body(IMAGE)["status"])
    assert other not in str(list(apart.second.database["runs"].find()))


async def test_restored_database_of_the_second_pays_nothing_again(apart: Installations) -> None:
    apart.apply(IMAGE)
    await apart.go_on(IMAGE)
    apart.apply(IMAGE, BATCH, **another(IMAGE))
    await apart.go_on(IMAGE)
    assert apart.paid == (1, 1)
    apart.second.database = mongomock.MongoClient(tz_aware=True)["of-a-backup"]
    apart.apply(IMAGE, BATCH, **another(IMAGE, "c"))
    held = await apart.go_on(IMAGE)
    assert (apart.paid, held.reason) == ((1, 1), Reason.STORES_DISAGREE), "run 2 was its own"


async def test_restored_database_of_the_first_pays_nothing_on_return(
    apart: Installations,
) -> None:
    """The second operator's run is no evidence for the status, because the first one lost its own run."""
    apart.apply(IMAGE)
    await apart.go_on(IMAGE)
    apart.first.database = mongomock.MongoClient(tz_aware=True)["of-a-backup"]
    apart.apply(IMAGE, BATCH)
    await apart.go_on(IMAGE)
    apart.apply(IMAGE)
    assert (await apart.go_on(IMAGE)).phase is Phase.COMPLETED
    apart.apply(IMAGE, **another(IMAGE))
    held = await apart.go_on(IMAGE)
    assert (apart.paid, held.reason) == ((1, 0), Reason.STORES_DISAGREE)


@STORES
async def test_shared_stores_let_the_other_class_adopt(two: Installations, shared: bool) -> None:
    two.apply(IMAGE)
    await two.go_on(IMAGE)
    await two.first.until_gone(IMAGE)
    two.apply(IMAGE, BATCH, uid="1c8d8a52-6a5e-4a1c-9f3e-2f3c7c1b9a02")
    again = await two.go_on(IMAGE)
    assert again.phase is Phase.COMPLETED
    assert two.paid == ((1, 0) if shared else (1, 1))


@STORES
async def test_recreated_namespace_gives_the_second_nothing(two: Installations, shared: bool) -> None:
    """A namespace created again is another tenant: it adopts no purchase of the earlier one, in either class."""
    two.apply(IMAGE)
    await two.go_on(IMAGE)
    await two.first.until_gone(IMAGE)
    two.first.kube.namespaces["ns"] = ("another-namespace", "2026-11-21T01:00:00Z")
    two.apply(IMAGE, BATCH, uid="1c8d8a52-6a5e-4a1c-9f3e-2f3c7c1b9a02")
    again = await two.go_on(IMAGE)
    assert (two.paid, again.phase) == ((1, 1), Phase.COMPLETED)
    assert UID not in str(again.versions)
