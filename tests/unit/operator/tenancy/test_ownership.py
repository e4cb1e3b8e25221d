"""Forged names and keys in a status: no file of another owner is signed, read, copied or deleted."""

import copy
from typing import Any

import pytest
from botocore.exceptions import EndpointConnectionError
from pydantic import ValidationError

from contentgen_contract.names import Kind, Phase
from contentgen_contract.resources.status import RunStatus, VersionStatus
from contentgen_operator.state.purchases import PurchaseState
from contentgen_operator.stores.s3 import DeletedPage
from contentgen_simulation.world import SPECS, UID, World

LORA, IMAGES, TRANSCRIPT = Kind.LORA_TRAINING, Kind.IMAGE_GENERATION, Kind.TRANSCRIPTION
VICTIM = "7d0f1c5e-0000-4a1c-9f3e-2f3c7c1b9a99"
MODEL = f"loras/victim/{VICTIM}/v1/model.safetensors"
DELETE = {"deletionPolicy": "Delete"}
FOREIGN = {
    Kind.LORA_TRAINING: MODEL,
    Kind.IMAGE_GENERATION: f"generated-images/victim/{VICTIM}/image_1.png",
    Kind.TRANSCRIPTION: f"transcripts/victim/{VICTIM}/transcript.json",
}


def a_victim(world: World, kind: Kind) -> dict[str, Any]:
    """Another namespace's finished job: its file, its provider's answer, its record and its purchase."""
    world.storage.objects |= {FOREIGN[kind]: "bytes", f"runs/{VICTIM}/1/provider-1.json": {"text": "secret"}}
    world.database["jobs"].insert_one({"jobId": VICTIM, "namespace": "other", "status": "completed"})
    world.database["ledger"].insert_one(
        {
            "_id": f"other/{kind}/it/hash/-/1",
            "jobId": VICTIM,
            "namespace": "other",
            "state": PurchaseState.COLLECTED.value,
            "outputs": {"version": 1, "jobId": VICTIM, "files": [{"key": FOREIGN[kind]}]},
        }
    )
    return what_is_the_victims(world)


def what_is_the_victims(world: World) -> dict[str, Any]:
    return {
        "objects": {key: value for key, value in world.storage.objects.items() if VICTIM in key},
        "record": world.database["jobs"].find_one({"jobId": VICTIM}),
        "purchase": world.database["ledger"].find_one({"jobId": VICTIM}),
    }


def forge(world: World, kind: Kind, change: Any, name: str = "it") -> None:
    """Write the status, as a user with permission for `*/status` may."""
    body = world.kube.resources[kind, name]
    status = copy.deepcopy(body["status"])
    change(status)
    body["status"] = status
    body["metadata"]["resourceVersion"] = f"forged-{id(status)}"


def with_foreign_files(kind: Kind) -> Any:
    def change(status: dict[str, Any]) -> None:
        for version in status["versions"]:
            version |= {"jobId": VICTIM, "files": [file | {"key": FOREIGN[kind]} for file in version["files"]]}

    return change


def with_or_without(world: World, documents: str) -> None:
    """`documents` "none": MongoDB has lost the run documents."""
    if documents == "none":
        world.database["runs"].delete_many({})
        world.restart()


DOCUMENTS = pytest.mark.parametrize("documents", ["run documents", "none"])


def unfinished(status: dict[str, Any]) -> None:
    """A status that needs reconciling."""
    status["observedGeneration"] = 0


@DOCUMENTS
@pytest.mark.parametrize("kind", Kind)
async def test_a_deletion_leaves_what_a_forged_status_names(kind: Kind, documents: str, world: World) -> None:
    before = a_victim(world, kind)
    world.kube.apply(kind, SPECS[kind] | DELETE)
    await world.finish(kind)
    forge(world, kind, with_foreign_files(kind))
    with_or_without(world, documents)
    await world.until_gone(kind)
    assert what_is_the_victims(world) == before
    assert [key for key in world.storage.objects if UID in key] == [], "its own files are deleted all the same"


async def test_a_deletion_stops_no_job_that_a_forged_status_names(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    stopped: list[str] = []

    async def delete_job(_: str, name: str, _uid: str) -> None:
        stopped.append(name)

    monkeypatch.setattr(world.kube, "delete_job", delete_job)
    world.kube.apply(TRANSCRIPT, SPECS[TRANSCRIPT] | DELETE)
    await world.finish(TRANSCRIPT, Phase.PREPARING)
    made = world.status(TRANSCRIPT).run
    assert made is not None
    assert made.job is not None
    forge(world, TRANSCRIPT, lambda status: status["run"]["job"].update(name="a-backup-of-somebody"))
    await world.until_gone(TRANSCRIPT)
    assert set(stopped) == {made.job.name}


async def test_images_use_no_model_that_the_ledger_lacks(world: World) -> None:
    a_victim(world, LORA)
    world.kube.apply(LORA, SPECS[LORA], uid="lora-uid", name="jesse")
    versions = [{"version": 1, "jobId": VICTIM, "files": [{"key": MODEL, "sizeBytes": 7}], "facts": {}}]
    world.kube.resources[LORA, "jesse"]["status"] = {"phase": "Completed", "versions": versions}
    world.kube.apply(IMAGES, SPECS[IMAGES] | {"loras": [{"loraRef": {"name": "jesse"}}]})
    for _ in range(5):
        await world.reconcile(IMAGES)
    assert world.provider.posts == []
    assert world.status(IMAGES).reason == "WaitingForLora"


async def test_a_forged_newer_version_does_not_hide_the_trained_model(world: World) -> None:
    a_victim(world, LORA)
    world.kube.apply(LORA, SPECS[LORA])
    await world.finish(LORA)
    forged = {"version": 9, "jobId": VICTIM, "files": [{"key": MODEL, "sizeBytes": 7}], "facts": {}}
    forge(world, LORA, lambda status: status["versions"].append(forged))
    world.kube.apply(IMAGES, SPECS[IMAGES] | {"loras": [{"loraRef": {"name": "it"}}]}, uid="images-uid")
    for _ in range(5):
        await world.reconcile(IMAGES)
    (drawn,) = [post for post in world.provider.posts if post.correlation_key.startswith("seed:")]
    (lora,) = drawn.arguments["loras"]
    assert lora["path"].startswith(f"http://s3.example/bucket/loras/ns/{UID}/v1/model.safetensors?")


@pytest.mark.parametrize("kind", Kind)
async def test_a_record_copies_no_files_from_a_forged_status(kind: Kind, world: World) -> None:
    a_victim(world, kind)
    world.kube.apply(kind, SPECS[kind])
    await world.finish(kind)
    world.database["jobs"].delete_one({"jobId": UID})  # so that the next write makes the versions anew

    def change(status: dict[str, Any]) -> None:
        with_foreign_files(kind)(status)
        unfinished(status)
        status["run"]["loras"] = [MODEL]

    forge(world, kind, change)
    world.restart()
    await world.reconcile(kind)
    record = world.database["jobs"].find_one({"jobId": UID})
    assert record is not None
    assert VICTIM not in str(record)


async def test_the_loras_of_a_record_are_those_that_were_paid_with(world: World) -> None:
    world.kube.apply(IMAGES, SPECS[IMAGES])
    await world.finish(IMAGES)
    world.database["jobs"].delete_one({"jobId": UID})

    def change(status: dict[str, Any]) -> None:
        unfinished(status)
        status["run"]["loras"] = [MODEL]

    forge(world, IMAGES, change)
    world.restart()
    await world.reconcile(IMAGES)
    record = world.database["jobs"].find_one({"jobId": UID})
    assert record is not None
    assert MODEL not in str(record), "a LoRA that looks used cannot be deleted by its owner"


@DOCUMENTS
@pytest.mark.parametrize("phase", [Phase.PREPARING, Phase.PROCESSING, Phase.COMPLETED])
async def test_a_forged_user_in_the_frozen_spec_is_not_acted_for(phase: Phase, documents: str, world: World) -> None:
    world.kube.apply(TRANSCRIPT, SPECS[TRANSCRIPT] | {"userId": "ann"})
    _leave_files_as(world, "ann")
    await world.finish(TRANSCRIPT, phase)

    def change(status: dict[str, Any]) -> None:
        status["run"]["spec"]["userId"] = "victim"
        unfinished(status)

    forge(world, TRANSCRIPT, change)
    with_or_without(world, documents)
    world.restart()
    status = await world.finish(TRANSCRIPT)
    await world.recover(TRANSCRIPT)
    assert status.phase is Phase.COMPLETED
    record = world.database["jobs"].find_one({"jobId": UID})
    purchase = world.database["ledger"].find_one()
    assert record is not None
    assert purchase is not None
    assert (record["userId"], purchase["userId"]) == ("ann", "ann")
    assert "victim" not in str(record)
    assert not any("victim" in key for key in world.storage.objects)


async def test_user_edited_during_a_run_stays_that_of_the_run(world: World) -> None:
    _leave_files_as(world, "ann")
    world.kube.apply(TRANSCRIPT, SPECS[TRANSCRIPT] | {"userId": "ann"})
    await world.finish(TRANSCRIPT, Phase.PREPARING)
    world.kube.apply(TRANSCRIPT, SPECS[TRANSCRIPT] | {"userId": "bob"})
    status = await world.finish(TRANSCRIPT)
    assert status.phase is Phase.COMPLETED
    assert {file.key.split("/")[1] for file in status.versions[0].files} == {"ann"}
    record = world.database["jobs"].find_one({"jobId": UID})
    assert record is not None
    assert record["userId"] == "ann"


@DOCUMENTS
async def test_a_forged_hash_buys_nothing_under_another_key(documents: str, world: World) -> None:
    world.kube.apply(TRANSCRIPT, SPECS[TRANSCRIPT])
    await world.finish(TRANSCRIPT, Phase.PREPARING)
    made = world.status(TRANSCRIPT).run
    assert made is not None
    forge(world, TRANSCRIPT, lambda status: status["run"].update(runHash="f" * 16))
    with_or_without(world, documents)
    await world.finish(TRANSCRIPT)
    (purchase,) = world.database["ledger"].find()
    assert purchase["_id"] == f"ns/Transcription/it/{made.run_hash}/-/1"


@pytest.mark.parametrize("kind", Kind)
async def test_adopted_files_are_deleted_with_their_heir(kind: Kind, world: World) -> None:
    world.kube.apply(kind, SPECS[kind])
    await world.finish(kind)
    await world.until_gone(kind)
    world.kube.apply(kind, SPECS[kind] | DELETE, uid="heir-uid")
    status = await world.finish(kind)
    assert {version.job_id for version in status.versions} == {UID}
    heir = world.database["jobs"].find_one({"jobId": "heir-uid"})
    assert heir is not None
    assert UID in str(heir["versions"]), "the record leads to the files that were taken over"
    await world.until_gone(kind)
    assert world.storage.files == {}


async def test_a_mark_of_deletion_deletes_no_other_jobs_folder(world: World) -> None:
    own = f"transcripts/ns/{UID}/"
    world.storage.objects = {f"{own}transcript.txt": "mine", f"transcripts/ns/{UID}-2/a": "not mine"}
    before = a_victim(world, TRANSCRIPT)
    prefixes = ["", "transcripts/", f"transcripts/ns/{UID}", f"transcripts/victim/{VICTIM}/", f"runs/{VICTIM}/", own]
    mark = {"uid": UID, "prefixes": prefixes, "job_ids": [UID]}
    world.database["jobs"].insert_one({"jobId": UID, "discard": mark})
    await world.sweep()
    assert what_is_the_victims(world) == before
    assert [key for key in world.storage.objects if UID in key] == [f"transcripts/ns/{UID}-2/a"]


async def test_repeated_deletion_still_knows_the_adopted_files(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first attempt marks the purchase as discarded, and then the bucket is unavailable."""
    world.kube.apply(IMAGES, SPECS[IMAGES])
    await world.finish(IMAGES)
    await world.until_gone(IMAGES)
    world.kube.apply(IMAGES, SPECS[IMAGES] | DELETE, uid="heir-uid")
    await world.finish(IMAGES)
    delete, tries = world.storage.delete_prefix, list[str]()

    async def away_at_first(owner: Any, prefix: str, most: int, keep: frozenset[str]) -> DeletedPage:
        tries.append(prefix)
        if len(tries) == 1:
            raise EndpointConnectionError(endpoint_url="http://s3")
        return await delete(owner, prefix, most, keep)

    monkeypatch.setattr(world.storage, "delete_prefix", away_at_first)
    await world.until_gone(IMAGES)
    assert world.storage.files == {}


def _leave_files_as(world: World, user: str) -> None:
    """The simulated workers store under the namespace; let them store under this user."""
    leave = world._leave_outcome

    def left(*args: Any) -> None:
        before = set(world.storage.objects)
        leave(*args)
        for key in set(world.storage.objects) - before:
            if key.startswith("transcripts/ns/"):
                moved = key.replace("transcripts/ns/", f"transcripts/{user}/", 1)
                world.storage.objects[moved] = world.storage.objects.pop(key)

    world._leave_outcome = left  # type: ignore[method-assign]  # of this world alone


@pytest.mark.parametrize(
    ("field", "bad"),
    [
        ("job", {"job": {"name": "../../../api/v1/namespaces/x/pods/y", "stage": "prepare"}}),
        ("job", {"job": {"name": "A", "stage": "prepare"}}),
        ("job", {"job": {"name": "a/b", "stage": "prepare"}}),
        ("job", {"job": {"name": "a", "uid": "a/../b", "stage": "prepare"}}),
        ("loras", {"loras": ["loras/a/../b/v1/model.safetensors"]}),
        ("loras", {"loras": ["/loras/a/b/v1/model.safetensors"]}),
    ],
)
def test_names_and_keys_of_a_run_have_a_pattern(field: str, bad: dict[str, Any]) -> None:
    run = {"version": 1, "runHash": "a", "generation": 1, "spec": {}, "startedAt": "2026-11-21T00:00:00Z"}
    assert RunStatus.model_validate(run).version == 1
    with pytest.raises(ValidationError, match=field):
        RunStatus.model_validate(run | bad)


@pytest.mark.parametrize("key", ["a//b", "/a/b", "a/../b", "a/./b", "a/b/", "a\\b", "a/b?c", ""])
def test_keys_and_jobs_of_a_version_have_a_pattern(key: str) -> None:
    assert VersionStatus.model_validate({"version": 1, "jobId": UID, "files": [{"key": MODEL}]})
    with pytest.raises(ValidationError):
        VersionStatus.model_validate({"version": 1, "files": [{"key": key}]})
    with pytest.raises(ValidationError):
        VersionStatus.model_validate({"version": 1, "jobId": key})
